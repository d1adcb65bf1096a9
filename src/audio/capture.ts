/**
 * What a device records from: frames of the host's source, brought to the device's rate and pace. The source's clock
 * is another one, so a little is held back, and what gathers beyond that is dropped.
 */
import { type AudioFormat, type AudioSource, type AudioVolume, HOST_AUDIO } from '../core/index.ts';
import { FrameFifo } from './fifo.ts';
import { Resampler } from './resampler.ts';

/** Held back before the first frame is given, ms: at first, and at most after it ran dry. */
const LEAST_PREFILL = 20;
const MOST_PREFILL = 100;
/** What lies here for a whole WINDOW beyond the prefill and this is dropped, ms: it would be delay for ever. */
const SLACK = 60;
const WINDOW = 500;
/** Holds what a device may be late with after a stall of the host, frames of the fastest one: 400 ms. */
const CAPACITY = (HOST_AUDIO.rate * 4) / 10;

export interface CaptureInfo {
	readonly name: string;
	readonly active: boolean;
	/** The device's rate, Hz. */
	readonly rate: number;
	/** Device frames given since the start. */
	readonly frames: number;
	/** Times that there was nothing to give; and times that something had to be dropped. */
	readonly underruns: number;
	readonly overruns: number;
	readonly buffered: number;
	readonly volume: AudioVolume;
}

export class Capture implements AudioSource {
	readonly name: string;
	/** False while the host's source applies the volume by itself. */
	appliesVolume = true;
	readonly #changed: () => void;
	readonly #pump: () => void;
	readonly #fifo = new FrameFifo(CAPACITY);
	#format: AudioFormat = HOST_AUDIO;
	#resampler = new Resampler(HOST_AUDIO.rate, HOST_AUDIO.rate);
	#active = false;
	#flowing = false;
	#prefill = LEAST_PREFILL;
	#frames = 0;
	/** The least that was left by a read of this window, and frames until the window ends. */
	#least = Number.POSITIVE_INFINITY;
	#windowLeft = 0;
	#underruns = 0;
	#overruns = 0;
	#volume: AudioVolume = { left: 1, right: 1, mute: false };
	#scratch = new Float32Array(0);

	/** `changed`: it began or ended, or has another volume. `pump` brings what the host's source has. */
	constructor(name: string, changed: () => void, pump: () => void) {
		this.name = name;
		this.#changed = changed;
		this.#pump = pump;
	}

	get active(): boolean {
		return this.#active;
	}

	get amplitude(): AudioVolume {
		return this.#volume;
	}

	start(format: AudioFormat): void {
		if (format.rate !== this.#resampler.to) this.#resampler = new Resampler(HOST_AUDIO.rate, format.rate);
		else this.#resampler.reset();
		this.#format = format;
		this.#fifo.clear();
		this.#flowing = false;
		this.#beginWindow();
		this.#active = true;
		this.#changed();
	}

	stop(): void {
		this.#active = false;
		this.#changed();
	}

	volume(volume: AudioVolume): void {
		this.#volume = volume;
		this.#changed();
	}

	/** Frames of the host's source, HOST_AUDIO. */
	feed(samples: Int16Array): void {
		if (!this.#active) return;
		if (this.#resampler.write(samples, HOST_AUDIO.channels, this.#fifo) > 0) this.#overruns++;
		// Nobody has heard any of it yet.
		if (!this.#flowing) this.#dropTo(this.#prefill + SLACK);
	}

	read(into: Int16Array): number {
		this.#pump();
		const { channels } = this.#format;
		const wanted = Math.floor(into.length / channels);
		if (!this.#flowing && this.#fifo.level >= this.#framesIn(this.#prefill)) this.#flowing = true;
		if (!this.#flowing) return 0;
		if (this.#scratch.length < wanted * 2) this.#scratch = new Float32Array(wanted * 2);
		const frames = this.#fifo.take(this.#scratch, wanted);
		if (frames < wanted) {
			this.#flowing = false;
			this.#underruns++;
			this.#prefill = Math.min(MOST_PREFILL, this.#prefill * 2);
		}
		this.#frames += frames;
		this.#trim(frames);
		const { left, right, mute } = this.appliesVolume ? this.#volume : { left: 1, right: 1, mute: false };
		for (let i = 0; i < frames; i++) {
			const l = mute ? 0 : this.#scratch[i * 2] * left;
			const r = mute ? 0 : this.#scratch[i * 2 + 1] * right;
			if (channels === 1) into[i] = toSample((l + r) / 2);
			else {
				into[i * 2] = toSample(l);
				into[i * 2 + 1] = toSample(r);
			}
		}
		return frames;
	}

	info(): CaptureInfo {
		return {
			name: this.name,
			active: this.#active,
			rate: this.#format.rate,
			frames: this.#frames,
			underruns: this.#underruns,
			overruns: this.#overruns,
			buffered: (this.#fifo.level / this.#format.rate) * 1000,
			volume: this.#volume,
		};
	}

	/** After a stall of the host the source is there at once and the device comes later: only what stays is too much. */
	#trim(frames: number): void {
		this.#least = Math.min(this.#least, this.#fifo.level);
		this.#windowLeft -= frames;
		if (this.#windowLeft > 0) return;
		if (this.#least > this.#framesIn(this.#prefill + SLACK)) {
			this.#fifo.drop(this.#least - this.#framesIn(this.#prefill));
			this.#overruns++;
		}
		this.#beginWindow();
	}

	#beginWindow(): void {
		this.#least = Number.POSITIVE_INFINITY;
		this.#windowLeft = this.#framesIn(WINDOW);
	}

	#dropTo(ms: number): void {
		this.#fifo.drop(Math.max(0, this.#fifo.level - this.#framesIn(ms)));
	}

	#framesIn(ms: number): number {
		return Math.floor((this.#format.rate * ms) / 1000);
	}
}

/** A float as a sample: rounded, and kept inside what 16 bits hold. */
export function toSample(value: number): number {
	return Math.max(-32768, Math.min(32767, Math.round(value)));
}
