/**
 * The count of executed instructions. The core's own counter has 32 bits, and it is pushed forward to make the core end
 * its present round: the core counts a round by it.
 */
import { INSTRUCTION_COUNTER } from './layout.ts';
import type { LinearMemory } from './memory.ts';

/** More than the instructions of one round of the core's inner loop (v86 cpu.rs, LOOP_COUNTER). */
const ROUND = 200_000;

export class Instructions {
	readonly #memory: LinearMemory;
	/** Instructions up to the counter value #counted; #pushed of the counter's steps since then were ours. */
	#total = 0;
	#counted = 0;
	#pushed = 0;

	constructor(memory: LinearMemory) {
		this.#memory = memory;
	}

	get total(): number {
		this.count();
		return this.#total;
	}

	/** From here on `total` have been executed, whatever the core's counter shows. */
	set total(total: number) {
		this.#total = total;
		this.#counted = this.#counter;
		this.#pushed = 0;
	}

	/** Takes in what the core has counted; a push that it has seen is over, and hurry() may push again. */
	count(): void {
		const now = this.#counter;
		this.#total += ((now - this.#counted) >>> 0) - this.#pushed;
		this.#counted = now;
		this.#pushed = 0;
	}

	/** Ends the core's present round after this instruction, or after the translated code that it is part of. */
	hurry(): void {
		if (this.#pushed !== 0) return;
		this.#pushed = ROUND;
		this.#memory.u32[INSTRUCTION_COUNTER / 4] += ROUND;
	}

	get #counter(): number {
		return this.#memory.u32[INSTRUCTION_COUNTER / 4];
	}
}
