/**
 * What a client still has to play, as far as the server can know. Clients such as spice-gtk with GStreamer play each
 * packet as soon as they can and hold nothing back by themselves, so a server that is late by a little is heard at once.
 * So before the first packet the server sends some silence, which stays between the two from then on: the cushion. It
 * grows when it was too small and shrinks again in quiet times.
 */

/** ms: at first and in quiet times, and at most: both are delay that a listener may notice. */
const LEAST = 40;
const MOST = 140;
/** Played without running dry before the next start makes do with less, ms. */
const CALM = 30_000;

export class Cushion {
	readonly #now: () => number;
	/** When the client will have played everything, ms modulo 2^32; undefined before anything was sent. */
	#until: number | undefined;
	#target = LEAST;
	#calm = 0;
	#dry = 0;

	/** `now`: a clock, ms modulo 2^32. */
	constructor(now: () => number) {
		this.#now = now;
	}

	/** Times that the client ran dry in the middle. */
	get dry(): number {
		return this.#dry;
	}

	/** What the client has left to play, ms. */
	get left(): number {
		return this.#until === undefined ? 0 : Math.max(0, (this.#until - this.#now()) | 0);
	}

	/** A stream begins or ends: the client drops what it has. */
	restart(): void {
		this.#until = undefined;
	}

	/** Silence to send ahead of `waiting` ms of sound, ms. */
	missing(waiting: number): number {
		if (this.left > 0) return 0;
		if (this.#until === undefined) return Math.max(0, this.#target - waiting);
		const late = (this.#now() - this.#until) | 0;
		if (late > 0) this.#ranDry(late);
		// In the middle more is on its way: what the server is late by is what the client will have in hand.
		return Math.max(0, LEAST - waiting);
	}

	/** `ms` of sound went out. */
	sent(ms: number): void {
		this.#until = (this.#now() + this.left + ms) >>> 0;
		this.#calm += ms;
		if (this.#calm < CALM) return;
		this.#calm = 0;
		this.#target = Math.max(LEAST, this.#target - 20);
	}

	#ranDry(late: number): void {
		this.#dry++;
		this.#calm = 0;
		this.#target = Math.min(MOST, this.#target + late);
	}
}
