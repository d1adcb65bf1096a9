/**
 * QXL addresses. The guest registers ranges of the BARs as memslots and names bytes as slot, generation and offset:
 * bits 63-56, 55-48 and 47-0 (slot_id_bits and slot_gen_bits in the ROM). Nothing outside a slot can be named.
 */
import { GuestFault, type StateValue } from '../../../src/core/index.ts';

export const MEMSLOTS = 8;
/** The only generation there is: QXLRom.slot_generation. */
const GENERATION = 0;

/** A BAR that slots may lie in. */
export interface SlotRegion {
	/** Where the guest sees it, or -1 while it is not mapped. */
	readonly base: () => number;
	readonly size: number;
	readonly bytes: () => Uint8Array;
}

interface Slot {
	readonly region: number;
	/** Byte offset in the region, and length. */
	readonly offset: number;
	readonly length: number;
	/** What the guest's addresses begin with: 0, or the BAR's address for a driver that knows no slots. */
	readonly delta: number;
}

export class Memslots {
	readonly #regions: readonly SlotRegion[];
	readonly #slots: (Slot | undefined)[] = new Array<Slot | undefined>(MEMSLOTS).fill(undefined);

	constructor(regions: readonly SlotRegion[]) {
		this.#regions = regions;
	}

	has(slot: number): boolean {
		return this.#slots[slot] !== undefined;
	}

	/** Registers guest-physical `start`..`end`; false unless it lies in one mapped BAR. */
	add(slot: number, start: bigint, end: bigint, delta = 0): boolean {
		if (slot >= MEMSLOTS || start > end) return false;
		for (const [region, { base, size }] of this.#regions.entries()) {
			const at = base();
			if (at < 0) continue;
			if (start < BigInt(at) || end > BigInt(at + size)) continue;
			this.#slots[slot] = { region, offset: Number(start) - at, length: Number(end - start), delta };
			return true;
		}
		return false;
	}

	delete(slot: number): void {
		this.#slots[slot] = undefined;
	}

	clear(): void {
		this.#slots.fill(undefined);
	}

	/** The bytes themselves, valid until control returns to the guest. Throws GuestFault if a slot does not hold them. */
	resolve(address: bigint, length: number): Uint8Array {
		const slot = this.#slots[Number(address >> 56n)];
		const generation = Number((address >> 48n) & 0xffn);
		const offset = Number(address & 0xffffffffffffn) - (slot?.delta ?? 0);
		if (slot === undefined || generation !== GENERATION || length < 0 || offset < 0 || offset + length > slot.length)
			throw new GuestFault(Number(address), length, 'memslots');
		const at = slot.offset + offset;
		return this.#regions[slot.region].bytes().subarray(at, at + length);
	}

	save(): StateValue {
		return this.#slots.map((s) => (s ? { ...s } : null));
	}

	restore(state: StateValue | undefined): void {
		this.clear();
		if (!Array.isArray(state)) return;
		for (const [i, saved] of state.slice(0, MEMSLOTS).entries()) {
			const slot = saved as unknown as Slot | null;
			const region = slot ? this.#regions[slot.region] : undefined;
			if (slot && region && slot.offset >= 0 && slot.length >= 0 && slot.offset + slot.length <= region.size)
				this.#slots[i] = {
					region: slot.region,
					offset: slot.offset,
					length: slot.length,
					delta: slot.delta,
				};
		}
	}
}
