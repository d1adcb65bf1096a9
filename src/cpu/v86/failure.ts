/**
 * What becomes of a core that gives up. It panics where it has no code for what a CPU would do, and the guest decides
 * when: some of these places are instructions that raise a fault on a CPU, which is raised then; some
 * are exceptions that cannot be delivered, which is a triple fault; what is left ends the core, with a reason.
 */
import type { CpuFailure, CpuRegisters } from '../backend.ts';
import { STACK_POINTER, TRIGGER_GP, TRIGGER_NP } from './hidden.ts';
import type { LinearMemory } from './memory.ts';
import type { CoreExports } from './wasm.ts';

export const TRIPLE_FAULT = 'triple fault';
/** Each panic leaves its text behind in the core's heap. */
const MOST_PANICS = 10_000;
/** Longest text kept of what the core says on a panic. */
const LONGEST_MESSAGE = 300;

/**
 * Panics while an exception or interrupt is being delivered: the gate, its segment, its stack or the task's is not to be
 * used. What a CPU would raise then has no code in the core, so it ends here.
 */
const UNDELIVERABLE = /#(GP|TS|NP|SS) handler/;
/** What the engine says when faults in delivering a fault have used up its stack: they would go on for ever. */
const ENDLESS = /call stack/;
/**
 * What instructions panic with before they have changed anything, by the fault that they raise on a CPU: IRET to a code
 * segment that is none, LTR and LLDT of something else, PG without PE; and those whose segment is not present.
 */
const FAULTS = [
	[TRIGGER_NP, /present bit not set|: not present/],
	[
		TRIGGER_GP,
		/CS selector is|not exec|conforming and|null TR|selector outside of table|not a system entry|: invalid type|PG without PE/,
	],
] as const;

export class Failures {
	readonly #exports: CoreExports;
	readonly #memory: LinearMemory;
	/** The core's stack pointer while nothing runs. */
	readonly #stackTop: number;
	#panics = 0;
	#message = '';
	#failure: CpuFailure | undefined;
	/** What the core failed with where no exception may pass; the slice that comes to it ends the core. */
	#broken: unknown;

	constructor(exports: CoreExports, memory: LinearMemory) {
		this.#exports = exports;
		this.#memory = memory;
		this.#stackTop = exports[STACK_POINTER].value;
	}

	/** The core has failed and the machine has been told. */
	get dead(): boolean {
		return this.#failure !== undefined;
	}

	/** Text from the core: the reason of a panic, just before it. */
	said(at: number, length: number): void {
		const end = Math.min(at + Math.min(length, LONGEST_MESSAGE), this.#memory.u8.length);
		this.#message = Buffer.from(this.#memory.u8.subarray(at, end)).toString('latin1').replaceAll(/\s+/g, ' ');
	}

	/** The core failed where nobody expects an exception: the slice ends with it, or the next one begins with it. */
	breakDown(error: unknown): void {
		this.#broken ??= error;
	}

	/** Brings a failure of the core to where it is dealt with. */
	check(): void {
		if (this.#broken !== undefined) throw this.#broken;
	}

	/** Deals with a failure: undefined if the guest can go on, otherwise the failure that ends the core. */
	judge(error: unknown, registers: () => CpuRegisters): CpuFailure | undefined {
		const verdict = this.#verdict(error);
		const reason = typeof verdict === 'object' ? this.#raise(verdict.fault) : verdict;
		this.#broken = undefined;
		this.#failure = reason === undefined ? undefined : { reason, registers: registers() };
		return this.#failure;
	}

	/** Why the core cannot go on, or a fault that is still to be raised. */
	#verdict(error: unknown): string | { readonly fault: (typeof FAULTS)[number][0] } {
		const text = this.#message || (error instanceof Error ? error.message : String(error));
		this.#message = '';
		this.#panics++;
		this.#exports[STACK_POINTER].value = this.#stackTop;
		if (UNDELIVERABLE.test(text) || (error instanceof RangeError && ENDLESS.test(text))) return TRIPLE_FAULT;
		const fault = FAULTS.find(([, panic]) => panic.test(text))?.[0];
		if (fault !== undefined && this.#panics < MOST_PANICS) return { fault };
		return `the CPU core stopped: ${text}`;
	}

	/** The instruction that the core gave up at raises a fault instead. What that fails with, if it does. */
	#raise(fault: (typeof FAULTS)[number][0]): string | undefined {
		try {
			this.#exports[fault](0);
			return undefined;
		} catch (error) {
			const verdict = this.#verdict(error);
			return typeof verdict === 'object' ? TRIPLE_FAULT : verdict;
		}
	}

	/**
	 * No reset helps, or none yet: a failure that no slice has come to will ask for one itself. A triple fault stops the
	 * core where it keeps no lock and changes no map; of other failures that is not known.
	 */
	get final(): boolean {
		if (this.#broken !== undefined) return true;
		return this.#failure !== undefined && (this.#failure.reason !== TRIPLE_FAULT || this.#panics >= MOST_PANICS);
	}

	/** The core begins anew, by a reset or with another state. */
	forget(): void {
		this.#failure = undefined;
		this.#broken = undefined;
	}
}
