/**
 * Playback channel: what the machine plays, in packets of 10 ms, raw or Opus. SPICE protocol, "Playback channel".
 *
 * Packets leave as they come from the mixer, at the pace of the machine's clock. A client that does not take them in
 * time loses the oldest ones: what it hears next is never further behind than QUEUE packets and the ack window.
 */
import { type AudioFormat, type AudioSink, type AudioVolume, HOST_AUDIO, tracePoints } from '../../core/index.ts';
import { CapSet } from '../caps.ts';
import type { ChannelBehaviour, ChannelFactory, ChannelLink } from '../channel.ts';
import { haveOpus, type OpusEncoder, opusEncoder } from '../codecs/opus.ts';
import { Cushion } from '../cushion.ts';
import { receiver, type Sender, sender } from '../protocol/kit.ts';
import { main } from '../protocol/main.ts';
import { PlaybackCap, playback } from '../protocol/playback.ts';
import { AUDIO_FMT_S16, AudioDataMode, PACKET_FRAMES } from '../protocol/sound.ts';
import { MediaStamps, MM_TIME_LEAD_MS } from '../stamps.ts';
import { VolumeTeller } from './sound.ts';

/** What plays: the machine's mixer. */
export interface PlaybackSource {
	/** Returns the way to take the sink off again. */
	addSink(sink: AudioSink): () => void;
}

export interface SoundOptions {
	/** False keeps to raw samples although both sides could speak Opus. */
	readonly compression?: boolean;
}

/** Packets that wait for a client that does not take them: 100 ms. */
const QUEUE = 10;
/** Packets that one turn of the mixer may bring: 300 ms. */
const BURST = 30;
const PACKET_MS = (PACKET_FRAMES * 1000) / HOST_AUDIO.rate;
const PACKET_SAMPLES = PACKET_FRAMES * HOST_AUDIO.channels;
const SILENCE = new Int16Array(PACKET_SAMPLES);
/**
 * What a client is asked to hold back, ms. spice-gtk with PulseAudio's own library takes 200 by itself, which together
 * with the guest's buffer is more than a conversation bears; with GStreamer it does not care.
 */
const CLIENT_LATENCY_MS = 100;
/** Bits a second. 10 ms of music are transparent at the first, and still good on a thin line at the second. */
const BITRATE = 160_000;
const BITRATE_LOW_BANDWIDTH = 64_000;

const trace = tracePoints('spice.playback', {
	start: ['mode'],
	stop: ['packets', 'dropped'],
	dropped: ['time'],
	dry: ['waiting', 'silence'],
});

/** Makes playback channels that play what `source` plays. */
export function createPlaybackChannel(source: PlaybackSource, options: SoundOptions = {}): ChannelFactory {
	const factory = (link: ChannelLink) => new PlaybackChannel(link, source, options.compression ?? true);
	// Whether there is Opus is known only once the addon has been looked for, which is no business of imports.
	return Object.defineProperty(factory as ChannelFactory & { caps?: CapSet }, 'caps', {
		get: () => CapSet.of(PlaybackCap.volume, PlaybackCap.latency, ...(haveOpus() ? [PlaybackCap.opus] : [])),
	});
}

interface Packet {
	readonly time: number;
	readonly samples: Int16Array;
}

class PlaybackChannel implements ChannelBehaviour {
	readonly receive = receiver(playback.client, {});
	readonly #link: ChannelLink;
	readonly #source: PlaybackSource;
	readonly #send: Sender<typeof playback.server>;
	readonly #volume: VolumeTeller;
	readonly #stamps: MediaStamps;
	readonly #cushion: Cushion;
	readonly #opus: boolean;
	#encoder: OpusEncoder | undefined;
	#remove: (() => void) | undefined;

	/** Something plays; and the client has been told so. */
	#playing = false;
	#told = false;
	readonly #queue: Packet[] = [];
	/** The packet that is being filled, samples. */
	#packet = new Int16Array(PACKET_SAMPLES);
	#filled = 0;
	/** A flush is on its way. */
	#flushing = false;
	#packets = 0;
	#dropped = 0;

	constructor(link: ChannelLink, source: PlaybackSource, compression: boolean) {
		this.#link = link;
		this.#source = source;
		this.#send = sender(link, playback.server);
		this.#volume = new VolumeTeller(link, playback.server);
		this.#stamps = new MediaStamps(() => link.session.mmTime(), PACKET_MS);
		this.#cushion = new Cushion(() => link.session.mmTime());
		this.#opus = compression && haveOpus() && link.caps.has(PlaybackCap.opus);
	}

	/** The mode comes before anything is played: spice-gtk makes its decoder by it. */
	start(): void {
		const mode = this.#opus ? AudioDataMode.opus : AudioDataMode.raw;
		this.#send.mode({ time: this.#link.session.mmTime(), mode, data: new Uint8Array(0) });
		if (this.#link.caps.has(PlaybackCap.latency)) this.#warmUp();
		this.#link.onWritable = () => this.#flush();
		this.#remove = this.#source.addSink(this.#sink());
	}

	/**
	 * spice-gtk sets up its way to the sound card at the first start only, and what comes meanwhile stays behind for the
	 * rest of the stream: so there is a first one without sound.
	 */
	#warmUp(): void {
		this.#sendStart(this.#link.session.mmTime());
		this.#send.stop();
	}

	closed(): void {
		this.#remove?.();
		this.#encoder = undefined;
	}

	/** A client without a volume of its own gets samples that have it in them already. */
	#sink(): AudioSink {
		const sink: AudioSink = {
			start: (_format: AudioFormat) => {
				this.#playing = true;
				this.#stamps.restart();
				this.#flush();
			},
			write: (samples) => this.#write(samples),
			stop: () => {
				if (this.#filled > 0) this.#enqueue();
				this.#playing = false;
				this.#flush();
			},
			latency: CLIENT_LATENCY_MS * 1e6,
			stats: () => ({
				name: `SPICE client ${this.#link.client.host}:${this.#link.client.port}`,
				active: this.#playing,
				frames: this.#packets * PACKET_FRAMES,
				underruns: this.#cushion.dry,
				overruns: this.#dropped,
				buffered: this.#queue.length * PACKET_MS,
			}),
		};
		if (!this.#link.caps.has(PlaybackCap.volume)) return sink;
		return {
			...sink,
			volume: (volume: AudioVolume) => {
				this.#volume.set(volume);
				this.#flush();
			},
		};
	}

	#write(samples: Int16Array): void {
		for (let at = 0; at < samples.length; ) {
			const part = samples.subarray(at, at + PACKET_SAMPLES - this.#filled);
			this.#packet.set(part, this.#filled);
			this.#filled += part.length;
			at += part.length;
			if (this.#filled === PACKET_SAMPLES) this.#enqueue();
		}
		this.#flushSoon();
	}

	/** After a stall the mixer brings many packets at once, and how many they are says how much silence they need ahead. */
	#flushSoon(): void {
		if (this.#flushing || this.#queue.length === 0) return;
		this.#flushing = true;
		queueMicrotask(() => {
			this.#flushing = false;
			if (!this.#link.closed) this.#flush();
		});
	}

	#enqueue(): void {
		this.#queue.push({ time: this.#stamps.next(), samples: this.#packet });
		this.#packet = new Int16Array(PACKET_SAMPLES);
		this.#filled = 0;
		const most = this.#link.writable ? BURST : QUEUE;
		while (this.#queue.length > most) {
			const packet = this.#queue.shift()!;
			this.#dropped++;
			trace.dropped(packet.time);
		}
	}

	/** As much as the client can take, in the order in which it must hear of it. */
	#flush(): void {
		const link = this.#link;
		if (link.writable) this.#volume.flush();
		if (link.writable && this.#queue.length > 0) {
			if (!this.#told) this.#tellStart();
			this.#fillCushion();
		}
		while (link.writable && this.#queue.length > 0) {
			const { time, samples } = this.#queue.shift()!;
			this.#packets++;
			this.#sendPacket(time, samples);
		}
		if (link.writable && !this.#playing && this.#queue.length === 0 && this.#told) this.#tellStop();
	}

	/** Silence for a client that has nothing to play, so that the next late packet is not heard. */
	#fillCushion(): void {
		const before = this.#cushion.dry;
		const missing = this.#cushion.missing(this.#queue.length * PACKET_MS);
		if (this.#cushion.dry > before) trace.dry(this.#queue.length * PACKET_MS, missing);
		for (let ms = 0; ms < missing; ms += PACKET_MS) this.#sendPacket(this.#queue[0].time, SILENCE);
	}

	#sendPacket(time: number, samples: Int16Array): void {
		const data = this.#encoder
			? this.#encoder.encode(samples)
			: new Uint8Array(samples.buffer, samples.byteOffset, samples.byteLength);
		this.#send.data({ time, data });
		this.#cushion.sent(PACKET_MS);
	}

	#tellStart(): void {
		this.#told = true;
		this.#cushion.restart();
		const { lowBandwidth } = this.#link.session;
		if (this.#opus) this.#encoder = opusEncoder(lowBandwidth ? BITRATE_LOW_BANDWIDTH : BITRATE);
		trace.start(this.#opus ? 'opus' : 'raw');
		this.#sendStart(this.#queue[0].time);
		// Each start sets spice-gtk back to its own idea of it.
		if (this.#link.caps.has(PlaybackCap.latency)) this.#send.latency({ latencyMs: CLIENT_LATENCY_MS });
		// spice-gtk forgets a volume that it is told before it plays.
		this.#volume.again();
		this.#volume.flush();
	}

	#sendStart(time: number): void {
		const { channels, rate: frequency } = HOST_AUDIO;
		this.#send.start({ channels, format: AUDIO_FMT_S16, frequency, time });
	}

	/** From now on there is no sound that a client could set its clock by. */
	#tellStop(): void {
		this.#told = false;
		trace.stop(this.#packets, this.#dropped);
		this.#send.stop();
		const { session } = this.#link;
		const greeting = session.main;
		if (greeting) sender(greeting, main.server).multiMediaTime({ time: (session.mmTime() - MM_TIME_LEAD_MS) >>> 0 });
	}
}
