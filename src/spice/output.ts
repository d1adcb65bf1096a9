/**
 * What waits to be written to one connection. Everything sent during one turn of the event loop leaves together: small
 * pieces copied into one, large ones by reference. At most one batch is in the stream's hands, so its completion is a
 * sign of life even in the middle of a large picture.
 *
 * Over TLS no record may hold the end of one message and the start of the next: spice-gtk waits for its socket to
 * become readable before each message and does not see what OpenSSL has already taken from it. There each message is a
 * batch of its own.
 */
import type { Duplex } from 'node:stream';

/** Bytes handed to the stream at a time. */
const BATCH = 256 * 1024;
/** Pieces below this are cheaper to copy than to pass to the kernel one by one. */
const SMALL = 4096;
/** Above this backlog a sender should wait. */
const FULL = 128 * 1024;
/** What one piece costs beyond its bytes: an array's header, its buffer's and its allocation's. */
export const PIECE_COST = 512;

/** Stands between two messages; parts of a message are never empty. */
const END = new Uint8Array(0);

export class OutputQueue {
	readonly #stream: Duplex;
	readonly #progress: () => void;
	/** Batches end where messages end. */
	readonly #apart: boolean;
	#parts: Uint8Array[] = [];
	/** Index of the first part not yet handed on; the array is cut only now and then. */
	#next = 0;
	#bytes = 0;
	/** Pieces not yet handed on. */
	#pieces = 0;
	#inFlight = 0;
	#scheduled = false;
	#ended = false;

	/** `apart` keeps messages in TLS records of their own; `progress` is called whenever bytes were passed on. */
	constructor(stream: Duplex, apart: boolean, progress: () => void) {
		this.#stream = stream;
		this.#apart = apart;
		this.#progress = progress;
	}

	/** Bytes not yet with the operating system. */
	get bytes(): number {
		return this.#bytes;
	}
	/** Bytes of memory that what waits takes, about. */
	get cost(): number {
		return this.#bytes + this.#pieces * PIECE_COST;
	}
	get full(): boolean {
		return this.#bytes >= FULL;
	}

	push(header: Uint8Array, parts: readonly Uint8Array[]): void {
		if (this.#ended) return;
		this.#add(header);
		for (const part of parts) this.#add(part);
		if (this.#apart) this.#parts.push(END);
		if (!this.#scheduled && this.#inFlight === 0) {
			this.#scheduled = true;
			process.nextTick(() => {
				this.#scheduled = false;
				this.#flush();
			});
		}
	}

	/** Writes what waits and `last`, then closes; after `patience` ms, or if too much waits, it closes in any case. */
	end(last: readonly Uint8Array[], patience: number): void {
		if (this.#ended) return;
		this.#ended = true;
		const stream = this.#stream;
		if (stream.destroyed || stream.writableEnded) return;
		if (this.full) {
			stream.destroy();
			return;
		}
		for (const part of last) this.#add(part);
		const rest = this.#parts.splice(this.#next);
		this.#parts = [];
		this.#next = 0;
		const timer = setTimeout(() => stream.destroy(), patience);
		stream.once('close', () => clearTimeout(timer));
		stream.end(Buffer.concat(rest));
	}

	#add(part: Uint8Array): void {
		if (part.length === 0) return;
		this.#parts.push(part);
		this.#bytes += part.length;
		this.#pieces++;
	}

	#flush(): void {
		const stream = this.#stream;
		if (this.#ended || this.#inFlight > 0 || this.#bytes === 0 || stream.destroyed || stream.writableEnded) return;
		const batch = this.#takeBatch();
		const chunks = this.#apart && batch.length > 1 ? [Buffer.concat(batch)] : batch;
		let size = 0;
		for (const chunk of chunks) size += chunk.length;
		this.#inFlight = size;
		const done = (error?: Error | null): void => {
			this.#inFlight = 0;
			this.#bytes -= size;
			if (error) return;
			this.#flush();
			this.#progress();
		};
		if (chunks.length > 1) stream.cork();
		for (let i = 0; i < chunks.length - 1; i++) stream.write(chunks[i]);
		stream.write(chunks[chunks.length - 1], done);
		if (chunks.length > 1) stream.uncork();
	}

	/** The next parts up to BATCH bytes, runs of small ones joined; a part that is too long is cut. */
	#takeBatch(): Uint8Array[] {
		const chunks: Uint8Array[] = [];
		let small: Uint8Array[] = [];
		let room = BATCH;
		const join = (): void => {
			if (small.length > 0) chunks.push(small.length === 1 ? small[0] : Buffer.concat(small));
			small = [];
		};
		while (room > 0 && this.#next < this.#parts.length) {
			const part = this.#parts[this.#next];
			if (part === END) {
				this.#next++;
				if (room < BATCH) break;
				continue;
			}
			const piece = part.length > room ? part.subarray(0, room) : part;
			if (piece.length < part.length) {
				this.#parts[this.#next] = part.subarray(room);
			} else {
				this.#next++;
				this.#pieces--;
			}
			room -= piece.length;
			if (piece.length < SMALL) {
				small.push(piece);
			} else {
				join();
				chunks.push(piece);
			}
		}
		join();
		if (this.#next === this.#parts.length) {
			this.#parts = [];
			this.#next = 0;
		} else if (this.#next > 1024) {
			this.#parts = this.#parts.slice(this.#next);
			this.#next = 0;
		}
		return chunks;
	}
}
