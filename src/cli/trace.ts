/** Trace points written as lines of text: `12.345678 qxl.io_write port=0x5 value=0`. */
import { closeSync, openSync, writeSync } from 'node:fs';
import picomatch from 'picomatch';
import { listenTrace, type TraceEvent, type TraceValue, TsvmError, traceNames } from '../core/index.ts';
import type { MachineConfig } from '../machine/config.ts';
import { printWarning } from './errors.ts';
import { writeLog } from './output.ts';

/** A guest that errs all the time must not fill the log: this many lines a second. */
const GUEST_ERRORS_PER_SECOND = 10;
const FLUSH_MS = 200;
const FLUSH_LENGTH = 1 << 16;

/**
 * Starts what --trace asked for, and the log of guest errors on stderr. Returns the way to stop, which also closes
 * the files. Throws TsvmError: no such trace point, file not writable.
 */
export function startTraces(traces: MachineConfig['trace']): () => void {
	const stops: (() => void)[] = [listenTrace((name) => name === 'guest.error', guestErrorLog())];
	const files = new Map<string, TraceFile>();
	for (const { glob, file } of traces) {
		const matches = picomatch(glob);
		if (!traceNames().some((name) => matches(name)))
			throw new TsvmError('trace', `no trace point is called ${glob}`, 'tsvm run --trace help lists them', 2);
		let write = (line: string): void => void writeLog(line);
		if (file !== undefined) {
			const opened = files.get(file) ?? new TraceFile(file);
			files.set(file, opened);
			write = (line) => opened.write(line);
		}
		stops.push(listenTrace(matches, (event) => write(`${formatTrace(event)}\n`)));
	}
	return () => {
		for (const stop of stops) stop();
		for (const file of files.values()) file.close();
	};
}

export function formatTrace(event: TraceEvent, now = performance.now()): string {
	const fields = Object.entries(event.fields).map(([name, value]) => ` ${name}=${formatValue(value)}`);
	return `${(now / 1000).toFixed(6)} ${event.device}.${event.event}${fields.join('')}`;
}

function formatValue(value: TraceValue): string {
	if (typeof value === 'string') return JSON.stringify(value);
	if (typeof value === 'boolean' || value < 10 || (typeof value === 'number' && !Number.isInteger(value)))
		return String(value);
	return `0x${value.toString(16)}`;
}

/**
 * Lines gathered and written at once, synchronously: what a guest makes us trace must not pile up in memory, and a
 * trace is worth most when the process then dies.
 */
class TraceFile {
	readonly #path: string;
	readonly #timer: NodeJS.Timeout;
	#fd: number | undefined;
	#text = '';

	constructor(path: string) {
		this.#path = path;
		try {
			this.#fd = openSync(path, 'w');
		} catch (error) {
			const message = `cannot write ${path}: ${(error as Error).message}`;
			throw new TsvmError('trace', message, 'check the path given with --trace');
		}
		this.#timer = setInterval(() => this.#flush(), FLUSH_MS).unref();
	}

	write(line: string): void {
		if (this.#fd === undefined) return;
		this.#text += line;
		if (this.#text.length > FLUSH_LENGTH) this.#flush();
	}

	close(): void {
		clearInterval(this.#timer);
		this.#flush();
		if (this.#fd !== undefined) closeSync(this.#fd);
		this.#fd = undefined;
	}

	#flush(): void {
		const text = this.#text;
		this.#text = '';
		if (this.#fd === undefined || text === '') return;
		try {
			writeSync(this.#fd, text);
		} catch (error) {
			closeSync(this.#fd);
			this.#fd = undefined;
			printWarning(`${this.#path} gets no more trace: ${(error as Error).message}`);
		}
	}
}

/** Writes a line for each guest error, with `now` in ms. */
export function guestErrorLog(
	write: (line: string) => void = writeLog,
	now: () => number = () => performance.now(),
): (event: Pick<TraceEvent, 'fields'>) => void {
	let second = 0;
	let lines = 0;
	return ({ fields }) => {
		const present = Math.floor(now() / 1000);
		if (present !== second) {
			second = present;
			lines = 0;
		}
		lines++;
		if (lines > GUEST_ERRORS_PER_SECOND + 1) return;
		const text =
			lines > GUEST_ERRORS_PER_SECOND ? 'more of these within a second' : `${fields.device}: ${fields.message}`;
		write(`tsvm: guest: ${text}\n`);
	};
}
