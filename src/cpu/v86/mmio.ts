/**
 * Everything that is not RAM: device registers and windows on video memory. Ranges may overlap; the one mapped last
 * covers the others, and shows them again when it goes (QEMU docs/devel/memory.rst, "Overlapping regions and priority").
 */
import type { IoHandler, Mapping, MmioSpace, VideoMemory } from '../../core/index.ts';
import { type Faults, Range } from './access.ts';
import { VideoPiece, type VideoWindows, type Window } from './video.ts';

interface Region {
	readonly base: number;
	readonly end: number;
	readonly range: Range;
	readonly window: Window | undefined;
}

/** A stretch of addresses with one owner. */
interface Stretch {
	readonly start: number;
	readonly end: number;
	readonly range: Range;
	readonly window: Window | undefined;
}

const LIMIT = 0x1_0000_0000;

export class Mmio implements MmioSpace {
	/** In the order in which they were mapped. */
	readonly #regions: Region[] = [];
	/** Sorted by address, without overlaps; made anew when #regions changes. */
	#stretches: Stretch[] = [];
	#last: Stretch | undefined;
	readonly #video: VideoWindows;
	readonly #faults: Faults;

	constructor(video: VideoWindows, faults: Faults) {
		this.#video = video;
		this.#faults = faults;
	}

	map(base: number, size: number, handler: IoHandler, name = 'mmio'): Mapping {
		this.#check(base, size);
		return this.#add({
			base,
			end: base + size,
			range: new Range(base, size, handler, name, this.#faults),
			window: undefined,
		});
	}

	mapVideo(base: number, memory: VideoMemory, offset: number, length: number, name = 'video'): Mapping {
		this.#check(base, length);
		if (!(memory instanceof VideoPiece)) throw new TypeError('video memory comes from allocateVideo()');
		if (!Number.isInteger(offset) || offset < 0 || offset + length > memory.size)
			throw new RangeError(`a window of ${length} bytes at ${offset} leaves ${memory.size} bytes of video memory`);
		const window = this.#video.window(base, memory, offset, length);
		const range = new Range(base, length, window, name, this.#faults);
		return this.#add({ base, end: base + length, range, window });
	}

	#check(base: number, size: number): void {
		if (!Number.isInteger(base) || !Number.isInteger(size) || base < 0 || size < 1 || base + size > LIMIT)
			throw new RangeError(`no addresses 0x${base.toString(16)} + ${size}`);
	}

	#add(region: Region): Mapping {
		this.#regions.push(region);
		this.#changed();
		return {
			unmap: () => {
				const at = this.#regions.indexOf(region);
				if (at < 0) return;
				this.#regions.splice(at, 1);
				if (region.window !== undefined) this.#video.drop(region.window);
				this.#changed();
			},
		};
	}

	#changed(): void {
		const edges = [...new Set(this.#regions.flatMap((r) => [r.base, r.end]))].sort((a, b) => a - b);
		const stretches: Stretch[] = [];
		for (let i = 0; i + 1 < edges.length; i++) {
			const start = edges[i];
			const end = edges[i + 1];
			const owner = this.#regions.findLast((r) => r.base <= start && r.end >= end);
			if (owner === undefined) continue;
			const before = stretches.at(-1);
			if (before?.end === start && before.range === owner.range) stretches[stretches.length - 1] = { ...before, end };
			else stretches.push({ start, end, range: owner.range, window: owner.window });
		}
		this.#stretches = stretches;
		this.#last = undefined;
		this.#video.changed(stretches);
	}

	#find(address: number): Stretch | undefined {
		const last = this.#last;
		if (last !== undefined && address >= last.start && address < last.end) return last;
		const stretches = this.#stretches;
		let low = 0;
		let high = stretches.length;
		while (low < high) {
			const middle = (low + high) >>> 1;
			if (stretches[middle].end <= address) low = middle + 1;
			else high = middle;
		}
		const found = stretches[low];
		if (found === undefined || address < found.start) return undefined;
		this.#last = found;
		return found;
	}

	read8(address: number): number {
		const at = this.#find(address);
		return at === undefined ? 0xff : at.range.read8(address - at.range.base);
	}
	/** Signed, as the core takes it. */
	read32(address: number): number {
		const at = this.#find(address);
		if (at !== undefined && address + 4 <= at.end) return at.range.read32(address - at.range.base);
		if (at === undefined && this.#find(address + 3) === undefined) return -1;
		let value = 0;
		for (let i = 0; i < 4; i++) value |= this.read8((address + i) % LIMIT) << (8 * i);
		return value;
	}
	write8(address: number, value: number): void {
		const at = this.#find(address);
		if (at !== undefined) at.range.write8(address - at.range.base, value & 0xff);
	}
	write16(address: number, value: number): void {
		const at = this.#find(address);
		if (at !== undefined && address + 2 <= at.end) {
			at.range.write16(address - at.range.base, value & 0xffff);
			return;
		}
		this.write8(address, value);
		this.write8((address + 1) % LIMIT, value >>> 8);
	}
	write32(address: number, value: number): void {
		const at = this.#find(address);
		if (at !== undefined && address + 4 <= at.end) {
			at.range.write32(address - at.range.base, value >>> 0);
			return;
		}
		for (let i = 0; i < 4; i++) this.write8((address + i) % LIMIT, value >>> (8 * i));
	}
	write64(address: number, low: number, high: number): void {
		this.write32(address, low);
		this.write32((address + 4) % LIMIT, high);
	}
	write128(address: number, d0: number, d1: number, d2: number, d3: number): void {
		this.write64(address, d0, d1);
		this.write64((address + 8) % LIMIT, d2, d3);
	}
}
