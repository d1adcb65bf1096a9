/** Stereo frames on their way from one pace to another. Floats, so that what is mixed later keeps its precision. */
export class FrameFifo {
	readonly capacity: number;
	readonly #samples: Float32Array;
	#read = 0;
	#level = 0;

	/** `capacity` in frames. */
	constructor(capacity: number) {
		this.capacity = capacity;
		this.#samples = new Float32Array(capacity * 2);
	}

	/** Frames in it. */
	get level(): number {
		return this.#level;
	}

	/** False if it is full. */
	push(left: number, right: number): boolean {
		if (this.#level === this.capacity) return false;
		let at = this.#read + this.#level++;
		if (at >= this.capacity) at -= this.capacity;
		this.#samples[at * 2] = left;
		this.#samples[at * 2 + 1] = right;
		return true;
	}

	/** Takes up to `count` frames to the start of `into`; returns how many there were. */
	take(into: Float32Array, count: number): number {
		const taken = Math.min(count, this.#level);
		const first = Math.min(taken, this.capacity - this.#read);
		into.set(this.#samples.subarray(this.#read * 2, (this.#read + first) * 2));
		if (taken > first) into.set(this.#samples.subarray(0, (taken - first) * 2), first * 2);
		this.drop(taken);
		return taken;
	}

	drop(count: number): void {
		const dropped = Math.min(count, this.#level);
		this.#read = (this.#read + dropped) % this.capacity;
		this.#level -= dropped;
	}

	clear(): void {
		this.drop(this.#level);
	}
}
