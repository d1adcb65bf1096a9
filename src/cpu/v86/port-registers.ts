/**
 * The guest's registers while it reads a port. The core calls IN as a function and translated code writes its
 * registers back before such a call and reads them after it, so memory holds them all (test/cpu/port-registers.test.ts).
 */
import type { PortRegisters } from '../../core/index.ts';
import { REG32 } from './layout.ts';
import type { LinearMemory } from './memory.ts';

const INDEX = { eax: 0, ecx: 1, edx: 2, ebx: 3, esi: 6, edi: 7 } as const;

export class CorePortRegisters implements PortRegisters {
	readonly #memory: LinearMemory;
	constructor(memory: LinearMemory) {
		this.#memory = memory;
	}
	get(name: keyof typeof INDEX): number {
		return this.#memory.u32[REG32 / 4 + INDEX[name]];
	}
	set(name: keyof typeof INDEX, value: number): void {
		this.#memory.u32[REG32 / 4 + INDEX[name]] = value;
	}
}
