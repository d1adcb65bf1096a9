/** Trace points written as lines of text: `12.345678 qxl.io_write port=0x5 value=0`. */
import { createWriteStream, type WriteStream } from 'node:fs';
import picomatch from 'picomatch';
import { listenTrace, type TraceEvent, type TraceValue, TsvmError, traceNames } from '../core/index.ts';
import type { MachineConfig } from '../machine/config.ts';

/** A guest that errs all the time must not fill the log: this many lines a second. */
const GUEST_ERRORS_PER_SECOND = 10;

/**
 * Starts what --trace asked for, and the log of guest errors on stderr. Returns the way to stop, which also closes
 * the files. Throws TsvmError: no such trace point, file not writable.
 */
export async function startTraces(traces: MachineConfig['trace']): Promise<() => Promise<void>> {
	const stops: (() => void)[] = [listenTrace((name) => name === 'guest.error', guestErrorLog())];
	const files = new Map<string, WriteStream>();
	for (const { glob, file } of traces) {
		const matches = picomatch(glob);
		if (!traceNames().some((name) => matches(name)))
			throw new TsvmError('trace', `no trace point is called ${glob}`, 'tsvm run --trace help lists them', 2);
		let out: NodeJS.WritableStream = process.stderr;
		if (file !== undefined) {
			const stream = files.get(file) ?? (await openTraceFile(file));
			files.set(file, stream);
			out = stream;
		}
		stops.push(listenTrace(matches, (event) => void out.write(`${formatTrace(event)}\n`)));
	}
	return async () => {
		for (const stop of stops) stop();
		await Promise.all([...files.values()].map((stream) => new Promise<void>((resolve) => stream.end(() => resolve()))));
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

function openTraceFile(file: string): Promise<WriteStream> {
	const stream = createWriteStream(file, { flags: 'w' });
	return new Promise((resolve, reject) => {
		stream.once('open', () => resolve(stream));
		stream.once('error', (error) =>
			reject(new TsvmError('trace', `cannot write ${file}: ${error.message}`, 'check the path given with --trace')),
		);
	});
}

function guestErrorLog(): (event: TraceEvent) => void {
	let second = 0;
	let lines = 0;
	return ({ fields }) => {
		const now = Math.floor(performance.now() / 1000);
		if (now !== second) {
			second = now;
			lines = 0;
		}
		lines++;
		if (lines > GUEST_ERRORS_PER_SECOND + 1) return;
		const text =
			lines > GUEST_ERRORS_PER_SECOND ? 'more of these within a second' : `${fields.device}: ${fields.message}`;
		process.stderr.write(`tsvm: guest: ${text}\n`);
	};
}
