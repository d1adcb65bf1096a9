/**
 * The time stamp counter: the clock in ns, less an offset that only the core knows and the guest may change.
 *
 * The core's read_tsc adds something of its own when the clock reads the same twice, and its set_tsc takes the old
 * offset off once too often (v86 cpu.rs). So while it is asked from here the clock shows moments that no machine
 * reaches, a new one each time, and the answers are put right.
 */
import { CURRENT_TSC } from './layout.ts';
import type { LinearMemory } from './memory.ts';
import type { CoreExports } from './wasm.ts';

/** ms; 35 years. */
const FAR = 2 ** 40;

export class TimeStampCounter {
	/** What the core's clock is to show instead of the time, ms. */
	moment: number | undefined;
	#asked = 0;
	readonly #memory: LinearMemory;
	readonly #exports: CoreExports;

	constructor(memory: LinearMemory, exports: CoreExports) {
		this.#memory = memory;
		this.#exports = exports;
	}

	/** Calls `ask` with the clock at a moment of its own; returns that moment in the core's units. */
	#at(ask: () => void): bigint {
		this.moment = FAR + ++this.#asked;
		const shown = BigInt(this.moment * 1e6);
		ask();
		this.moment = undefined;
		return shown;
	}

	/** Clock less counter, modulo 2^64. */
	get offset(): bigint {
		const shown = this.#at(() => this.#exports.store_current_tsc());
		const answer = new DataView(this.#memory.u8.buffer, CURRENT_TSC, 8);
		const offset = BigInt.asUintN(64, shown - answer.getBigUint64(0, true));
		// Only this question writes there, and a saved state must not depend on how often it was asked.
		answer.setBigUint64(0, 0n);
		return offset;
	}

	set offset(wanted: bigint) {
		const old = this.offset;
		const shown = BigInt((FAR + this.#asked + 1) * 1e6);
		// The core computes: new offset = (shown - old) - given.
		const given = BigInt.asUintN(64, shown - old - wanted);
		this.#at(() => this.#exports.set_tsc(Number(BigInt.asIntN(32, given)), Number(BigInt.asIntN(32, given >> 32n))));
	}
}
