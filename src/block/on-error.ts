/**
 * What becomes of an operation that failed on the host: QEMU's `werror` and `rerror`. QEMU 7.2, block/block-backend.c,
 * blk_get_error_action.
 */
import type { BlockImage } from '../core/index.ts';

/** qapi/block-core.json, BlockdevOnError. */
export type OnError = 'report' | 'ignore' | 'enospc' | 'stop';

export interface ErrorPolicy {
	/** Of reads. */
	readonly rerror: Exclude<OnError, 'enospc'>;
	/** Of writes, flushes and discards. */
	readonly werror: OnError;
}

/** As in QMP's event BLOCK_IO_ERROR. */
export interface IoError {
	readonly operation: 'read' | 'write';
	/** `stop`: the operation waits for `retry`, and the machine should stand still. */
	readonly action: 'report' | 'ignore' | 'stop';
	/** The file system below the image is full. */
	readonly nospace: boolean;
	/** For people. */
	readonly reason: string;
}

interface Attempt {
	readonly operation: IoError['operation'];
	readonly start: () => Promise<void> | undefined;
	/** Instead of what failed, if that is to be ignored. */
	readonly ignored: () => void;
}

interface Held extends Attempt {
	readonly resolve: (again: Promise<void> | undefined) => void;
	readonly reject: (error: unknown) => void;
	readonly error: unknown;
}

const NO_SPACE = ['ENOSPC', 'EDQUOT'];

/** An image whose failures are dealt with as the operator wishes. */
export class PolicedImage implements BlockImage {
	readonly discard: BlockImage['discard'];
	readonly #image: BlockImage;
	readonly #policy: ErrorPolicy;
	readonly #failed: (error: IoError) => void;
	#held: Held[] = [];
	#closed = false;

	/** `failed` hears of every failure. */
	constructor(image: BlockImage, policy: ErrorPolicy, failed: (error: IoError) => void) {
		this.#image = image;
		this.#policy = policy;
		this.#failed = failed;
		this.discard = image.discard && ((offset, length) => this.#write(() => image.discard?.(offset, length)));
	}

	get size(): number {
		return this.#image.size;
	}
	get readOnly(): boolean {
		return this.#image.readOnly;
	}

	read(offset: number, into: Uint8Array): Promise<void> | undefined {
		// A guest that is told of no failure must not see what the buffer held before.
		const ignored = () => void into.fill(0);
		return this.#try({ operation: 'read', start: () => this.#image.read(offset, into), ignored });
	}

	write(offset: number, from: Uint8Array): Promise<void> | undefined {
		return this.#write(() => this.#image.write(offset, from));
	}

	flush(): Promise<void> | undefined {
		return this.#write(() => this.#image.flush());
	}

	/** Tries again what was held back: the machine goes on. */
	retry(): void {
		for (const held of this.#held.splice(0)) held.resolve(this.#try(held));
	}

	cancelHeld(): void {
		for (const { reject, error } of this.#held.splice(0)) reject(error);
	}

	close(): Promise<void> {
		this.#closed = true;
		this.cancelHeld();
		return this.#image.close();
	}

	#write(start: () => Promise<void> | undefined): Promise<void> | undefined {
		return this.#try({ operation: 'write', start, ignored: () => {} });
	}

	#try(attempt: Attempt): Promise<void> | undefined {
		return attempt.start()?.catch((error: unknown) => this.#judge(attempt, error));
	}

	#judge(attempt: Attempt, error: unknown): Promise<void> | undefined {
		// What comes after the end is no failure of the host.
		if (this.#closed) throw error;
		const { operation } = attempt;
		const nospace = NO_SPACE.includes((error as NodeJS.ErrnoException).code ?? '');
		const wish = operation === 'read' ? this.#policy.rerror : this.#policy.werror;
		const action = wish === 'enospc' ? (nospace ? 'stop' : 'report') : wish;
		const held =
			action === 'stop' &&
			new Promise<void>((resolve, reject) => this.#held.push({ ...attempt, resolve, reject, error }));
		this.#failed({ operation, action, nospace, reason: reasonOf(error) });
		if (held) return held;
		if (action === 'report') throw error;
		attempt.ignored();
		return undefined;
	}
}

/** Of `ENOSPC: no space left on device, write` the part for people. */
function reasonOf(error: unknown): string {
	const text = error instanceof Error ? error.message : String(error);
	return /^[A-Z0-9]+: ([^,]+)(?:, \w+)?$/.exec(text)?.[1] ?? text;
}
