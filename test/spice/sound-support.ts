/** What tests of the sound channels share: a mixer on a clock that stands still, behind a server, and a player. */
import type { ExecutionContext } from 'ava';
import { AudioMixer } from '../../src/audio/index.ts';
import { type AudioSink, HOST_AUDIO, ManualClock } from '../../src/core/index.ts';
import { createPlaybackChannel, type SoundOptions } from '../../src/spice/channels/playback.ts';
import { createRecordChannel } from '../../src/spice/channels/record.ts';
import { ChannelType } from '../../src/spice/protocol/constants.ts';
import { SpiceClient } from '../helpers/spice-client.ts';
import { serve } from './support.ts';

export const MS = 1e6;

/** A machine's sound behind a SPICE server; everything ends with the test. */
export async function serveSound(t: ExecutionContext, options: SoundOptions = {}) {
	const clock = new ManualClock();
	const mixer = new AudioMixer(clock);
	const device = mixer.voice('device', true);
	const served = await serve(
		t,
		{},
		{
			factories: new Map([
				[ChannelType.playback, createPlaybackChannel(mixer, options)],
				[ChannelType.record, createRecordChannel(mixer)],
			]),
			mmTime: () => 1000 + clock.now() / MS,
		},
	);
	const connect = async (polite = true) => {
		const client = await SpiceClient.connect({ port: served.port, polite });
		t.teardown(() => client.close());
		return client;
	};
	return { ...served, clock, mixer, device, connect };
}

/** Plays a tone into a voice at the clock's pace. */
export class TonePlayer {
	readonly #clock: ManualClock;
	readonly #sink: AudioSink;
	#frames = 0;

	constructor(clock: ManualClock, sink: AudioSink) {
		this.#clock = clock;
		this.#sink = sink;
		sink.start(HOST_AUDIO);
	}

	/** `step`: the device's pace, ms; the sound of each step comes at its end. */
	play(ms: number, step = 10): void {
		for (let done = 0; done < ms; done += step) {
			this.#clock.advance(step * MS);
			this.#sink.write(tone(this.#frames, 48 * step));
			this.#frames += 48 * step;
		}
	}
}

/** Stereo frames of 440 Hz on the left and 660 Hz on the right, from frame `from` on. */
export function tone(from: number, count: number): Int16Array {
	const samples = new Int16Array(count * 2);
	for (let n = 0; n < count; n++) {
		const w = (2 * Math.PI * (from + n)) / HOST_AUDIO.rate;
		samples[n * 2] = Math.round(12000 * Math.sin(440 * w));
		samples[n * 2 + 1] = Math.round(12000 * Math.sin(660 * w));
	}
	return samples;
}
