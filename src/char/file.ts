/** A serial port whose output goes to a file, which is emptied first. Nothing comes back. */
import * as fs from 'node:fs';
import { type CharBackend, type CharDevice, TsvmError, tracePoints } from '../core/index.ts';

const trace = tracePoints('char-file', { error: ['path', 'message'] });

/** Written out at the latest when this much is there; before, at the end of the event loop's turn. */
const CHUNK = 64 * 1024;

/** Throws TsvmError when the file cannot be made. */
export function openFileChar(path: string): CharBackend {
	try {
		const { O_WRONLY, O_CREAT, O_TRUNC, O_NONBLOCK } = fs.constants;
		return new FileChar(path, fs.openSync(path, O_WRONLY | O_CREAT | O_TRUNC | O_NONBLOCK, 0o666));
	} catch (error) {
		const { message } = error as Error;
		throw new TsvmError('serial-file', `serial port file ${path} cannot be opened: ${message}`, 'check the path');
	}
}

class FileChar implements CharBackend {
	readonly #path: string;
	#fd: number;
	readonly #buffer = new Uint8Array(CHUNK);
	#used = 0;
	#scheduled = false;
	#failed = false;

	constructor(path: string, fd: number) {
		this.#path = path;
		this.#fd = fd;
	}

	attach(_device: CharDevice): void {}

	write(bytes: Uint8Array): number {
		for (let at = 0; at < bytes.length; ) {
			if (this.#used === CHUNK) this.#flush();
			const count = Math.min(CHUNK - this.#used, bytes.length - at);
			this.#buffer.set(bytes.subarray(at, at + count), this.#used);
			this.#used += count;
			at += count;
		}
		if (!this.#scheduled) {
			this.#scheduled = true;
			setImmediate(() => {
				this.#scheduled = false;
				this.#flush();
			});
		}
		return bytes.length;
	}

	close(): void {
		this.#flush();
		if (this.#fd >= 0) fs.closeSync(this.#fd);
		this.#fd = -1;
	}

	/** What cannot be written is lost, and said once: a full disk must not stop the guest. */
	#flush(): void {
		const used = this.#used;
		this.#used = 0;
		if (this.#fd < 0) return;
		try {
			for (let at = 0; at < used; ) at += fs.writeSync(this.#fd, this.#buffer, at, used - at);
		} catch (error) {
			if (!this.#failed) trace.error(this.#path, (error as Error).message);
			this.#failed = true;
		}
	}
}
