/**
 * Record channel: the client's microphone, raw or Opus, for whatever device records. SPICE protocol, "Record channel".
 *
 * The client sends at the pace of its own sound card and the network. What it sent waits here until the mixer fetches
 * it; the oldest goes when nobody does.
 */
import { type AudioFormat, type AudioSource, type AudioVolume, HOST_AUDIO, WireError } from '../../core/index.ts';
import { CapSet } from '../caps.ts';
import type { ChannelBehaviour, ChannelFactory, ChannelLink } from '../channel.ts';
import { haveOpus, type OpusDecoder, opusDecoder } from '../codecs/opus.ts';
import { receiver, type Sender, sender } from '../protocol/kit.ts';
import { RecordCap, record } from '../protocol/record.ts';
import { AUDIO_FMT_S16, AudioDataMode } from '../protocol/sound.ts';
import { VolumeTeller } from './sound.ts';

/** What records: the machine's mixer. */
export interface RecordTarget {
	/** Returns the way to take the source off again. */
	addSource(source: AudioSource): () => void;
}

const { channels, rate } = HOST_AUDIO;
const FRAME_BYTES = channels * 2;
/** Samples that wait to be fetched, 300 ms. */
const CAPACITY = (rate * channels * 3) / 10;
/** A client that sends nothing for longer than this while it is asked to has stumbled. */
const LATE_MS = 200;
/** RFC 6716, 2.1.4: a packet holds at most 120 ms. */
const LONGEST_PACKET = (rate * channels * 12) / 100;

/** Makes record channels that `target` records from. */
export function createRecordChannel(target: RecordTarget): ChannelFactory {
	const factory = (link: ChannelLink) => new RecordChannel(link, target);
	return Object.defineProperty(factory as ChannelFactory & { caps?: CapSet }, 'caps', {
		get: () => CapSet.of(RecordCap.volume, ...(haveOpus() ? [RecordCap.opus] : [])),
	});
}

class RecordChannel implements ChannelBehaviour {
	readonly receive: (type: number, body: Uint8Array) => void;
	readonly #link: ChannelLink;
	readonly #target: RecordTarget;
	readonly #send: Sender<typeof record.server>;
	readonly #volume: VolumeTeller;
	#remove: (() => void) | undefined;
	/** Somebody records; and the client has been told so. */
	#recording = false;
	#told = false;
	#decoder: OpusDecoder | undefined;
	readonly #waiting = new SampleRing(CAPACITY);
	/** Frames that came while somebody recorded, and packets that pushed out older ones. */
	#received = 0;
	#overruns = 0;
	/** When the last packet came, multimedia time; and how often it took too long. */
	#last: number | undefined;
	#underruns = 0;
	/** One packet of the client's. */
	#scratch = new Int16Array(LONGEST_PACKET);

	constructor(link: ChannelLink, target: RecordTarget) {
		this.#link = link;
		this.#target = target;
		this.#send = sender(link, record.server);
		this.#volume = new VolumeTeller(link, record.server);
		this.receive = receiver(record.client, {
			mode: ({ mode }) => this.#setMode(mode),
			data: ({ data }) => this.#data(data),
		});
	}

	start(): void {
		this.#link.onWritable = () => this.#flush();
		this.#remove = this.#target.addSource(this.#source());
	}

	closed(): void {
		this.#remove?.();
		this.#decoder = undefined;
	}

	/** A client without a volume of its own gets none, and the mixer applies it. */
	#source(): AudioSource {
		const source: AudioSource = {
			start: (_format: AudioFormat) => this.#record(true),
			stop: () => this.#record(false),
			read: (into) => this.#waiting.take(into),
			stats: () => ({
				name: `SPICE client ${this.#link.client.host}:${this.#link.client.port}`,
				active: this.#recording,
				frames: this.#received,
				underruns: this.#underruns,
				overruns: this.#overruns,
				buffered: (this.#waiting.level / channels / rate) * 1000,
			}),
		};
		if (!this.#link.caps.has(RecordCap.volume)) return source;
		return {
			...source,
			volume: (volume: AudioVolume) => {
				this.#volume.set(volume);
				this.#flush();
			},
		};
	}

	#record(on: boolean): void {
		this.#recording = on;
		this.#last = undefined;
		this.#waiting.clear();
		this.#flush();
	}

	/** A client that does not read learns in the end what holds then. */
	#flush(): void {
		const link = this.#link;
		if (link.writable) this.#volume.flush();
		if (!link.writable || this.#told === this.#recording) return;
		this.#told = this.#recording;
		if (this.#recording) this.#send.start({ channels, format: AUDIO_FMT_S16, frequency: rate });
		else this.#send.stop();
	}

	#setMode(mode: number): void {
		if (mode === AudioDataMode.raw) {
			this.#decoder = undefined;
		} else if (mode === AudioDataMode.opus && haveOpus()) {
			this.#decoder = opusDecoder();
		} else {
			throw new WireError(`sound in mode ${mode}`);
		}
	}

	#data(data: Uint8Array): void {
		// What was on its way when recording ended.
		if (!this.#recording) return;
		if (this.#decoder) {
			const frames = this.#decoder.decode(data, this.#scratch);
			if (frames === undefined) throw new WireError(`${data.length} bytes that are no Opus packet`);
			this.#keep(frames * channels);
			return;
		}
		if (data.length % FRAME_BYTES !== 0) throw new WireError(`${data.length} bytes are no whole frames`);
		if (data.length / 2 > this.#scratch.length) this.#scratch = new Int16Array(data.length / 2);
		new Uint8Array(this.#scratch.buffer).set(data);
		this.#keep(data.length / 2);
	}

	/** The first `count` samples of the scratch buffer. */
	#keep(count: number): void {
		const now = this.#link.session.mmTime();
		if (this.#last !== undefined && ((now - this.#last) | 0) > LATE_MS) this.#underruns++;
		this.#last = now;
		this.#received += count / channels;
		if (this.#waiting.level + count > CAPACITY) this.#overruns++;
		this.#waiting.put(this.#scratch.subarray(0, count));
	}
}

/** Samples between two paces; the newest stay. */
class SampleRing {
	readonly #samples: Int16Array;
	#read = 0;
	#level = 0;

	/** `capacity` in samples, whole frames. */
	constructor(capacity: number) {
		this.#samples = new Int16Array(capacity);
	}

	/** Samples in it. */
	get level(): number {
		return this.#level;
	}

	clear(): void {
		this.#level = 0;
	}

	/** Takes whole frames. */
	put(samples: Int16Array): void {
		const size = this.#samples.length;
		const kept = samples.subarray(Math.max(0, samples.length - size));
		const excess = this.#level + kept.length - size;
		if (excess > 0) this.#skip(excess);
		const at = (this.#read + this.#level) % size;
		const first = Math.min(kept.length, size - at);
		this.#samples.set(kept.subarray(0, first), at);
		this.#samples.set(kept.subarray(first), 0);
		this.#level += kept.length;
	}

	/** Fills whole frames; returns how many. */
	take(into: Int16Array): number {
		const size = this.#samples.length;
		const count = Math.min(into.length - (into.length % channels), this.#level);
		const first = Math.min(count, size - this.#read);
		into.set(this.#samples.subarray(this.#read, this.#read + first));
		into.set(this.#samples.subarray(0, count - first), first);
		this.#skip(count);
		return count / channels;
	}

	#skip(count: number): void {
		this.#read = (this.#read + count) % this.#samples.length;
		this.#level -= count;
	}
}
