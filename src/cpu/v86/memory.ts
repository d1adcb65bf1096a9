/**
 * The core's linear memory as the rest of this folder sees it, and guest RAM as devices see it.
 *
 * The module's heap may grow while the guest runs; growing detaches the old ArrayBuffer, so the typed arrays are taken
 * from here each time and made anew when the old ones have gone empty.
 */
import { type Dma, GuestFault, TsvmError } from '../../core/index.ts';
import type { CpuOptions } from '../backend.ts';
import { MEMORY_SIZE, PAGE } from './layout.ts';
import type { CoreExports } from './wasm.ts';

/** Heap for translated code, claimed before RAM is laid out and given back, so that it hardly ever has to grow later. */
const HEAP_RESERVE = 24 << 20;
/** The core's allocator takes sizes below 2 GiB. */
const MOST_MEMORY = 0x7ff00000;

export class LinearMemory {
	/** Bytes of guest RAM; video memory follows it. */
	readonly ram: number;
	/** Linear address of guest-physical 0. */
	readonly base: number;
	readonly #exports: CoreExports;
	#u8: Uint8Array<ArrayBuffer>;
	#i32: Int32Array;
	#u32: Uint32Array;

	/** Lays out `ram` + `video` bytes; throws TsvmError when that is more than the core or the host can give. */
	constructor(exports: CoreExports, ram: number, video: number) {
		const refused = () =>
			new TsvmError(
				'cpu-memory',
				`the machine cannot have ${Math.ceil((ram + video) / 2 ** 20)} MiB of memory and video memory`,
				`give it ${(MOST_MEMORY >> 20) - Math.ceil(video / 2 ** 20)} MiB of memory at most, and less when the host has less`,
			);
		if (ram + video > MOST_MEMORY) throw refused();
		const reserve = exports.v86_malloc(HEAP_RESERVE);
		this.#exports = exports;
		this.ram = ram;
		try {
			this.base = exports.allocate_memory(ram + video) >>> 0;
		} catch {
			throw refused();
		}
		if (this.base === 0) throw refused();
		exports.v86_free(reserve);
		this.#u8 = new Uint8Array(exports.memory.buffer);
		this.#i32 = new Int32Array(exports.memory.buffer);
		this.#u32 = new Uint32Array(exports.memory.buffer);
		this.u32[MEMORY_SIZE >> 2] = ram + video;
	}

	get u8(): Uint8Array<ArrayBuffer> {
		if (this.#u8.length === 0) this.#renew();
		return this.#u8;
	}
	get i32(): Int32Array {
		if (this.#i32.length === 0) this.#renew();
		return this.#i32;
	}
	get u32(): Uint32Array {
		if (this.#u32.length === 0) this.#renew();
		return this.#u32;
	}

	#renew(): void {
		const buffer = this.#exports.memory.buffer;
		this.#u8 = new Uint8Array(buffer);
		this.#i32 = new Int32Array(buffer);
		this.#u32 = new Uint32Array(buffer);
	}
}

/** Guest RAM for devices. */
export class GuestRam implements Dma {
	readonly size: number;
	readonly discard: Dma['discard'];
	readonly #memory: LinearMemory;
	readonly #base: number;
	readonly #exports: CoreExports;
	/** Pages written while the core's translator may hold its lock; told to it by settle(). */
	readonly #dirty = new Set<number>();
	/** Set while the core reads through a memory callback: only then may its translator be at work. */
	locked = false;
	/** Set when the core has failed: it keeps no translations that would have to be told. */
	dead = false;

	/** `discard` gives pages of the core's memory back to the host. */
	constructor(memory: LinearMemory, exports: CoreExports, discard?: CpuOptions['discard']) {
		this.size = memory.ram;
		this.discard = discard && ((address, length) => this.#discard(discard, address, length));
		this.#memory = memory;
		this.#base = memory.base;
		this.#exports = exports;
	}

	#discard(discard: NonNullable<CpuOptions['discard']>, address: number, length: number): void {
		const at = this.#at(address, length);
		discard(this.#memory.u8.buffer, at, length);
		this.#written(address, length);
	}

	#at(address: number, length: number): number {
		// Written so that NaN fails as well.
		if (!(address >= 0 && length >= 0 && address + length <= this.size)) throw new GuestFault(address, length);
		return this.#base + address;
	}

	#written(address: number, length: number): void {
		if (length === 0 || this.dead) return;
		if (this.locked) {
			for (let page = Math.floor(address / PAGE); page * PAGE < address + length; page++) this.#dirty.add(page);
		} else {
			this.#exports.jit_dirty_cache(address, address + length);
		}
	}

	/** Tells the core about writes that had to wait. */
	settle(): void {
		if (this.#dirty.size === 0) return;
		for (const page of this.#dirty) this.#exports.jit_dirty_cache(page * PAGE, (page + 1) * PAGE);
		this.#dirty.clear();
	}

	view(address: number, length: number): Uint8Array<ArrayBuffer> {
		const at = this.#at(address, length);
		return this.#memory.u8.subarray(at, at + length);
	}
	read(address: number, length: number): Uint8Array<ArrayBuffer> {
		const at = this.#at(address, length);
		return this.#memory.u8.slice(at, at + length);
	}
	write(address: number, bytes: Uint8Array): void {
		const at = this.#at(address, bytes.length);
		this.#memory.u8.set(bytes, at);
		this.#written(address, bytes.length);
	}
	read8(address: number): number {
		return this.#memory.u8[this.#at(address, 1)];
	}
	read16(address: number): number {
		const at = this.#at(address, 2);
		const u8 = this.#memory.u8;
		return u8[at] | (u8[at + 1] << 8);
	}
	read32(address: number): number {
		const at = this.#at(address, 4);
		if ((at & 3) === 0) return this.#memory.u32[at >>> 2];
		const u8 = this.#memory.u8;
		return (u8[at] | (u8[at + 1] << 8) | (u8[at + 2] << 16) | (u8[at + 3] << 24)) >>> 0;
	}
	write8(address: number, value: number): void {
		this.#memory.u8[this.#at(address, 1)] = value;
		this.#written(address, 1);
	}
	write16(address: number, value: number): void {
		const at = this.#at(address, 2);
		const u8 = this.#memory.u8;
		u8[at] = value;
		u8[at + 1] = value >> 8;
		this.#written(address, 2);
	}
	write32(address: number, value: number): void {
		const at = this.#at(address, 4);
		const u8 = this.#memory.u8;
		u8[at] = value;
		u8[at + 1] = value >> 8;
		u8[at + 2] = value >> 16;
		u8[at + 3] = value >> 24;
		this.#written(address, 4);
	}
}
