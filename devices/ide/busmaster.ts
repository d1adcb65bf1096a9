/**
 * One channel of the bus master IDE function: command, status and descriptor table registers, and the walk through
 * the physical region descriptors. Intel 82371SB (PIIX3) datasheet, "Bus Master IDE I/O registers" (BMICX, BMISX,
 * BMIDTPX); "Programming Interface for Bus Master IDE Controller", revision 1.0.
 */
import { type Dma, GuestFault, guestError, type Host, type StateValue, tracePoints } from '../../src/core/index.ts';

/** BMICX. */
const Command = { start: 0x01, write: 0x08 } as const;
/** BMISX. Bits 5 and 6 say "drive can do DMA": the firmware's notes, kept for the driver. */
const Status = { active: 0x01, error: 0x02, interrupt: 0x04, capable: 0x60 } as const;

const END_OF_TABLE = 0x80000000;
/** A table must not cross 64 KiB, so it cannot be longer. */
const MAX_DESCRIPTORS = 0x10000 / 8;
/** Moved through the host buffer at once, and moved before the guest gets another turn. */
const CHUNK = 256 * 1024;
const TURN = 1024 * 1024;

/** Why a transfer ended: all moved; descriptors ended first; guest memory or table unusable; the image failed; start bit taken away. */
export type DmaOutcome = 'complete' | 'short' | 'fault' | 'failed' | 'stopped';

/** What a drive wants moved. */
export interface DmaTransfer {
	/** From the drive to memory, or the other way. */
	readonly toMemory: boolean;
	/** Bytes. */
	readonly length: number;
	/** Fills or takes `bytes`, which begin `offset` bytes into the transfer. */
	move(offset: number, bytes: Uint8Array): Promise<void> | undefined;
	done(outcome: DmaOutcome): void;
}

const trace = tracePoints('ide-dma', {
	start: ['channel', 'table', 'length'],
	end: ['channel', 'outcome', 'moved'],
});

export class BusMaster {
	readonly #channel: number;
	readonly #host: Host;
	readonly #mayMaster: () => boolean;
	#command = 0;
	#status = 0;
	#table = 0;

	#transfer: DmaTransfer | undefined;
	#moved = 0;
	/** A step is under way on the host, or waits for its turn. */
	#busy = false;
	#stopping = false;
	/** Counts transfers, so that what a cancelled one finishes late is not taken for the next one's. */
	#epoch = 0;
	#buffer = new Uint8Array(0);

	/** Where the walk is: next descriptor, rest of the current region. */
	#next = 0;
	#descriptors = 0;
	#address = 0;
	#left = 0;
	#last = false;

	/** `mayMaster`: the function's bus master enable bit. */
	constructor(channel: number, host: Host, mayMaster: () => boolean) {
		this.#channel = channel;
		this.#host = host;
		this.#mayMaster = mayMaster;
	}

	reset(): void {
		this.cancel();
		this.#command = 0;
		this.#status = 0;
		this.#table = 0;
	}

	/** Registers only: the drive starts an unfinished transfer again from its beginning. */
	save(): { [key: string]: StateValue } {
		return { command: this.#command, status: this.#status, table: this.#table };
	}

	restore(state: { readonly [key: string]: StateValue | undefined }): void {
		this.cancel();
		this.#command = Number(state.command);
		this.#status = Number(state.status);
		this.#table = Number(state.table);
		this.#rewind();
	}

	/** `offset` 0..7 in the channel's half of the function's I/O space. */
	read(offset: number, size: 1 | 2 | 4): number {
		if (offset >= 4) {
			const bits = this.#table >>> ((offset - 4) * 8);
			return size === 4 ? bits >>> 0 : bits & (size === 2 ? 0xffff : 0xff);
		}
		if (size !== 1) return size === 4 ? 0xffffffff : 0xffff;
		if (offset === 0) return this.#command;
		return offset === 2 ? this.#status : 0xff;
	}

	write(offset: number, size: 1 | 2 | 4, value: number): void {
		if (offset >= 4) {
			const shift = (offset - 4) * 8;
			const mask = (size === 4 ? 0xffffffff : size === 2 ? 0xffff : 0xff) << shift;
			this.#table = ((this.#table & ~mask) | ((value << shift) & mask & ~3)) >>> 0;
		} else if (size === 1 && offset === 0) {
			this.#writeCommand(value);
		} else if (size === 1 && offset === 2) {
			const kept = this.#status & ~(value & (Status.error | Status.interrupt)) & ~Status.capable;
			this.#status = kept | (value & Status.capable);
		}
	}

	/** The drive's interrupt line went up. */
	interrupt(): void {
		this.#status |= Status.interrupt;
	}

	/** The drive is ready to move data: now, if the guest has set the start bit, or when it does. */
	begin(transfer: DmaTransfer): void {
		this.cancel();
		this.#transfer = transfer;
		if (this.#status & Status.active) this.#run();
	}

	/** The drive has given up its transfer. */
	cancel(): void {
		// The host may still be filling the buffer of a transfer that goes away.
		if (this.#busy) this.#buffer = new Uint8Array(0);
		this.#transfer = undefined;
		this.#moved = 0;
		this.#busy = false;
		this.#stopping = false;
		this.#epoch++;
	}

	#writeCommand(value: number): void {
		const was = this.#command;
		this.#command = value & (Command.start | Command.write);
		if (!((was ^ value) & Command.start)) return;
		if (value & Command.start) {
			this.#rewind();
			this.#status |= Status.active;
			if (this.#transfer && !this.#busy) this.#run();
		} else {
			this.#status &= ~Status.active;
			if (this.#busy) this.#stopping = true;
		}
	}

	#rewind(): void {
		this.#next = this.#table;
		this.#descriptors = 0;
		this.#left = 0;
		this.#last = false;
		this.#moved = 0;
	}

	/** Moves chunk after chunk until all is done, the image lets us wait, or the guest's turn has come. */
	#run(): void {
		const transfer = this.#transfer;
		if (!transfer) return;
		if (this.#moved === 0) trace.start(this.#channel, this.#table, transfer.length);
		this.#busy = true;
		const turnEnd = this.#moved + TURN;
		while (this.#moved < transfer.length) {
			if (this.#stopping) {
				this.#finish('stopped');
				return;
			}
			if (this.#moved >= turnEnd) {
				this.#later();
				return;
			}
			const length = Math.min(CHUNK, transfer.length - this.#moved);
			const bytes = this.#room(length);
			if (!transfer.toMemory) {
				const outcome = this.#copy(bytes, false);
				if (outcome !== 'complete') {
					this.#finish(outcome);
					return;
				}
			}
			const work = transfer.move(this.#moved, bytes);
			if (work) {
				this.#wait(work, transfer, bytes);
				return;
			}
			if (!this.#moveOn(transfer, bytes)) return;
		}
		this.#finish('complete');
	}

	#wait(work: Promise<void>, transfer: DmaTransfer, bytes: Uint8Array): void {
		const epoch = this.#epoch;
		work.then(
			() => {
				if (epoch === this.#epoch && this.#moveOn(transfer, bytes)) this.#run();
			},
			() => {
				if (epoch === this.#epoch) this.#finish('failed');
			},
		);
	}

	#later(): void {
		const epoch = this.#epoch;
		this.#host.defer(() => {
			if (epoch === this.#epoch) this.#run();
		});
	}

	/** The image has done its part for `bytes`. False if that ended the transfer. */
	#moveOn(transfer: DmaTransfer, bytes: Uint8Array): boolean {
		if (transfer.toMemory) {
			const outcome = this.#copy(bytes, true);
			if (outcome !== 'complete') {
				this.#finish(outcome);
				return false;
			}
		}
		this.#moved += bytes.length;
		return true;
	}

	#finish(outcome: DmaOutcome): void {
		const transfer = this.#transfer;
		trace.end(this.#channel, outcome, this.#moved);
		this.#transfer = undefined;
		this.#busy = false;
		this.#stopping = false;
		this.#epoch++;
		// Regions left over keep the active bit: the table was larger than the transfer.
		const leftOver = outcome === 'complete' && (this.#left > 0 || !this.#last);
		if (!leftOver) this.#status &= ~Status.active;
		if (outcome === 'fault') this.#status |= Status.error;
		transfer?.done(outcome);
	}

	/** Copies all of `bytes` to or from the regions that come next. */
	#copy(bytes: Uint8Array, toMemory: boolean): 'complete' | 'short' | 'fault' {
		if (!this.#mayMaster()) {
			guestError('ide-dma', 'transfer started with bus mastering switched off');
			return 'fault';
		}
		const { dma } = this.#host;
		try {
			for (let at = 0; at < bytes.length; ) {
				if (this.#left === 0 && !this.#fetch(dma)) return 'short';
				const count = Math.min(this.#left, bytes.length - at);
				const part = bytes.subarray(at, at + count);
				if (toMemory) dma.write(this.#address, part);
				else part.set(dma.view(this.#address, count));
				this.#address += count;
				this.#left -= count;
				at += count;
			}
			return 'complete';
		} catch (error) {
			if (!(error instanceof GuestFault)) throw error;
			guestError('ide-dma', error.message);
			return 'fault';
		}
	}

	/** Takes the next descriptor; false at the end of the table. */
	#fetch(dma: Dma): boolean {
		if (this.#last || this.#descriptors === MAX_DESCRIPTORS) return false;
		this.#address = (dma.read32(this.#next) & ~1) >>> 0;
		const control = dma.read32(this.#next + 4);
		this.#left = control & 0xfffe || 0x10000;
		this.#last = (control & END_OF_TABLE) !== 0;
		this.#next += 8;
		this.#descriptors++;
		return true;
	}

	#room(length: number): Uint8Array {
		if (this.#buffer.length < length) this.#buffer = new Uint8Array(Math.min(CHUNK, Math.max(length, 4096) * 2));
		return this.#buffer.subarray(0, length);
	}
}
