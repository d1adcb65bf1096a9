/**
 * What a drive has the host do, kept within bounds whatever its guest does. A guest may reset the drive in the middle
 * of a request and ask for the next at once, as fast as it can; the host's disk may be slow. So:
 * - what a reset leaves behind is finished, or never begun, before anything new begins: nothing piles up, and no old
 *   write overtakes a new one;
 * - one flush is under way at a time; those that come meanwhile share the next.
 * Answers to requests of before a reset never come.
 */
import type { BlockImage } from '../../src/core/index.ts';

interface Operation {
	readonly start: () => Promise<void> | undefined;
	readonly resolve: () => void;
	readonly reject: (error: unknown) => void;
}

export class BlockGuard {
	#image: BlockImage | undefined;
	/** Operations that the host is at: for the guest as it is, and left behind by resets. One of the two is zero. */
	#running = 0;
	#stale = 0;
	/** Counts resets. */
	#generation = 0;
	/** What begins when nothing stale is left. */
	#waiting: Operation[] = [];
	/** The flush that is under way, and the one after it. */
	#flush: Promise<void> | undefined;
	#nextFlush: Promise<void> | undefined;

	constructor(image: BlockImage | undefined) {
		this.#image = image;
	}

	get image(): BlockImage | undefined {
		return this.#image;
	}
	/** Bytes; 0 without an image. */
	get size(): number {
		return this.#image?.size ?? 0;
	}
	get readOnly(): boolean {
		return this.#image?.readOnly ?? true;
	}
	/** Whether anything comes of a discard. */
	get discards(): boolean {
		return this.#image?.discard !== undefined && !this.readOnly;
	}

	/** Another medium, or none: what was asked of the old one is given up. */
	insert(image: BlockImage | undefined): void {
		this.abandon();
		this.#image = image;
	}

	/** As BlockImage's. */
	read(offset: number, into: Uint8Array): Promise<void> | undefined {
		return this.#submit((image) => image.read(offset, into));
	}

	write(offset: number, from: Uint8Array): Promise<void> | undefined {
		return this.#submit((image) => image.write(offset, from));
	}

	discard(offset: number, length: number): Promise<void> | undefined {
		return this.discards ? this.#submit((image) => image.discard?.(offset, length)) : undefined;
	}

	flush(): Promise<void> | undefined {
		if (this.#flush) {
			this.#nextFlush ??= this.#flush.then(this.#flushAgain, this.#flushAgain);
			return this.#nextFlush;
		}
		const work = this.#submit((image) => image.flush());
		if (work) {
			this.#flush = work;
			const over = () => {
				if (this.#flush === work) this.#flush = undefined;
			};
			work.then(over, over);
		}
		return work;
	}

	/**
	 * A reset: the guest waits for nothing any more. Whether the host goes on with something, and so with the bytes
	 * that it was lent.
	 */
	abandon(): boolean {
		const lent = this.#running > 0;
		this.#generation++;
		this.#stale += this.#running;
		this.#running = 0;
		this.#waiting = [];
		this.#flush = undefined;
		this.#nextFlush = undefined;
		this.#image?.cancelHeld?.();
		return lent;
	}

	readonly #flushAgain = (): Promise<void> | undefined => {
		this.#nextFlush = undefined;
		return this.flush();
	};

	#submit(work: (image: BlockImage) => Promise<void> | undefined): Promise<void> | undefined {
		const image = this.#image;
		if (!image) return Promise.reject(new Error('no medium'));
		const start = () => work(image);
		if (this.#stale > 0) return new Promise((resolve, reject) => this.#waiting.push({ start, resolve, reject }));
		const begun = start();
		return begun && new Promise((resolve, reject) => this.#follow(begun, { start, resolve, reject }));
	}

	#follow(begun: Promise<void>, { resolve, reject }: Operation): void {
		const generation = this.#generation;
		this.#running++;
		begun.then(
			() => this.#ended(generation, resolve),
			(error: unknown) => this.#ended(generation, () => reject(error)),
		);
	}

	#ended(generation: number, tell: () => void): void {
		if (generation === this.#generation) {
			this.#running--;
			tell();
		} else if (--this.#stale === 0) {
			for (const operation of this.#waiting.splice(0)) {
				const begun = operation.start();
				if (begun) this.#follow(begun, operation);
				else operation.resolve();
			}
		}
	}
}
