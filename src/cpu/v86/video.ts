/**
 * Video memory at the speed of RAM.
 *
 * It lies behind guest RAM in the core's memory, where no e820 entry shows it. The core sends every access above RAM to
 * a memory callback, and what it remembers about a page it keeps in its translation cache (TLB). So the first access
 * to a page of a window arrives here; it is done by hand, and the page's TLB entry is then turned to the hidden memory:
 * later accesses never leave translated code. A page that was only read becomes a read-only entry, so its first write
 * still arrives. takeDirty() makes the entries of the pages it reports read-only again, which makes dirty pages exact.
 *
 * The TLB's place is no part of the module's interface. `probe` (in selftest.ts) proves it on the running core first;
 * without that proof every access takes the callback: slow, and just as correct.
 */
import type { IoHandler, VideoMemory } from '../../core/index.ts';
import {
	PAGE,
	TLB_DATA,
	TLB_HAS_CODE,
	TLB_IN_MAPPED_RANGE,
	TLB_READONLY,
	TLB_VALID,
	VALID_TLB_ENTRIES,
	VALID_TLB_ENTRIES_COUNT,
	VALID_TLB_ENTRY_MAX,
} from './layout.ts';
import type { LinearMemory } from './memory.ts';
import type { CoreExports } from './wasm.ts';

/** Pages whose registers the core itself answers; a window that covers them must not hide them. */
const APIC_PAGES = [0xfec00, 0xfee00];
/** How many of the newest TLB entries are looked at before all of them. */
const NEWEST = 4;

/** 128 bits in 32-bit accesses. */
const CALLBACKS_AN_ACCESS = 4;

/** Pieces are cut in this unit, bytes. */
const GRAIN = 0x10000;

export class VideoPiece implements VideoMemory {
	readonly size: number;
	/** Guest-physical address of the hidden bytes. */
	readonly physical: number;
	readonly #owner: VideoWindows;
	#bytes: Uint8Array<ArrayBuffer> = new Uint8Array(0);

	constructor(owner: VideoWindows, physical: number, size: number) {
		this.#owner = owner;
		this.physical = physical;
		this.size = size;
	}
	bytes(): Uint8Array<ArrayBuffer> {
		// A view whose buffer was replaced by a larger one has no length any more.
		if (this.#bytes.length === 0) this.#bytes = this.#owner.bytes(this.physical, this.size);
		return this.#bytes;
	}
	takeDirty(first: number, into: Uint8Array): number {
		const pages = Math.ceil(this.size / PAGE);
		if (!(first >= 0 && first + into.length <= pages))
			throw new RangeError(`pages ${first} + ${into.length} leave ${pages} pages of video memory`);
		return this.#owner.takeDirty(this.physical / PAGE + first, into);
	}
}

/** What a window needs to know of a stretch of addresses where it is seen. */
interface Seen {
	readonly start: number;
	readonly end: number;
	readonly window: Window | undefined;
}

/** One mapping of a piece: does the accesses that arrive by callback and asks for the redirect. */
export class Window implements IoHandler {
	readonly #owner: VideoWindows;
	readonly #memory: LinearMemory;
	/** Guest-physical addresses: as the guest sees the first byte, and where it is hidden. */
	readonly #base: number;
	readonly #hidden: number;
	readonly length: number;
	/** Guest-physical pages wholly seen through this window, as pairs first, last + 1. */
	#pages: number[] = [];
	/** Virtual minus physical page number of the access before: the next one has most likely the same. */
	#delta = 0;
	constructor(owner: VideoWindows, memory: LinearMemory, base: number, hidden: number, length: number) {
		this.#owner = owner;
		this.#memory = memory;
		this.#base = base;
		this.#hidden = hidden;
		this.length = length;
	}

	/** Called whenever the memory map changes. */
	seenIn(stretches: readonly Seen[]): void {
		this.#pages = [];
		if (!this.#owner.fast || (this.#base - this.#hidden) % PAGE !== 0) return;
		for (const { start, end, window } of stretches) {
			if (window === this) this.#pages.push(Math.ceil(start / PAGE), Math.floor(end / PAGE));
		}
	}

	#redirect(offset: number, write: boolean): void {
		if (this.#owner.sameAccess(this.#hidden + offset)) return;
		const page = Math.floor((this.#base + offset) / PAGE);
		const pages = this.#pages;
		for (let i = 0; i < pages.length; i += 2) {
			if (page >= pages[i] && page < pages[i + 1]) {
				if (APIC_PAGES.includes(page)) return;
				const hidden = Math.floor((this.#hidden + offset) / PAGE);
				this.#delta = this.#owner.redirect(page, hidden, this.#delta, write);
				return;
			}
		}
	}

	/** Linear address of a byte that the guest is about to write; its page is dirty from here on. */
	#touch(offset: number, bytes: number): number {
		const physical = this.#hidden + offset;
		this.#owner.dirty(physical, bytes);
		return this.#memory.base + physical;
	}

	read8(offset: number): number {
		this.#redirect(offset, false);
		return this.#memory.u8[this.#memory.base + this.#hidden + offset];
	}
	read16(offset: number): number {
		return this.read8(offset) | (this.read8(offset + 1) << 8);
	}
	read32(offset: number): number {
		this.#redirect(offset, false);
		const at = this.#memory.base + this.#hidden + offset;
		if ((at & 3) === 0) return this.#memory.i32[at >>> 2];
		const u8 = this.#memory.u8;
		return u8[at] | (u8[at + 1] << 8) | (u8[at + 2] << 16) | (u8[at + 3] << 24);
	}
	write8(offset: number, value: number): void {
		const at = this.#touch(offset, 1);
		this.#memory.u8[at] = value;
		this.#redirect(offset, true);
	}
	write16(offset: number, value: number): void {
		const at = this.#touch(offset, 2);
		const u8 = this.#memory.u8;
		u8[at] = value;
		u8[at + 1] = value >> 8;
		this.#redirect(offset, true);
	}
	write32(offset: number, value: number): void {
		const at = this.#touch(offset, 4);
		if ((at & 3) === 0) {
			this.#memory.i32[at >>> 2] = value;
		} else {
			const u8 = this.#memory.u8;
			u8[at] = value;
			u8[at + 1] = value >> 8;
			u8[at + 2] = value >> 16;
			u8[at + 3] = value >> 24;
		}
		this.#redirect(offset, true);
	}
}

/** All video memory of a machine and its windows. */
export class VideoWindows {
	/** Whether redirects are used. Set after the self-test. */
	fast = false;
	/** TLB entries turned so far. */
	redirects = 0;
	readonly #memory: LinearMemory;
	readonly #exports: CoreExports;
	readonly #start: number;
	readonly #end: number;
	#next: number;
	/** One byte for each page from #start: 1 written since takeDirty. */
	readonly #dirty: Uint8Array;
	readonly #windows = new Set<Window>();
	readonly #flush: () => void;
	/** The 16 bytes of the last access that was turned, and how many more callbacks may belong to it. */
	#block = -1;
	#rest = 0;

	/** `flush` drops the core's whole TLB as soon as that is safe. */
	constructor(memory: LinearMemory, exports: CoreExports, size: number, flush: () => void) {
		this.#memory = memory;
		this.#exports = exports;
		this.#start = memory.ram;
		this.#end = memory.ram + size;
		this.#next = this.#start;
		this.#dirty = new Uint8Array(size / PAGE);
		this.#flush = flush;
	}

	/** Throws RangeError when the room is used up. */
	allocate(size: number): VideoPiece {
		const room = Math.ceil(size / GRAIN) * GRAIN;
		if (!(size > 0 && this.#next + room <= this.#end))
			throw new RangeError(`${size} bytes of video memory asked for, ${this.#end - this.#next} left`);
		const piece = new VideoPiece(this, this.#next, size);
		this.#next += room;
		return piece;
	}

	/** All of it, for a saved state. */
	bytes(physical = this.#start, size = this.#end - this.#start): Uint8Array<ArrayBuffer> {
		const at = this.#memory.base + physical;
		return this.#memory.u8.subarray(at, at + size);
	}

	window(base: number, piece: VideoPiece, offset: number, length: number): Window {
		const window = new Window(this, this.#memory, base, piece.physical + offset, length);
		this.#windows.add(window);
		return window;
	}

	/** The window is unmapped for good. */
	drop(window: Window): void {
		this.#windows.delete(window);
	}

	/** The memory map has changed. */
	changed(stretches: readonly Seen[]): void {
		this.#rest = 0;
		for (const window of this.#windows) window.seenIn(stretches);
		if (this.fast) this.#flush();
	}

	/**
	 * Whether a callback is part of the access before it: the core makes up to four of a wide one, and the rest of them
	 * would search the whole cache in vain.
	 */
	sameAccess(physical: number): boolean {
		if (this.#rest > 0 && physical >>> 4 === this.#block) {
			this.#rest--;
			return true;
		}
		this.#block = physical >>> 4;
		this.#rest = CALLBACKS_AN_ACCESS - 1;
		return false;
	}

	dirty(physical: number, bytes: number): void {
		const first = Math.floor((physical - this.#start) / PAGE);
		this.#dirty[first] = 1;
		if ((physical & (PAGE - 1)) + bytes > PAGE) this.#dirty[first + 1] = 1;
	}

	markAllDirty(): void {
		this.#dirty.fill(1);
		if (this.fast) this.#flush();
	}

	/** `first` is a guest-physical page number of hidden memory. */
	takeDirty(first: number, into: Uint8Array): number {
		const from = first - this.#start / PAGE;
		const dirty = this.#dirty;
		let count = 0;
		for (let i = 0; i < into.length; i++) {
			const was = dirty[from + i];
			into[i] = was;
			count += was;
		}
		if (count === 0) return 0;
		dirty.fill(0, from, from + into.length);
		if (this.fast) this.#rearm(first, into);
		return count;
	}

	/** Makes the TLB entries of the pages set in `pages` read-only, so that the next write to each arrives here. */
	#rearm(first: number, pages: Uint8Array): void {
		this.#rest = 0;
		const i32 = this.#memory.i32;
		const base = this.#memory.base >>> 12;
		const count = Math.min(i32[VALID_TLB_ENTRIES_COUNT >> 2], VALID_TLB_ENTRY_MAX);
		for (let i = 0; i < count; i++) {
			const virtual = i32[(VALID_TLB_ENTRIES >> 2) + i] & 0xfffff;
			const at = TLB_DATA / 4 + virtual;
			const entry = i32[at];
			const page = ((entry >>> 12) ^ virtual) - base - first;
			if (page >= 0 && page < pages.length && pages[page] !== 0 && (entry & TLB_VALID) !== 0)
				i32[at] = entry | TLB_READONLY;
		}
	}

	/**
	 * Turns the TLB entry through which guest-physical page `page` was just accessed to `hidden`. Returns the distance
	 * from physical to virtual page, the hint for next time. Without a matching entry nothing happens: the access was
	 * done anyway, and so will be the next.
	 */
	redirect(page: number, hidden: number, hint: number, write: boolean): number {
		const i32 = this.#memory.i32;
		const target = (this.#memory.base >>> 12) + page;
		const unwanted = write ? TLB_READONLY : 0;
		let virtual = (page + hint) & 0xfffff;
		if (!matches(i32[TLB_DATA / 4 + virtual], virtual, target, unwanted)) {
			virtual = this.#search(i32, target, unwanted);
			if (virtual < 0) return hint;
		}
		const entry = i32[TLB_DATA / 4 + virtual];
		const flags = (entry & 0xfff & ~(TLB_IN_MAPPED_RANGE | TLB_HAS_CODE)) | (write ? 0 : TLB_READONLY);
		i32[TLB_DATA / 4 + virtual] = ((((this.#memory.base >>> 12) + hidden) ^ virtual) << 12) | flags;
		this.redirects++;
		// Code that ran from this page is stale now, and the entry is found by its new address.
		if (write) this.#exports.jit_dirty_cache(hidden * PAGE, (hidden + 1) * PAGE);
		return virtual - page;
	}

	#search(i32: Int32Array, target: number, unwanted: number): number {
		const count = Math.min(i32[VALID_TLB_ENTRIES_COUNT >> 2], VALID_TLB_ENTRY_MAX);
		const list = VALID_TLB_ENTRIES >> 2;
		for (let i = count - 1; i >= Math.max(0, count - NEWEST); i--) {
			const virtual = i32[list + i] & 0xfffff;
			if (matches(i32[TLB_DATA / 4 + virtual], virtual, target, unwanted)) return virtual;
		}
		for (let i = 0; i < count - NEWEST; i++) {
			const virtual = i32[list + i] & 0xfffff;
			if (matches(i32[TLB_DATA / 4 + virtual], virtual, target, unwanted)) return virtual;
		}
		return -1;
	}
}

/** Whether `entry` is that of virtual page `virtual`, leads to linear page `target`, and still goes to callbacks. */
function matches(entry: number, virtual: number, target: number, unwanted: number): boolean {
	const wanted = TLB_VALID | TLB_IN_MAPPED_RANGE;
	return (entry & (wanted | unwanted)) === wanted && ((entry >>> 12) ^ virtual) === (target & 0xfffff);
}
