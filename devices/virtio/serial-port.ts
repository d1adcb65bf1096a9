/** One port of the console device: bytes between a pair of queues and a back end. Virtio 1.2, 5.3.6. */
import type { CharBackend, CharDevice, StateValue, TerminalSize } from '../../src/core/index.ts';
import type { Chain } from './chain.ts';
import type { VirtioBus } from './virtio.ts';

export interface SerialPortOptions {
	/** Name that the guest finds the port by, such as `com.redhat.spice.0`. */
	readonly name?: string;
	readonly backend: CharBackend;
	/** The guest may use it as a terminal (hvc). */
	readonly console?: boolean;
	/** Port number; the next free one if left out. Consoles begin at 0, others at 1. */
	readonly number?: number;
}

/** Bytes handed to a back end at once, and in one turn. */
const PIECE = 64 << 10;
const TURN = 256 << 10;

export class SerialPort implements CharDevice {
	readonly number: number;
	readonly name: string;
	readonly console: boolean;
	/** The host side came or went, for the control queue. */
	onHostOpen: ((open: boolean) => void) | undefined;
	/** The terminal's size changed, for the control queue. */
	onResized: (() => void) | undefined;
	readonly #backend: CharBackend;
	readonly #bus: VirtioBus;
	readonly #receiveQueue: number;
	readonly #transmitQueue: number;
	#guestOpen = false;
	#hostIsOpen = true;
	/** The back end has bytes that found no room. */
	#starved = false;
	/** A buffer that the back end took a part of. */
	#job: { readonly chain: Chain; offset: number } | undefined;
	#scheduled = false;

	constructor(bus: VirtioBus, options: SerialPortOptions & { readonly number: number }) {
		this.#bus = bus;
		this.number = options.number;
		this.name = options.name ?? '';
		this.console = options.console ?? false;
		this.#backend = options.backend;
		[this.#receiveQueue, this.#transmitQueue] = portQueues(options.number);
		this.#backend.attach(this);
	}

	get guestOpen(): boolean {
		return this.#guestOpen;
	}

	get hostIsOpen(): boolean {
		return this.#hostIsOpen;
	}

	get size(): TerminalSize | undefined {
		return this.#backend.size;
	}

	receive(bytes: Uint8Array): number {
		let taken = 0;
		if (this.#guestOpen) {
			this.#bus.run(() => {
				const queue = this.#bus.queue(this.#receiveQueue);
				while (taken < bytes.length) {
					const chain = queue.pop();
					if (!chain) break;
					const count = chain.in.write(0, bytes.subarray(taken));
					taken += count;
					queue.push(chain, count);
				}
			});
		}
		if (taken < bytes.length) this.#starved = true;
		return taken;
	}

	/** The guest has made room for the host's bytes. */
	roomMade(): void {
		if (!this.#starved || !this.#guestOpen) return;
		this.#starved = false;
		this.#backend.ready?.();
	}

	drained(): void {
		if (!this.#job || this.#scheduled) return;
		this.#scheduled = true;
		this.#bus.host.defer(() => {
			this.#scheduled = false;
			this.#bus.run(() => this.transmit());
		});
	}

	hostOpen(open: boolean): void {
		if (open === this.#hostIsOpen) return;
		this.#hostIsOpen = open;
		this.onHostOpen?.(open);
		// What nobody takes any more must not keep the guest waiting.
		if (!open) this.drained();
	}

	resized(): void {
		this.onResized?.();
	}

	/** Hands the guest's bytes on, as far as the back end takes them. Called from run(). */
	transmit(): void {
		const queue = this.#bus.queue(this.#transmitQueue);
		for (let left = TURN; ; ) {
			if (!this.#job) {
				const chain = queue.pop();
				if (!chain) return;
				this.#job = { chain, offset: 0 };
			}
			const job = this.#job;
			while (this.#hostIsOpen && job.offset < job.chain.out.length) {
				if (left <= 0) {
					this.drained();
					return;
				}
				const piece = job.chain.out.slice(job.offset, PIECE);
				const taken = this.#backend.write(piece);
				// The back end may have closed the port or reset the device meanwhile.
				if (this.#job !== job) return;
				job.offset += taken;
				left -= taken;
				if (taken < piece.length) return;
			}
			this.#job = undefined;
			queue.push(job.chain, 0);
		}
	}

	/** The guest opened or closed its end. */
	setGuestOpen(open: boolean): void {
		if (open === this.#guestOpen) return;
		if (!open) this.transmit();
		this.#guestOpen = open;
		this.#backend.guestOpen?.(open);
		if (open) this.roomMade();
	}

	/** A byte written to the console without any queue. */
	emergency(byte: number): void {
		this.#backend.write(Uint8Array.of(byte));
	}

	reset(): void {
		this.#job = undefined;
		if (!this.#guestOpen) return;
		this.#guestOpen = false;
		this.#backend.guestOpen?.(false);
	}

	save() {
		return {
			guestOpen: this.#guestOpen,
			hostOpen: this.#hostIsOpen,
			job: (this.#job ? { chain: this.#job.chain.save(), offset: this.#job.offset } : null) as StateValue,
		};
	}

	/** Whether the host's side is open is known here; the guest learns it if it was otherwise. */
	restore(saved: ReturnType<SerialPort['save']>): void {
		const job = saved.job as { chain: StateValue; offset: number } | null;
		this.#job = job ? { chain: this.#bus.queue(this.#transmitQueue).adopt(job.chain), offset: job.offset } : undefined;
		this.#starved = true;
		if (saved.guestOpen !== this.#guestOpen) {
			this.#guestOpen = saved.guestOpen;
			this.#backend.guestOpen?.(saved.guestOpen);
		}
		if (saved.hostOpen !== this.#hostIsOpen) this.onHostOpen?.(this.#hostIsOpen);
		this.drained();
	}

	/** The transmit queue is gone with what was taken from it. */
	dropJob(): void {
		this.#job = undefined;
	}
}

/** 5.3.2: queues 2 and 3 are the control queues. */
export function portQueues(port: number): [receive: number, transmit: number] {
	return port === 0 ? [0, 1] : [2 + 2 * port, 3 + 2 * port];
}
