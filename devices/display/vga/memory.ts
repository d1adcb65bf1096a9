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
/** Memory maps of the graphics controller: offset in the window, size. Only the second one goes through the bank. */
const WINDOWS = [
	[0, 0x20000],
	[0, 0x10000],
	[0x10000, 0x8000],
	[0x18000, 0x8000],
] as const;

export class PlaneMemory implements IoHandler {
	/** Byte offset of the 64 KiB window at A0000h (VBE bank); `decode` after a change. */
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

	// What the registers say, worked out once for many accesses.
	#first = 0;
	#end = 0;
	#base = 0;
	#layout: 'chain four' | 'odd/even' | 'planes' = 'planes';
	#mapMask = 0;
	#readMap = 0;
	#writeMode = 0;
	#compares = false;
	#rotate = 0;
	#function = 0;
	#bitMask = 0;

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
		this.decode();
	}

	/** A register of the sequencer or the graphics controller, or the bank, has changed. */
	decode(): void {
		const g = this.#graphics;
		const seq = this.#sequencer;
		const [first, size] = WINDOWS[(g.miscellaneous >> 2) & 3];
		this.#first = first;
		this.#end = first + size;
		this.#base = size === 0x10000 ? this.bank - first : -first;
		this.#layout = seq.memoryMode & 8 ? 'chain four' : g.mode & 0x10 ? 'odd/even' : 'planes';
		this.#mapMask = seq.mapMask;
		this.#readMap = g.readMap;
		this.#writeMode = g.mode & 3;
		this.#compares = (g.mode & 8) !== 0;
		this.#rotate = g.dataRotate & 7;
		this.#function = g.dataRotate >> 3;
		this.#bitMask = g.bitMask;
	}

	read8(offset: number): number {
		if (offset < this.#first || offset >= this.#end) return 0xff;
		const address = offset + this.#base;
		if (this.#layout !== 'planes') {
			const at = this.#layout === 'odd/even' ? oddEven(address, this.#readMap) : address;
			return at < this.#limit ? this.#memory.bytes()[at] : 0xff;
		}
		const at = address * 4;
		if (at >= this.#limit) return 0xff;
		const bytes = this.#memory.bytes();
		this.latch = (bytes[at] | (bytes[at + 1] << 8) | (bytes[at + 2] << 16) | (bytes[at + 3] << 24)) >>> 0;
		return this.#compares ? this.#compare() : (this.latch >>> (this.#readMap * 8)) & 0xff;
	}

	write8(offset: number, value: number): void {
		if (offset < this.#first || offset >= this.#end) return;
		const address = offset + this.#base;
		if (this.#layout === 'planes') {
			if (address * 4 < this.#limit) this.#writePlanes(address * 4, this.#compose(value), PLANES[this.#mapMask]);
			return;
		}
		const at = this.#layout === 'odd/even' ? oddEven(address, this.#readMap) : address;
		if (this.#mapMask & (1 << (at & 3)) && at < this.#limit) {
			this.#memory.bytes()[at] = value;
			this.dirty[at >> 12] = 1;
			this.#touched();
		}
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

	/** Read mode 1: a bit is set where all planes that care have the colour looked for. */
	#compare(): number {
		let differs = (this.latch ^ PLANES[this.#graphics.colorCompare]) & PLANES[this.#graphics.colorDontCare];
		differs |= differs >>> 16;
		differs |= differs >>> 8;
		return ~differs & 0xff;
	}

	/** What the write mode makes of a byte: one byte for each plane. */
	#compose(value: number): number {
		let bits = this.#bitMask;
		let planes: number;
		switch (this.#writeMode) {
			case 0: {
				const set = PLANES[this.#graphics.enableSetReset];
				planes = (spread(rotate(value, this.#rotate)) & ~set) | (PLANES[this.#graphics.setReset] & set);
				break;
			}
			case 1:
				return this.latch;
			case 2:
				planes = PLANES[value & 15];
				break;
			default:
				bits &= rotate(value, this.#rotate);
				planes = PLANES[this.#graphics.setReset];
		}
		switch (this.#function) {
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
		if (mask & 0xff) bytes[at] = planes;
		if (mask & 0xff00) bytes[at + 1] = planes >>> 8;
		if (mask & 0xff0000) bytes[at + 2] = planes >>> 16;
		if (mask >>> 24) bytes[at + 3] = planes >>> 24;
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
