/** What sound is judged by: correlation with its source, pitch, gaps; and sources. Samples are numbers, one channel. */
import { readFileSync, writeFileSync } from 'node:fs';
import type { ExecutionContext } from 'ava';

/** Neighbours on each side that a sample between samples is made of. */
const REACH = 24;

export interface Wav {
	readonly rate: number;
	readonly channels: readonly Float64Array[];
}

/** A 16-bit PCM file of ours; throws on anything else. */
export function readWav(path: string): Wav {
	const bytes = readFileSync(path);
	if (bytes.toString('latin1', 0, 4) !== 'RIFF' || bytes.toString('latin1', 8, 16) !== 'WAVEfmt ')
		throw new Error(`${path} is no WAV file`);
	const channels = bytes.readUInt16LE(22);
	const rate = bytes.readUInt32LE(24);
	const size = bytes.readUInt32LE(40);
	if (size !== bytes.length - 44) throw new Error(`${path} says ${size} bytes and has ${bytes.length - 44}`);
	const frames = Math.floor(size / 2 / channels);
	const planes = Array.from({ length: channels }, (_, c) =>
		Float64Array.from({ length: frames }, (_, n) => bytes.readInt16LE(44 + (n * channels + c) * 2)),
	);
	return { rate, channels: planes };
}

/** Pearson's correlation of `a` with `b` shifted by `lag`, over `length` samples from `from`. */
export function correlation(
	a: ArrayLike<number>,
	b: ArrayLike<number>,
	lag: number,
	from = 0,
	length = Math.min(a.length - from, b.length - from - lag),
): number {
	let [sa, sb, saa, sbb, sab] = [0, 0, 0, 0, 0];
	for (let i = from; i < from + length; i++) {
		const x = a[i];
		const y = b[i + lag];
		sa += x;
		sb += y;
		saa += x * x;
		sbb += y * y;
		sab += x * y;
	}
	const covariance = sab - (sa * sb) / length;
	return covariance / Math.sqrt((saa - (sa * sa) / length) * (sbb - (sb * sb) / length) || Infinity);
}

/** The lag in 0 .. `most` at which `b` is most like `a`, judged by `length` samples of `a` from `from`. */
export function align(a: ArrayLike<number>, b: ArrayLike<number>, most: number, from: number, length: number): number {
	let best = 0;
	let found = Number.NEGATIVE_INFINITY;
	for (let lag = 0; lag <= most && from + lag + length <= b.length; lag++) {
		const value = correlation(a, b, lag, from, length);
		if (value > found) [found, best] = [value, lag];
	}
	return best;
}

/** The share of the energy of `samples` that lies at `hz` (Goertzel), 0 .. 1. */
export function toneShare(samples: ArrayLike<number>, rate: number, hz: number): number {
	const w = (2 * Math.PI * hz) / rate;
	let [re, im, energy] = [0, 0, 0];
	for (let i = 0; i < samples.length; i++) {
		re += samples[i] * Math.cos(w * i);
		im += samples[i] * Math.sin(w * i);
		energy += samples[i] ** 2;
	}
	return energy === 0 ? 0 : (2 * (re * re + im * im)) / (samples.length * energy);
}

/** Frequency of a steady tone near `hz`: from how its phase moves between the two halves. */
export function pitch(samples: ArrayLike<number>, rate: number, hz: number): number {
	const w = (2 * Math.PI * hz) / rate;
	const half = Math.floor(samples.length / 2);
	const phase = (from: number) => {
		let [re, im] = [0, 0];
		for (let i = from; i < from + half; i++) {
			re += samples[i] * Math.cos(w * i);
			im -= samples[i] * Math.sin(w * i);
		}
		return Math.atan2(im, re);
	};
	let moved = phase(half) - phase(0);
	moved -= 2 * Math.PI * Math.round(moved / (2 * Math.PI));
	return hz + (moved / (2 * Math.PI)) * (rate / half);
}

/** The longest run of samples no louder than `floor`, seconds, between the first and the last louder one. */
export function longestGap(samples: ArrayLike<number>, rate: number, floor: number): number {
	let longest = 0;
	let last = -1;
	for (let i = 0; i < samples.length; i++) {
		if (Math.abs(samples[i]) <= floor) continue;
		if (last >= 0) longest = Math.max(longest, i - last - 1);
		last = i;
	}
	return longest / rate;
}

/** A sine that rises by the same number of octaves each second, with 10 ms of rise and fall. 0 .. 1 is full scale. */
export function sweep(seconds: number, rate: number, from: number, to: number, amplitude = 0.5): Float64Array {
	const octaves = Math.log(to / from) / seconds;
	const edge = rate / 100;
	const count = Math.round(seconds * rate);
	return Float64Array.from({ length: count }, (_, n) => {
		const phase = ((2 * Math.PI * from) / octaves) * (Math.exp((octaves * n) / rate) - 1);
		return amplitude * Math.min(1, (n + 1) / edge, (count - n) / edge) * Math.sin(phase);
	});
}

/** The bytes of a 16-bit PCM file; channels are -1 .. 1. */
export function wavBytes(rate: number, channels: readonly ArrayLike<number>[]): Buffer {
	const frame = channels.length * 2;
	const size = channels[0].length * frame;
	const bytes = Buffer.alloc(44 + size);
	bytes.write('RIFF', 0, 'latin1');
	bytes.writeUInt32LE(36 + size, 4);
	bytes.write('WAVEfmt ', 8, 'latin1');
	bytes.writeUInt32LE(16, 16);
	bytes.writeUInt16LE(1, 20);
	bytes.writeUInt16LE(channels.length, 22);
	bytes.writeUInt32LE(rate, 24);
	bytes.writeUInt32LE(rate * frame, 28);
	bytes.writeUInt16LE(frame, 32);
	bytes.writeUInt16LE(16, 34);
	bytes.write('data', 36, 'latin1');
	bytes.writeUInt32LE(size, 40);
	for (const [c, samples] of channels.entries())
		for (let n = 0; n < samples.length; n++)
			bytes.writeInt16LE(Math.round(Math.max(-1, Math.min(1, samples[n])) * 32767), 44 + n * frame + c * 2);
	return bytes;
}

/** `samples` read every `step` from `first` on (both may be fractions): another rate, another place between samples. */
export function resample(samples: ArrayLike<number>, step: number, first = 0): Float64Array {
	const count = Math.max(0, Math.floor((samples.length - 1 - first) / step) + 1);
	const cutoff = Math.min(1, 1 / step);
	return Float64Array.from({ length: count }, (_, n) => {
		const at = first + n * step;
		const base = Math.floor(at);
		let sum = 0;
		for (let i = Math.max(0, base - REACH + 1); i <= Math.min(samples.length - 1, base + REACH); i++) {
			const distance = at - i;
			const x = Math.PI * distance * cutoff;
			const window = 0.5 + 0.5 * Math.cos((Math.PI * distance) / REACH);
			sum += samples[i] * window * cutoff * (x === 0 ? 1 : Math.sin(x) / x);
		}
		return sum;
	});
}

export interface Likeness {
	/** Where the source begins in what was heard, samples. */
	readonly lag: number;
	/** Pearson's, over the whole length of the source with one alignment. */
	readonly correlation: number;
	/** How much longer (positive) or shorter what was heard is: the error of its pitch, as a share. */
	readonly stretch: number;
	/** The longest silence in it, s. */
	readonly gap: number;
}

/**
 * How much of `source` is in `heard`, both at `rate`. The source is looked for where the first sound is, so neither may
 * have another one before it.
 */
export function likeness(source: Float64Array, heard: Float64Array, rate: number): Likeness {
	const start = onset(heard, peak(heard) / 4) - onset(source, peak(source) / 4);
	const window = Math.floor(rate / 5);
	/** The lag of the source's samples from `from` on, at most `reach` from `around`. */
	const lagAt = (from: number, around: number, reach: number) => {
		const first = Math.max(0, from + around - reach);
		return first - from + align(source.subarray(from), heard.subarray(first), 2 * reach, 0, window);
	};
	const early = Math.floor(source.length / 8);
	const late = Math.floor(source.length * 0.8);
	const lag = lagAt(early, start, Math.floor(rate / 50));
	const stretch = (lagAt(late, lag, Math.floor(rate / 20)) - lag) / (late - early);
	const first = Math.max(0, lag - 1);
	const span = heard.subarray(first, lag + source.length + 1);
	let best = { at: 0, value: -1 };
	for (let fraction = -0.5; fraction <= 0.5; fraction += 0.125) {
		const at = Math.max(0, lag + fraction - first);
		const value = correlation(
			source.subarray(late),
			resample(span.subarray(late, late + window), 1, at),
			0,
			0,
			window - 2,
		);
		if (value > best.value) best = { at, value };
	}
	const whole = correlation(source, resample(span, 1, best.at), 0, REACH, source.length - 2 * REACH);
	return { lag: first + best.at, correlation: whole, stretch, gap: longestGap(span, rate, peak(span) / 200) };
}

/** All of `source` is in `heard`, at its pitch and without a hole: what a listener could not tell from the source. */
export function assertFaithful(
	t: ExecutionContext,
	source: Float64Array,
	heard: Float64Array,
	{ rate = 48000, correlation: least = 0.99 } = {},
): void {
	const found = likeness(source, heard, rate);
	const said = JSON.stringify(found);
	t.log(said);
	t.true(found.correlation > least, said);
	t.true(Math.abs(found.stretch) < 0.001, said);
	t.true(found.gap < 0.02, said);
}

function peak(samples: ArrayLike<number>): number {
	let most = 0;
	for (let i = 0; i < samples.length; i++) most = Math.max(most, Math.abs(samples[i]));
	return most;
}

/** Where `samples` are louder than `floor` for the first time. */
function onset(samples: ArrayLike<number>, floor: number): number {
	let i = 0;
	while (i < samples.length && Math.abs(samples[i]) <= floor) i++;
	return i;
}

/** Writes a disk image that holds `files` one after the other; returns, by name, the shell words that make /tmp/NAME of it. */
export function packDisk<Name extends string>(
	path: string,
	device: string,
	files: Readonly<Record<Name, Uint8Array>>,
): Record<Name, string> {
	const SECTOR = 512;
	const parts: Uint8Array[] = [];
	const commands: Partial<Record<Name, string>> = {};
	let sector = 0;
	for (const name of Object.keys(files) as Name[]) {
		const bytes = files[name];
		const count = Math.ceil(bytes.length / SECTOR);
		commands[name] =
			`dd if=${device} bs=${SECTOR} skip=${sector} count=${count} 2>/dev/null | head -c ${bytes.length} >/tmp/${name}`;
		parts.push(bytes, new Uint8Array(count * SECTOR - bytes.length));
		sector += count;
	}
	writeFileSync(path, Buffer.concat(parts));
	return commands as Record<Name, string>;
}

/** Root mean square. */
export function level(samples: ArrayLike<number>): number {
	let sum = 0;
	for (let i = 0; i < samples.length; i++) sum += samples[i] ** 2;
	return Math.sqrt(sum / (samples.length || 1));
}

export interface Pieces {
	/** Correlation of the middle one of all pieces of 100 ms, each aligned by itself. */
	readonly median: number;
	/** The share of pieces with more than 0.95. */
	readonly good: number;
	/** Where what was heard went on earlier (negative: something is missing) or later (a gap), ms. */
	readonly slips: readonly number[];
	/** Where the source begins in what was heard, samples: as its first and as its last piece have it. */
	readonly lag: number;
	readonly lastLag: number;
	/** How much longer (positive) or shorter what was heard is, where nothing jumps for the longest time: its pitch's error. */
	readonly stretch: number;
}

/**
 * How much of `source` is in `heard`, piece by piece: what a listener hears where a pause has moved the rest. The source
 * is looked for where the first sound is. A piece that is found nowhere near counts as 0; one that is next to silence
 * does not count.
 */
export function pieces(source: Float64Array, heard: Float64Array, rate: number): Pieces {
	const length = Math.floor(rate / 10);
	const found: number[] = [];
	const slips: number[] = [];
	let first: number | undefined;
	let lag = onset(heard, peak(heard) / 4) - onset(source, peak(source) / 4);
	let reach = 0.3;
	const quiet = level(source) / 4;
	let run = { from: 0, lag: 0 };
	let longest = { length: 0, stretch: 0 };
	for (let from = length; from + length < source.length - length; from += length) {
		const piece = source.subarray(from, from + length);
		if (level(piece) < quiet) continue;
		const at = (shift: number, step = 1) =>
			from + shift < 0 || from + shift + length > heard.length ? 0 : likenessAt(piece, heard, from + shift, step);
		let best = { shift: lag, value: 0 };
		const look = (shift: number, step = 1) => {
			const value = at(shift, step);
			if (value > best.value) best = { shift, value };
		};
		for (let shift = lag - 8; shift <= lag + 8; shift++) look(shift);
		if (best.value < 0.9 || first === undefined) {
			const far = Math.floor(reach * rate);
			for (let shift = lag - far; shift <= lag + far; shift += 3) look(shift, 4);
			const { shift: coarse } = best;
			best = { shift: coarse, value: 0 };
			for (let shift = coarse - 24; shift <= coarse + 24; shift++) look(shift);
		}
		found.push(best.value);
		// What is lost for longer is looked for further away.
		reach = best.value < 0.9 ? Math.min(1.5, reach + 0.1) : 0.3;
		if (best.value < 0.9) continue;
		const slip = ((best.shift - lag) / rate) * 1000;
		if (Math.abs(slip) > 1 && first !== undefined) slips.push(Math.round(slip));
		if (Math.abs(slip) > 1 || first === undefined) run = { from, lag: best.shift };
		else if (from - run.from > longest.length)
			longest = { length: from - run.from, stretch: (best.shift - run.lag) / (from - run.from) };
		lag = best.shift;
		first ??= lag;
	}
	const sorted = [...found].sort((a, b) => a - b);
	const good = found.filter((value) => value > 0.95).length / found.length;
	return { median: sorted[sorted.length >> 1], good, slips, lag: first ?? lag, lastLag: lag, stretch: longest.stretch };
}

/** Correlation of `piece` with `heard` from `from` on, by every `step`th sample; both swing around zero. */
function likenessAt(piece: Float64Array, heard: Float64Array, from: number, step: number): number {
	let [aa, bb, ab] = [0, 0, 0];
	for (let i = 0; i < piece.length; i += step) {
		const a = piece[i];
		const b = heard[from + i];
		aa += a * a;
		bb += b * b;
		ab += a * b;
	}
	return aa > 0 && bb > 0 ? ab / Math.sqrt(aa * bb) : 0;
}
