/** How one access reaches a device: in its own width where the device has that, else made of others. */
import type { IoHandler } from '../../core/index.ts';

/** What to do with an exception that a device let out; the access then reads as all ones. */
export interface Faults {
	caught(name: string, error: unknown): void;
}

/**
 * A mapped handler. The space that holds it splits accesses that do not lie within it.
 *
 * Reads narrower than anything the handler has are cut out of an aligned wider one: the core turns every 16-bit memory
 * read into two 8-bit ones, and a block of 16-bit registers must survive that. Exceptions end here, because one that
 * passed through the core would leave it half way through an instruction.
 */
export class Range {
	readonly base: number;
	readonly size: number;
	readonly name: string;
	readonly handler: IoHandler;
	readonly #faults: Faults;

	constructor(base: number, size: number, handler: IoHandler, name: string, faults: Faults) {
		this.base = base;
		this.size = size;
		this.handler = handler;
		this.name = name;
		this.#faults = faults;
	}

	read8(offset: number): number {
		const handler = this.handler;
		try {
			if (handler.read8 !== undefined) return handler.read8(offset) & 0xff;
			if (handler.read16 !== undefined) return (handler.read16(offset & ~1) >>> ((offset & 1) * 8)) & 0xff;
			if (handler.read32 !== undefined) return (handler.read32(offset & ~3) >>> ((offset & 3) * 8)) & 0xff;
		} catch (error) {
			this.#faults.caught(this.name, error);
		}
		return 0xff;
	}
	read16(offset: number): number {
		const handler = this.handler;
		if (handler.read16 === undefined) return this.read8(offset) | (this.read8(offset + 1) << 8);
		try {
			return handler.read16(offset) & 0xffff;
		} catch (error) {
			this.#faults.caught(this.name, error);
			return 0xffff;
		}
	}
	/** Signed, as the core takes it. */
	read32(offset: number): number {
		const handler = this.handler;
		if (handler.read32 === undefined) return this.read16(offset) | (this.read16(offset + 2) << 16);
		try {
			return handler.read32(offset) | 0;
		} catch (error) {
			this.#faults.caught(this.name, error);
			return -1;
		}
	}
	write8(offset: number, value: number): void {
		try {
			this.handler.write8?.(offset, value);
		} catch (error) {
			this.#faults.caught(this.name, error);
		}
	}
	write16(offset: number, value: number): void {
		const handler = this.handler;
		if (handler.write16 === undefined) {
			this.write8(offset, value & 0xff);
			this.write8(offset + 1, value >>> 8);
			return;
		}
		try {
			handler.write16(offset, value);
		} catch (error) {
			this.#faults.caught(this.name, error);
		}
	}
	/** `value` is unsigned. */
	write32(offset: number, value: number): void {
		const handler = this.handler;
		if (handler.write32 === undefined) {
			this.write16(offset, value & 0xffff);
			this.write16(offset + 2, value >>> 16);
			return;
		}
		try {
			handler.write32(offset, value);
		} catch (error) {
			this.#faults.caught(this.name, error);
		}
	}
}
