/** Lines for the log that a client can cause: a few are shown, then only how many more there were. */

const BURST = 5;
const REFILL_MS = 1000;

export class WarningLimit {
	readonly #write: (message: string) => void;
	readonly #now: () => number;
	#tokens = BURST;
	#last: number;
	#suppressed = 0;

	/** `now` in ms. */
	constructor(write: (message: string) => void, now: () => number = () => performance.now()) {
		this.#write = write;
		this.#now = now;
		this.#last = now();
	}

	warn(message: string): void {
		const now = this.#now();
		const gained = Math.floor((now - this.#last) / REFILL_MS);
		if (gained > 0) {
			this.#tokens = Math.min(BURST, this.#tokens + gained);
			this.#last = now;
		}
		if (this.#tokens === 0) {
			this.#suppressed++;
			return;
		}
		this.#tokens--;
		const more = this.#suppressed > 0 ? ` (and ${this.#suppressed} more like it)` : '';
		this.#suppressed = 0;
		this.#write(message + more);
	}
}
