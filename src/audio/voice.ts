/**
 * One device's sound on its way into the mix: brought to the host's rate, held back a little so that a late timer is
 * not heard, and mended where the device had nothing to give.
 */
import { type AudioFormat, type AudioSink, type AudioVolume, HOST_AUDIO } from '../core/index.ts';
import { FrameFifo } from './fifo.ts';
import { Resampler } from './resampler.ts';

const MS = HOST_AUDIO.rate / 1000;
/** What is held back before a voice is heard, frames: at first, and at most after it ran dry. */
const LEAST_PREFILL = 10 * MS;
const MOST_PREFILL = 80 * MS;
/** Playing this long without running dry makes it shorter again, frames. */
const CALM = 30_000 * MS;
const CAPACITY = 400 * MS;
/** A hole is filled with what was heard last, played backwards and fading over this many frames. */
const FADE = 10 * MS;

/** What `x-query-audio` says of a voice. */
export interface VoiceInfo {
	readonly name: string;
	readonly active: boolean;
	/** The device's rate, Hz. */
	readonly rate: number;
	/** Host frames heard since the start. */
	readonly frames: number;
	/** Times the voice ran dry while the device said that it played; and frames that had no room. */
	readonly underruns: number;
	readonly overruns: number;
	/** What is held back now, ms. */
	readonly buffered: number;
	readonly volume: AudioVolume;
}

export class Voice implements AudioSink {
	readonly name: string;
	/** Back ends that have a volume of their own apply this voice's. */
	readonly main: boolean;
	readonly #wake: () => void;
	readonly #volumeChanged: () => void;
	readonly #fifo = new FrameFifo(CAPACITY);
	#format: AudioFormat = HOST_AUDIO;
	#resampler = new Resampler(HOST_AUDIO.rate, HOST_AUDIO.rate);
	#active = false;
	/** Enough came for the voice to be heard. */
	#flowing = false;
	#prefill = LEAST_PREFILL;
	#calm = 0;
	#frames = 0;
	#underruns = 0;
	#overruns = 0;
	#volume: AudioVolume = { left: 1, right: 1, mute: false };
	/** The gain of the last frame: a change is spread over the frames that follow. */
	#left = 1;
	#right = 1;
	/** The last FADE frames heard, a ring; how many frames of a hole were filled from it; how far it has faded in again. */
	readonly #heard = new Float32Array(FADE * 2);
	#heardAt = 0;
	#mended = FADE;
	#risen = FADE;
	#scratch = new Float32Array(0);

	constructor(options: {
		readonly name: string;
		readonly main: boolean;
		readonly wake: () => void;
		readonly volumeChanged: () => void;
	}) {
		this.name = options.name;
		this.main = options.main;
		this.#wake = options.wake;
		this.#volumeChanged = options.volumeChanged;
	}

	start(format: AudioFormat): void {
		if (format.rate !== this.#resampler.from) this.#resampler = new Resampler(format.rate, HOST_AUDIO.rate);
		else if (!this.#active) this.#resampler.reset();
		this.#format = format;
		this.#active = true;
		this.#wake();
	}

	write(samples: Int16Array): void {
		if (!this.#active) return;
		this.#overruns += this.#resampler.write(samples, this.#format.channels, this.#fifo);
	}

	stop(): void {
		this.#active = false;
	}

	volume(volume: AudioVolume): void {
		this.#volume = volume;
		this.#volumeChanged();
	}

	get latency(): number {
		return (this.#fifo.level / HOST_AUDIO.rate) * 1e9;
	}

	get amplitude(): AudioVolume {
		return this.#volume;
	}

	get active(): boolean {
		return this.#active;
	}

	/** There is nothing more to hear from it. */
	get silent(): boolean {
		return !this.#active && this.#fifo.level === 0 && this.#mended >= FADE;
	}

	/** Frames that it can give now; more than anybody asks for where it would not have to be waited for. */
	get ready(): number {
		if (!this.#active) return Number.POSITIVE_INFINITY;
		if (!this.#flowing && this.#fifo.level >= this.#prefill) this.#flowing = true;
		return this.#flowing ? this.#fifo.level : Number.POSITIVE_INFINITY;
	}

	/**
	 * Adds its next `count` frames to `scaled`, and to `plain`, if given, as back ends with a volume of their own want
	 * them.
	 */
	mix(scaled: Float32Array, plain: Float32Array | undefined, count: number): void {
		if (this.#scratch.length < count * 2) this.#scratch = new Float32Array(count * 2);
		const samples = this.#scratch;
		const taken = this.#flowing || !this.#active ? this.#fifo.take(samples, count) : 0;
		this.#frames += taken;
		this.#heed(taken, count);
		if (taken > 0) this.#fadeIn(samples, taken);
		if (taken < count) this.#mend(samples, taken, count);
		const target = this.#volume.mute ? { left: 0, right: 0 } : this.#volume;
		const leftStep = (target.left - this.#left) / count;
		const rightStep = (target.right - this.#right) / count;
		for (let i = 0; i < count; i++) {
			const l = samples[i * 2] * (this.#left + leftStep * (i + 1));
			const r = samples[i * 2 + 1] * (this.#right + rightStep * (i + 1));
			scaled[i * 2] += l;
			scaled[i * 2 + 1] += r;
			if (plain === undefined) continue;
			plain[i * 2] += this.main ? samples[i * 2] : l;
			plain[i * 2 + 1] += this.main ? samples[i * 2 + 1] : r;
		}
		this.#left = target.left;
		this.#right = target.right;
	}

	info(): VoiceInfo {
		return {
			name: this.name,
			active: this.#active,
			rate: this.#format.rate,
			frames: this.#frames,
			underruns: this.#underruns,
			overruns: this.#overruns,
			buffered: this.#fifo.level / MS,
			volume: this.#volume,
		};
	}

	/** Holds more back after running dry, less after a long time without. */
	#heed(taken: number, count: number): void {
		if (!this.#flowing) return;
		if (taken === count) {
			this.#calm += count;
			if (this.#calm < CALM) return;
			this.#calm = 0;
			this.#prefill = Math.max(LEAST_PREFILL, this.#prefill / 2);
			return;
		}
		this.#flowing = false;
		this.#calm = 0;
		if (!this.#active) return;
		this.#underruns++;
		this.#prefill = Math.min(MOST_PREFILL, this.#prefill * 2);
	}

	/** Softens the first frames after a hole, and keeps the last ones for the next. */
	#fadeIn(samples: Float32Array, count: number): void {
		if (this.#mended > 0) this.#risen = 0;
		this.#mended = 0;
		for (let i = 0; i < count; i++) {
			if (this.#risen < FADE) {
				const gain = ++this.#risen / FADE;
				samples[i * 2] *= gain;
				samples[i * 2 + 1] *= gain;
			}
			this.#heard[this.#heardAt * 2] = samples[i * 2];
			this.#heard[this.#heardAt * 2 + 1] = samples[i * 2 + 1];
			this.#heardAt = (this.#heardAt + 1) % FADE;
		}
	}

	#mend(samples: Float32Array, from: number, to: number): void {
		for (let i = from; i < to; i++) {
			const at = (this.#heardAt + 2 * FADE - 1 - this.#mended) % FADE;
			const gain = this.#mended < FADE ? 1 - this.#mended++ / FADE : 0;
			samples[i * 2] = gain > 0 ? this.#heard[at * 2] * gain : 0;
			samples[i * 2 + 1] = gain > 0 ? this.#heard[at * 2 + 1] * gain : 0;
		}
	}
}
