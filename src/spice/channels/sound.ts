/** What the two sound channels share: telling a client that it begins, how loud it is, and that it is over. */
import type { AudioVolume } from '../../core/index.ts';
import { encodeBody } from '../protocol/kit.ts';
import { Mute, Volume } from '../protocol/sound.ts';

interface VolumeMessages {
	readonly volume: readonly [number, typeof Volume];
	readonly mute: readonly [number, typeof Mute];
}

/** The newest volume, told once the client can take it. */
export class VolumeTeller {
	readonly #link: { send(type: number, parts: readonly Uint8Array[]): void };
	readonly #messages: VolumeMessages;
	#volume: AudioVolume | undefined;
	#changed = false;

	constructor(link: { send(type: number, parts: readonly Uint8Array[]): void }, messages: VolumeMessages) {
		this.#link = link;
		this.#messages = messages;
	}

	set(volume: AudioVolume): void {
		this.#volume = volume;
		this.#changed = true;
	}

	/** It must be told once more. */
	again(): void {
		this.#changed = true;
	}

	/** Sends what the client has not been told. */
	flush(): void {
		if (!this.#changed || !this.#volume) return;
		this.#changed = false;
		const { left, right, mute } = this.#volume;
		const { volume: volumeMessage, mute: muteMessage } = this.#messages;
		this.#link.send(volumeMessage[0], encodeBody(Volume, { volume: [wireVolume(left), wireVolume(right)] }));
		this.#link.send(muteMessage[0], encodeBody(Mute, { mute: mute ? 1 : 0 }));
	}
}

/**
 * An amplitude factor as the clients' volume: they take it for a place on the slider, and PulseAudio's and GStreamer's
 * sliders are cubic (pulse/volume.h; gst/audio/streamvolume.h).
 */
function wireVolume(amplitude: number): number {
	return Math.round(Math.cbrt(Math.max(0, Math.min(1, amplitude))) * 65535);
}
