/**
 * The four planes behind the window at A0000h-BFFFFh: latches, write modes 0-3, read modes 0-1, odd/even, chain four.
 * IBM VGA XGA Technical Reference, "Graphics Controller". The planes lie interleaved in video memory, plane `p` of
 * address `a` at byte `a * 4 + p`; chain four and the linear frame buffer therefore see the same bytes in the same order.
 */
import type { IoHandler, RegisterFile, VideoMemory } from '../../../src/core/index.ts';
import type { graphics, sequencer } from './registers.ts';

/** Four plane bits spread over four bytes: bit p of the index becomes byte p all ones. */
const PLANES = Uint32Array.from({ length: 16 }, (_, bits) => {
	let mask = 0;
	for (let p = 0; p < 4; p++) if (bits & (1 << p)) mask |= 0xff << (p * 8);
	return mask >>> 0;
});

/** Size of the window from A0000h. */
export const WINDOW_SIZE = 0x20000;
const NO_MEMORY = -1;

export class PlaneMemory implements IoHandler {
	/** Byte offset of the 64 KiB window at A0000h (VBE bank). */
	bank = 0;
	/** 1 for each 4 KiB page of video memory that was written through the window; the owner clears it. */
	readonly dirty: Uint8Array;
	/** One byte of each plane, from the last read. */
	latch = 0;

	readonly #memory: VideoMemory;
	readonly #limit: number;
	readonly #sequencer: RegisterFile<typeof sequencer>;
	readonly #graphics: RegisterFile<typeof graphics>;
	readonly #touched: () => void;

	/** `limit`: bytes of `memory` that belong to the VGA. `touched` runs after each write that may change the picture. */
	constructor(
		memory: VideoMemory,
		limit: number,
		seq: RegisterFile<typeof sequencer>,
		gfx: RegisterFile<typeof graphics>,
		touched: () => void,
	) {
		this.#memory = memory;
		this.#limit = limit;
		this.#sequencer = seq;
		this.#graphics = gfx;
		this.#touched = touched;
		this.dirty = new Uint8Array(Math.ceil(limit / 4096));
	}

	read8(offset: number): number {
		const address = this.#locate(offset);
		if (address === NO_MEMORY) return 0xff;
		if (this.#sequencer.memoryMode & 8) return address < this.#limit ? this.#memory.bytes()[address] : 0xff;
		const mode = this.#graphics.mode;
		if (mode & 0x10) {
			const at = oddEven(address, this.#graphics.readMap);
			return at < this.#limit ? this.#memory.bytes()[at] : 0xff;
		}
		if (address * 4 >= this.#limit) return 0xff;
		const bytes = this.#memory.bytes();
		const at = address * 4;
		this.latch = (bytes[at] | (bytes[at + 1] << 8) | (bytes[at + 2] << 16) | (bytes[at + 3] << 24)) >>> 0;
		if (!(mode & 8)) return (this.latch >>> (this.#graphics.readMap * 8)) & 0xff;
		let differs = (this.latch ^ PLANES[this.#graphics.colorCompare]) & PLANES[this.#graphics.colorDontCare];
		differs |= differs >>> 16;
		differs |= differs >>> 8;
		return ~differs & 0xff;
	}

	write8(offset: number, value: number): void {
		const address = this.#locate(offset);
		if (address === NO_MEMORY) return;
		const mapMask = this.#sequencer.mapMask;
		if (this.#sequencer.memoryMode & 8) {
			if (mapMask & (1 << (address & 3))) this.#store(address, value);
			return;
		}
		if (this.#graphics.mode & 0x10) {
			const at = oddEven(address, this.#graphics.readMap);
			if (mapMask & (1 << (at & 3))) this.#store(at, value);
			return;
		}
		if (address * 4 < this.#limit) this.#writePlanes(address * 4, this.#compose(value), PLANES[mapMask]);
	}

	read16(offset: number): number {
		return this.read8(offset) | (this.read8(offset + 1) << 8);
	}

	read32(offset: number): number {
		return (this.read16(offset) | (this.read16(offset + 2) << 16)) >>> 0;
	}

	write16(offset: number, value: number): void {
		this.write8(offset, value & 0xff);
		this.write8(offset + 1, value >>> 8);
	}

	write32(offset: number, value: number): void {
		this.write16(offset, value & 0xffff);
		this.write16(offset + 2, value >>> 16);
	}

	/** Address within the memory map that the graphics controller chose, bank included, or NO_MEMORY outside of it. */
	#locate(offset: number): number {
		switch ((this.#graphics.miscellaneous >> 2) & 3) {
			case 0:
				return offset < WINDOW_SIZE ? offset : NO_MEMORY;
			case 1:
				return offset < 0x10000 ? offset + this.bank : NO_MEMORY;
			case 2:
				return offset >= 0x10000 && offset < 0x18000 ? offset - 0x10000 : NO_MEMORY;
			default:
				return offset >= 0x18000 && offset < WINDOW_SIZE ? offset - 0x18000 : NO_MEMORY;
		}
	}

	/** What the write mode makes of a byte: one byte for each plane. */
	#compose(value: number): number {
		const g = this.#graphics;
		let bits = g.bitMask;
		let planes: number;
		switch (g.mode & 3) {
			case 0: {
				const set = PLANES[g.enableSetReset];
				planes = (spread(rotate(value, g.dataRotate & 7)) & ~set) | (PLANES[g.setReset] & set);
				break;
			}
			case 1:
				return this.latch;
			case 2:
				planes = PLANES[value & 15];
				break;
			default:
				bits &= rotate(value, g.dataRotate & 7);
				planes = PLANES[g.setReset];
		}
		switch (g.dataRotate >> 3) {
			case 1:
				planes &= this.latch;
				break;
			case 2:
				planes |= this.latch;
				break;
			case 3:
				planes ^= this.latch;
				break;
		}
		const mask = spread(bits);
		return (planes & mask) | (this.latch & ~mask);
	}

	#writePlanes(at: number, planes: number, mask: number): void {
		const bytes = this.#memory.bytes();
		for (let p = 0; p < 4; p++) if ((mask >>> (p * 8)) & 1) bytes[at + p] = planes >>> (p * 8);
		this.dirty[at >> 12] = 1;
		this.#touched();
	}

	#store(at: number, value: number): void {
		if (at >= this.#limit) return;
		this.#memory.bytes()[at] = value;
		this.dirty[at >> 12] = 1;
		this.#touched();
	}
}

/** Odd/even addressing: address bit 0 picks the plane within the pair that the read map names. */
function oddEven(address: number, readMap: number): number {
	return ((address & ~1) << 1) | (readMap & 2) | (address & 1);
}

function rotate(value: number, by: number): number {
	return ((value >>> by) | (value << (8 - by))) & 0xff;
}

/** The byte in all four planes. */
function spread(byte: number): number {
	return Math.imul(byte & 0xff, 0x01010101);
}
