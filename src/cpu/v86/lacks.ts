/**
 * Says, once each, that a guest counts on what the core does not have. The core passes over all of it in silence: a
 * debugger's program runs away, a 64-bit system gives up or runs into nothing, and nobody would know why.
 */
import { guestError } from '../../core/index.ts';
import { CPL, CR, FLAGS, FPU_CW, IN_HLT, INSTRUCTION_POINTER, MXCSR, REG32 } from './layout.ts';
import type { LinearMemory } from './memory.ts';
import { PROBE_CPUID, PROBE_DEBUG, PROBE_TRAP, PROBE_WRMSR } from './probes.ts';

const LACKS = {
	longMode:
		'the guest needs a 64-bit CPU (long mode), which this machine does not have; use a 32-bit image (not said again)',
	trap: 'the guest single-steps by the trap flag, which does not stop it on this machine (not said again)',
	breakpoint: 'the guest sets a hardware breakpoint, which does not stop it on this machine (not said again)',
	floatingPoint: 'the guest unmasks floating point exceptions, which are not raised on this machine (not said again)',
} as const;

const CR0_PAGING = 0x80000000;
const FLAG_INTERRUPT = 0x200;
/** Intel SDM volume 2, CPUID: leaves with the features of long mode. */
const EXTENDED_LEAF = 0x80000000;
/** EFER and its LME bit (volume 4, 2.1). */
const MSR_EFER = 0xc0000080;
const EFER_LME = 0x100;
/** DR7: L0 to G3 (volume 3, 17.2.4). */
const DR7 = 7;
const DR7_ENABLES = 0xff;
/** All exceptions masked: x87 control word, MXCSR (volume 1, 8.1.5 and 10.2.3). */
const FPU_MASKED = 0x3f;
const SSE_MASKED = 0x1f80;
/**
 * Instructions between the question for long mode and a halt that is taken for the answer. An amd64 kernel prints its
 * complaint through the BIOS meanwhile.
 */
const GIVING_UP = 50_000_000;
/** hlt; jmp to it. EIP is between the two then. */
const HALT_FOR_EVER = [0xf4, 0xeb, 0xfd];

export class Lacks {
	readonly #memory: LinearMemory;
	readonly #instructions: () => number;
	/** Reads guest memory; undefined outside RAM. */
	readonly #read: (address: number, length: number) => Uint8Array | undefined;
	readonly #said = new Set<keyof typeof LACKS>();
	/** When boot code last asked for long mode, in instructions. */
	#asked = Number.NEGATIVE_INFINITY;

	constructor(
		memory: LinearMemory,
		instructions: () => number,
		read: (address: number, length: number) => Uint8Array | undefined,
	) {
		this.#memory = memory;
		this.#instructions = instructions;
		this.#read = read;
	}

	/** The module tells what the guest is about to do. */
	probe(what: number, value: number): void {
		if (what === PROBE_TRAP) this.#say('trap');
		else if (what === PROBE_CPUID && value >>> 0 >= EXTENDED_LEAF && !this.#paging) this.#asked = this.#instructions();
		else if (this.#memory.u8[CPL] !== 0) return;
		else if (what === PROBE_WRMSR && value >>> 0 === MSR_EFER && (this.#memory.u32[REG32 / 4] & EFER_LME) !== 0)
			this.#say('longMode');
		else if (what === PROBE_DEBUG + DR7 && (value & DR7_ENABLES) !== 0) this.#say('breakpoint');
	}

	/** Between two slices: what stays for a while. */
	look(): void {
		const { u8, u32 } = this.#memory;
		const fpu = u8[FPU_CW] & FPU_MASKED;
		if (fpu !== FPU_MASKED || (u32[MXCSR / 4] & SSE_MASKED) !== SSE_MASKED) this.#say('floatingPoint');
		if (u8[IN_HLT] !== 0 && !this.#paging && this.#instructions() - this.#asked < GIVING_UP && this.#forEver())
			this.#say('longMode');
	}

	/** Systems ask for long mode too when they can do without it, but only before they have turned on paging do they stop. */
	get #paging(): boolean {
		return (this.#memory.u32[CR / 4] & CR0_PAGING) !== 0;
	}

	/** The halt is one that no interrupt gets the guest out of. */
	#forEver(): boolean {
		const { u32 } = this.#memory;
		if ((u32[FLAGS / 4] & FLAG_INTERRUPT) === 0) return true;
		const code = this.#read(u32[INSTRUCTION_POINTER / 4] - 1, HALT_FOR_EVER.length);
		return code !== undefined && HALT_FOR_EVER.every((byte, i) => code[i] === byte);
	}

	#say(what: keyof typeof LACKS): void {
		if (this.#said.has(what)) return;
		this.#said.add(what);
		guestError('cpu', LACKS[what]);
	}
}
