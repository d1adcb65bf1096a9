/**
 * The guest's sound in real clients: remote-viewer's is recorded behind PulseAudio, spice-gtk's as it decodes it. What
 * was heard is compared with what the guest played, and what the guest recorded with what the client was given.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import test, { type ExecutionContext } from 'ava';
import { buildImage } from '../../images/index.ts';
import { CapSet } from '../../src/spice/caps.ts';
import { ChannelType } from '../../src/spice/protocol/constants.ts';
import { PlaybackCap, playback } from '../../src/spice/protocol/playback.ts';
import { AudioDataMode } from '../../src/spice/protocol/sound.ts';
import { Guest } from '../helpers/guest.ts';
import { Pulse } from '../helpers/pulse.ts';
import { level, pieces, pitch, readWav, resample, sweep, toneShare, wavBytes } from '../helpers/sound.ts';
import { SpiceClient } from '../helpers/spice-client.ts';
import { waitFor, XDisplay } from '../helpers/x11.ts';

const RATE = 48000;
const listenScript = join(dirname(fileURLToPath(import.meta.url)), '..', '..', '..', 'test', 'client', 'listen.py');
const scratch = mkdtempSync(join(tmpdir(), 'tsvm-sound-'));
test.after.always(() => rmSync(scratch, { recursive: true, force: true }));

const song = sweep(8, RATE, 200, 4000);
const flat = sweep(30, RATE, 1000, 1000.0001);

/** Of x-query-audio. */
interface AudioView {
	readonly 'back-ends': readonly { readonly active: boolean }[];
	readonly sources: readonly { readonly active: boolean }[];
}

interface Heard {
	readonly t: number;
	readonly event: string;
	readonly [field: string]: unknown;
}

/** spice-gtk without a window or a sound card: listen.py. */
class Listener {
	readonly events: Heard[] = [];
	readonly #child: ChildProcess;
	readonly #path: string;

	constructor(port: number, name: string, env: Readonly<Record<string, string>> = {}) {
		this.#path = join(scratch, `${name}.raw`);
		this.#child = spawn('/usr/bin/python3', [listenScript, String(port), this.#path], {
			stdio: ['pipe', 'pipe', 'inherit'],
			env: { ...process.env, ...env },
		});
		let text = '';
		this.#child.stdout?.on('data', (data: Buffer) => {
			text += data.toString();
			const lines = text.split('\n');
			text = lines.pop() ?? '';
			this.events.push(...lines.map((line) => JSON.parse(line) as Heard));
		});
	}

	/** Waits for `count` events of that name. */
	until(event: string, count = 1, limitMs = 20_000): Promise<void> {
		return waitFor(
			() => this.events.filter((each) => each.event === event).length >= count,
			`${event} ${count}: ${JSON.stringify(this.events.slice(-5))}`,
			limitMs,
		);
	}

	/** Left samples so far. */
	samples(): Float64Array {
		const bytes = readFileSync(this.#path);
		return Float64Array.from({ length: Math.floor(bytes.length / 4) }, (_, n) => bytes.readInt16LE(n * 4));
	}

	async stop(): Promise<void> {
		if (this.#child.exitCode !== null) return;
		const gone = new Promise((resolve) => this.#child.once('exit', resolve));
		this.#child.stdin?.end();
		await Promise.race([gone, sleep(3000)]);
		this.#child.kill('SIGKILL');
	}
}

/** A sentence, at espeak-ng's own rate and at the client's. */
function speech(): { readonly wav: Buffer; readonly samples: Float64Array } {
	const path = join(scratch, 'speech.wav');
	execFileSync('espeak-ng', ['-w', path, 'The quick brown fox jumps over the lazy dog, and the guest is heard.']);
	const { rate, channels } = readWav(path);
	return { wav: readFileSync(path), samples: resample(channels[0], rate / RATE) };
}
const voice = speech();

/** What a guest plays lies on a disk, a slot of 4 MiB for each file; the last slot takes what it recorded. */
const SLOT = 4 << 20;
const files = { song: wavBytes(RATE, [song]), flat: wavBytes(RATE, [flat]), voice: voice.wav };
const RECORDED = Object.keys(files).length;

function soundDisk(name: string): string {
	const path = join(scratch, name);
	const bytes = Buffer.alloc((RECORDED + 1) * SLOT);
	for (const [n, file] of Object.values(files).entries()) bytes.set(file, n * SLOT);
	writeFileSync(path, bytes);
	return path;
}

/** The commands that bring the files to /tmp, as seen from `root`. */
function fetchFiles(root: string): string {
	const each = Object.keys(files).map((name, n) => `dd if=/dev/vda of=${root}/tmp/${name}.wav bs=4M skip=${n} count=1`);
	return `(${each.join('; ')}) 2>/dev/null`;
}

/** What the guest wrote to the last slot. */
function recorded(path: string): Float64Array {
	const wav = join(scratch, 'recorded.wav');
	const bytes = readFileSync(path).subarray(RECORDED * SLOT);
	const size = bytes.readUInt32LE(40);
	writeFileSync(wav, bytes.subarray(0, 44 + size));
	return readWav(wav).channels[0];
}

test.serial('the command line decides whether clients hear, and how', async (t) => {
	const nothing = join(scratch, 'empty.img');
	writeFileSync(nothing, new Uint8Array(1 << 20));
	const caps = CapSet.of(PlaybackCap.volume, PlaybackCap.latency, PlaybackCap.opus);
	for (const [flags, mode] of [
		[[], AudioDataMode.opus],
		[['--playback-compression', 'off'], AudioDataMode.raw],
		[['--audio', 'none'], undefined],
		[['--no-sound'], undefined],
	] as const) {
		const guest = await Guest.start([nothing, '--memory', '32M', ...flags]);
		t.teardown(() => guest.stop());
		const client = await SpiceClient.connect({ port: guest.port });
		const types = client.channels.map(([type]) => type);
		const there = [ChannelType.playback, ChannelType.record].map((type) => types.includes(type));
		t.deepEqual(there, mode === undefined ? [false, false] : [true, true], flags.join(' '));
		if (mode !== undefined) {
			const channel = await client.open(ChannelType.playback, caps);
			t.is((await channel.read(playback.server.mode)).mode, mode, flags.join(' '));
		}
		client.close();
		await guest.stop();
	}
});

test.serial('debian-mini with Debian’s ALSA tools: spice-gtk and remote-viewer hear it and are heard', async (t) => {
	const mini = await buildImage('debian-mini');
	const desktop = await buildImage('debian-desktop');
	if (!mini.kernel || !mini.initrd || !desktop.disk) throw new Error('an image is not what it was');
	const wavs = soundDisk('mini.img');
	const guest = await Guest.start([
		...['--memory', '256M', '--drive', `file=${desktop.disk},if=ide,format=raw,snapshot=on`],
		...['--drive', `file=${wavs},if=virtio,format=raw`],
		...['--kernel', mini.kernel, '--initrd', mini.initrd, '--append', `${mini.append} tsvm.noreport`],
	]);
	t.teardown(() => guest.stop());
	const prepare = async () => {
		await guest.shell(
			'modprobe ext4; mount -t ext4 /dev/sda2 /mnt && for d in dev proc sys; do mount -o bind /$d /mnt/$d; done',
		);
		await guest.shell(`mount -t tmpfs tmp /mnt/tmp; ${fetchFiles('/mnt')}`);
	};
	const shell = (command: string) => guest.shell(`chroot /mnt ${command}`, 60_000);
	await guest.until('TSVM-SHELL-READY');
	await prepare();

	// Raw samples, as the library decodes them: nothing may be changed.
	const raw = new Listener(guest.port, 'raw', { SPICE_DISABLE_OPUS: '1' });
	t.teardown(() => raw.stop());
	await raw.until('stop');
	await shell('aplay -q /tmp/song.wav');
	await raw.until('stop', 2);
	const asRaw = pieces(song, raw.samples(), RATE);
	t.log('raw', asRaw);
	t.true(asRaw.median > 0.999, `${asRaw.median}`);
	t.true(asRaw.good > 0.9, `${asRaw.good}`);

	// The next client takes over, in the middle of the song, with Opus.
	await shell('aplay -q /tmp/song.wav &');
	await raw.until('start', 3);
	const opus = new Listener(guest.port, 'opus');
	t.teardown(() => opus.stop());
	await opus.until('start', 2);
	await raw.stop();
	await opus.until('stop', 2);
	const { length } = opus.samples();
	t.true(length > RATE * 2, `${length / RATE} s of the rest`);
	const before = opus.samples().length;
	await shell('aplay -q /tmp/song.wav');
	await opus.until('stop', 3);
	const asOpus = pieces(song, opus.samples().subarray(before), RATE);
	t.log('Opus', asOpus);
	t.true(asOpus.median > 0.99, `${asOpus.median}`);
	t.true(asOpus.good > 0.9, `${asOpus.good}`);

	// The guest's mixer, as it is told: 22.5 dB less are the cube root of that on the client's slider.
	const last = (event: string) => opus.events.findLast((each) => each.event === event);
	await shell('amixer -q -c0 set Master 50%');
	const place = Math.round(Math.cbrt(10 ** (-22.5 / 20)) * 65535);
	const told = () => JSON.stringify(last('volume')?.volume) === JSON.stringify([place, place]);
	await waitFor(told, `volume ${place}: ${JSON.stringify(opus.events.slice(-6))}`);
	await shell('amixer -q -c0 set Master mute');
	await waitFor(() => last('mute')?.mute === true, 'mute');
	await shell('amixer -q -c0 set Master 100% unmute');
	await waitFor(() => last('mute')?.mute === false, 'no mute');

	// A reboot in the middle: the sound ends, and the next one is heard.
	const starts = opus.events.filter(({ event }) => event === 'start').length;
	await shell('aplay -q /tmp/song.wav &');
	await opus.until('start', starts + 1);
	const from = guest.serial.length;
	await guest.qmp('system_reset');
	await opus.until('stop', starts + 1);
	await guest.until('TSVM-SHELL-READY', 120_000, from);
	await prepare();
	const after = opus.samples().length;
	await shell('aplay -q /tmp/song.wav');
	await opus.until('stop', starts + 2);
	const again = pieces(song, opus.samples().subarray(after), RATE);
	t.log('after the reboot', again);
	t.true(again.median > 0.99, `${again.median}`);
	await opus.stop();

	await inRemoteViewer(t, guest, shell, wavs);
});

/** What a person hears at remote-viewer and what the guest records of a person. */
async function inRemoteViewer(
	t: ExecutionContext,
	guest: Guest,
	shell: (command: string) => Promise<string>,
	wavs: string,
): Promise<void> {
	const pulse = await Pulse.start();
	t.teardown(() => pulse.stop());
	const display = await XDisplay.start(1280, 1024);
	t.teardown(() => display.stop());
	const viewer = () => {
		const child = display.spawn('remote-viewer', [`spice://127.0.0.1:${guest.port}`], pulse.env);
		return { child, window: display.window('[Rr]emote.[Vv]iewer') };
	};
	const audio = async () => (await guest.qmp('x-query-audio')) as AudioView;
	const clients = async () => (await audio())['back-ends'];
	// Told before anything plays, and heard nevertheless.
	await shell('amixer -q -c0 set Master 12dB-');
	const first = viewer();
	await first.window;
	await waitFor(async () => (await clients()).length === 1, 'the playback channel');

	const recording = pulse.record();
	await waitFor(() => recording.frames > RATE / 2, 'the recording');
	await shell('aplay -q /tmp/song.wav');
	await sleep(700);
	const [left] = await recording.stop();
	const heard = pieces(song, left, RATE);
	const loudest = left.reduce((most, sample) => Math.max(most, Math.abs(sample)), 0) / (32767 * 0.5);
	t.log('remote-viewer', heard, loudest);
	t.true(loudest > 0.22 && loudest < 0.28, `${loudest}`);
	await shell('amixer -q -c0 set Master 100%');
	t.true(heard.median > 0.95, `${heard.median}`);
	t.true(heard.good > 0.8, `${heard.good}`);

	const talk = pulse.record();
	await waitFor(() => talk.frames > RATE / 2, 'the recording');
	await shell('aplay -q /tmp/voice.wav');
	await sleep(700);
	const understood = pieces(voice.samples, (await talk.stop())[0], RATE);
	t.log('a voice', understood);
	t.true(understood.median > 0.95, `${understood.median}`);
	t.true(understood.good > 0.7, `${understood.good}`);

	// Volume and mute of the guest's mixer are heard, and the song goes on for a viewer that comes in its middle.
	const second = pulse.record();
	const loudness = () => level(second.samples(Math.max(0, second.frames - RATE / 4))[0]);
	const until = (what: string, fits: (level: number) => boolean) =>
		waitFor(() => fits(loudness()), `${what}; ${loudness()}`);
	await shell('aplay -q /tmp/flat.wav &');
	const full = 32767 * 0.5 * Math.SQRT1_2;
	await until('the tone', (now) => now > full * 0.9);
	await shell('amixer -q -c0 set Master 12dB-');
	await until('12 dB less', (now) => now > full * 0.2 && now < full * 0.3);
	await shell('amixer -q -c0 set Master mute');
	await until('silence', (now) => now < 2);
	await shell('amixer -q -c0 set Master 100% unmute');
	await until('the tone again', (now) => now > full * 0.9);
	first.child.kill('SIGKILL');
	await until('the end of the viewer', (now) => now === 0);
	await viewer().window;
	await until('the tone at the next viewer', (now) => now > full * 0.9);
	const [tone] = second.samples(second.frames - RATE / 4);
	t.true(Math.abs(pitch(tone, RATE, 1000) - 1000) < 1, `${pitch(tone, RATE, 1000)} Hz`);
	await second.stop();
	await shell('killall aplay');

	// What the client's source plays is recorded by the guest.
	const recorder = shell(`arecord -q -f S16_LE -r ${RATE} -c 1 -d 14 /tmp/recorded.wav`);
	await waitFor(async () => (await audio()).sources.some(({ active }) => active), 'the guest to record');
	await sleep(1000);
	const playing = pulse.play(wavBytes(RATE, [song, song]));
	await new Promise((resolve) => playing.once('exit', resolve));
	await recorder;
	await shell(`dd if=/tmp/recorded.wav of=/dev/vda bs=4M seek=${RECORDED} conv=notrunc,fsync`);
	const said = pieces(song, recorded(wavs), RATE);
	t.log('recorded', said);
	t.true(said.median > 0.95, `${said.median}`);
	t.true(said.good > 0.8, `${said.good}`);
}

test.serial(
	'debian-desktop at remote-viewer: speaker-test and aplay are heard, the agent takes the client’s volume',
	async (t) => {
		const image = await buildImage('debian-desktop');
		if (!image.disk) throw new Error('debian-desktop has no disk');
		const guest = await Guest.start([
			...['--memory', '512M', '--drive', `file=${image.disk},if=ide,format=raw,snapshot=on`],
			...['--drive', `file=${soundDisk('desktop.img')},if=virtio,format=raw`],
		]);
		t.teardown(() => guest.stop());
		const pulse = await Pulse.start();
		t.teardown(() => pulse.stop());
		const display = await XDisplay.start(1280, 1024);
		t.teardown(() => display.stop());
		await guest.until('TSVM-DESKTOP-OK', 240_000);
		await guest.shell(fetchFiles(''));

		await guest.shell('amixer -q -c0 set Master 50%; amixer -q -c0 set PCM 100%');
		display.spawn('remote-viewer', [`spice://127.0.0.1:${guest.port}`], pulse.env);
		const master = () => guest.shell('amixer -c0 sget Master');
		await waitFor(async () => (await master()).includes('[100%]'), `the client's volume: ${await master()}`, 40_000);

		const recording = pulse.record();
		const now = () => recording.samples(Math.max(0, recording.frames - RATE / 2))[0];
		await guest.shell('speaker-test -c 2 -t sine -f 1000 -l 1 -s 1 >/dev/null &');
		let tone: Float64Array = new Float64Array(0);
		await waitFor(
			() => {
				tone = now();
				return toneShare(tone, RATE, 1000) > 0.99;
			},
			'the tone of speaker-test',
			30_000,
		);
		t.true(Math.abs(pitch(tone, RATE, 1000) - 1000) < 1, `${pitch(tone, RATE, 1000)} Hz`);
		await recording.stop();
		await guest.shell('while pidof speaker-test >/dev/null; do sleep 0.2; done');
		await sleep(1000);

		const second = pulse.record();
		await waitFor(() => second.frames > RATE / 2, 'the recording');
		await guest.shell('aplay -q /tmp/song.wav');
		await sleep(700);
		const heard = pieces(song, (await second.stop())[0], RATE);
		t.log('debian-desktop', heard);
		t.true(heard.median > 0.95, `${heard.median}`);
		t.true(heard.good > 0.8, `${heard.good}`);
	},
);
