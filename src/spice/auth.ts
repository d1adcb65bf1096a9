/**
 * Tickets: the client encrypts the password with a public key that the link reply carries (RSA-1024, OAEP with SHA-1,
 * the password and a NUL). SPICE protocol, "Link": password checks come before any channel exists.
 */
import { constants, createHash, generateKeyPair, type KeyObject, privateDecrypt, timingSafeEqual } from 'node:crypto';
import { promisify } from 'node:util';
import { TsvmError } from '../core/index.ts';
import { MAX_PASSWORD_BYTES } from './protocol/link.ts';

const generate = promisify(generateKeyPair);

export interface TicketKey {
	/** DER SubjectPublicKeyInfo, 162 bytes. */
	readonly publicKey: Uint8Array;
	readonly privateKey: KeyObject;
}

/**
 * Keys made ahead of time, one after the other, on Node's own threads: a link then waits for no key, and a flood of
 * links costs at most one thread. A key serves one ticket, so that a ticket overheard once cannot be used again.
 */
export class TicketKeys {
	#size = 0;
	readonly #ready: TicketKey[] = [];
	readonly #waiting = new Set<(key: TicketKey) => void>();
	#making = false;
	#closed = false;

	/** How many keys to keep ready from now on; without a call none are made before they are asked for. */
	keep(size: number): void {
		this.#size = size;
		this.#refill();
	}

	/** Hands over a key, now or later; returns the way to stop waiting for it. */
	take(use: (key: TicketKey) => void): () => void {
		const key = this.#ready.pop();
		if (key !== undefined) use(key);
		else this.#waiting.add(use);
		this.#refill();
		return () => this.#waiting.delete(use);
	}

	/** Takes back a key with which no ticket was made: the link ended before one came. */
	giveBack(key: TicketKey): void {
		this.#offer(key);
	}

	close(): void {
		this.#closed = true;
		this.#waiting.clear();
		this.#ready.length = 0;
	}

	#offer(key: TicketKey): void {
		if (this.#closed) return;
		const [next] = this.#waiting;
		if (next !== undefined) {
			this.#waiting.delete(next);
			next(key);
		} else if (this.#ready.length < this.#size) {
			this.#ready.push(key);
		}
	}

	#refill(): void {
		if (this.#making || this.#closed || (this.#ready.length >= this.#size && this.#waiting.size === 0)) return;
		this.#making = true;
		generate('rsa', { modulusLength: 1024 }).then(
			({ publicKey, privateKey }) => {
				this.#making = false;
				this.#offer({ publicKey: publicKey.export({ type: 'spki', format: 'der' }), privateKey });
				this.#refill();
			},
			() => {
				// Out of memory or entropy: whoever waits runs into the link's time limit, the next one tries again.
				this.#making = false;
			},
		);
	}
}

/** The password of a decrypted ticket, up to its NUL; undefined if the ticket was not made with this key. */
export function openTicket(key: TicketKey, ticket: Uint8Array): Buffer | undefined {
	try {
		const padding = constants.RSA_PKCS1_OAEP_PADDING;
		const plain = privateDecrypt({ key: key.privateKey, padding, oaepHash: 'sha1' }, ticket);
		const end = plain.indexOf(0);
		return end < 0 ? plain : plain.subarray(0, end);
	} catch {
		return undefined;
	}
}

/** Who may come in: nobody is asked, or a password that may run out. */
export class Ticketing {
	#password: Buffer | undefined;
	#enabled = false;
	/** Calendar time, ms since the epoch. */
	#expires = Number.POSITIVE_INFINITY;
	readonly #now: () => number;

	/** `now` gives calendar time in ms. */
	constructor(now: () => number = Date.now) {
		this.#now = now;
	}

	/** Whether clients are asked for a password at all. */
	get enabled(): boolean {
		return this.#enabled;
	}

	/** From now on this password is asked for. An expiry set earlier stays, as QEMU's set_password has it. */
	setPassword(password: string): void {
		const bytes = Buffer.from(password, 'utf8');
		if (bytes.length === 0)
			throw new TsvmError('spice-password', 'the SPICE password is empty', 'give at least one character', 2);
		if (bytes.length > MAX_PASSWORD_BYTES)
			throw new TsvmError(
				'spice-password',
				`the SPICE password has ${bytes.length} bytes`,
				`the protocol allows ${MAX_PASSWORD_BYTES}`,
				2,
			);
		if (bytes.includes(0))
			throw new TsvmError('spice-password', 'the SPICE password holds a NUL character', 'leave it out', 2);
		this.#password = bytes;
		this.#enabled = true;
	}

	/**
	 * When the password stops working, in QEMU's words: `now`, `never`, `+SECONDS` from now, or seconds since the epoch.
	 */
	expire(when: string): void {
		const match = /^(\+?)(\d+)$/.exec(when);
		if (when === 'now') this.#expires = this.#now();
		else if (when === 'never') this.#expires = Number.POSITIVE_INFINITY;
		else if (match) this.#expires = Number(match[2]) * 1000 + (match[1] === '+' ? this.#now() : 0);
		else throw new TsvmError('spice-expiry', `"${when}" is no time`, 'use now, never, +SECONDS or a Unix time', 2);
	}

	/** Lets everybody in. */
	disable(): void {
		this.#enabled = false;
		this.#password = undefined;
	}

	/** Why the password is refused, or undefined if it is right. Takes as long for a wrong password as for a right one. */
	check(password: Uint8Array | undefined): string | undefined {
		if (!this.#enabled) return undefined;
		const right = timingSafeEqual(digest(password ?? new Uint8Array(0)), digest(this.#password ?? new Uint8Array(0)));
		if (!right || password === undefined || password.length === 0) return 'wrong password';
		if (this.#now() >= this.#expires) return 'the password has expired';
		return undefined;
	}
}

function digest(bytes: Uint8Array): Buffer {
	return createHash('sha256').update(bytes).digest();
}
