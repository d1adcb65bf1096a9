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

export class Resampler {
	readonly from: number;
	readonly to: number;
	/** The ratio in lowest terms. */
	readonly #step: number;
	readonly #phases: number;
	readonly #taps: number;
	/** #table[phase] holds the filter for that place. */
	readonly #table: readonly Float32Array[];
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
		const ratio = Math.min(1, to / from);
		const half = from === to ? 0 : Math.ceil(CROSSINGS / ratio);
		this.#taps = half * 2;
		this.#table = from === to ? [] : filterTable(Math.min(this.#phases, MAX_PHASES), half, ratio * CUTOFF);
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
			const filter = this.#table[Math.floor(this.#place * scale)];
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
}

/** For each of `phases` places after a frame: the weights of `half` frames up to it and `half` after it. */
function filterTable(phases: number, half: number, cutoff: number): Float32Array[] {
	return Array.from({ length: phases }, (_, phase) => {
		const weights = new Float64Array(half * 2);
		let sum = 0;
		for (let tap = 0; tap < half * 2; tap++) {
			const distance = tap - (half - 1) - phase / phases;
			const x = distance / half;
			const window = Math.abs(x) < 1 ? bessel(BETA * Math.sqrt(1 - x * x)) / bessel(BETA) : 0;
			const angle = Math.PI * distance * cutoff;
			weights[tap] = window * (angle === 0 ? 1 : Math.sin(angle) / angle);
			sum += weights[tap];
		}
		return Float32Array.from(weights, (w) => w / sum);
	});
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
