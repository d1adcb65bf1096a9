/** The playback channel: what a client is told and when, and what reaches it. */
import test from 'ava';
import { decode, type Infer } from '../../src/core/index.ts';
import { CapSet } from '../../src/spice/caps.ts';
import { haveOpus, opusDecoder } from '../../src/spice/codecs/opus.ts';
import { ChannelType } from '../../src/spice/protocol/constants.ts';
import { main } from '../../src/spice/protocol/main.ts';
import { PlaybackCap, playback } from '../../src/spice/protocol/playback.ts';
import { AUDIO_FMT_S16, AudioDataMode, PACKET_FRAMES } from '../../src/spice/protocol/sound.ts';
import { correlation } from '../helpers/sound.ts';
import type { ClientChannel, SpiceClient } from '../helpers/spice-client.ts';
import { MS, serveSound, TonePlayer, tone } from './sound-support.ts';
import { until } from './support.ts';

const { server: messages } = playback;
const VOLUME_AND_LATENCY = CapSet.of(PlaybackCap.volume, PlaybackCap.latency);
const ALL = CapSet.of(PlaybackCap.volume, PlaybackCap.latency, PlaybackCap.opus);

/** What spice-gtk is told when it comes: with a start without sound, at which it sets itself up. */
const GREETING = ['mode', 'start', 'stop', 'volume', 'mute'];
/** And when there is sound. */
const BEGIN = ['start', 'latency', 'volume', 'mute', 'data'];

type Data = Infer<(typeof messages.data)[1]>;

/** What a client heard and was told, in order: names of messages, and runs of data as one. */
class Listener {
	readonly told: string[] = [];
	readonly packets: Data[] = [];
	readonly channel: ClientChannel;
	readonly starts: Infer<(typeof messages.start)[1]>[] = [];
	/** How many packets came before each start. */
	readonly startedAt: number[] = [];
	mode = 0;
	volume: number[] = [];
	mute = -1;

	private constructor(channel: ClientChannel) {
		this.channel = channel;
		const names = new Map<number, string>(Object.entries(messages).map(([name, [type]]) => [type, name]));
		const take = (type: number, body: Uint8Array) => {
			const name = names.get(type) ?? String(type);
			if (name === 'setAck') return;
			if (this.told.at(-1) !== name) this.told.push(name);
			if (name === 'data') this.packets.push(decode(messages.data[1], Uint8Array.from(body)));
			if (name === 'mode') this.mode = decode(messages.mode[1], body).mode;
			if (name === 'start') {
				this.starts.push(decode(messages.start[1], body));
				this.startedAt.push(this.packets.length);
			}
			if (name === 'volume') this.volume = [...decode(messages.volume[1], body).volume];
			if (name === 'mute') this.mute = decode(messages.mute[1], body).mute;
		};
		for (const { type, body } of channel.waiting) take(type, body);
		channel.onMessage = ({ type, body }) => take(type, body);
	}

	static async open(client: SpiceClient, caps: CapSet): Promise<Listener> {
		const listener = new Listener(await client.open(ChannelType.playback, caps));
		await until(() => listener.mode !== 0, 'the mode');
		return listener;
	}

	/** Plays until `count` packets more were heard, at a pace that the client can follow. */
	async hear(player: TonePlayer, count: number): Promise<void> {
		const end = this.packets.length + count;
		for (let played = 0; this.packets.length < end; played += 20) {
			if (played > count * 100) throw new Error(`only ${this.packets.length} of ${end} packets`);
			player.play(20);
			const { length } = this.packets;
			await until(() => this.packets.length > length, 'sound', 20).catch(() => {});
		}
	}

	/** Packets that are not silence. */
	get loud(): Data[] {
		return this.packets.filter(({ data }) => data.some((byte) => byte !== 0));
	}

	/** Raw samples of all packets but the first `skip`. */
	samples(skip = 0): Int16Array {
		return new Int16Array(Uint8Array.from(this.packets.slice(skip).flatMap(({ data }) => [...data])).buffer);
	}
}

/** Where `part` first stands in `whole`, frames; -1 if it does not. */
function find(whole: Int16Array, part: Int16Array): number {
	for (let at = 0; at + part.length <= whole.length; at += 2)
		if (part.every((sample, i) => whole[at + i] === sample)) return at / 2;
	return -1;
}

test('raw: mode, then start and sound when there is some, then stop; every sample arrives', async (t) => {
	const { clock, device, connect } = await serveSound(t);
	const client = await connect();
	const listener = await Listener.open(client, VOLUME_AND_LATENCY);
	t.is(listener.told[0], 'mode');
	t.is(listener.mode, AudioDataMode.raw);
	clock.advance(1000 * MS);
	const player = new TonePlayer(clock, device);
	await listener.hear(player, 50);
	t.deepEqual(listener.told, GREETING.concat(BEGIN));
	const start = listener.starts[1];
	t.is(start.channels, 2);
	t.is(start.format, AUDIO_FMT_S16);
	t.is(start.frequency, 48000);
	const heard = listener.samples();
	// The resampler passes 48 kHz as it is; the voice fades in over its first 10 ms.
	const part = tone(1000, 9600);
	t.not(find(heard, part), -1, 'the tone as it was played');
	t.true(listener.packets.every(({ data }) => data.length === PACKET_FRAMES * 4));

	device.stop();
	client.main.waiting.length = 0;
	for (let quiet = 0; quiet < 600; quiet += 100) {
		clock.advance(100 * MS);
		const { length } = listener.packets;
		await until(() => listener.packets.length >= length + 9 || listener.told.at(-1) === 'stop', 'silence or the end');
	}
	await until(() => listener.told.at(-1) === 'stop', 'stop');
	const { time } = await client.main.read(main.server.multiMediaTime);
	const behind = 1000 + clock.now() / MS - time;
	t.true(behind >= 400 && behind < 600, `clients' clocks run ${behind} ms behind again, as from the greeting on`);
});

test('silence goes ahead of the first sound, stamps never run backwards, a second start begins anew', async (t) => {
	const { clock, device, connect } = await serveSound(t);
	const listener = await Listener.open(await connect(), VOLUME_AND_LATENCY);
	for (const round of [1, 2]) {
		const before = listener.packets.length;
		const player = new TonePlayer(clock, device);
		await listener.hear(player, 15);
		t.is(listener.starts.length, 1 + round);
		const ahead = listener.packets.slice(before, before + 2);
		t.true(
			ahead.every(({ data }) => data.every((byte) => byte === 0)),
			'the cushion',
		);
		device.stop();
		for (let quiet = 0; listener.told.at(-1) !== 'stop'; quiet += 50) {
			t.true(quiet < 2000);
			clock.advance(50 * MS);
			await new Promise((resolve) => setTimeout(resolve, 2));
		}
		clock.advance(777 * MS);
	}
	const times = listener.packets.map(({ time }) => time);
	t.true(times.every((time, i) => i === 0 || time >= times[i - 1]));
	for (const round of [1, 2]) t.is(times[listener.startedAt[round]], listener.starts[round].time);
	t.true(Math.abs(times.at(-1)! - clock.now() / MS - 1000) < 2000);
});

test('a client that comes in the middle of a song hears it at once; one that left is forgotten', async (t) => {
	const { clock, device, mixer, connect } = await serveSound(t);
	const player = new TonePlayer(clock, device);
	player.play(300);
	t.is(mixer.info().backEnds.length, 0);
	const first = await Listener.open(await connect(), VOLUME_AND_LATENCY);
	await first.hear(player, 10);
	t.deepEqual(first.told, GREETING.concat(BEGIN));
	t.is(mixer.info().backEnds.length, 1);

	// Another client takes over: the first one's channels are closed.
	const second = await Listener.open(await connect(), VOLUME_AND_LATENCY);
	await first.channel.closed;
	t.is(mixer.info().backEnds.length, 1);
	await second.hear(player, 15);
	t.deepEqual(second.told, GREETING.concat(BEGIN));
	t.true(second.packets.length - second.loud.length <= 6, 'no silence but the cushion');

	second.channel.close();
	await until(() => mixer.info().backEnds.length === 0, 'the end of the sink');
	player.play(100);
	const back = await Listener.open(await connect(), VOLUME_AND_LATENCY);
	await back.hear(player, 15);
	t.true(back.loud.length >= 9);
});

test('volume and mute are told as a place on the slider, and the samples are left alone', async (t) => {
	const { clock, device, connect } = await serveSound(t);
	device.volume({ left: 0.125, right: 1, mute: false });
	const listener = await Listener.open(await connect(), VOLUME_AND_LATENCY);
	await until(() => listener.mute === 0, 'mute');
	// The cube root of 1/8 is 1/2: what a client with a cubic slider makes an eighth of.
	t.deepEqual(listener.volume, [32768, 65535]);
	await listener.hear(new TonePlayer(clock, device), 15);
	t.not(find(listener.samples(), tone(1000, 960)), -1);
	device.volume({ left: 0.125, right: 1, mute: true });
	await until(() => listener.mute === 1, 'mute');
});

test('a client without a volume gets it in the samples', async (t) => {
	const { clock, device, connect } = await serveSound(t);
	device.volume({ left: 0.5, right: 0, mute: false });
	const listener = await Listener.open(await connect(), new CapSet([]));
	await listener.hear(new TonePlayer(clock, device), 25);
	t.deepEqual(listener.told, ['mode', 'start', 'data']);
	const samples = listener.samples(10);
	const peak = (side: number) => Math.max(...samples.filter((_, i) => i % 2 === side).map(Math.abs));
	t.true(Math.abs(peak(0) - 6000) < 10, `${peak(0)}`);
	t.is(peak(1), 0);
});

test('a client that does not read loses the oldest: little waits, and what is lost is counted', async (t) => {
	const { clock, device, mixer, connect } = await serveSound(t);
	const listener = await Listener.open(await connect(false), VOLUME_AND_LATENCY);
	const player = new TonePlayer(clock, device);
	for (let played = 0; played < 3000; played += 50) {
		player.play(50);
		await new Promise((resolve) => setImmediate(resolve));
	}
	const [info] = mixer.info().backEnds;
	t.is(info.buffered, 100);
	t.true(info.overruns > 200, `${info.overruns}`);
	await until(() => listener.packets.length >= 30, 'what it could take');
	t.true(listener.packets.length < 42, 'no more than the ack window');
});

test('Opus where both sides have it, unless it is turned off', async (t) => {
	const on = await serveSound(t);
	const opus = await Listener.open(await on.connect(), ALL);
	t.is(opus.mode, haveOpus() ? AudioDataMode.opus : AudioDataMode.raw);
	const off = await serveSound(t, { compression: false });
	const raw = await Listener.open(await off.connect(), ALL);
	t.is(raw.mode, AudioDataMode.raw);
	if (!haveOpus()) return;
	const player = new TonePlayer(on.clock, on.device);
	await opus.hear(player, 100);
	const decoder = opusDecoder();
	const into = new Int16Array(5760 * 2);
	const left = opus.packets.flatMap(({ data }) => {
		t.true(data.length < 400);
		t.is(decoder.decode(data, into), PACKET_FRAMES);
		return [...into.subarray(0, PACKET_FRAMES * 2)].filter((_, i) => i % 2 === 0);
	});
	const source = [...tone(9600, 9600)].filter((_, i) => i % 2 === 0);
	let best = 0;
	for (let lag = 9600; lag < 16000; lag++) best = Math.max(best, correlation(source, left, lag, 0, 4800));
	t.true(best > 0.99, `correlation ${best}`);
});
