/** An image in a drive, and what is said when the host fails it. */
import { type ErrorPolicy, type IoError, openImage, PolicedImage, type RawOptions } from '../block/index.ts';
import { native } from '../spice/codecs/native.ts';
import type { DiskPlan } from './plan.ts';

/** Failures that do not stop the machine are events at most this often, as the guest may cause as many as it likes. */
const EVENT_MS = 1000;

/** What a medium needs of its machine's caller. */
export interface MediumHost extends Pick<RawOptions, 'punchHole' | 'byteLocks' | 'warn'> {
	/** How the operator lets a machine go on that has stopped by itself. */
	readonly resume?: string;
}

export interface MediumOptions extends ErrorPolicy, Pick<DiskPlan, 'file' | 'readonly' | 'snapshot' | 'discard'> {
	/** As messages call it. */
	readonly what: string;
}

/** What the native addon does for images, as far as there is one. */
export function nativeImageCalls(): Pick<MediumHost, 'punchHole' | 'byteLocks'> {
	const { punchHole, lockByte, byteLocked } = native().addon ?? {};
	return { punchHole, byteLocks: lockByte && byteLocked && { lockByte, byteLocked } };
}

export class Medium {
	readonly file: string;
	readonly readOnly: boolean;
	readonly snapshot: boolean;
	readonly image: PolicedImage;
	/** QEMU's io-status: why the machine had to stop, until it goes on. */
	ioStatus: 'ok' | 'nospace' | 'failed' = 'ok';
	/** The host has failed it. */
	onError: ((error: IoError) => void) | undefined;
	readonly #name: string;
	readonly #host: MediumHost;
	/** Operations whose failure is in the log. */
	readonly #logged = new Set<string>();
	#nextEvent = 0;

	/** Rejects with TsvmError. */
	static async open(options: MediumOptions, host: MediumHost = {}): Promise<Medium> {
		const { file, readonly, snapshot, discard, what } = options;
		const { punchHole, byteLocks, warn } = host;
		const image = { readOnly: readonly, snapshot, what, byteLocks, warn };
		return new Medium(options, host, await openImage(file, discard === 'unmap' ? { ...image, punchHole } : image));
	}

	private constructor(options: MediumOptions, host: MediumHost, image: Awaited<ReturnType<typeof openImage>>) {
		this.file = options.file;
		this.readOnly = options.readonly;
		this.snapshot = options.snapshot;
		this.#name = `${options.what} ${options.file}`;
		this.#host = host;
		this.image = new PolicedImage(image, options, (error) => this.#failed(error));
	}

	/** The machine goes on: what it had to stop for is tried again. */
	retry(): void {
		this.ioStatus = 'ok';
		this.image.retry();
	}

	#failed(error: IoError): void {
		const { action, nospace, operation, reason } = error;
		const failure = `${operation === 'read' ? 'reading' : 'writing'} failed: ${reason}`;
		if (action === 'stop') {
			// Others that were under way wait with the first.
			if (this.ioStatus !== 'ok') return;
			this.ioStatus = nospace ? 'nospace' : 'failed';
			const { resume = 'cont' } = this.#host;
			const remedy = nospace ? 'make room' : 'mend that';
			this.#say(nospace ? reason : failure, `the machine is paused: ${remedy}, then ${resume}`);
			this.onError?.(error);
			return;
		}
		if (!this.#logged.has(operation)) {
			this.#logged.add(operation);
			this.#say(failure, action === 'ignore' ? 'ignored, as asked for' : 'the guest is told, and this is not repeated');
		}
		if (performance.now() < this.#nextEvent) return;
		this.#nextEvent = performance.now() + EVENT_MS;
		this.onError?.(error);
	}

	#say(what: string, then: string): void {
		this.#host.warn?.(`${this.#name}: ${what}; ${then}`);
	}
}
