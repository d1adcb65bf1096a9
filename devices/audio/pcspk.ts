/**
 * The PC speaker: a cone on the output of PIT channel 2, let through by bit 1 of port 61h. PC/AT technical reference.
 * Its sound is made from the channel's own output, so that whatever a program does to it is heard: beeps, and samples
 * played by pulse width.
 */
import {
	type AudioSink,
	type Clock,
	checkVersion,
	type Device,
	type DeviceState,
	type Host,
	nextAudioTick,
	type Timer,
} from '../../src/core/index.ts';
import { PIT_HZ, type PitChannel } from '../chipset/pit-channel.ts';
import type { Port61 } from '../chipset/port61.ts';

const RATE = 48000;
const SECOND = 1e9;
/** The output is looked at this many times a sample: edges fall between samples, and would alias. */
const OVERSAMPLING = 8;
/** How loud a beep is, out of 32767. */
const AMPLITUDE = 6000;
/** A cone does not hold a position: what stands still fades with this share a sample (a high pass at about 30 Hz). */
const DECAY = 0.996;
/** Silence after which the voice rests, frames, and the longest a turn makes. */
const REST = RATE / 5;
const ROOM = RATE / 20;

export class PcSpeaker implements Device {
	readonly #clock: Clock;
	readonly #sink: AudioSink;
	readonly #channel: PitChannel;
	readonly #timer: Timer;
	readonly #samples = new Int16Array(ROOM);
	#enabled = false;
	#running = false;
	/** When the voice began, ns, and frames made since. */
	#since = 0;
	#frames = 0;
	#quiet = 0;
	#last = 0;
	#level = 0;

	/** `channel` is the PIT's channel 2, which must not be listened to by anybody else. */
	constructor(host: Host, channel: PitChannel, port61: Port61, sink: AudioSink) {
		this.#clock = host.clock;
		this.#sink = sink;
		this.#channel = channel;
		this.#timer = host.clock.timer(() => this.#turn());
		channel.beforeChange = () => this.#render();
		port61.onSpeaker = (enabled) => this.#enable(enabled);
	}

	reset(): void {
		this.#enable(false);
	}

	save() {
		return { version: 1, enabled: this.#enabled } satisfies DeviceState;
	}

	restore(state: DeviceState): void {
		checkVersion('pcspk', state, 1);
		this.#rest();
		this.#enabled = false;
		this.#enable((state as ReturnType<PcSpeaker['save']>).enabled);
	}

	#enable(enabled: boolean): void {
		if (enabled === this.#enabled) return;
		this.#render();
		this.#enabled = enabled;
		if (!enabled || this.#running) return;
		this.#running = true;
		this.#since = this.#clock.now();
		this.#frames = 0;
		this.#quiet = 0;
		this.#last = 0;
		this.#level = 0;
		this.#sink.start({ rate: RATE, channels: 1 });
		this.#timer.arm(nextAudioTick(this.#since));
	}

	#turn(): void {
		if (!this.#running) return;
		this.#render();
		if (this.#quiet > REST) this.#rest();
		else this.#timer.arm(nextAudioTick(this.#clock.now()));
	}

	#rest(): void {
		if (!this.#running) return;
		this.#running = false;
		this.#timer.cancel();
		this.#sink.stop();
	}

	/** What sounded since the last time, before anything about it changes. */
	#render(): void {
		if (!this.#running) return;
		const due = Math.floor(((this.#clock.now() - this.#since) * RATE) / SECOND);
		// After a stall the past beyond this is lost.
		if (due - this.#frames > ROOM) this.#frames = due - ROOM;
		const count = due - this.#frames;
		for (let i = 0; i < count; i++) {
			const input = this.#enabled ? this.#average(this.#frames + i) : 0;
			this.#level = DECAY * (this.#level + input - this.#last);
			this.#last = input;
			const sample = Math.round(this.#level * AMPLITUDE);
			this.#samples[i] = sample;
			this.#quiet = sample === 0 ? this.#quiet + 1 : 0;
		}
		this.#frames = due;
		if (count > 0) this.#sink.write(this.#samples.subarray(0, count));
	}

	/** The channel's output over one sample, 0 .. 1. */
	#average(frame: number): number {
		let high = 0;
		for (let part = 0; part < OVERSAMPLING; part++) {
			const ns = this.#since + ((frame + part / OVERSAMPLING) / RATE) * SECOND;
			if (this.#channel.output(Math.floor((ns * PIT_HZ) / SECOND))) high++;
		}
		return high / OVERSAMPLING;
	}
}
