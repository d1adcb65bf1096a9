/** A serial port that a program holds the other end of: for tests and for the public API. */
import type { CharBackend, CharDevice } from '../core/index.ts';
import { Inbound } from './inbound.ts';

/** Of the guest's output, the last so many characters are kept. */
const KEEP = 4 * 1024 * 1024;

/** A pattern that spans more than this may be missed when it comes in pieces. */
const LOOK_BACK = 8192;

interface Waiter {
	readonly pattern: RegExp | string;
	/** Characters before this one have been looked at, or are not wanted. */
	from: number;
	readonly resolve: (match: string) => void;
}

export class MemoryChar implements CharBackend {
	readonly #decoder = new TextDecoder('utf-8', { fatal: false });
	readonly #inbound = new Inbound();
	readonly #waiters = new Set<Waiter>();
	#text = '';
	/** Bytes not decoded yet: serial ports bring them one by one. */
	#bytes: number[] = [];
	#scheduled = false;
	/** Decoded, and not yet given to onOutput. */
	#undelivered = '';
	/** Characters that went out of `#text` at its front. */
	#dropped = 0;
	/** Called with the output of each turn of the event loop. */
	onOutput: ((text: string) => void) | undefined;

	/** Everything the guest has said, as far as it is kept. */
	get text(): string {
		this.#decode();
		return this.#text;
	}
	/** A place to wait from: characters said so far. */
	get position(): number {
		this.#decode();
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
				reject(new Error(`no ${pattern} within ${timeout} ms; the last lines:\n${this.text.slice(-2000)}`));
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
			this.#decode();
			this.#check(waiter);
		});
	}

	attach(device: CharDevice): void {
		this.#inbound.device = device;
	}

	write(bytes: Uint8Array): number {
		for (const byte of bytes) this.#bytes.push(byte);
		if (!this.#scheduled) {
			this.#scheduled = true;
			setImmediate(() => {
				this.#scheduled = false;
				this.#decode();
				const said = this.#undelivered;
				this.#undelivered = '';
				if (said !== '') this.onOutput?.(said);
				for (const waiter of this.#waiters) this.#check(waiter);
			});
		}
		return bytes.length;
	}

	ready(): void {
		this.#inbound.ready();
	}

	close(): void {}

	/** Adds what came since. */
	#decode(): void {
		if (this.#bytes.length > 0) {
			const text = this.#decoder.decode(Uint8Array.from(this.#bytes), { stream: true });
			this.#bytes = [];
			this.#text += text;
			this.#undelivered += text;
			if (this.#text.length > KEEP * 2) {
				this.#dropped += this.#text.length - KEEP;
				this.#text = this.#text.slice(-KEEP);
			}
		}
	}

	#check(waiter: Waiter): void {
		const said = this.#text.slice(Math.max(0, waiter.from - this.#dropped));
		const match =
			typeof waiter.pattern === 'string'
				? said.includes(waiter.pattern) && waiter.pattern
				: waiter.pattern.exec(said)?.[0];
		if (match === undefined || match === false) {
			waiter.from = Math.max(waiter.from, this.#dropped + this.#text.length - LOOK_BACK);
			return;
		}
		this.#waiters.delete(waiter);
		waiter.resolve(match);
	}
}
