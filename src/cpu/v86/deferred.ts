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

export class Deferred {
	#works: (() => void)[] = [];
	readonly #faults: Faults;

	constructor(faults: Faults) {
		this.#faults = faults;
	}

	get waiting(): boolean {
		return this.#works.length > 0;
	}

	add(work: () => void): void {
		this.#works.push(work);
	}

	/** Runs what waits; what that puts off waits for the next time. */
	run(): void {
		if (this.#works.length === 0) return;
		const works = this.#works;
		this.#works = [];
		for (const work of works) {
			try {
				work();
			} catch (error) {
				this.#faults.caught('deferred work', error);
			}
		}
	}

	clear(): void {
		this.#works = [];
	}
}
