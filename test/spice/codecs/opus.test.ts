/** Opus against opus-tools, in both directions, and against itself. */
import { spawnSync } from 'node:child_process';
import test from 'ava';
import fc from 'fast-check';
import { haveOpus, opusDecoder, opusEncoder } from '../../../src/spice/codecs/opus.ts';
import { PACKET_FRAMES } from '../../../src/spice/protocol/sound.ts';
import { oggOpus, opusPackets } from '../../helpers/ogg.ts';
import { align, correlation, sweep } from '../../helpers/sound.ts';

const SECONDS = 2;
const left = sweep(SECONDS, 48000, 200, 6000).map((x) => x * 32767);
const right = sweep(SECONDS, 48000, 3000, 300).map((x) => x * 32767);
const samples = Int16Array.from({ length: left.length * 2 }, (_, i) => (i % 2 === 0 ? left : right)[i >> 1]);
const RAW = ['--raw', '--raw-bits', '16', '--raw-rate', '48000', '--raw-chan', '2'];

test.before('the addon has Opus: libopus-dev is there', (t) => {
	t.true(haveOpus());
});

function encode(bitrate: number): Uint8Array[] {
	const encoder = opusEncoder(bitrate);
	const packets: Uint8Array[] = [];
	for (let at = 0; at < samples.length; at += PACKET_FRAMES * 2)
		packets.push(encoder.encode(samples.subarray(at, at + PACKET_FRAMES * 2)));
	return packets;
}

/** The best correlation of the source with one side of interleaved samples, for a codec's delay of at most 20 ms. */
function likeness(source: Float64Array, heard: Int16Array, side: number): number {
	const plane = Float64Array.from({ length: heard.length / 2 }, (_, n) => heard[n * 2 + side]);
	return correlation(source, plane, align(source, plane, 960, 48000, 9600), 4800, source.length - 9600);
}

function run(command: string, args: readonly string[], input: Uint8Array): Buffer {
	const done = spawnSync(command, args, { input, maxBuffer: 1 << 26 });
	if (done.status !== 0) throw new Error(`${command}: ${done.stderr}`);
	return done.stdout;
}

function int16(bytes: Buffer): Int16Array {
	return new Int16Array(Uint8Array.from(bytes).buffer);
}

for (const [bitrate, least] of [
	[160_000, 0.999],
	[64_000, 0.99],
] as const)
	test(`opusdec understands what we encode, at ${bitrate / 1000} kbit/s`, (t) => {
		const packets = encode(bitrate);
		const size = packets.reduce((sum, packet) => sum + packet.length, 0);
		t.true((size * 8) / SECONDS < bitrate * 1.25, `${(size * 8) / SECONDS} bit/s`);
		const heard = int16(
			run('opusdec', ['--quiet', '--rate', '48000', '--no-dither', '-', '-'], oggOpus(packets, PACKET_FRAMES)).subarray(
				44,
			),
		);
		for (const [side, source] of [left, right].entries()) {
			const value = likeness(source, heard, side);
			t.true(value > least, `correlation ${value}`);
		}
	});

for (const ms of ['10', '20', '60'])
	test(`we understand what opusenc encodes, ${ms} ms a packet`, (t) => {
		const bytes = new Uint8Array(samples.buffer);
		const packets = opusPackets(
			run('opusenc', ['--quiet', ...RAW, '--framesize', ms, '--bitrate', '128', '-', '-'], bytes),
		);
		const decoder = opusDecoder();
		const into = new Int16Array(5760 * 2);
		const heard = packets.flatMap((packet, n) => {
			const frames = decoder.decode(packet, into);
			if (n < packets.length - 1) t.is(frames, 48 * Number(ms));
			return [...into.subarray(0, (frames ?? 0) * 2)];
		});
		for (const [side, source] of [left, right].entries()) {
			const value = likeness(source, Int16Array.from(heard), side);
			t.true(value > 0.999, `correlation ${value}`);
		}
	});

test('lengths that no packet has are refused; any bytes decode to something or nothing', (t) => {
	const encoder = opusEncoder(64_000);
	t.throws(() => encoder.encode(new Int16Array(100)), { instanceOf: RangeError });
	const decoder = opusDecoder();
	t.is(decoder.decode(new Uint8Array(0), new Int16Array(11520)), undefined);
	t.is(decoder.decode(encoder.encode(new Int16Array(960)), new Int16Array(100)), undefined, 'no room');
	fc.assert(
		fc.property(fc.uint8Array({ maxLength: 1500 }), (bytes) => {
			const frames = decoder.decode(bytes, new Int16Array(11520));
			t.true(frames === undefined || (frames > 0 && frames <= 5760));
		}),
	);
});
