/**
 * A serial port on tsvm's own terminal. Keys go to the guest as they are typed, Ctrl-C included; Ctrl-A starts a
 * command, as in QEMU's multiplexed console.
 */
import type { ReadStream } from 'node:tty';
import type { CharBackend, CharDevice, TerminalSize } from '../core/index.ts';
import { Inbound } from './inbound.ts';

const ESCAPE = 0x01;
const HELP = ['', 'Ctrl-A h    this help', 'Ctrl-A x    quit', 'Ctrl-A Ctrl-A    sends Ctrl-A', ''].join('\r\n');
/** Bytes that may wait for a slow terminal. */
const MAX_WAITING = 64 * 1024;
const NO_ROOM = ['ENOSPC', 'EDQUOT'];

export interface StdioOptions {
	readonly input?: NodeJS.ReadStream;
	readonly output?: NodeJS.WriteStream;
	/** Ctrl-A x. */
	readonly quit?: () => void;
}

/** Finds the commands in what is typed. Returns what is left for the guest. */
export class EscapeFilter {
	#escaped = false;
	readonly #run: (key: string) => void;
	constructor(run: (key: string) => void) {
		this.#run = run;
	}
	filter(bytes: Uint8Array): Uint8Array {
		const out: number[] = [];
		for (const byte of bytes) {
			if (this.#escaped) {
				this.#escaped = false;
				if (byte === ESCAPE) out.push(byte);
				else this.#run(String.fromCharCode(byte).toLowerCase());
			} else if (byte === ESCAPE) {
				this.#escaped = true;
			} else {
				out.push(byte);
			}
		}
		return Uint8Array.from(out);
	}
}

export class StdioChar implements CharBackend {
	readonly #input: NodeJS.ReadStream;
	readonly #output: NodeJS.WriteStream;
	readonly #quit: () => void;
	readonly #inbound = new Inbound();
	readonly #filter: EscapeFilter | undefined;
	#gone = false;
	#full = false;

	constructor({ input = process.stdin, output = process.stdout, quit = () => {} }: StdioOptions = {}) {
		this.#input = input;
		this.#output = output;
		this.#quit = quit;
		// Escapes are for people; a program at the other end of a pipe may send any byte.
		if (input.isTTY) {
			this.#filter = new EscapeFilter((key) => this.#command(key));
			input.setRawMode(true);
			process.once('exit', this.#restore);
		}
		input.on('data', this.#onData);
		output.on('drain', this.#onDrain);
		output.on('error', this.#onError);
		output.on('resize', this.#onResize);
	}

	get size(): TerminalSize | undefined {
		const { columns: cols, rows } = this.#output;
		return cols > 0 && rows > 0 ? { cols, rows } : undefined;
	}

	attach(device: CharDevice): void {
		this.#inbound.device = device;
		this.#input.resume();
	}

	write(bytes: Uint8Array): number {
		if (this.#gone) return bytes.length;
		if (this.#output.writableLength > MAX_WAITING) {
			this.#full = true;
			return 0;
		}
		this.#output.write(bytes);
		return bytes.length;
	}

	ready(): void {
		if (this.#inbound.ready()) this.#input.resume();
	}

	close(): void {
		this.#input.off('data', this.#onData);
		this.#output.off('drain', this.#onDrain);
		this.#output.off('error', this.#onError);
		this.#output.off('resize', this.#onResize);
		this.#input.pause();
		process.off('exit', this.#restore);
		this.#restore();
		this.#gone = true;
	}

	readonly #restore = (): void => {
		const { isTTY, isRaw } = this.#input as ReadStream;
		if (isTTY && isRaw) this.#input.setRawMode(false);
	};

	readonly #onData = (chunk: Buffer | string): void => {
		const bytes = typeof chunk === 'string' ? Buffer.from(chunk) : chunk;
		if (!this.#inbound.push(this.#filter?.filter(bytes) ?? bytes)) this.#input.pause();
	};

	readonly #onDrain = (): void => {
		if (!this.#full) return;
		this.#full = false;
		this.#inbound.device?.drained();
	};

	readonly #onResize = (): void => this.#inbound.device?.resized?.();

	/**
	 * What could not be written is lost, and the guest goes on. A full disk may have room again; once the reader of a
	 * pipe has gone nobody sees the guest's output any more.
	 */
	readonly #onError = (error: NodeJS.ErrnoException): void => {
		if (!NO_ROOM.includes(error.code ?? '')) this.#gone = true;
		this.#onDrain();
	};

	#command(key: string): void {
		if (key === 'x') this.#quit();
		else if (key === 'h' || key === '?') this.#output.write(HELP);
	}
}
