/**
 * What every drive on an IDE channel does: answer the task file, move data through the data register, raise the
 * interrupt, wait for the host. ATA/ATAPI-6 9, "Protocols".
 */
import { type BlockImage, type Device, type DeviceState, tracePoints } from '../../src/core/index.ts';
import { BlockGuard } from '../block/index.ts';
import type { BusMaster } from './busmaster.ts';
import { ErrorBit, READY, Status, TaskFile } from './taskfile.ts';

/** The channel as its drives see it. */
export interface IdeBus {
	readonly dma: BusMaster;
	/** Raises the channel's interrupt, unless the guest has masked it. */
	interrupt(): void;
	/** Takes the interrupt back. */
	clearInterrupt(): void;
	/** EXECUTE DEVICE DIAGNOSTIC reaches both drives. */
	diagnose(): void;
}

const trace = tracePoints('ide', {
	command: ['drive', 'opcode', 'features', 'nsector'],
	error: ['drive', 'opcode', 'status', 'error'],
	host_error: ['drive', 'message'],
	reset: ['drive'],
});

export type Direction = 'none' | 'in' | 'out';

export abstract class IdeDrive implements Device {
	/** `ide0-hd0` and the like, set by the channel. */
	name = 'ide';
	readonly regs = new TaskFile();
	/** Set by the channel that the drive is plugged into. */
	bus!: IdeBus;
	/** What goes through the data register. */
	protected buffer: Uint8Array;
	protected pos = 0;
	protected end = 0;
	protected direction: Direction = 'none';
	/** The command under way, 0 when there is none. */
	protected opcode = 0;
	/** The only way to the image. */
	protected readonly host: BlockGuard;
	/** Counts commands and resets: host work that ends after its command has gone is ignored. */
	#epoch = 0;

	/** `bufferSize`: the largest block between two interrupts, bytes. */
	constructor(bufferSize: number, image?: BlockImage) {
		this.buffer = new Uint8Array(bufferSize);
		this.host = new BlockGuard(image);
	}

	/** What the command block shows after a reset: byte count and status. */
	protected abstract readonly signature: number;
	protected abstract readonly statusAfterReset: number;
	/** A command that is not DEVICE RESET or EXECUTE DEVICE DIAGNOSTIC; BSY and DRQ are clear. */
	protected abstract execute(opcode: number): void;
	/** The guest has read or written the block that was offered. */
	protected abstract blockDone(): void;
	abstract save(): DeviceState;
	abstract restore(state: DeviceState): void;

	/** Power-on. */
	reset(): void {
		this.abandon();
		this.regs.now.fill(0);
		this.regs.error = 0;
		this.regs.sign(this.signature);
		this.regs.status = READY;
	}

	/** SRST, EXECUTE DEVICE DIAGNOSTIC, and DEVICE RESET where there is one: "diagnostic code 01h, no error". */
	softReset(): void {
		trace.reset(this.name);
		this.abandon();
		this.regs.error = 0x01;
		this.regs.sign(this.signature);
		this.regs.status = this.statusAfterReset;
	}

	/** SRST is held. */
	holdReset(): void {
		this.abandon();
		this.regs.status = Status.bsy | Status.dsc;
	}

	/** A write to the command register. */
	command(opcode: number): void {
		const busy = (this.regs.status & (Status.bsy | Status.drq)) !== 0;
		if (busy && !this.commandWhileBusy(opcode)) return;
		trace.command(this.name, opcode, this.regs.features, this.regs.nsector);
		this.abandon();
		this.opcode = opcode;
		this.regs.error = 0;
		this.regs.status = READY | Status.bsy;
		if (opcode === 0x90) this.bus.diagnose();
		else this.execute(opcode);
	}

	/** Whether a command may interrupt the one under way: only a packet device's DEVICE RESET. */
	protected commandWhileBusy(_opcode: number): boolean {
		return false;
	}

	read16(): number {
		if (this.direction !== 'in' || this.pos + 2 > this.end) return 0;
		const value = this.buffer[this.pos] | (this.buffer[this.pos + 1] << 8);
		this.#advance(2);
		return value;
	}

	read32(): number {
		if (this.direction !== 'in' || this.pos + 4 > this.end) return this.read16();
		const { buffer, pos } = this;
		const value = buffer[pos] | (buffer[pos + 1] << 8) | (buffer[pos + 2] << 16) | (buffer[pos + 3] << 24);
		this.#advance(4);
		return value >>> 0;
	}

	write16(value: number): void {
		if (this.direction !== 'out' || this.pos + 2 > this.end) return;
		this.buffer[this.pos] = value;
		this.buffer[this.pos + 1] = value >> 8;
		this.#advance(2);
	}

	write32(value: number): void {
		this.write16(value & 0xffff);
		this.write16(value >>> 16);
	}

	#advance(count: number): void {
		this.pos += count;
		if (this.pos < this.end) return;
		this.direction = 'none';
		this.blockDone();
	}

	/** Offers `length` bytes of the buffer to the guest. */
	protected offerIn(length: number): void {
		this.#offer('in', length);
		this.bus.interrupt();
	}

	/** Asks the guest for `length` bytes; the first block of a write comes without an interrupt. */
	protected offerOut(length: number, interrupt: boolean): void {
		this.#offer('out', length);
		if (interrupt) this.bus.interrupt();
	}

	#offer(direction: Direction, length: number): void {
		this.pos = 0;
		// The data register is two bytes wide: an odd length leaves one byte of padding.
		this.end = length + (length & 1);
		this.direction = direction;
		this.regs.status = READY | Status.drq;
	}

	/** The command has succeeded. */
	protected succeed(interrupt = true): void {
		this.opcode = 0;
		this.direction = 'none';
		this.regs.status = READY;
		if (interrupt) this.bus.interrupt();
	}

	/** The command has failed. */
	protected fail(error: number = ErrorBit.abrt, status: number = Status.drdy | Status.err): void {
		trace.error(this.name, this.opcode, status, error);
		this.opcode = 0;
		this.direction = 'none';
		this.regs.error = error;
		this.regs.status = status;
		this.bus.interrupt();
	}

	/** Ends whatever is under way, without a word to the guest. */
	protected abandon(): void {
		// The host may still be filling the buffer.
		if (this.host.abandon()) this.buffer = new Uint8Array(this.buffer.length);
		this.#epoch++;
		this.opcode = 0;
		this.direction = 'none';
		this.pos = 0;
		this.end = 0;
		this.bus.dma.cancel();
	}

	/** Goes on with `done` when the host has finished: at once if it has. Busy meanwhile. */
	protected after(work: Promise<void> | undefined, done: () => void, failed: () => void): void {
		if (work === undefined) {
			done();
			return;
		}
		this.regs.status = READY | Status.bsy;
		const epoch = this.#epoch;
		work.then(
			() => this.#resume(epoch, done),
			(error: unknown) => {
				trace.host_error(this.name, error instanceof Error ? error.message : String(error));
				this.#resume(epoch, failed);
			},
		);
	}

	#resume(epoch: number, go: () => void): void {
		if (epoch !== this.#epoch) return;
		go();
	}
}
