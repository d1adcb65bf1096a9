/** The split ring: descriptor table, available ring, used ring. Virtio 1.2, 2.7. */
import type { Dma, StateValue } from '../../src/core/index.ts';
import { type Chain, ChainReader, DESC_INDIRECT, DESC_NEXT, DESC_SIZE, RingError } from './chain.ts';
import type { Ring, RingOptions } from './queue.ts';

const AVAIL_NO_INTERRUPT = 1;

export class SplitRing implements Ring {
	readonly #dma: Dma;
	readonly #options: RingOptions;
	readonly #size: number;
	readonly #desc: number;
	readonly #avail: number;
	readonly #used: number;
	/** Next entry of the available ring to take, next of the used ring to fill; free-running, 16 bits. */
	#next = 0;
	#usedIndex = 0;
	/** Used index at the last decision about an interrupt; undefined: the next one is due in any case. */
	#signalled: number | undefined;
	#inUse = 0;

	/** Throws RingError when a part of it is misplaced. */
	constructor(dma: Dma, options: RingOptions) {
		const { size, desc, driver, device } = options;
		if ((size & (size - 1)) !== 0) throw new RingError(`a split ring of ${size} entries`);
		const place = (what: string, at: number, length: number, align: number) => {
			if (at % align !== 0 || at + length > dma.size)
				throw new RingError(`the ${what} at 0x${at.toString(16)} is misaligned or not in memory`);
		};
		place('descriptor table', desc, size * DESC_SIZE, 16);
		place('available ring', driver, 6 + 2 * size, 2);
		place('used ring', device, 6 + 8 * size, 4);
		this.#dma = dma;
		this.#options = options;
		this.#size = size;
		this.#desc = desc;
		this.#avail = driver;
		this.#used = device;
	}

	pop(): Chain | undefined {
		const pending = (this.#dma.read16(this.#avail + 2) - this.#next) & 0xffff;
		if (pending === 0) {
			if (this.#options.eventIdx) this.#dma.write16(this.#used + 4 + 8 * this.#size, this.#next);
			return undefined;
		}
		if (pending > this.#size) throw new RingError(`the available index jumped by ${pending}`);
		if (this.#inUse >= this.#size) throw new RingError('a buffer was made available again while in use');
		const head = this.#dma.read16(this.#avail + 4 + 2 * (this.#next % this.#size));
		const chain = this.#walk(head);
		this.#next = (this.#next + 1) & 0xffff;
		this.#inUse++;
		return chain;
	}

	#walk(head: number): Chain {
		const reader = new ChainReader(this.#dma);
		let table = { address: this.#desc, count: this.#size };
		let indirect = false;
		let index = head;
		for (let steps = 0; ; steps++) {
			if (index >= table.count) throw new RingError(`descriptor ${index} does not exist`);
			if (steps >= table.count) throw new RingError('a chain goes round in a circle');
			const at = table.address + index * DESC_SIZE;
			const flags = this.#dma.read16(at + 12);
			if (flags & DESC_INDIRECT) {
				if (indirect || flags & DESC_NEXT || !this.#options.indirect)
					throw new RingError('an indirect table where none may be');
				table = reader.table(at);
				indirect = true;
				index = 0;
				steps = -1;
				continue;
			}
			reader.buffer(at, flags);
			if (!(flags & DESC_NEXT)) return reader.chain(head, 1);
			index = this.#dma.read16(at + 14);
		}
	}

	push(chain: Chain, written: number): void {
		const at = this.#used + 4 + 8 * (this.#usedIndex % this.#size);
		this.#dma.write32(at, chain.id);
		this.#dma.write32(at + 4, written);
		this.#usedIndex = (this.#usedIndex + 1) & 0xffff;
		this.#dma.write16(this.#used + 2, this.#usedIndex);
		this.#inUse--;
	}

	wantsInterrupt(): boolean {
		const { eventIdx, notifyOnEmpty } = this.#options;
		if (notifyOnEmpty && this.#inUse === 0 && this.#dma.read16(this.#avail + 2) === this.#next) return true;
		if (!eventIdx) return (this.#dma.read16(this.#avail) & AVAIL_NO_INTERRUPT) === 0;
		const was = this.#signalled;
		this.#signalled = this.#usedIndex;
		if (was === undefined) return true;
		const event = this.#dma.read16(this.#avail + 4 + 2 * this.#size);
		return ((this.#usedIndex - event - 1) & 0xffff) < ((this.#usedIndex - was) & 0xffff);
	}

	save(): { [key: string]: StateValue } {
		return {
			next: this.#next,
			usedIndex: this.#usedIndex,
			signalled: this.#signalled ?? null,
			inUse: this.#inUse,
		};
	}

	restore(state: { readonly [key: string]: StateValue | undefined }): void {
		this.#next = Number(state.next) & 0xffff;
		this.#usedIndex = Number(state.usedIndex) & 0xffff;
		this.#signalled = typeof state.signalled === 'number' ? state.signalled & 0xffff : undefined;
		this.#inUse = Number(state.inUse);
	}
}
