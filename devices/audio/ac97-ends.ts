/** The codec's ends of the bus masters: samples from guest memory to a sink, and from a source to guest memory. */
import type { AudioFormat, AudioSink, AudioSource, AudioVolume, Dma } from '../../src/core/index.ts';
import type { BusMasterEnd } from './ac97-busmaster.ts';

const CHANNELS = 2;
/** Samples that a turn moves at most at the highest rate, and then some. */
const ROOM = 4096;

function format(rate: number): AudioFormat {
	return { rate, channels: CHANNELS };
}

/** PCM out. */
export class PlaybackEnd implements BusMasterEnd {
	readonly #dma: Dma;
	readonly #sink: AudioSink;
	readonly #samples = new Int16Array(ROOM);
	readonly #bytes = new Uint8Array(this.#samples.buffer);
	#used = 0;

	constructor(dma: Dma, sink: AudioSink) {
		this.#dma = dma;
		this.#sink = sink;
	}

	start(rate: number): void {
		this.#sink.start(format(rate));
	}

	stop(): void {
		this.#used = 0;
		this.#sink.stop();
	}

	move(address: number, count: number): void {
		for (let done = 0; done < count; ) {
			if (this.#used === ROOM) this.flush();
			const part = Math.min(count - done, ROOM - this.#used);
			this.#bytes.set(this.#dma.view(address + done * 2, part * 2), this.#used * 2);
			this.#used += part;
			done += part;
		}
	}

	flush(): void {
		const whole = this.#used - (this.#used % CHANNELS);
		if (whole > 0) this.#sink.write(this.#samples.subarray(0, whole));
		// Half a frame waits for its other half.
		if (whole < this.#used) this.#samples[0] = this.#samples[whole];
		this.#used -= whole;
	}

	volume(volume: AudioVolume): void {
		this.#sink.volume?.(volume);
	}
}

/** PCM in and mic in. */
export class CaptureEnd implements BusMasterEnd {
	readonly #dma: Dma;
	readonly #source: AudioSource;
	readonly #samples = new Int16Array(ROOM);
	readonly #bytes = new Uint8Array(this.#samples.buffer);
	/** Half a frame that the guest's buffer had no room for. */
	#odd: number | undefined;

	constructor(dma: Dma, source: AudioSource) {
		this.#dma = dma;
		this.#source = source;
	}

	start(rate: number): void {
		this.#source.start(format(rate));
	}

	stop(): void {
		this.#odd = undefined;
		this.#source.stop();
	}

	move(address: number, count: number): void {
		for (let done = 0; done < count; ) {
			const part = Math.min(count - done, ROOM - CHANNELS);
			this.#fill(part);
			this.#dma.write(address + done * 2, this.#bytes.subarray(0, part * 2));
			done += part;
		}
	}

	flush(): void {}

	volume(volume: AudioVolume): void {
		this.#source.volume?.(volume);
	}

	/** The next `count` samples; silence where the source has none. */
	#fill(count: number): void {
		const samples = this.#samples;
		let at = 0;
		if (this.#odd !== undefined) {
			samples[at++] = this.#odd;
			this.#odd = undefined;
		}
		const frames = Math.ceil((count - at) / CHANNELS);
		const end = at + frames * CHANNELS;
		if (frames > 0) {
			const read = this.#source.read(samples.subarray(at, end));
			samples.fill(0, at + read * CHANNELS, end);
		}
		if (end > count) this.#odd = samples[count];
	}
}
