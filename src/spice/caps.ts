/** Capability bits as SPICE link messages carry them: an array of 32-bit words, bit n of the whole is capability n. */

export class CapSet {
	/** The words as on the wire. */
	readonly words: readonly number[];

	constructor(words: readonly number[]) {
		this.words = words;
	}

	/** The set that holds exactly the given capability numbers. */
	static of(...caps: readonly number[]): CapSet {
		const words: number[] = [];
		for (const cap of caps) {
			while (words.length <= cap >>> 5) words.push(0);
			words[cap >>> 5] = (words[cap >>> 5] | (1 << (cap & 31))) >>> 0;
		}
		return new CapSet(words);
	}

	has(cap: number): boolean {
		const word = this.words[cap >>> 5];
		return word !== undefined && ((word >>> (cap & 31)) & 1) === 1;
	}

	/** The first `length` bytes of the bit array, zero padded: what QXLRom.client_capabilities wants (58 bytes). */
	bytes(length: number): Uint8Array {
		const out = new Uint8Array(length);
		for (let i = 0; i < length; i++) out[i] = ((this.words[i >>> 2] ?? 0) >>> ((i & 3) * 8)) & 0xff;
		return out;
	}
}
