/**
 * A board without a CPU, for device tests: guest memory is an array, time moves when told to, and port and memory
 * accesses are method calls. Widths, overlaps and holes behave as core/device.ts says.
 */
import {
	type Dma,
	GuestFault,
	type Host,
	type IoHandler,
	type Irq,
	ManualClock,
	type Mapping,
	type MmioSpace,
	type PortSpace,
	type VideoMemory,
} from '../../src/core/index.ts';

const PAGE = 4096;
const ALL_ONES = { 1: 0xff, 2: 0xffff, 4: 0xffffffff } as const;
type Width = 1 | 2 | 4;

/** Guest memory in an array. */
export class FakeDma implements Dma {
	readonly bytes: Uint8Array;
	readonly #view: DataView;
	constructor(size: number) {
		this.bytes = new Uint8Array(size);
		this.#view = new DataView(this.bytes.buffer);
	}
	get size(): number {
		return this.bytes.length;
	}
	view(address: number, length: number): Uint8Array {
		this.#check(address, length);
		return this.bytes.subarray(address, address + length);
	}
	read(address: number, length: number): Uint8Array {
		return this.view(address, length).slice();
	}
	write(address: number, bytes: Uint8Array): void {
		this.#check(address, bytes.length);
		this.bytes.set(bytes, address);
	}
	read8(address: number): number {
		this.#check(address, 1);
		return this.#view.getUint8(address);
	}
	read16(address: number): number {
		this.#check(address, 2);
		return this.#view.getUint16(address, true);
	}
	read32(address: number): number {
		this.#check(address, 4);
		return this.#view.getUint32(address, true);
	}
	write8(address: number, value: number): void {
		this.#check(address, 1);
		this.#view.setUint8(address, value);
	}
	write16(address: number, value: number): void {
		this.#check(address, 2);
		this.#view.setUint16(address, value, true);
	}
	write32(address: number, value: number): void {
		this.#check(address, 4);
		this.#view.setUint32(address, value, true);
	}
	#check(address: number, length: number): void {
		const ok = Number.isInteger(address) && Number.isInteger(length) && address >= 0 && length >= 0;
		if (!ok || address + length > this.bytes.length) throw new GuestFault(address, length);
	}
}

/** A host whose clock and deferred work stand still until the test moves them. */
export class FakeHost implements Host {
	readonly clock: ManualClock;
	readonly dma: FakeDma;
	/** As if the guest's accesses had used up their time. */
	overdue = false;
	/** Bytes that devices moved within accesses. */
	bytesSpent = 0;
	#deferred: (() => void)[] = [];
	/** `memory` in bytes; `wall` is the calendar time at power-on, ms since 1970. */
	constructor(memory = 1 << 20, wall = Date.UTC(2000, 0, 1)) {
		this.clock = new ManualClock(wall);
		this.dma = new FakeDma(memory);
	}
	defer(work: () => void): void {
		this.#deferred.push(work);
	}
	spent(bytes: number): void {
		this.bytesSpent += bytes;
	}
	/** Writes to ports that the guest has had to make once more. */
	repeats = 0;
	again(): void {
		this.repeats++;
	}
	/** Runs deferred work, and what that defers, until none is left; a device that defers for ever fails the test. */
	settle(): void {
		for (let round = 0; this.#deferred.length > 0; round++) {
			if (round === 10_000) throw new Error('deferred work never ends');
			this.turn();
		}
	}
	/** Runs what is deferred now; the guest would run before what that defers. */
	turn(): void {
		const work = this.#deferred;
		this.#deferred = [];
		for (const each of work) each();
	}
	/** Settles, moves machine time on by `ns`, settles again. */
	advance(ns: number): void {
		this.settle();
		this.clock.advance(ns);
		this.settle();
	}
}

/** An interrupt line that remembers. */
export class FakeIrq implements Irq {
	level = false;
	/** Number of low-to-high transitions so far. */
	edges = 0;
	set(level: boolean): void {
		if (level && !this.level) this.edges++;
		this.level = level;
	}
}

interface Range {
	readonly base: number;
	readonly size: number;
	readonly handler: IoHandler;
	readonly name: string;
}

/** Ranges searched from the one mapped last to the first. */
class Space {
	readonly #ranges: Range[] = [];

	add(range: Range): Mapping {
		this.#ranges.push(range);
		return {
			unmap: () => {
				const at = this.#ranges.indexOf(range);
				if (at >= 0) this.#ranges.splice(at, 1);
			},
		};
	}

	get ranges(): readonly Range[] {
		return this.#ranges;
	}

	#find(address: number): Range | undefined {
		return this.#ranges.findLast((r) => address >= r.base && address < r.base + r.size);
	}

	read(address: number, width: Width): number {
		const range = this.#find(address);
		if (!range) {
			if (width === 1) return ALL_ONES[1];
		} else {
			const { handler, base, size } = range;
			const offset = address - base;
			if (offset + width <= size) {
				if (width === 4 && handler.read32) return check(handler.read32(offset), 4, range);
				if (width === 2 && handler.read16) return check(handler.read16(offset), 2, range);
			}
			if (width === 1) return handler.read8 ? check(handler.read8(offset), 1, range) : ALL_ONES[1];
		}
		const half = (width / 2) as Width;
		const low = this.read(address, half);
		return low + this.read(address + half, half) * 2 ** (half * 8);
	}

	write(address: number, width: Width, value: number): void {
		const range = this.#find(address);
		if (range && this.#writeWhole(range, address - range.base, width, value)) return;
		if (width === 1) return;
		const half = (width / 2) as Width;
		this.write(address, half, value);
		this.write(address + half, half, value >>> (half * 8));
	}

	/** False if the range has no method for this width, or ends before the access does. */
	#writeWhole({ handler, size }: Range, offset: number, width: Width, value: number): boolean {
		if (offset + width > size) return false;
		if (width === 4 && handler.write32) handler.write32(offset, value >>> 0);
		else if (width === 2 && handler.write16) handler.write16(offset, value & 0xffff);
		else if (width === 1 && handler.write8) handler.write8(offset, value & 0xff);
		else return false;
		return true;
	}
}

/** A handler that returns anything but an unsigned number of its width is broken. */
function check(value: number, width: Width, range: Range): number {
	if (!Number.isInteger(value) || value < 0 || value > ALL_ONES[width])
		throw new Error(`${range.name || 'handler'} returned ${value} from a ${width}-byte read`);
	return value;
}

export class FakePorts implements PortSpace {
	readonly #space = new Space();
	readonly #host: FakeHost;
	constructor(host: FakeHost) {
		this.#host = host;
	}
	/** As the CPU does, with each write that asks for it once more. */
	#write(port: number, width: Width, value: number): void {
		for (let repeats = -1; repeats !== this.#host.repeats; ) {
			repeats = this.#host.repeats;
			this.#space.write(port, width, value);
		}
	}
	map(base: number, size: number, handler: IoHandler, name = ''): Mapping {
		if (!(base >= 0 && size > 0 && base + size <= 0x10000)) throw new RangeError(`ports ${base}+${size}`);
		return this.#space.add({ base, size, handler, name });
	}
	/** What is mapped now, in order of mapping. */
	get ranges(): readonly Range[] {
		return this.#space.ranges;
	}
	in8(port: number): number {
		return this.#space.read(port, 1);
	}
	in16(port: number): number {
		return this.#space.read(port, 2);
	}
	in32(port: number): number {
		return this.#space.read(port, 4);
	}
	out8(port: number, value: number): void {
		this.#write(port, 1, value);
	}
	out16(port: number, value: number): void {
		this.#write(port, 2, value);
	}
	out32(port: number, value: number): void {
		this.#write(port, 4, value);
	}
}

/** Device memory; addresses that nothing claims go to `ram`, if given, as on the real board. */
export class FakeMmio implements MmioSpace {
	readonly #space = new Space();
	constructor(ram?: FakeDma) {
		if (ram) this.#space.add({ base: 0, size: ram.size, handler: bytesHandler(() => ram.bytes), name: 'ram' });
	}
	map(base: number, size: number, handler: IoHandler, name = ''): Mapping {
		if (!(base >= 0 && size > 0 && base + size <= 2 ** 32)) throw new RangeError(`memory ${base}+${size}`);
		return this.#space.add({ base, size, handler, name });
	}
	mapVideo(base: number, memory: VideoMemory, offset: number, length: number, name = ''): Mapping {
		if (!(offset >= 0 && length > 0 && offset + length <= memory.size))
			throw new RangeError(`window ${offset}+${length} of ${memory.size}`);
		const handler: IoHandler = {
			read8: (at) => memory.bytes()[offset + at],
			write8: (at, value) => {
				memory.bytes()[offset + at] = value;
				if (memory instanceof FakeVideoMemory) memory.touch(offset + at);
			},
		};
		return this.map(base, length, handler, name);
	}
	get ranges(): readonly Range[] {
		return this.#space.ranges;
	}
	read8(address: number): number {
		return this.#space.read(address, 1);
	}
	read16(address: number): number {
		return this.#space.read(address, 2);
	}
	read32(address: number): number {
		return this.#space.read(address, 4);
	}
	write8(address: number, value: number): void {
		this.#space.write(address, 1, value);
	}
	write16(address: number, value: number): void {
		this.#space.write(address, 2, value);
	}
	write32(address: number, value: number): void {
		this.#space.write(address, 4, value);
	}
}

function bytesHandler(bytes: () => Uint8Array): IoHandler {
	return {
		read8: (at) => bytes()[at],
		write8: (at, value) => {
			bytes()[at] = value;
		},
	};
}

/** Video memory whose pages become dirty through FakeMmio or `touch`. */
export class FakeVideoMemory implements VideoMemory {
	readonly size: number;
	readonly #bytes: Uint8Array;
	readonly #dirty: Uint8Array;
	constructor(size: number) {
		this.size = size;
		this.#bytes = new Uint8Array(size);
		this.#dirty = new Uint8Array(Math.ceil(size / PAGE));
	}
	bytes(): Uint8Array {
		return this.#bytes;
	}
	/** Marks the page of a guest's write to byte `offset`. */
	touch(offset: number): void {
		this.#dirty[Math.floor(offset / PAGE)] = 1;
	}
	takeDirty(first: number, into: Uint8Array): number {
		let count = 0;
		for (let i = 0; i < into.length; i++) {
			into[i] = this.#dirty[first + i] ?? 0;
			count += into[i];
			if (into[i]) this.#dirty[first + i] = 0;
		}
		return count;
	}
}

/** All of it together: what a device test usually wants. */
export class FakeBoard {
	readonly host: FakeHost;
	readonly ports: FakePorts;
	readonly mmio: FakeMmio;
	/** ISA interrupt lines 0..15. */
	readonly irqs: readonly FakeIrq[] = Array.from({ length: 16 }, () => new FakeIrq());
	constructor(options: { readonly memory?: number; readonly wall?: number } = {}) {
		this.host = new FakeHost(options.memory, options.wall);
		this.ports = new FakePorts(this.host);
		this.mmio = new FakeMmio(this.host.dma);
	}
}
