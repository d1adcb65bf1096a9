/** Work that devices put off until the core is at a safe place, and what becomes of exceptions that devices let out. */
import { guestError } from '../../core/index.ts';
import type { Faults } from './access.ts';

/** Log lines for exceptions that one device lets out. */
const MOST_FAULTS = 8;

export class FaultLog implements Faults {
	readonly #counts = new Map<string, number>();

	caught(name: string, error: unknown): void {
		const count = (this.#counts.get(name) ?? 0) + 1;
		this.#counts.set(name, count);
		if (count > MOST_FAULTS) return;
		const more = count === MOST_FAULTS ? ' (not said again)' : '';
		guestError(name, `${error instanceof Error ? error.message : String(error)}${more}`);
	}
}

/** What waits is done for so long at one safe place, ms; the rest at the next one, so that sockets have their turn. */
const MOST_MS = 1;
/** What a piece of work counts as where the host's time must not decide anything, ms. */
const VIRTUAL_MS = 1 / 64;

export class Deferred {
	#works: (() => void)[] = [];
	/** Pieces of work done so far. */
	#done = 0;
	readonly #faults: Faults;
	readonly #now: () => number;

	/** Time is the host's if `real`, otherwise the number of works. */
	constructor(faults: Faults, real: boolean) {
		this.#faults = faults;
		this.#now = real ? () => performance.now() : () => this.#done * VIRTUAL_MS;
	}

	get waiting(): boolean {
		return this.#works.length > 0;
	}

	add(work: () => void): void {
		this.#works.push(work);
	}

	/** Runs what waits, in its order, while there is time; what that puts off waits for the next time. */
	run(): void {
		if (this.#works.length === 0) return;
		const works = this.#works;
		this.#works = [];
		const end = this.#now() + MOST_MS;
		let next = 0;
		do {
			this.#done++;
			try {
				works[next++]();
			} catch (error) {
				this.#faults.caught('deferred work', error);
			}
		} while (next < works.length && this.#now() < end);
		if (next < works.length) this.#works = [...works.slice(next), ...this.#works];
	}

	clear(): void {
		this.#works = [];
	}
}
