/** A run of bytes of known length, put together from a stream that is cut anywhere. */
export class Gather {
	/** Whole once `full`. */
	readonly bytes: Uint8Array<ArrayBuffer>;
	#fill = 0;

	constructor(length: number) {
		this.bytes = new Uint8Array(length);
	}

	get full(): boolean {
		return this.#fill === this.bytes.length;
	}

	/** Takes what it still lacks from `data`, from `at` on; returns how many bytes that were. */
	take(data: Uint8Array, at: number): number {
		const count = Math.min(this.bytes.length - this.#fill, data.length - at);
		this.bytes.set(data.subarray(at, at + count), this.#fill);
		this.#fill += count;
		return count;
	}

	/** Begins anew. */
	clear(): void {
		this.#fill = 0;
	}
}
