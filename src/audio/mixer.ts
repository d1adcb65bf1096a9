/**
 * Between a machine's devices and the host's back ends: mixes the voices of all devices into one stereo stream at the
 * pace of the machine's clock, gives it to every back end, and hands what the host records to every device that does.
 *
 * Devices and mixer follow the same clock, so no rate has to be guessed: when the host was busy for a while, both are
 * late by the same time and catch up together. Only a device that stays behind, because its guest does, is given up
 * waiting for; its voice is then mended until it has gathered enough to go on.
 */
import {
	type AudioBackEndStats,
	type AudioSink,
	type AudioSource,
	type Clock,
	HOST_AUDIO,
	nextAudioTick,
	type Timer,
	tracePoints,
} from '../core/index.ts';
import { Capture, type CaptureInfo, toSample } from './capture.ts';
import { Voice, type VoiceInfo } from './voice.ts';

const MS = HOST_AUDIO.rate / 1000;
const NS_PER_MS = 1e6;
/** Frames given to the back ends at once at most. */
const CHUNK = 10 * MS;
/** The mixer's turn comes this much after the devices', ns: in the same wake-up of the host, but with their sound there. */
const AFTER_DEVICES = 1000;
/**
 * Turns that a late voice is waited for. After a stall of the host a device catches up in small steps, so that its guest can
 * follow; the longest that it makes up for takes five turns.
 */
const PATIENCE = 8;
/** What may be owed after a stall, frames; time beyond it is lost. */
const MOST_OWED = 250 * MS;
/** Silence goes on for this long before the back ends are stopped: a player that stumbles begins again at once. */
const LINGER = 400 * MS;
/** Host frames that one look at the source takes at most. */
const MOST_FED = 500 * MS;

const trace = tracePoints('audio', {
	start: ['back_ends'],
	stop: ['frames'],
	dry: ['owed', 'ready'],
	slip: ['owed'],
});

export interface AudioInfo {
	readonly running: boolean;
	readonly voices: readonly VoiceInfo[];
	readonly captures: readonly CaptureInfo[];
	/** Those that keep count. */
	readonly backEnds: readonly AudioBackEndStats[];
	readonly sources: readonly AudioBackEndStats[];
}

export class AudioMixer {
	readonly #clock: Clock;
	readonly #timer: Timer;
	readonly #voices: Voice[] = [];
	readonly #captures: Capture[] = [];
	readonly #sinks = new Set<AudioSink>();
	/** The last one is recorded from. */
	readonly #sources: AudioSource[] = [];
	#recording: AudioSource | undefined;
	#running = false;
	/** When the stream began, ns, frames given since, and frames of silence at its end. */
	#since = 0;
	#given = 0;
	#quiet = 0;
	/** Turns in a row that a voice was late for. */
	#late = 0;
	readonly #scaled = new Float32Array(CHUNK * 2);
	readonly #plain = new Float32Array(CHUNK * 2);
	readonly #out = new Int16Array(CHUNK * 2);
	readonly #in = new Int16Array(CHUNK * 2);

	constructor(clock: Clock) {
		this.#clock = clock;
		this.#timer = clock.timer(() => this.#turn());
	}

	/** What a device plays into. `main`: its volume is the one that back ends with a volume of their own are told. */
	voice(name: string, main = false): Voice {
		const voice = new Voice({
			name,
			main,
			wake: () => this.#start(),
			volumeChanged: () => {
				if (main) for (const sink of this.#sinks) sink.volume?.(voice.amplitude);
			},
		});
		this.#voices.push(voice);
		return voice;
	}

	/** What a device records from. */
	capture(name: string): Capture {
		const capture = new Capture(
			name,
			() => this.#record(),
			() => this.#pump(),
		);
		this.#captures.push(capture);
		return capture;
	}

	/** A back end that hears everything from now on. Returns the way to take it off again. */
	addSink(sink: AudioSink): () => void {
		this.#sinks.add(sink);
		const main = this.#voices.find((voice) => voice.main);
		if (main) sink.volume?.(main.amplitude);
		if (this.#running) sink.start(HOST_AUDIO);
		return () => {
			if (this.#sinks.delete(sink) && this.#running) sink.stop();
		};
	}

	/** A back end to record from, in place of those added before. Returns the way to take it off again. */
	addSource(source: AudioSource): () => void {
		this.#sources.push(source);
		this.#record();
		return () => {
			const at = this.#sources.indexOf(source);
			if (at >= 0) this.#sources.splice(at, 1);
			this.#record();
		};
	}

	info(): AudioInfo {
		return {
			running: this.#running,
			voices: this.#voices.map((voice) => voice.info()),
			captures: this.#captures.map((capture) => capture.info()),
			backEnds: [...this.#sinks].flatMap((sink) => sink.stats?.() ?? []),
			sources: this.#sources.flatMap((source) => source.stats?.() ?? []),
		};
	}

	#start(): void {
		this.#quiet = 0;
		if (this.#running) return;
		this.#running = true;
		this.#since = this.#clock.now();
		this.#given = 0;
		this.#late = 0;
		trace.start(this.#sinks.size);
		for (const sink of this.#sinks) sink.start(HOST_AUDIO);
		this.#arm();
	}

	#stop(): void {
		this.#running = false;
		trace.stop(this.#given);
		for (const sink of this.#sinks) sink.stop();
	}

	#arm(): void {
		this.#timer.arm(nextAudioTick(this.#clock.now()) + AFTER_DEVICES);
	}

	#turn(): void {
		if (!this.#running) return;
		let owed = Math.floor(((this.#clock.now() - this.#since) / NS_PER_MS) * MS) - this.#given;
		if (owed > MOST_OWED) {
			trace.slip(owed);
			this.#since += ((owed - MOST_OWED) / MS) * NS_PER_MS;
			owed = MOST_OWED;
		}
		let count = owed;
		for (const voice of this.#voices) count = Math.min(count, voice.ready);
		if (owed - count <= CHUNK) this.#late = 0;
		else if (++this.#late > PATIENCE) {
			this.#late = 0;
			trace.dry(owed, count);
			// A device that plays on without making up for what it owes has given that time up.
			if (count > 0) this.#since += ((owed - count) / MS) * NS_PER_MS;
			else count = owed;
		}
		while (count > 0 && this.#running) {
			const part = Math.min(count, CHUNK);
			this.#give(part);
			count -= part;
		}
		if (this.#running) this.#arm();
	}

	/** The next `count` frames, at most CHUNK. */
	#give(count: number): void {
		const scaled = this.#scaled.fill(0);
		let plain: Float32Array | undefined;
		for (const sink of this.#sinks) if (sink.volume) plain ??= this.#plain.fill(0);
		let silent = true;
		for (const voice of this.#voices) {
			if (voice.silent) continue;
			silent = false;
			voice.mix(scaled, plain, count);
		}
		this.#given += count;
		this.#deliver(scaled, count, (sink) => sink.volume === undefined);
		if (plain) this.#deliver(plain, count, (sink) => sink.volume !== undefined);
		this.#quiet = silent ? this.#quiet + count : 0;
		if (this.#quiet >= LINGER) this.#stop();
	}

	#deliver(mixed: Float32Array, count: number, to: (sink: AudioSink) => boolean): void {
		for (let i = 0; i < count * 2; i++) this.#out[i] = toSample(mixed[i]);
		const samples = this.#out.subarray(0, count * 2);
		for (const sink of this.#sinks) if (to(sink)) sink.write(samples);
	}

	/** The source records while a device does, with that device's volume if it has one of its own. */
	#record(): void {
		const wanted = this.#captures.some((capture) => capture.active) ? this.#sources.at(-1) : undefined;
		if (wanted !== this.#recording) {
			this.#recording?.stop();
			this.#recording = wanted;
			wanted?.start(HOST_AUDIO);
		}
		for (const capture of this.#captures) {
			capture.appliesVolume = wanted?.volume === undefined;
			if (capture.active) wanted?.volume?.(capture.amplitude);
		}
	}

	/** Brings in what the source has, for every device that records. */
	#pump(): void {
		const source = this.#recording;
		if (!source) return;
		for (let fed = 0; fed < MOST_FED; ) {
			const frames = source.read(this.#in);
			if (frames === 0) return;
			const samples = this.#in.subarray(0, frames * 2);
			for (const capture of this.#captures) capture.feed(samples);
			fed += frames;
		}
	}
}
