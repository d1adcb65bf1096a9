/**
 * Changes the rate of a stream of stereo frames: a low-pass filter (Kaiser-windowed sinc) evaluated at each output
 * frame's place between input frames. Places are counted in whole numbers, so nothing drifts however long it runs.
 * J. O. Smith, "Digital Audio Resampling"; Kaiser and Schafer, "On the use of the I0-sinh window" (1980).
 */
import type { FrameFifo } from './fifo.ts';

/** Zero crossings of the sinc on each side. */
const CROSSINGS = 20;
/** Kaiser's beta: about 80 dB between what passes and what does not. */
const BETA = 8;
/** Where the filter is 6 dB down, as a share of the lower rate's half. */
const CUTOFF = 0.94;
/** Places between two input frames; rates whose ratio needs more take the nearest. */
const MAX_PHASES = 1024;
/** Input frames that are filtered at once. */
const BLOCK = 1024;
/** The filter is kept at this many places between two zero crossings; what lies between them is a straight line. */
const STEPS = 512;

export class Resampler {
	readonly from: number;
	readonly to: number;
	/** The ratio in lowest terms. */
	readonly #step: number;
	readonly #phases: number;
	readonly #taps: number;
	/** How much narrower than the input's the passband is, at most 1. */
	readonly #ratio: number;
	/**
	 * #table[phase] holds the filter for that place, from its first use on: a guest may change its rate as fast as it can
	 * write a register, so making one of these must cost next to nothing.
	 */
	readonly #table: (Float32Array | undefined)[];
	/** Input frames not done with, as two channels; the filter of the next output frame begins at #index. */
	readonly #left: Float32Array;
	readonly #right: Float32Array;
	#filled: number;
	#index = 0;
	/** The next output frame lies #place/#phases after the middle of its filter. */
	#place = 0;

	/** Rates in Hz. */
	constructor(from: number, to: number) {
		this.from = from;
		this.to = to;
		const divisor = gcd(from, to);
		this.#step = from / divisor;
		this.#phases = to / divisor;
		this.#ratio = Math.min(1, to / from);
		const half = from === to ? 0 : Math.ceil(CROSSINGS / this.#ratio);
		this.#taps = half * 2;
		this.#table = new Array(Math.min(this.#phases, MAX_PHASES)).fill(undefined);
		this.#left = new Float32Array(this.#taps + BLOCK);
		this.#right = new Float32Array(this.#taps + BLOCK);
		// Silence came before: the first frame out is the first frame in.
		this.#filled = Math.max(0, half - 1);
	}

	/** Forgets what came before. */
	reset(): void {
		this.#left.fill(0);
		this.#right.fill(0);
		this.#filled = Math.max(0, this.#taps / 2 - 1);
		this.#index = 0;
		this.#place = 0;
	}

	/** Takes interleaved samples of 1 or 2 channels; returns how many frames `out` had no room for. */
	write(samples: Int16Array, channels: 1 | 2, out: FrameFifo): number {
		const frames = Math.floor(samples.length / channels);
		let lost = 0;
		if (this.from === this.to) {
			for (let i = 0; i < frames; i++) {
				const at = i * channels;
				if (!out.push(samples[at], samples[at + channels - 1])) lost++;
			}
			return lost;
		}
		for (let done = 0; done < frames; ) {
			const count = Math.min(frames - done, this.#left.length - this.#filled);
			for (let i = 0; i < count; i++) {
				const at = (done + i) * channels;
				this.#left[this.#filled + i] = samples[at];
				this.#right[this.#filled + i] = samples[at + channels - 1];
			}
			this.#filled += count;
			done += count;
			lost += this.#filter(out);
		}
		return lost;
	}

	#filter(out: FrameFifo): number {
		const left = this.#left;
		const right = this.#right;
		const taps = this.#taps;
		const scale = this.#table.length / this.#phases;
		let lost = 0;
		while (this.#index + taps <= this.#filled) {
			const phase = Math.floor(this.#place * scale);
			const filter = this.#table[phase] ?? this.#filterFor(phase);
			let l = 0;
			let r = 0;
			for (let tap = 0, at = this.#index; tap < taps; tap++, at++) {
				l += filter[tap] * left[at];
				r += filter[tap] * right[at];
			}
			if (!out.push(l, r)) lost++;
			this.#place += this.#step;
			const whole = Math.floor(this.#place / this.#phases);
			this.#place -= whole * this.#phases;
			this.#index += whole;
		}
		// Steps longer than what is there have left the index beyond it.
		const from = Math.min(this.#index, this.#filled);
		left.copyWithin(0, from, this.#filled);
		right.copyWithin(0, from, this.#filled);
		this.#filled -= from;
		this.#index -= from;
		return lost;
	}

	/** The weights of the frames around a place `phase` after a frame. */
	#filterFor(phase: number): Float32Array {
		const middle = this.#taps / 2 - 1 + phase / this.#table.length;
		const weights = new Float32Array(this.#taps);
		let sum = 0;
		for (let tap = 0; tap < this.#taps; tap++) {
			weights[tap] = lowPass(Math.abs(tap - middle) * this.#ratio);
			sum += weights[tap];
		}
		for (let tap = 0; tap < this.#taps; tap++) weights[tap] /= sum;
		this.#table[phase] = weights;
		return weights;
	}
}

let prototype: Float64Array | undefined;

/** The filter `distance` from its middle, in samples of the lower rate. */
function lowPass(distance: number): number {
	prototype ??= Float64Array.from({ length: CROSSINGS * STEPS + 2 }, (_, i) => {
		const x = i / STEPS / CROSSINGS;
		const window = x < 1 ? bessel(BETA * Math.sqrt(1 - x * x)) / bessel(BETA) : 0;
		const angle = (Math.PI * CUTOFF * i) / STEPS;
		return window * (angle === 0 ? 1 : Math.sin(angle) / angle);
	});
	const at = Math.min(distance, CROSSINGS) * STEPS;
	const below = Math.floor(at);
	return prototype[below] + (prototype[below + 1] - prototype[below]) * (at - below);
}

/** The modified Bessel function of order 0. */
function bessel(x: number): number {
	let sum = 1;
	let term = 1;
	for (let k = 1; term > sum * 1e-12; k++) {
		term *= (x / (2 * k)) ** 2;
		sum += term;
	}
	return sum;
}

function gcd(a: number, b: number): number {
	return b === 0 ? a : gcd(b, a % b);
}
