/** Reads what commands point at. All of it is copied once and checked on the way; nothing of it is believed. */
import { type Codec, decode } from '../../../src/core/index.ts';
import { DataChunk } from './layout.ts';
import type { Memslots } from './memslots.ts';

/** A chain longer than this is a loop or an attack; drivers use chunks of at least 16 KiB for large images. */
const MAX_CHUNKS = 8192;

/** A command that cannot be carried out as it stands: it is dropped and the guest goes on. */
export class CommandError extends Error {
	constructor(message: string) {
		super(message);
		this.name = 'CommandError';
	}
}

/** A mistake that a driver cannot make and go on: raises the ERROR interrupt and stops the device until RESET. */
export class GuestBug extends Error {
	constructor(message: string) {
		super(message);
		this.name = 'GuestBug';
	}
}

export class GuestReader {
	readonly slots: Memslots;
	/** Most bytes that one image or cursor may have: no more than there is video memory. */
	readonly limit: number;
	/** Bytes copied since the owner set it to 0. */
	copied = 0;

	constructor(slots: Memslots, limit: number) {
		this.slots = slots;
		this.limit = limit;
	}

	/** A struct at `address`, `skip` bytes on. */
	read<T>(codec: Codec<T>, address: bigint, skip = 0): T {
		return decode(codec, this.slots.resolve(address + BigInt(skip), codec.min));
	}

	/** `count` structs one after another. */
	readArray<T>(codec: Codec<T>, count: number, address: bigint, skip = 0): T[] {
		const bytes = this.slots.resolve(address + BigInt(skip), codec.min * count);
		return Array.from({ length: count }, (_, i) => decode(codec, bytes, i * codec.min));
	}

	/** A copy of `length` bytes in one piece. */
	bytes(address: bigint, length: number): Uint8Array {
		this.#account(length);
		return this.slots.resolve(address, length).slice();
	}

	/** A copy of the first `length` bytes of a chain of QXLDataChunk that begins `skip` bytes behind `address`. */
	chunks(address: bigint, length: number, skip = 0): Uint8Array {
		this.#account(length);
		const parts: Uint8Array[] = [];
		let next = address + BigInt(skip);
		let left = length;
		for (let n = 0; left > 0; n++) {
			if (n === MAX_CHUNKS) throw new CommandError(`a chain of more than ${MAX_CHUNKS} chunks`);
			const chunk = this.read(DataChunk, next);
			const take = Math.min(chunk.dataSize, left);
			parts.push(this.slots.resolve(next + BigInt(DataChunk.min), take));
			left -= take;
			if (left > 0 && chunk.nextChunk === 0n) throw new CommandError(`data ends ${left} bytes before ${length}`);
			next = chunk.nextChunk;
		}
		if (parts.length === 1) return parts[0].slice();
		const out = new Uint8Array(length);
		let at = 0;
		for (const part of parts) {
			out.set(part, at);
			at += part.length;
		}
		return out;
	}

	#account(length: number): void {
		if (length > this.limit) throw new CommandError(`${length} bytes of data are more than the video memory holds`);
		this.copied += length;
	}
}
