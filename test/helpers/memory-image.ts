/** A disk image in memory that notes every request and can take its time or fail. */
import type { BlockImage } from '../../src/core/index.ts';

type Kind = 'read' | 'write' | 'flush' | 'discard';

export class MemoryImage implements BlockImage {
	readonly bytes: Uint8Array;
	readOnly = false;
	/** What was asked, in order: `read 512+1024`, `write …`, `flush`; with ` done` when it ended later. */
	readonly log: string[] = [];
	/** Requests wait until the test lets them go. */
	slow = false;
	/** The next request of this kind fails. */
	failNext: Kind | undefined;
	readonly #waiting: (() => void)[] = [];

	constructor(size: number) {
		this.bytes = new Uint8Array(size);
	}

	/** Byte `i` of sector `s` is a mixture of both, so that misplaced data shows. */
	static patterned(size: number): MemoryImage {
		const image = new MemoryImage(size);
		for (let i = 0; i < size; i++) image.bytes[i] = (i >> 9) * 7 + i * 13;
		return image;
	}

	get size(): number {
		return this.bytes.length;
	}

	read(offset: number, into: Uint8Array): Promise<void> | undefined {
		return this.#request('read', `read ${offset}+${into.length}`, () =>
			into.set(this.bytes.subarray(offset, offset + into.length)),
		);
	}

	write(offset: number, from: Uint8Array): Promise<void> | undefined {
		return this.#request('write', `write ${offset}+${from.length}`, () => this.bytes.set(from, offset));
	}

	flush(): Promise<void> | undefined {
		return this.#request('flush', 'flush', () => {});
	}

	discard(offset: number, length: number): Promise<void> | undefined {
		return this.#request('discard', `discard ${offset}+${length}`, () => this.bytes.fill(0, offset, offset + length));
	}

	close(): Promise<void> {
		this.log.push('close');
		return Promise.resolve();
	}

	/** Lets the oldest waiting request end, and what follows from it happen. */
	async release(): Promise<void> {
		this.#waiting.shift()?.();
		await new Promise((resolve) => setImmediate(resolve));
	}

	get waiting(): number {
		return this.#waiting.length;
	}

	#request(kind: Kind, entry: string, work: () => void): Promise<void> | undefined {
		this.log.push(entry);
		if (this.failNext === kind) {
			this.failNext = undefined;
			return Promise.reject(Object.assign(new Error('input/output error'), { code: 'EIO' }));
		}
		if (!this.slow) {
			work();
			return undefined;
		}
		return new Promise((resolve) => {
			this.#waiting.push(() => {
				work();
				this.log.push(`${entry} done`);
				resolve();
			});
		});
	}
}
