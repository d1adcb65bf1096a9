/**
 * A WAV file as a back end: what the guest plays, with nothing between two pieces of it.
 * Microsoft, "Multimedia Programming Interface and Data Specifications 1.0", RIFF WAVE.
 */
import { type FileHandle, open } from 'node:fs/promises';
import { type AudioBackEndStats, type AudioFormat, type AudioSink, HOST_AUDIO, TsvmError } from '../core/index.ts';

const HEADER = 44;
const FRAME = HOST_AUDIO.channels * 2;
/** Bytes gathered before they are written, and the most that wait for a slow disk. */
const BLOCK = 64 * 1024;
const MOST_WAITING = 8 * 1024 * 1024;
/** Sizes in the file are 32 bits. */
const MOST_DATA = 0xffffffff - HEADER - BLOCK;

export class WavFile implements AudioSink {
	readonly latency = 0;
	readonly #file: FileHandle;
	readonly #path: string;
	readonly #warn: (line: string) => void;
	#block = new Uint8Array(BLOCK);
	#used = 0;
	/** Bytes of sound that were given to the file, and those of them that it has not taken yet. */
	#size = 0;
	#waiting = 0;
	#last: Promise<unknown> = Promise.resolve();
	#over = false;

	/** Replaces the file. Throws TsvmError when it cannot. */
	static async create(path: string, warn: (line: string) => void): Promise<WavFile> {
		let file: FileHandle | undefined;
		try {
			file = await open(path, 'w');
			await file.write(header(0), 0, HEADER, 0);
			return new WavFile(file, path, warn);
		} catch (error) {
			await file?.close().catch(() => {});
			throw new TsvmError('audio', `cannot write ${path}: ${(error as Error).message}`, 'check --audio');
		}
	}

	private constructor(file: FileHandle, path: string, warn: (line: string) => void) {
		this.#file = file;
		this.#path = path;
		this.#warn = warn;
	}

	start(_format: AudioFormat): void {}

	write(samples: Int16Array): void {
		let bytes = new Uint8Array(samples.buffer, samples.byteOffset, samples.byteLength);
		while (bytes.length > 0) {
			const part = bytes.subarray(0, BLOCK - this.#used);
			this.#block.set(part, this.#used);
			this.#used += part.length;
			bytes = bytes.subarray(part.length);
			if (this.#used === BLOCK) this.#flush();
		}
	}

	stop(): void {
		this.#flush();
	}

	stats(): AudioBackEndStats {
		return {
			name: this.#path,
			active: !this.#over,
			frames: (this.#size + this.#used) / FRAME,
			underruns: 0,
			overruns: 0,
			buffered: ((this.#waiting + this.#used) / FRAME / HOST_AUDIO.rate) * 1000,
		};
	}

	/** The file is whole when this is done. Never rejects. */
	async close(): Promise<void> {
		this.#flush();
		this.#over = true;
		await this.#last;
		await this.#file.close().catch(() => {});
	}

	#flush(): void {
		if (this.#used === 0 || this.#over) return;
		if (this.#waiting > MOST_WAITING || this.#size + this.#used > MOST_DATA) {
			this.#giveUp(this.#waiting > MOST_WAITING ? 'the disk is too slow' : 'it has the size that a WAV file can have');
			return;
		}
		const bytes = this.#block.subarray(0, this.#used);
		const at = HEADER + this.#size;
		this.#block = new Uint8Array(BLOCK);
		this.#used = 0;
		this.#size += bytes.length;
		this.#waiting += bytes.length;
		const size = this.#size;
		this.#last = this.#last.then(() => this.#put(bytes, at, size));
	}

	/** The header says what is there after each block, so that a file left behind can be played. */
	async #put(bytes: Uint8Array, at: number, size: number): Promise<void> {
		try {
			await this.#file.write(bytes, 0, bytes.length, at);
			await this.#file.write(header(size), 0, HEADER, 0);
		} catch (error) {
			this.#giveUp((error as Error).message);
		}
		this.#waiting -= bytes.length;
	}

	#giveUp(why: string): void {
		if (this.#over) return;
		this.#over = true;
		this.#warn(`no more sound goes to ${this.#path}: ${why}`);
	}
}

/** Of a file with `size` bytes of sound. */
function header(size: number): Uint8Array {
	const bytes = Buffer.alloc(HEADER);
	bytes.write('RIFF', 0, 'latin1');
	bytes.writeUInt32LE(HEADER - 8 + size, 4);
	bytes.write('WAVEfmt ', 8, 'latin1');
	bytes.writeUInt32LE(16, 16);
	bytes.writeUInt16LE(1, 20);
	bytes.writeUInt16LE(HOST_AUDIO.channels, 22);
	bytes.writeUInt32LE(HOST_AUDIO.rate, 24);
	bytes.writeUInt32LE(HOST_AUDIO.rate * FRAME, 28);
	bytes.writeUInt16LE(FRAME, 32);
	bytes.writeUInt16LE(16, 34);
	bytes.write('data', 36, 'latin1');
	bytes.writeUInt32LE(size, 40);
	return bytes;
}
