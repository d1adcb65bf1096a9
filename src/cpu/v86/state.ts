/** Saving and restoring what the core holds: CPU, interrupt controllers, memory pages. */
import type { StateValue } from '../../core/index.ts';
import {
	APIC_SIZE,
	IOAPIC_SIZE,
	LAST_VIRT_EIP,
	MEMORY_SIZE,
	PAGE,
	PIC_SIZE,
	STATE_END,
	STATE_START,
} from './layout.ts';
import type { LinearMemory } from './memory.ts';
import type { CoreExports } from './wasm.ts';

/** Edge/level register in a controller's bytes, and the bit of the cascade input. */
const PIC_ELCR = 10;
const CASCADE = 1 << 2;

export type Saved = { [key: string]: StateValue | undefined };

/** Takes a byte field out of a saved state; throws when it is missing or has another length. */
export function bytesOf(state: Saved, name: string, length?: number): Uint8Array {
	const value = state[name];
	if (!(value instanceof Uint8Array) || (length !== undefined && value.length !== length))
		throw new Error(`cpu: saved state has no proper "${name}"`);
	return value;
}

export function numberOf(state: Saved, name: string): number {
	const value = state[name];
	if (typeof value !== 'number') throw new Error(`cpu: saved state has no proper "${name}"`);
	return value;
}

/** The two 8259s, the local APIC and the I/O APIC, whose state lies in the module's own structures. */
export class Controllers {
	readonly #memory: LinearMemory;
	readonly #parts: readonly { readonly name: string; readonly at: number; readonly initial: Uint8Array }[];

	/** Remembers the state at this moment as that of a reset, which the core itself does not know. */
	constructor(memory: LinearMemory, exports: CoreExports) {
		this.#memory = memory;
		const part = (name: string, address: number, size: number) => {
			const at = address >>> 0;
			return { name, at, initial: memory.u8.slice(at, at + size) };
		};
		this.#parts = [
			part('pic1', exports.get_pic_addr_master(), PIC_SIZE),
			part('pic2', exports.get_pic_addr_slave(), PIC_SIZE),
			part('apic', exports.get_apic_addr(), APIC_SIZE),
			part('ioapic', exports.get_ioapic_addr(), IOAPIC_SIZE),
		];
	}

	/**
	 * Makes the cascade input of the first 8259 level triggered. Edge triggered, the core keeps the request when the
	 * second 8259 takes it back (a level line that falls, a mask); acknowledging it then leaves an interrupt in service
	 * that nobody ends, and everything below IRQ 1 stays blocked. Firmware that writes 4D0h undoes it: repeat.
	 */
	levelCascade(): void {
		this.#memory.u8[this.#parts[0].at + PIC_ELCR] |= CASCADE;
	}

	reset(): void {
		for (const { at, initial } of this.#parts) this.#memory.u8.set(initial, at);
	}
	save(): Saved {
		const { u8 } = this.#memory;
		return Object.fromEntries(this.#parts.map(({ name, at, initial }) => [name, u8.slice(at, at + initial.length)]));
	}
	restore(state: Saved): void {
		const saved = this.#parts.map(({ name, at, initial }) => ({ at, bytes: bytesOf(state, name, initial.length) }));
		for (const { at, bytes } of saved) this.#memory.u8.set(bytes, at);
	}
}

export function saveCpu(memory: LinearMemory): Uint8Array {
	const cpu = memory.u8.slice(STATE_START, STATE_END);
	// Only a cache of the last translation, which a restored CPU does not have.
	cpu.fill(0xff, LAST_VIRT_EIP - STATE_START, LAST_VIRT_EIP + 8 - STATE_START);
	return cpu;
}

export function restoreCpu(memory: LinearMemory, cpu: Uint8Array): void {
	memory.u8.set(cpu, STATE_START);
}

/** Makes the core work with what restoreCpu() put in place, but for the time stamp counter. */
export function adoptCpu(exports: CoreExports): void {
	exports.update_state_flags();
	exports.full_clear_tlb();
	exports.jit_clear_cache_js();
}

/** The memory size that a saved CPU was made with, bytes. */
export function savedMemorySize(cpu: Uint8Array): number {
	return new DataView(cpu.buffer, cpu.byteOffset, cpu.length).getUint32(MEMORY_SIZE - STATE_START, true);
}

/** The pages of `size` bytes from guest-physical 0 that hold anything but zeros. */
export function savePages(memory: LinearMemory, exports: CoreExports, size: number): Saved {
	const numbers: number[] = [];
	for (let page = 0; page * PAGE < size; page++) {
		if (exports.is_memory_zeroed(page * PAGE, PAGE) === 0) numbers.push(page);
	}
	const index = new Uint8Array(numbers.length * 4);
	const view = new DataView(index.buffer);
	const data = new Uint8Array(numbers.length * PAGE);
	for (const [i, page] of numbers.entries()) {
		view.setUint32(i * 4, page, true);
		const at = memory.base + page * PAGE;
		data.set(memory.u8.subarray(at, at + PAGE), i * PAGE);
	}
	return { size, index, data };
}

/** Throws when `state` holds no pages of a memory of `size` bytes. */
export function checkPages(state: Saved, size: number): void {
	const index = bytesOf(state, 'index');
	bytesOf(state, 'data', (index.length / 4) * PAGE);
	if (numberOf(state, 'size') !== size) throw new Error('cpu: saved state is of a machine with another memory size');
	const view = new DataView(index.buffer, index.byteOffset, index.length);
	for (let at = 0; at < index.length; at += 4) {
		const page = view.getUint32(at, true);
		if ((page + 1) * PAGE > size) throw new Error(`cpu: saved state has page ${page}, memory ends before it`);
	}
}

/** `state` has passed checkPages(). */
export function restorePages(memory: LinearMemory, state: Saved, size: number): void {
	const index = bytesOf(state, 'index');
	const data = bytesOf(state, 'data');
	const view = new DataView(index.buffer, index.byteOffset, index.length);
	const { u8, base } = memory;
	u8.fill(0, base, base + size);
	for (let i = 0; i * 4 < index.length; i++) {
		u8.set(data.subarray(i * PAGE, (i + 1) * PAGE), base + view.getUint32(i * 4, true) * PAGE);
	}
}
