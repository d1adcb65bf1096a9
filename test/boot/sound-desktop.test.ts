/** ALSA's own tools in debian-desktop on our AC97: heard through a WAV file, recorded from a source of ours. One boot. */
import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { buildImage } from '../../images/index.ts';
import { type AudioFormat, type AudioSource, HOST_AUDIO } from '../../src/core/index.ts';
import { InnerGuest } from '../helpers/inner-guest.ts';
import {
	assertFaithful,
	level,
	likeness,
	longestGap,
	packDisk,
	pitch,
	readWav,
	resample,
	sweep,
	toneShare,
	wavBytes,
} from '../helpers/sound.ts';
import { waitFor } from '../helpers/x11.ts';

const RATE = 48000;
const folder = fs.mkdtempSync(join(tmpdir(), 'tsvm-sound-'));

/** What a microphone hears that stands beside a loudspeaker: `samples` over and over, at the pace of the host's clock. */
class Microphone implements AudioSource {
	readonly #samples: Float64Array;
	#since = 0;
	#given = 0;
	constructor(samples: Float64Array) {
		this.#samples = samples;
	}
	start(_format: AudioFormat): void {
		this.#since = performance.now();
		this.#given = 0;
	}
	read(into: Int16Array): number {
		const due = Math.floor(((performance.now() - this.#since) * RATE) / 1000) - this.#given;
		const count = Math.min(due, into.length / HOST_AUDIO.channels);
		for (let n = 0; n < count; n++, this.#given++) {
			const sample = Math.round(this.#samples[this.#given % this.#samples.length] * 32767);
			into[n * 2] = sample;
			into[n * 2 + 1] = -sample;
		}
		return count;
	}
	stop(): void {}
}

const VOICE = 'The quick brown fox jumps over the lazy dog. Sound without a crackle is a matter of clocks.';
const up = sweep(30, RATE, 50, 8000);
const down = Float64Array.from(up).reverse();
const heardAt = join(folder, 'desktop.wav');
const recordedAt = join(folder, 'recorded.img');
let desktop: InnerGuest;
let spoken: Float64Array;

test.serial.before(async (t) => {
	// The image may have to be made first.
	t.timeout(900_000);
	const voice = join(folder, 'voice.wav');
	execFileSync('espeak-ng', ['-w', voice, VOICE]);
	const { rate, channels } = readWav(voice);
	spoken = resample(channels[0], rate / RATE);
	const tone = Float64Array.from({ length: 44100 * 6 }, (_, n) => 0.5 * Math.sin((2 * Math.PI * 997 * n) / 44100));
	const disk = join(folder, 'sources.img');
	const files = packDisk(disk, '/dev/sdb', {
		'sweep.wav': wavBytes(RATE, [up, down]),
		'tone.wav': wavBytes(44100, [tone, tone]),
		'voice.wav': fs.readFileSync(voice),
	});
	fs.writeFileSync(recordedAt, '');
	fs.truncateSync(recordedAt, 4 << 20);
	const image = await buildImage('debian-desktop');
	if (!image.disk) throw new Error('debian-desktop has no disk');
	desktop = await InnerGuest.start({
		disks: [{ file: image.disk, snapshot: true }, { file: disk, readonly: true }, { file: recordedAt }],
		audio: [`wav:${heardAt}`],
	});
	await desktop.until('TSVM-DESKTOP-OK', 240_000);
	await desktop.shell(Object.values(files).join('; '));
	// Full scale: 0 dB, and all the gain that weak sources need.
	await desktop.shell('amixer -q set PCM 0dB unmute; amixer -q set Master 0dB unmute; amixer -q set Capture 100% cap');
});
test.after.always(async () => {
	await desktop?.stop();
	fs.rmSync(folder, { recursive: true, force: true });
});

const mixer = () => {
	const { audio } = desktop.machine;
	if (!audio) throw new Error('the machine has no sound');
	return audio;
};
/** Frames that the WAV file has. */
const position = () => mixer().info().backEnds[0].frames;
const voice = () => mixer().info().voices[0];

/** Both channels of what is heard from `from` on, once it is over and in the file. */
async function heard(from: number): Promise<readonly Float64Array[]> {
	await waitFor(() => !mixer().info().running && mixer().info().backEnds[0].buffered === 0, 'the end of the sound');
	return readWav(heardAt).channels.map((samples) => samples.subarray(from));
}

test.serial('aplay of a sweep is heard as it is, both channels, with nothing missing', async (t) => {
	const from = position();
	const { underruns } = voice();
	await desktop.shell('aplay -q /tmp/sweep.wav');
	const [left, right] = await heard(from);
	assertFaithful(t, up, left);
	assertFaithful(t, down, right);
	t.true(Math.abs(level(left) / (level(up) * 32767) - Math.sqrt(up.length / left.length)) < 0.01, 'as loud as it is');
	t.is(voice().underruns, underruns);
});

test.serial('a voice, mono at 22050 Hz', async (t) => {
	const from = position();
	// ALSA's mixing plug-in would change the rate in the guest, by whole periods: 0.08 % too long.
	await desktop.shell('aplay -q -D plughw:0 /tmp/voice.wav');
	t.is(voice().rate, 22050);
	const [left] = await heard(from);
	const found = likeness(spoken, left, RATE);
	t.log(JSON.stringify(found));
	t.true(found.correlation > 0.99, JSON.stringify(found));
	t.true(Math.abs(found.stretch) < 0.001, JSON.stringify(found));
});

test.serial('speaker-test, and rates that the codec takes as they are', async (t) => {
	let from = position();
	await desktop.shell('speaker-test -D plughw:0 -r 48000 -c 2 -t sine -f 440 -l 1 -S 50 >/dev/null');
	const [left, right] = await heard(from);
	// First one side, then the other.
	const half = Math.floor(left.length / 2);
	const inLeft = left.subarray(RATE / 2, RATE / 2 + RATE);
	t.true(toneShare(inLeft, RATE, 440) > 0.99);
	t.true(Math.abs(pitch(inLeft, RATE, 440) - 440) < 0.44);
	t.true(level(right.subarray(RATE / 2, RATE)) < 10);
	t.true(toneShare(right.subarray(half + RATE / 2, half + RATE), RATE, 440) > 0.99);
	from = position();
	await desktop.shell('aplay -q -D hw:0 /tmp/tone.wav');
	t.is(voice().rate, 44100);
	const [tone] = await heard(from);
	const middle = tone.subarray(RATE / 2, RATE * 5);
	t.true(toneShare(middle, RATE, 997) > 0.999);
	t.true(Math.abs(pitch(middle, RATE, 997) - 997) < 0.1, `${pitch(middle, RATE, 997)} Hz`);
	t.true(longestGap(middle, RATE, 100) < 0.001);
});

test.serial('volume, balance and mute are heard at once', async (t) => {
	const from = position();
	await desktop.shell('aplay -q -D hw:0 /tmp/tone.wav &');
	await waitFor(() => voice().active && position() > from + RATE / 2, 'the tone');
	const marks: number[] = [];
	for (const change of ['Master -12dB', 'Master 0dB,-6dB', 'PCM -12dB', 'Master mute', 'Master unmute']) {
		await desktop.shell(`amixer -q -- set ${change}`);
		marks.push(position() - from);
		await desktop.shell('sleep 0.4');
	}
	await desktop.shell('wait; amixer -q set PCM 0dB; amixer -q set Master 0dB');
	const channels = await heard(from);
	// 0.5 of full scale, 3 dB below that by its shape.
	const decibels = marks.map((mark) =>
		channels.map((samples) => {
			const at = samples.subarray(mark + RATE / 10, mark + RATE / 4);
			return Math.round(20 * Math.log10(level(at) / 32767 + 1e-6) - 20 * Math.log10(0.5 / Math.SQRT2)) + 0;
		}),
	);
	const silence = Math.round(-120 - 20 * Math.log10(0.5 / Math.SQRT2));
	t.deepEqual(decibels, [
		[-12, -12],
		[0, -6],
		[-12, -18],
		[silence, silence],
		[-12, -18],
	]);
});

test.serial('arecord records the selected source, as loud as the guest wants it', async (t) => {
	const source = sweep(4, RATE, 100, 6000);
	const remove = mixer().addSource(new Microphone(source));
	const record = async (words: string, rate = RATE) => {
		await desktop.shell(
			`arecord -q -D hw:0 -f S16_LE -c 2 -r ${rate} ${words} /tmp/r.wav; cat /tmp/r.wav >/dev/sdc; sync; rm /tmp/r.wav`,
		);
		const bytes = fs.readFileSync(recordedAt);
		const path = join(folder, 'recorded.wav');
		fs.writeFileSync(path, bytes.subarray(0, 44 + bytes.readUInt32LE(40)));
		return readWav(path).channels;
	};
	for (const rate of [RATE, 16000]) {
		const [left, right] = await record('-d 6', rate);
		const ideal = resample(source, RATE / rate);
		for (const [samples, sign] of [
			[left, 1],
			[right, -1],
		] as const) {
			const found = likeness(
				ideal,
				samples.map((x) => x * sign),
				rate,
			);
			t.log(JSON.stringify(found));
			t.true(found.correlation > 0.99, JSON.stringify(found));
			t.true(Math.abs(found.stretch) < 0.001, JSON.stringify(found));
		}
		t.true(Math.abs(Math.max(...left.slice(0, rate * 4)) / 32767 - 0.5) < 0.01);
	}
	const loud = level((await record('-d 3'))[0]);
	await desktop.shell('amixer -q set Capture 8');
	const quieter = level((await record('-d 3'))[0]);
	t.true(Math.abs(20 * Math.log10(quieter / loud) + 7 * 1.5) < 1, `${quieter} of ${loud}`);
	await desktop.shell('amixer -q set CD cap');
	t.is(level((await record('-d 1'))[0]), 0, 'nothing is plugged in there');
	await desktop.shell('amixer -q set Mic cap; amixer -q set Capture nocap');
	t.is(level((await record('-d 1'))[0]), 0, 'muted');
	await desktop.shell('amixer -q set Capture 100% cap');
	remove();
	t.is(level((await record('-d 1'))[0]), 0, 'no source');
});

test.serial('a guest that computes and draws meanwhile does not crackle', async (t) => {
	const { underruns } = voice();
	await desktop.shell("xterm -e sh -c 'while :; do dmesg; done' & drawing=$!; sleep 1");
	await desktop.shell('(while :; do md5sum /tmp/sweep.wav >/dev/null; done) & computing=$!; sleep 0.1');
	const from = position();
	await desktop.shell('aplay -q -d 12 /tmp/sweep.wav 2>/tmp/complaints');
	await desktop.shell('kill $drawing $computing; wait 2>/dev/null');
	const [left] = await heard(from);
	const late = await desktop.shell('grep -c underrun /tmp/complaints');
	const found = likeness(up.subarray(0, 12 * RATE), left, RATE);
	t.log(JSON.stringify(found), `${late} underruns in the guest, ${voice().underruns - underruns} outside`);
	t.true(voice().underruns - underruns <= 1, 'what the guest gives is heard');
});
