/**
 * MSI-X: interrupts as memory writes, a table of addresses and data in a BAR of its own. PCI Local Bus 3.0, 6.8.2.
 * Layout as QEMU's: the table from the BAR's start, the pending bits from its middle.
 */

import type { PciBarSpec, PciFunction } from './pci.ts';
import { checkVersion, type DeviceState, type StateValue } from './state.ts';

const CAP_MSIX = 0x11;
const CAP_LENGTH = 12;
const BAR_SIZE = 4096;
const PENDING = BAR_SIZE / 2;
/** Most vectors whose table ends before the pending bits. */
export const MSIX_MOST_VECTORS = 128;
/** Message Control, upper byte. */
const CONTROL = 3;
const ENABLE = 0x80;
const MASK_ALL = 0x40;
/** Bytes and 32-bit words of a table entry: address, its upper half, data, Vector Control. */
const ENTRY = 16;
const WORDS = ENTRY / 4;
const VECTOR_CONTROL = 3;
const MASKED = 1;

/** What PciIdentity needs for the capability. */
export interface MsixCapability {
	readonly config: { readonly [offset: number]: number };
	readonly writable: { readonly [offset: number]: number };
	readonly range: readonly [offset: number, length: number];
}

export class Msix {
	/** How many interrupts there are. */
	readonly vectors: number;
	/** The BAR for the table and the pending bits. */
	readonly bar: PciBarSpec;
	readonly #at: number;
	readonly #table: Uint32Array;
	/** Interrupts that came while they were masked. */
	readonly #pending: Uint32Array;
	#fn: PciFunction | undefined;

	/** `at` is where the capability lies in configuration space. Throws RangeError when there are too many vectors. */
	constructor(vectors: number, at: number) {
		if (!(vectors >= 1 && vectors <= MSIX_MOST_VECTORS))
			throw new RangeError(`MSI-X cannot have ${vectors} vectors here`);
		this.vectors = vectors;
		this.#at = at;
		this.#table = new Uint32Array(vectors * WORDS);
		this.#pending = new Uint32Array(MSIX_MOST_VECTORS / 32);
		const handler = {
			read32: (offset: number) => this.#read(offset),
			write32: (offset: number, value: number) => this.#write(offset, value),
		};
		this.bar = { kind: 'mmio', size: BAR_SIZE, handler };
		this.reset();
	}

	/** The capability, for a table in BAR `bar` and with `next` behind it in the list. */
	capability(bar: number, next: number): MsixCapability {
		const control = this.vectors - 1;
		const bytes = [CAP_MSIX, next, control & 0xff, control >>> 8, bar, 0, 0, 0];
		bytes.push(PENDING | bar, PENDING >>> 8, 0, 0);
		return {
			config: Object.fromEntries(bytes.map((byte, n) => [this.#at + n, byte & 0xff])),
			writable: { [this.#at + CONTROL]: ENABLE | MASK_ALL },
			range: [this.#at, CAP_LENGTH],
		};
	}

	/** `fn` is the function that the capability is in. */
	attach(fn: PciFunction): void {
		this.#fn = fn;
	}

	/** The driver has chosen messages; the function must not use its INTx line. */
	get enabled(): boolean {
		return (this.#control & ENABLE) !== 0;
	}

	get #control(): number {
		return this.#fn?.config[this.#at + CONTROL] ?? 0;
	}

	/**
	 * Sends the message of `vector`, or remembers it while that is masked. Nothing happens while messages are not enabled,
	 * or for a vector that does not exist.
	 */
	notify(vector: number): void {
		if (!this.enabled || !(vector >= 0 && vector < this.vectors)) return;
		if (this.#masked(vector)) this.#pending[vector >>> 5] |= 1 << (vector & 31);
		else this.#send(vector);
	}

	/** The guest has written `size` bytes of configuration space at `offset`. */
	configWritten(offset: number, size: number): void {
		if (offset <= this.#at + CONTROL && offset + size > this.#at + CONTROL) this.#sendPending();
	}

	reset(): void {
		this.#table.fill(0);
		this.#pending.fill(0);
		for (let vector = 0; vector < this.vectors; vector++) this.#table[vector * WORDS + VECTOR_CONTROL] = MASKED;
	}

	save() {
		return { version: 1, table: [...this.#table], pending: [...this.#pending] } satisfies DeviceState;
	}

	restore(state: DeviceState): void {
		checkVersion('msix', state, 1);
		const { table, pending } = state as { [key: string]: StateValue };
		if (!Array.isArray(table) || table.length !== this.#table.length || !Array.isArray(pending))
			throw new Error('msix: saved state has another table');
		this.#table.set(table.map(Number));
		this.#pending.set(pending.slice(0, this.#pending.length).map(Number));
	}

	#masked(vector: number): boolean {
		return (this.#control & MASK_ALL) !== 0 || (this.#table[vector * WORDS + VECTOR_CONTROL] & MASKED) !== 0;
	}

	#send(vector: number): void {
		const entry = vector * WORDS;
		// There is nothing above 4 GiB on this board, least of all an interrupt controller.
		if (this.#table[entry + 1] === 0) this.#fn?.message(this.#table[entry], this.#table[entry + 2]);
	}

	#sendPending(): void {
		if (!this.enabled) return;
		for (let vector = 0; vector < this.vectors; vector++) {
			const bit = 1 << (vector & 31);
			if ((this.#pending[vector >>> 5] & bit) === 0 || this.#masked(vector)) continue;
			this.#pending[vector >>> 5] &= ~bit;
			this.#send(vector);
		}
	}

	#read(offset: number): number {
		if (offset >= PENDING) return this.#pending[(offset - PENDING) >>> 2] ?? 0;
		return this.#table[offset >>> 2] ?? 0;
	}

	#write(offset: number, value: number): void {
		const word = offset >>> 2;
		if (word >= this.#table.length) return;
		this.#table[word] = value;
		if (word % WORDS === VECTOR_CONTROL) this.#sendPending();
	}
}
