/** Which keys are down, told from a stream of set-1 scan codes. */

export class HeldKeys {
	/** Make codes; those behind an E0 prefix have 0xe000 added. */
	readonly #down = new Set<number>();
	/** Bytes of a sequence that later bytes will finish. */
	#prefix = 0;
	#skip = 0;

	/** Takes the next bytes; returns the keys that went down by them, without those that merely repeat. */
	follow(codes: Uint8Array): number[] {
		const pressed: number[] = [];
		for (const code of codes) {
			const key = this.#step(code);
			if (key !== undefined) pressed.push(key);
		}
		return pressed;
	}

	/** Scan codes that let go of every key, in the order in which they were pressed. */
	releaseAll(): Uint8Array {
		const out: number[] = [];
		for (const key of this.#down) {
			if (key > 0xff) out.push(0xe0);
			out.push((key & 0x7f) | 0x80);
		}
		this.#down.clear();
		this.#prefix = 0;
		this.#skip = 0;
		return Uint8Array.from(out);
	}

	#step(code: number): number | undefined {
		if (this.#skip > 0) {
			this.#skip--;
			return undefined;
		}
		if (code === 0xe1) {
			// Pause: E1 1D 45 and E1 9D C5, with no release of its own.
			this.#skip = 2;
			return undefined;
		}
		if (code === 0xe0) {
			this.#prefix = 0xe000;
			return undefined;
		}
		const key = this.#prefix | (code & 0x7f);
		this.#prefix = 0;
		if ((code & 0x80) !== 0) {
			this.#down.delete(key);
			return undefined;
		}
		const repeats = this.#down.has(key);
		this.#down.add(key);
		return repeats ? undefined : key;
	}
}
