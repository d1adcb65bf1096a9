/** The 65536 I/O ports. Ports of the 8259s never arrive here in 8-bit accesses: the core keeps them. */
import type { IoHandler, Mapping, PortSpace } from '../../core/index.ts';
import { type Faults, Range } from './access.ts';

export class Ports implements PortSpace {
	/** Owner of each port. */
	readonly #table: (Range | undefined)[] = new Array<Range | undefined>(0x10000).fill(undefined);
	/** In the order in which they were mapped. */
	readonly #ranges: Range[] = [];
	readonly #faults: Faults;

	constructor(faults: Faults) {
		this.#faults = faults;
	}

	map(base: number, size: number, handler: IoHandler, name = 'port'): Mapping {
		if (!Number.isInteger(base) || !Number.isInteger(size) || base < 0 || size < 1 || base + size > 0x10000)
			throw new RangeError(`ports 0x${base.toString(16)} + ${size} do not exist`);
		const range = new Range(base, size, handler, name, this.#faults);
		this.#ranges.push(range);
		this.#table.fill(range, base, base + size);
		return { unmap: () => this.#unmap(range) };
	}

	#unmap(range: Range): void {
		const at = this.#ranges.indexOf(range);
		if (at < 0) return;
		this.#ranges.splice(at, 1);
		const end = range.base + range.size;
		this.#table.fill(undefined, range.base, end);
		for (const other of this.#ranges) {
			const from = Math.max(range.base, other.base);
			const to = Math.min(end, other.base + other.size);
			if (from < to) this.#table.fill(other, from, to);
		}
	}

	/** Whether all of `count` ports from `port` belong to `range`; otherwise the access is split into bytes. */
	#whole(range: Range, port: number, count: number): boolean {
		for (let i = 1; i < count; i++) if (this.#table[(port + i) & 0xffff] !== range) return false;
		return port + count <= 0x10000;
	}

	read8(port: number): number {
		const range = this.#table[port & 0xffff];
		return range === undefined ? 0xff : range.read8((port & 0xffff) - range.base);
	}
	read16(port: number): number {
		const range = this.#table[port & 0xffff];
		if (range !== undefined && this.#whole(range, port, 2)) return range.read16(port - range.base);
		return this.read8(port) | (this.read8(port + 1) << 8);
	}
	read32(port: number): number {
		const range = this.#table[port & 0xffff];
		if (range !== undefined && this.#whole(range, port, 4)) return range.read32(port - range.base);
		return this.read16(port) | (this.read16(port + 2) << 16);
	}
	write8(port: number, value: number): void {
		const range = this.#table[port & 0xffff];
		if (range !== undefined) range.write8((port & 0xffff) - range.base, value & 0xff);
	}
	write16(port: number, value: number): void {
		const range = this.#table[port & 0xffff];
		if (range !== undefined && this.#whole(range, port, 2)) {
			range.write16(port - range.base, value & 0xffff);
		} else {
			this.write8(port, value & 0xff);
			this.write8(port + 1, (value >>> 8) & 0xff);
		}
	}
	write32(port: number, value: number): void {
		const range = this.#table[port & 0xffff];
		if (range !== undefined && this.#whole(range, port, 4)) {
			range.write32(port - range.base, value >>> 0);
		} else {
			this.write16(port, value & 0xffff);
			this.write16(port + 2, value >>> 16);
		}
	}
}
