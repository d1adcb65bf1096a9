/** A serial port that a program holds the other end of: for tests and for the public API. */
import type { CharBackend, CharDevice } from '../core/index.ts';
import { Inbound } from './inbound.ts';

/** Of the guest's output, the last so many characters are kept. */
const KEEP = 4 * 1024 * 1024;

interface Waiter {
	readonly pattern: RegExp | string;
	readonly from: number;
	readonly resolve: (match: string) => void;
}

export class MemoryChar implements CharBackend {
	readonly #decoder = new TextDecoder('utf-8', { fatal: false });
	readonly #inbound = new Inbound();
	readonly #waiters = new Set<Waiter>();
	#text = '';
	/** Characters that went out of `#text` at its front. */
	#dropped = 0;
	/** Called with each piece of output as it comes. */
	onOutput: ((text: string) => void) | undefined;

	/** Everything the guest has said, as far as it is kept. */
	get text(): string {
		return this.#text;
	}
	/** A place to wait from: characters said so far. */
	get position(): number {
		return this.#dropped + this.#text.length;
	}

	/** The guest reads this as if it came over the line. It waits until the guest takes it. */
	send(input: string | Uint8Array): void {
		this.#inbound.push(typeof input === 'string' ? new TextEncoder().encode(input) : input);
	}

	/**
	 * Settles with the first match in what was said from `from` on (default: from the beginning).
	 * Rejects after `timeout` ms with an Error that holds the last lines.
	 */
	waitFor(pattern: RegExp | string, timeout = 60_000, from = 0): Promise<string> {
		return new Promise((resolve, reject) => {
			const timer = setTimeout(() => {
				this.#waiters.delete(waiter);
				reject(new Error(`no ${pattern} within ${timeout} ms; the last lines:\n${this.#text.slice(-2000)}`));
			}, timeout);
			const waiter: Waiter = {
				pattern,
				from,
				resolve: (match) => {
					clearTimeout(timer);
					resolve(match);
				},
			};
			this.#waiters.add(waiter);
			this.#check(waiter);
		});
	}

	attach(device: CharDevice): void {
		this.#inbound.device = device;
	}

	write(bytes: Uint8Array): number {
		const text = this.#decoder.decode(bytes, { stream: true });
		this.#text += text;
		// Cutting rarely keeps it cheap.
		if (this.#text.length > KEEP * 2) {
			this.#dropped += this.#text.length - KEEP;
			this.#text = this.#text.slice(-KEEP);
		}
		this.onOutput?.(text);
		for (const waiter of this.#waiters) this.#check(waiter);
		return bytes.length;
	}

	ready(): void {
		this.#inbound.ready();
	}

	close(): void {}

	#check(waiter: Waiter): void {
		const said = this.#text.slice(Math.max(0, waiter.from - this.#dropped));
		const match =
			typeof waiter.pattern === 'string'
				? said.includes(waiter.pattern) && waiter.pattern
				: waiter.pattern.exec(said)?.[0];
		if (match === undefined || match === false) return;
		this.#waiters.delete(waiter);
		waiter.resolve(match);
	}
}
