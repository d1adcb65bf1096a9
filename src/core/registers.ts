/**
 * Register blocks, declared once: offset, width, reset value, writable bits, write-1-to-clear bits, meaning.
 * A RegisterFile answers accesses of any width at any offset from that table, as hardware made of byte lanes does.
 */
import type { StateValue } from './state.ts';

export interface RegisterSpec {
	/** Byte offset in the block. */
	readonly at: number;
	/** Width in bytes. */
	readonly size: 1 | 2 | 4;
	/** Value after reset; 0 if left out. */
	readonly reset?: number;
	/** Bits that a guest's write sets as written; the others keep their value. Left out: read-only. */
	readonly w?: number;
	/** Bits that a guest clears by writing 1 to them. */
	readonly w1c?: number;
	/** What it is, in a few words: shown by `info registers` and to learners. */
	readonly doc: string;
}
export type RegisterTable = Readonly<Record<string, RegisterSpec>>;

/** Declares a register block; throws if two registers overlap. */
export function registers<const T extends RegisterTable>(table: T): T {
	const owner = new Map<number, string>();
	for (const [name, spec] of Object.entries(table)) {
		for (let i = spec.at; i < spec.at + spec.size; i++) {
			const other = owner.get(i);
			if (other !== undefined) throw new Error(`registers ${other} and ${name} overlap at +0x${i.toString(16)}`);
			owner.set(i, name);
		}
	}
	return table;
}

export interface RegisterHooks<T extends RegisterTable> {
	/** Called after a guest's write has been merged, with the new and the old value of the whole register. */
	readonly write?: { readonly [K in keyof T]?: (now: number, was: number) => void };
	/** Called before a guest's read; may update the register. */
	readonly read?: { readonly [K in keyof T]?: () => void };
}

interface Entry {
	readonly name: string;
	readonly at: number;
	readonly size: 1 | 2 | 4;
	readonly reset: number;
	readonly w: number;
	readonly w1c: number;
	readonly onWrite: ((now: number, was: number) => void) | undefined;
	readonly onRead: (() => void) | undefined;
}

class RegisterFileBase<T extends RegisterTable> {
	readonly table: T;
	readonly #entries: Entry[] = [];
	/** Index into #entries + 1 for every byte offset; 0 where there is no register. */
	readonly #map: Uint8Array;
	readonly #bytes: Uint8Array;
	readonly #view: DataView;

	constructor(table: T, hooks: RegisterHooks<T> = {}) {
		this.table = table;
		let end = 0;
		for (const spec of Object.values(table)) end = Math.max(end, spec.at + spec.size);
		this.#map = new Uint8Array(end);
		this.#bytes = new Uint8Array(end);
		this.#view = new DataView(this.#bytes.buffer);
		for (const [name, spec] of Object.entries(table)) {
			const { at, size, reset = 0, w = 0, w1c = 0 } = spec;
			this.#entries.push({ name, at, size, reset, w, w1c, onWrite: hooks.write?.[name], onRead: hooks.read?.[name] });
			this.#map.fill(this.#entries.length, at, at + size);
			Object.defineProperty(this, name, {
				enumerable: true,
				get: () => this.#get(at, size),
				set: (value: number) => this.#set(at, size, value),
			});
		}
		this.reset();
	}

	/** All registers to their reset values; no hook runs. */
	reset(): void {
		for (const e of this.#entries) this.#set(e.at, e.size, e.reset);
	}

	/** A guest's read of `size` bytes at `offset`; bytes without a register read as 0. */
	read(offset: number, size: 1 | 2 | 4): number {
		let last = 0;
		for (let i = 0; i < size; i++) {
			const index = this.#map[offset + i] ?? 0;
			if (index !== 0 && index !== last) this.#entries[index - 1].onRead?.();
			last = index;
		}
		let value = 0;
		for (let i = size - 1; i >= 0; i--) value = value * 256 + (this.#map[offset + i] ? this.#bytes[offset + i] : 0);
		return value;
	}

	/** A guest's write: each register touched is merged by its masks, then its hook runs, lowest offset first. */
	write(offset: number, size: 1 | 2 | 4, value: number): void {
		for (let i = 0; i < size; ) {
			const index = this.#map[offset + i] ?? 0;
			if (index === 0) {
				i++;
				continue;
			}
			const e = this.#entries[index - 1];
			const first = offset + i - e.at;
			const count = Math.min(e.size - first, size - i);
			const lanes = laneMask(count) << (first * 8);
			const bits = ((value >>> (i * 8)) & laneMask(count)) << (first * 8);
			const was = this.#get(e.at, e.size);
			const now = ((was & ~(e.w & lanes)) | (bits & e.w)) & ~(bits & e.w1c);
			this.#set(e.at, e.size, now);
			e.onWrite?.(this.#get(e.at, e.size), was);
			i += count;
		}
	}

	/** All values by name. */
	save(): { [name: string]: StateValue } {
		const out: { [name: string]: StateValue } = {};
		for (const e of this.#entries) out[e.name] = this.#get(e.at, e.size);
		return out;
	}

	/** Takes saved values back; no hook runs. A register that is missing takes its reset value. */
	restore(saved: { readonly [name: string]: StateValue | undefined }): void {
		for (const e of this.#entries) {
			const value = saved[e.name];
			this.#set(e.at, e.size, typeof value === 'number' ? value : e.reset);
		}
	}

	#get(at: number, size: 1 | 2 | 4): number {
		if (size === 1) return this.#bytes[at];
		return size === 2 ? this.#view.getUint16(at, true) : this.#view.getUint32(at, true);
	}

	#set(at: number, size: 1 | 2 | 4, value: number): void {
		if (size === 1) this.#bytes[at] = value;
		else if (size === 2) this.#view.setUint16(at, value, true);
		else this.#view.setUint32(at, value, true);
	}
}

function laneMask(bytes: number): number {
	return bytes >= 4 ? -1 : (1 << (bytes * 8)) - 1;
}

/** A register block's values: each register is a property of its own name, unsigned. */
export type RegisterFile<T extends RegisterTable> = RegisterFileBase<T> & { -readonly [K in keyof T]: number };
export const RegisterFile = RegisterFileBase as new <T extends RegisterTable>(
	table: T,
	hooks?: RegisterHooks<T>,
) => RegisterFile<T>;
