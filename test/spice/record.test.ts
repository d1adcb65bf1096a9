/** The record channel: when a client is asked for sound, and what becomes of what it sends. */
import test, { type ExecutionContext } from 'ava';
import fc from 'fast-check';
import { HOST_AUDIO } from '../../src/core/index.ts';
import { CapSet } from '../../src/spice/caps.ts';
import { haveOpus, opusEncoder } from '../../src/spice/codecs/opus.ts';
import { ChannelType } from '../../src/spice/protocol/constants.ts';
import { RecordCap, record } from '../../src/spice/protocol/record.ts';
import { AUDIO_FMT_S16, AudioDataMode, PACKET_FRAMES } from '../../src/spice/protocol/sound.ts';
import { correlation } from '../helpers/sound.ts';
import { MS, serveSound, tone } from './sound-support.ts';
import { until } from './support.ts';

const { server: messages } = record;
const VOLUME = CapSet.of(RecordCap.volume);
const NOTHING = new Uint8Array(0);

async function open(t: ExecutionContext, caps = VOLUME) {
	const served = await serveSound(t);
	const capture = served.mixer.capture('device');
	const client = await served.connect();
	const channel = await client.open(ChannelType.record, caps);
	await until(() => served.mixer.info().sources.length === 1, 'the source');
	const send = channel.sender(record.client);
	const source = () => served.mixer.info().sources[0];
	return { ...served, capture, client, channel, send, source };
}

function bytes(samples: Int16Array): Uint8Array {
	return new Uint8Array(samples.buffer, samples.byteOffset, samples.byteLength);
}

test('the client is asked while somebody records; raw samples arrive as they are', async (t) => {
	const { capture, channel, send, source, clock } = await open(t);
	capture.start(HOST_AUDIO);
	t.deepEqual(await channel.read(messages.start), { channels: 2, format: AUDIO_FMT_S16, frequency: 48000 });
	send.mode({ time: 0, mode: AudioDataMode.raw, data: NOTHING });
	send.startMark({ time: 0 });
	const heard: number[] = [];
	const into = new Int16Array(480 * 2);
	for (let n = 0; n < 50; n++) {
		send.data({ time: 0, data: bytes(tone(n * 480, 480)) });
		await until(() => source().frames === (n + 1) * 480, 'a packet');
		clock.advance(10 * MS);
		heard.push(...into.subarray(0, capture.read(into) * 2));
	}
	const source440 = [...tone(0, 20_000)].filter((_, i) => i % 2 === 0);
	const left = heard.filter((_, i) => i % 2 === 0);
	t.true(left.length > 480 * 45, `${left.length}`);
	t.true(correlation(source440, left, 0, 0, 15_000) > 0.9999);
	t.is(source().overruns, 0);
	t.is(source().underruns, 0);
	clock.advance(500 * MS);
	send.data({ time: 0, data: bytes(tone(0, 480)) });
	await until(() => source().underruns === 1, 'the count of the pause');
	capture.stop();
	await channel.read(messages.stop);
});

test('Opus, as the client chooses', async (t) => {
	const { capture, channel, send, source } = await open(t, CapSet.of(RecordCap.volume, RecordCap.opus));
	t.is(channel.caps.has(RecordCap.opus), haveOpus());
	capture.start(HOST_AUDIO);
	await channel.read(messages.start);
	send.mode({ time: 0, mode: AudioDataMode.opus, data: NOTHING });
	if (!haveOpus()) {
		await channel.closed;
		return;
	}
	const encoder = opusEncoder(128_000);
	const left: number[] = [];
	const into = new Int16Array(PACKET_FRAMES * 2);
	for (let n = 0; n < 60; n++) {
		send.data({ time: 0, data: encoder.encode(tone(n * PACKET_FRAMES, PACKET_FRAMES)) });
		await until(() => source().frames === (n + 1) * PACKET_FRAMES, 'a packet');
		const frames = capture.read(into);
		left.push(...into.subarray(0, frames * 2).filter((_, i) => i % 2 === 0));
	}
	const wanted = [...tone(0, 9600)].filter((_, i) => i % 2 === 0);
	let best = 0;
	for (let lag = 0; lag < 2000; lag++) best = Math.max(best, correlation(wanted, left, lag, 4800, 4800));
	t.true(best > 0.99, `correlation ${best}`);
});

test('what nobody fetches does not gather; what comes uncalled for is dropped', async (t) => {
	const { capture, channel, send, source } = await open(t);
	send.mode({ time: 0, mode: AudioDataMode.raw, data: NOTHING });
	send.data({ time: 0, data: bytes(tone(0, 4800)) });
	capture.start(HOST_AUDIO);
	await channel.read(messages.start);
	for (let n = 0; n < 40; n++) send.data({ time: 0, data: bytes(tone(n * 4800, 4800)) });
	await until(() => source().frames >= 39 * 4800, 'the flood');
	t.is(source().buffered, 300);
	t.true(source().overruns > 30);
	const into = new Int16Array(9600);
	let left = 0;
	for (let frames = capture.read(into); frames > 0; frames = capture.read(into)) left += frames;
	t.true(left <= 48 * 300);
});

test('volume and mute of the recording are told; a client that comes later is asked at once', async (t) => {
	const { capture, channel, client, connect, mixer } = await open(t);
	capture.volume({ left: 0.001, right: 1, mute: true });
	capture.start(HOST_AUDIO);
	t.deepEqual(await channel.read(messages.volume), { volume: [6554, 65535] });
	t.deepEqual(await channel.read(messages.mute), { mute: 1 });
	client.close();
	await until(() => mixer.info().sources.length === 0, 'its end');
	const next = await (await connect()).open(ChannelType.record, VOLUME);
	await next.read(messages.start);
	t.deepEqual(await next.read(messages.mute), { mute: 1 });
});

test('a client without a volume is told none', async (t) => {
	const { capture, channel } = await open(t, new CapSet([]));
	capture.volume({ left: 0.5, right: 0.5, mute: false });
	capture.start(HOST_AUDIO);
	t.is((await channel.next()).type, messages.start[0]);
});

for (const [what, mode, data] of [
	['a mode that nobody knows', 7, NOTHING],
	['CELT', AudioDataMode.celt, NOTHING],
	['half a frame', AudioDataMode.raw, new Uint8Array(6)],
] as const)
	test(`${what} closes the channel with one line, and only it`, async (t) => {
		const { capture, channel, client, send, warnings } = await open(t);
		capture.start(HOST_AUDIO);
		await channel.read(messages.start);
		send.mode({ time: 0, mode, data: NOTHING });
		send.data({ time: 0, data });
		await channel.closed;
		t.is(warnings.length, 1, warnings.join());
		t.regex(warnings[0], /record 0 of 127\.0\.0\.1: .*; channel closed/);
		t.true(client.main.open);
	});

test('bytes that are no Opus close the channel at worst', async (t) => {
	const { capture, connect, mixer } = await serveSound(t).then((served) => ({
		...served,
		capture: served.mixer.capture('device'),
	}));
	capture.start(HOST_AUDIO);
	const into = new Int16Array(4800);
	await fc.assert(
		fc.asyncProperty(fc.array(fc.uint8Array({ maxLength: 200 }), { minLength: 1, maxLength: 8 }), async (packets) => {
			const client = await connect();
			const channel = await client.open(ChannelType.record, VOLUME);
			await channel.read(messages.start);
			const send = channel.sender(record.client);
			send.mode({ time: 0, mode: AudioDataMode.opus, data: NOTHING });
			for (const data of packets) send.data({ time: 0, data });
			send.data({ time: 0, data: NOTHING });
			await channel.closed;
			while (capture.read(into) > 0);
			client.close();
			await until(() => mixer.info().sources.length === 0, 'its end');
		}),
		{ numRuns: 25 },
	);
	t.pass();
});
