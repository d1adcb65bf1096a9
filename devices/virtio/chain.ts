/** Buffers that a driver made available together: guest memory in pieces, checked when the chain was read. */
import type { Dma, StateValue } from '../../src/core/index.ts';

/** The driver's ring makes no sense. The device needs a reset. */
export class RingError extends Error {
	constructor(message: string) {
		super(message);
		this.name = 'RingError';
	}
}

/** As QEMU's VIRTQUEUE_MAX_SIZE: no queue is longer, and no chain. */
export const MAX_QUEUE_SIZE = 1024;

/** Pieces of guest memory read or written as one range. */
export class Segments {
	readonly #dma: Dma;
	/** Address and length of each piece, alternating. */
	readonly #pieces: number[] = [];
	/** Bytes in all. Pieces may overlap, so this can be more than there is memory. */
	length = 0;

	constructor(dma: Dma) {
		this.#dma = dma;
	}

	get count(): number {
		return this.#pieces.length / 2;
	}

	/** Throws RingError when the piece is empty or not in RAM. */
	add(address: number, length: number): void {
		if (length === 0) throw new RingError('a buffer is empty');
		if (address + length > this.#dma.size)
			throw new RingError(`a buffer of ${length} bytes at 0x${address.toString(16)} is not in memory`);
		this.#pieces.push(address, length);
		this.length += length;
	}

	/** Fills `into` from byte `offset` on; returns how many bytes there were. */
	read(offset: number, into: Uint8Array): number {
		let done = 0;
		this.#each(offset, into.length, (address, length) => {
			into.set(this.#dma.view(address, length), done);
			done += length;
		});
		return done;
	}

	/** A copy of `length` bytes from `offset` on, fewer where the range ends. */
	slice(offset: number, length: number): Uint8Array {
		const bytes = new Uint8Array(Math.max(0, Math.min(length, this.length - offset)));
		this.read(offset, bytes);
		return bytes;
	}

	/** Writes `from` at byte `offset` on; returns how many bytes fitted. */
	write(offset: number, from: Uint8Array): number {
		let done = 0;
		this.#each(offset, from.length, (address, length) => {
			this.#dma.write(address, from.subarray(done, done + length));
			done += length;
		});
		return done;
	}

	/** Address and length of every piece. */
	each(visit: (address: number, length: number) => void): void {
		for (let i = 0; i < this.#pieces.length; i += 2) visit(this.#pieces[i], this.#pieces[i + 1]);
	}

	#each(offset: number, length: number, visit: (address: number, length: number) => void): void {
		let skip = offset;
		let left = length;
		for (let i = 0; i < this.#pieces.length && left > 0; i += 2) {
			const size = this.#pieces[i + 1];
			if (skip >= size) {
				skip -= size;
				continue;
			}
			const part = Math.min(size - skip, left);
			visit(this.#pieces[i] + skip, part);
			skip = 0;
			left -= part;
		}
	}

	save(): number[] {
		return [...this.#pieces];
	}
}

export class Chain {
	/** What the driver knows it by: head index in a split ring, buffer id in a packed one. */
	readonly id: number;
	/** Descriptors that it takes up in the ring. */
	readonly slots: number;
	/** What the device reads. */
	readonly out: Segments;
	/** What the device writes. */
	readonly in: Segments;

	constructor(dma: Dma, id: number, slots: number) {
		this.id = id;
		this.slots = slots;
		this.out = new Segments(dma);
		this.in = new Segments(dma);
	}

	save(): { [key: string]: StateValue } {
		return { id: this.id, slots: this.slots, out: this.out.save(), in: this.in.save() };
	}

	/** Throws RingError when the saved pieces do not lie in memory. */
	static restore(dma: Dma, state: StateValue | undefined): Chain {
		const saved = state as ReturnType<Chain['save']>;
		const chain = new Chain(dma, saved.id as number, saved.slots as number);
		for (const name of ['out', 'in'] as const) {
			const pieces = saved[name] as number[];
			for (let i = 0; i < pieces.length; i += 2) chain[name].add(pieces[i], pieces[i + 1]);
		}
		return chain;
	}
}

/** Flags of a descriptor; the first three are the same in both kinds of ring (2.7.5, 2.8.2). */
export const DESC_NEXT = 1;
export const DESC_WRITE = 2;
export const DESC_INDIRECT = 4;
export const DESC_SIZE = 16;

/** Puts the buffers of one chain together; nothing in it can be longer or elsewhere than the rules allow. */
export class ChainReader {
	readonly #dma: Dma;
	readonly out: [address: number, length: number][] = [];
	readonly in: [address: number, length: number][] = [];

	constructor(dma: Dma) {
		this.#dma = dma;
	}

	/** The buffer of the descriptor at `at`. */
	buffer(at: number, flags: number): void {
		if (this.out.length + this.in.length >= MAX_QUEUE_SIZE) throw new RingError('a chain is too long');
		const piece: [number, number] = [this.address(at), this.#dma.read32(at + 8)];
		if (flags & DESC_WRITE) this.in.push(piece);
		else if (this.in.length > 0) throw new RingError('a buffer to read comes after one to write');
		else this.out.push(piece);
	}

	/** Where the indirect table of the descriptor at `at` lies, and how many descriptors it has. */
	table(at: number): { readonly address: number; readonly count: number } {
		const length = this.#dma.read32(at + 8);
		const address = this.address(at);
		if (length === 0 || length % DESC_SIZE !== 0) throw new RingError(`an indirect table has ${length} bytes`);
		if (length / DESC_SIZE > MAX_QUEUE_SIZE) throw new RingError('an indirect table is too long');
		if (address + length > this.#dma.size) throw new RingError('an indirect table is not in memory');
		return { address, count: length / DESC_SIZE };
	}

	address(at: number): number {
		return this.#dma.read32(at + 4) * 2 ** 32 + this.#dma.read32(at);
	}

	chain(id: number, slots: number): Chain {
		const chain = new Chain(this.#dma, id, slots);
		for (const [address, length] of this.out) chain.out.add(address, length);
		for (const [address, length] of this.in) chain.in.add(address, length);
		return chain;
	}
}
