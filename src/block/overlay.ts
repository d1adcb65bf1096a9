/**
 * A throw-away layer over an image (--snapshot): the guest writes, the image below stays as it is. What was written
 * lives in a sparse file that has no name any more, so the host takes it back however the process ends.
 */
import { open, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { type BlockImage, TsvmError } from '../core/index.ts';
import { readAt, writeAt } from './file-io.ts';
import { closedError } from './raw.ts';

/** Granule of copying. */
const CLUSTER = 64 * 1024;

/**
 * `base` is read only through this layer from now on and closed with it. The file goes to `directory`: $TMPDIR or
 * /var/tmp, which unlike /tmp is seldom held in memory.
 */
export async function overlay(base: BlockImage, directory = process.env.TMPDIR ?? '/var/tmp'): Promise<BlockImage> {
	const path = join(
		directory,
		`tsvm-overlay-${process.pid}-${Date.now().toString(36)}${Math.random().toString(36).slice(2)}`,
	);
	const handle = await open(path, 'wx+', 0o600).catch((error: NodeJS.ErrnoException) => {
		throw new TsvmError(
			'overlay',
			`no temporary file for --snapshot in ${directory}: ${error.message}`,
			'set TMPDIR to a directory with room',
		);
	});
	await unlink(path);
	return new Overlay(base, handle.fd, () => handle.close());
}

class Overlay implements BlockImage {
	readonly size: number;
	readonly readOnly = false;
	readonly #base: BlockImage;
	readonly #fd: number;
	readonly #closeFile: () => Promise<void>;
	/** One bit a cluster: it lives in the file. */
	readonly #own: Uint8Array;
	/** Copies under way when the base takes its time: cluster to its end. */
	readonly #copying = new Map<number, Promise<void>>();
	#closed: Promise<void> | undefined;

	constructor(base: BlockImage, fd: number, closeFile: () => Promise<void>) {
		this.#base = base;
		this.size = base.size;
		this.#fd = fd;
		this.#closeFile = closeFile;
		this.#own = new Uint8Array(Math.ceil(base.size / CLUSTER / 8));
	}

	read(offset: number, into: Uint8Array): Promise<void> | undefined {
		if (this.#closed) return Promise.reject(closedError());
		const waits: Promise<void>[] = [];
		for (let at = 0; at < into.length; ) {
			const own = this.#has(Math.floor((offset + at) / CLUSTER));
			const end = this.#runEnd(offset + at, offset + into.length, own) - offset;
			const part = into.subarray(at, end);
			const work = own ? readAt(this.#fd, offset + at, part) : this.#base.read(offset + at, part);
			if (work) waits.push(work);
			at = end;
		}
		return all(waits);
	}

	write(offset: number, from: Uint8Array): Promise<void> | undefined {
		if (this.#closed) return Promise.reject(closedError());
		const first = Math.floor(offset / CLUSTER);
		const last = Math.floor((offset + from.length - 1) / CLUSTER);
		const waits: Promise<void>[] = [];
		// Only the clusters at the ends can be written in part.
		for (const cluster of first === last ? [first] : [first, last]) {
			const start = cluster * CLUSTER;
			const whole = offset <= start && offset + from.length >= Math.min(start + CLUSTER, this.size);
			const work = whole || this.#has(cluster) ? this.#copying.get(cluster) : this.#copyUp(cluster);
			if (work) waits.push(work);
		}
		const before = all(waits);
		return before ? before.then(() => this.#writeOwn(offset, from)) : this.#writeOwn(offset, from);
	}

	/** Nothing here is meant to outlive the process. */
	flush(): undefined {
		return undefined;
	}

	close(): Promise<void> {
		this.#closed ??= Promise.all([this.#closeFile(), this.#base.close()]).then(() => {});
		return this.#closed;
	}

	#has(cluster: number): boolean {
		return (this.#own[cluster >> 3] & (1 << (cluster & 7))) !== 0;
	}

	/** Where the clusters from `offset` on stop living in the same place. */
	#runEnd(offset: number, limit: number, own: boolean): number {
		let cluster = Math.floor(offset / CLUSTER) + 1;
		while (cluster * CLUSTER < limit && this.#has(cluster) === own) cluster++;
		return Math.min(limit, cluster * CLUSTER);
	}

	/** Brings a cluster's old content into the file, before part of it is written. */
	#copyUp(cluster: number): Promise<void> | undefined {
		const busy = this.#copying.get(cluster);
		if (busy) return busy;
		const start = cluster * CLUSTER;
		const bytes = new Uint8Array(Math.min(CLUSTER, this.size - start));
		const work = this.#base.read(start, bytes);
		if (!work) return this.#writeOwn(start, bytes);
		const copy = work
			.then(() => this.#writeOwn(start, bytes))
			.finally(() => {
				this.#copying.delete(cluster);
			});
		this.#copying.set(cluster, copy);
		return copy;
	}

	#writeOwn(offset: number, from: Uint8Array): Promise<void> | undefined {
		if (this.#closed) return Promise.reject(closedError());
		const failed = writeAt(this.#fd, offset, from);
		if (failed !== undefined) return failed;
		const last = Math.floor((offset + from.length - 1) / CLUSTER);
		for (let cluster = Math.floor(offset / CLUSTER); cluster <= last; cluster++)
			this.#own[cluster >> 3] |= 1 << (cluster & 7);
		return undefined;
	}
}

function all(waits: readonly Promise<void>[]): Promise<void> | undefined {
	if (waits.length === 0) return undefined;
	return waits.length === 1 ? waits[0] : Promise.all(waits).then(() => {});
}
