/**
 * Multimedia time for packets of sound. They come in bunches whenever the server's thread had something else to do, so
 * a packet is stamped with the time at which it was due, not with the time at which it was made; and stamps never run
 * backwards, which spice-gtk would not bear.
 */

/**
 * Clients' clocks run this much behind while no sound sets them, ms: room for sound to arrive in. libspice-server's
 * default.
 */
export const MM_TIME_LEAD_MS = 400;

/** Stamps are brought back to the clock after so many packets, by the least that any of them was late. */
const REVIEW = 100;
/** Less than this is left alone, ms. */
const SLIGHT = 20;

export class MediaStamps {
	readonly #now: () => number;
	readonly #step: number;
	#last: number | undefined;
	#next = 0;
	#least = Number.POSITIVE_INFINITY;
	#count = 0;

	/** `now`: the clock, ms modulo 2^32. `step`: what a packet lasts, ms. */
	constructor(now: () => number, step: number) {
		this.#now = now;
		this.#step = step;
	}

	/** The next packet is due now. */
	restart(): void {
		this.#next = this.#notBefore(this.#now());
		this.#least = Number.POSITIVE_INFINITY;
		this.#count = 0;
	}

	next(): number {
		const stamp = this.#next;
		this.#last = stamp;
		this.#next = (stamp + this.#step) >>> 0;
		this.#least = Math.min(this.#least, difference(this.#now(), stamp));
		if (++this.#count === REVIEW) {
			if (Math.abs(this.#least) > SLIGHT) this.#next = this.#notBefore((this.#next + this.#least) >>> 0);
			this.#least = Number.POSITIVE_INFINITY;
			this.#count = 0;
		}
		return stamp;
	}

	#notBefore(time: number): number {
		return this.#last !== undefined && difference(time, this.#last) < 0 ? this.#last : time;
	}
}

/** a - b in a world modulo 2^32. */
function difference(a: number, b: number): number {
	return (a - b) | 0;
}
