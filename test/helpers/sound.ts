/** What sound is judged by: correlation with its source, pitch, gaps. Samples are numbers, one channel. */
import { readFileSync } from 'node:fs';

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
