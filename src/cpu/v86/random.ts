/** What RDRAND gives: the host's random numbers, or in virtual time the same ones in every run. */
import { getRandomValues } from 'node:crypto';

export interface RandomSource {
	/** 32 bits, signed. */
	next(): number;
	save(): number;
	restore(state: number): void;
}

export class HostRandom implements RandomSource {
	readonly #buffer = new Int32Array(64);
	#left = 0;
	next(): number {
		if (this.#left === 0) {
			getRandomValues(this.#buffer);
			this.#left = this.#buffer.length;
		}
		return this.#buffer[--this.#left];
	}
	save(): number {
		return 0;
	}
	restore(): void {}
}

/** Marsaglia, "Xorshift RNGs" (2003), the 32-bit generator with shifts 13, 17, 5. */
export class SeededRandom implements RandomSource {
	#state = 2463534242;
	next(): number {
		let x = this.#state;
		x ^= x << 13;
		x ^= x >>> 17;
		x ^= x << 5;
		this.#state = x;
		return x;
	}
	save(): number {
		return this.#state;
	}
	restore(state: number): void {
		this.#state = state | 0 || 1;
	}
}
