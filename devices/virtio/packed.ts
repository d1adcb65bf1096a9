/** The packed ring: one ring of descriptors that both sides write, and two event suppression areas. Virtio 1.2, 2.8. */
import type { Dma, StateValue } from '../../src/core/index.ts';
import { type Chain, ChainReader, DESC_INDIRECT, DESC_NEXT, DESC_SIZE, RingError } from './chain.ts';
import type { Ring, RingOptions } from './queue.ts';

const DESC_AVAIL = 1 << 7;
const DESC_USED = 1 << 15;
/** 2.8.14: offset and wrap counter, then flags. */
const EVENT_DISABLE = 1;
const EVENT_DESC = 2;
const EVENT_WRAP = 0x8000;

export class PackedRing implements Ring {
	readonly #dma: Dma;
	readonly #options: RingOptions;
	readonly #size: number;
	readonly #desc: number;
	/** The driver's event suppression area, which says when it wants interrupts, and the device's. */
	readonly #driverEvent: number;
	readonly #deviceEvent: number;
	#next = 0;
	#nextWrap = true;
	#usedIndex = 0;
	#usedWrap = true;
	/** Used index at the last decision about an interrupt; undefined: the next one is due in any case. */
	#signalled: number | undefined;
	#inUse = 0;

	/** Throws RingError when a part of it is misplaced. */
	constructor(dma: Dma, options: RingOptions) {
		const { size, desc, driver, device } = options;
		const place = (what: string, at: number, length: number, align: number) => {
			if (at % align !== 0 || at + length > dma.size)
				throw new RingError(`the ${what} at 0x${at.toString(16)} is misaligned or not in memory`);
		};
		place('descriptor ring', desc, size * DESC_SIZE, 16);
		place('driver area', driver, 4, 4);
		place('device area', device, 4, 4);
		this.#dma = dma;
		this.#options = options;
		this.#size = size;
		this.#desc = desc;
		this.#driverEvent = driver;
		this.#deviceEvent = device;
	}

	pop(): Chain | undefined {
		const at = this.#desc + this.#next * DESC_SIZE;
		const flags = this.#dma.read16(at + 14);
		if (((flags & DESC_AVAIL) !== 0) !== this.#nextWrap || ((flags & DESC_USED) !== 0) === this.#nextWrap) {
			this.#listen();
			return undefined;
		}
		const chain = this.#walk();
		if (this.#inUse + chain.slots > this.#size) throw new RingError('a descriptor was made available while in use');
		this.#inUse += chain.slots;
		this.#next += chain.slots;
		if (this.#next >= this.#size) {
			this.#next -= this.#size;
			this.#nextWrap = !this.#nextWrap;
		}
		return chain;
	}

	/** Asks for a notification at the next descriptor that becomes available. */
	#listen(): void {
		if (!this.#options.eventIdx) return;
		this.#dma.write16(this.#deviceEvent, this.#next | (this.#nextWrap ? EVENT_WRAP : 0));
		this.#dma.write16(this.#deviceEvent + 2, EVENT_DESC);
	}

	#walk(): Chain {
		const reader = new ChainReader(this.#dma);
		for (let slots = 1; slots <= this.#size; slots++) {
			const at = this.#desc + ((this.#next + slots - 1) % this.#size) * DESC_SIZE;
			const flags = this.#dma.read16(at + 14);
			if (flags & DESC_INDIRECT) this.#indirect(reader, at, flags);
			else reader.buffer(at, flags);
			// The list's last descriptor holds the id.
			if (!(flags & DESC_NEXT)) return reader.chain(this.#dma.read16(at + 12), slots);
		}
		throw new RingError('a chain goes round in a circle');
	}

	/** 2.8.7: the table's descriptors are used in order, whatever their flags say. */
	#indirect(reader: ChainReader, at: number, flags: number): void {
		if (flags & DESC_NEXT || reader.out.length + reader.in.length > 0 || !this.#options.indirect)
			throw new RingError('an indirect table where none may be');
		const { address, count } = reader.table(at);
		for (let i = 0; i < count; i++) {
			const entry = address + i * DESC_SIZE;
			const entryFlags = this.#dma.read16(entry + 14);
			if (entryFlags & DESC_INDIRECT) throw new RingError('an indirect table where none may be');
			reader.buffer(entry, entryFlags);
		}
	}

	push(chain: Chain, written: number): void {
		const at = this.#desc + this.#usedIndex * DESC_SIZE;
		this.#dma.write32(at + 8, written);
		this.#dma.write16(at + 12, chain.id);
		this.#dma.write16(at + 14, this.#usedWrap ? DESC_AVAIL | DESC_USED : 0);
		this.#inUse -= chain.slots;
		this.#usedIndex += chain.slots;
		if (this.#usedIndex >= this.#size) {
			this.#usedIndex -= this.#size;
			this.#usedWrap = !this.#usedWrap;
			// Offsets of two rounds cannot be compared; an interrupt too many does no harm.
			this.#signalled = undefined;
		}
	}

	wantsInterrupt(): boolean {
		const flags = this.#dma.read16(this.#driverEvent + 2) & 3;
		const was = this.#signalled;
		this.#signalled = this.#usedIndex;
		if (flags === EVENT_DISABLE) return false;
		if (flags !== EVENT_DESC || !this.#options.eventIdx || was === undefined) return true;
		const event = this.#dma.read16(this.#driverEvent);
		const round = ((event & EVENT_WRAP) !== 0) === this.#usedWrap ? 0 : this.#size;
		const offset = (event & ~EVENT_WRAP) - round;
		return ((this.#usedIndex - offset - 1) & 0xffff) < ((this.#usedIndex - was) & 0xffff);
	}

	save(): { [key: string]: StateValue } {
		return {
			next: this.#next,
			nextWrap: this.#nextWrap,
			usedIndex: this.#usedIndex,
			usedWrap: this.#usedWrap,
			signalled: this.#signalled ?? null,
			inUse: this.#inUse,
		};
	}

	restore(state: { readonly [key: string]: StateValue | undefined }): void {
		const index = (value: StateValue | undefined) => Number(value) % this.#size;
		this.#next = index(state.next);
		this.#nextWrap = state.nextWrap === true;
		this.#usedIndex = index(state.usedIndex);
		this.#usedWrap = state.usedWrap === true;
		this.#signalled = typeof state.signalled === 'number' ? index(state.signalled) : undefined;
		this.#inUse = Number(state.inUse);
	}
}
