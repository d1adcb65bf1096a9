/**
 * Gives the guest its resources back: commands that are done with are chained through their release_info and handed
 * over as one list. qxl_dev.h, QXLReleaseInfo and QXLReleaseRing; bunches of 32 as QEMU 7.2.
 */
import type { StateValue } from '../../../src/core/index.ts';
import type { Memslots } from './memslots.ts';
import type { ReleaseRing } from './ram-header.ts';

const BUNCH = 32;

export class ReleaseQueue {
	readonly #ring: ReleaseRing;
	readonly #slots: Memslots;
	readonly #notify: () => void;
	/** Address of the release_info at the end of the list; 0n: the list is empty. */
	#last = 0n;
	#count = 0;

	/** `notify` runs when the guest wants to know of a list handed over. */
	constructor(ring: ReleaseRing, slots: Memslots, notify: () => void) {
		this.#ring = ring;
		this.#slots = slots;
		this.#notify = notify;
	}

	reset(): void {
		this.#last = 0n;
		this.#count = 0;
	}

	/** The guest has taken all lists it was given. */
	get drained(): boolean {
		return this.#ring.empty;
	}

	/** The command whose release_info lies at `address` is done with. Throws GuestFault if that is not in a slot. */
	release(address: bigint): void {
		const info = uint64(this.#slots.resolve(address, 8));
		const id = info.getBigUint64(0, true);
		if (this.#last === 0n || this.#ring.head === 0n) {
			this.#ring.head = id;
		} else {
			uint64(this.#slots.resolve(this.#last, 8)).setBigUint64(0, id, true);
		}
		info.setBigUint64(0, 0n, true);
		this.#last = address;
		if (++this.#count >= BUNCH) this.flush();
	}

	/** Hands the list over as it is, if there is room. */
	flush(): void {
		if (this.#count === 0 || this.#ring.full) return;
		this.reset();
		if (this.#ring.push()) this.#notify();
	}

	save(): { [key: string]: StateValue } {
		return { last: this.#last, count: this.#count };
	}

	restore(state: { readonly [key: string]: StateValue | undefined }): void {
		this.#last = typeof state.last === 'bigint' ? state.last : 0n;
		this.#count = Number(state.count) || 0;
	}
}

function uint64(bytes: Uint8Array): DataView {
	return new DataView(bytes.buffer, bytes.byteOffset, 8);
}
