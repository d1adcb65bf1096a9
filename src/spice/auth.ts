/**
 * Tickets: the client encrypts the password with a public key that the link reply carries (RSA-1024, OAEP with SHA-1,
 * the password and a NUL). SPICE protocol, "Link": password checks come before any channel exists.
 */
import { constants, createHash, generateKeyPair, type KeyObject, privateDecrypt, timingSafeEqual } from 'node:crypto';
import { promisify } from 'node:util';
import { TsvmError } from '../core/index.ts';
import { MAX_PASSWORD_BYTES } from './protocol/link.ts';

const generate = promisify(generateKeyPair);

/** After so many tickets, or so many ms, a key is replaced: what it remembers stays small, and what it opens is little. */
const MOST_TICKETS = 1024;
const MOST_AGE_MS = 600_000;

/**
 * A key for the tickets of many links. Each ticket counts once, as a ticket overheard could be used again: OAEP makes
 * no two tickets alike, and nobody can change one without the password.
 */
export class TicketKey {
	/** DER SubjectPublicKeyInfo, 162 bytes. */
	readonly publicKey: Uint8Array;
	readonly #privateKey: KeyObject;
	readonly #seen = new Set<string>();

	constructor(publicKey: Uint8Array, privateKey: KeyObject) {
		this.publicKey = publicKey;
		this.#privateKey = privateKey;
	}

	/** Tickets that have been used. */
	get used(): number {
		return this.#seen.size;
	}

	/** Uses a ticket up, whether or not anybody looks into it. False: it was used before. */
	use(ticket: Uint8Array): boolean {
		const name = digest(ticket).toString('base64');
		if (this.#seen.has(name)) return false;
		this.#seen.add(name);
		return true;
	}

	/** The password of a decrypted ticket, up to its NUL; undefined if the ticket was not made with this key. */
	open(ticket: Uint8Array): Buffer | undefined {
		try {
			const padding = constants.RSA_PKCS1_OAEP_PADDING;
			const plain = privateDecrypt({ key: this.#privateKey, padding, oaepHash: 'sha1' }, ticket);
			const end = plain.indexOf(0);
			return end < 0 ? plain : plain.subarray(0, end);
		} catch {
			return undefined;
		}
	}
}

/** The key for new links, made on Node's own threads and replaced ahead of its end: a link waits for the first one only. */
export class TicketKeys {
	readonly #now: () => number;
	#key: TicketKey | undefined;
	#made = 0;
	readonly #waiting = new Set<(key: TicketKey) => void>();
	#making = false;
	#closed = false;

	/** `now` in ms, never set back. */
	constructor(now: () => number) {
		this.#now = now;
	}

	/** Hands over the key, now or when it is made; returns the way to stop waiting for it. */
	take(use: (key: TicketKey) => void): () => void {
		const key = this.#key;
		if (key === undefined || key.used >= MOST_TICKETS || this.#now() - this.#made >= MOST_AGE_MS) this.#make();
		if (key !== undefined && key.used < 2 * MOST_TICKETS) use(key);
		else this.#waiting.add(use);
		return () => this.#waiting.delete(use);
	}

	close(): void {
		this.#closed = true;
		this.#waiting.clear();
	}

	#make(): void {
		if (this.#making || this.#closed) return;
		this.#making = true;
		generate('rsa', { modulusLength: 1024 }).then(
			({ publicKey, privateKey }) => {
				this.#making = false;
				this.#made = this.#now();
				this.#key = new TicketKey(publicKey.export({ type: 'spki', format: 'der' }), privateKey);
				for (const use of this.#waiting) {
					this.#waiting.delete(use);
					use(this.#key);
				}
			},
			() => {
				// Out of memory or entropy: whoever waits runs into the link's time limit, the next one tries again.
				this.#making = false;
			},
		);
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
		// As clients do that have not asked their user yet.
		if (password?.length === 0) return 'no password given';
		if (!right || password === undefined) return 'wrong password';
		if (this.#now() >= this.#expires) return 'the password has expired';
		return undefined;
	}
}

function digest(bytes: Uint8Array): Buffer {
	return createHash('sha256').update(bytes).digest();
}
