/** Debian's snd_intel8x0 and pcspkr on our devices, heard through a WAV file. */
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { buildImage } from '../../images/index.ts';
import { Guest, tsvm } from '../helpers/guest.ts';
import { assertFaithful, packDisk, pitch, readWav, resample, sweep, toneShare } from '../helpers/sound.ts';
import { waitFor } from '../helpers/x11.ts';

const RATE = 48000;
const folder = fs.mkdtempSync(join(tmpdir(), 'tsvm-sound-'));
test.after.always(() => fs.rmSync(folder, { recursive: true, force: true }));

interface BackEnd {
	readonly frames: number;
}
interface QueryAudio {
	readonly running: boolean;
	readonly voices: readonly { readonly name: string; readonly underruns: number; readonly overruns: number }[];
	readonly 'back-ends': readonly BackEnd[];
}

test.serial(
	'debian-mini: /dev/dsp, the PC speaker and the clock that Linux measures; a reboot in mid-play',
	async (t) => {
		const wav = join(folder, 'mini.wav');
		// OSS begins with 8 kHz, 8 bits, mono.
		const source = sweep(6, 8000, 100, 3000);
		const bytes = Uint8Array.from(source, (x) => 128 + Math.round(x * 127));
		const disk = join(folder, 'mini.img');
		const files = packDisk(disk, '/dev/sda', { sweep: bytes });
		const { kernel, initrd, append } = await buildImage('debian-mini');
		if (!kernel || !initrd) throw new Error('debian-mini has no kernel');
		const guest = await Guest.start([
			...['--kernel', kernel, '--initrd', initrd, '--append', `${append} tsvm.noreport`],
			...['--audio', `wav:${wav}`, '--snapshot', disk],
		]);
		t.teardown(() => guest.stop());
		const ready = await guest.until('TSVM-SHELL-READY');
		const audio = async () => (await guest.qmp('x-query-audio')) as QueryAudio;
		const quiet = () => waitFor(async () => !(await audio()).running, 'the end of the sound');
		const position = async () => (await audio())['back-ends'][0].frames;

		await guest.shell(`${files.sweep}; modprobe pcspkr`);
		await guest.shell('cat /tmp/sweep >/dev/dsp');
		await quiet();
		const beep = await position();
		await guest.shell("printf '\\033[10;1000]\\033[11;400]\\a' >/dev/tty1; sleep 1");
		await quiet();
		const after = await position();

		// By itself the driver does not measure on a machine that says it is one; it must come to the same.
		await guest.shell('rmmod snd_pcm_oss snd_mixer_oss');
		// Where the host takes the CPU away between the start of the DMA and the look at the clock, Linux measures something else.
		const measured: string[] = [];
		for (let i = 0; i < 5; i++) {
			await guest.shell('rmmod snd_intel8x0; dmesg -c >/dev/null; modprobe snd_intel8x0 inside_vm=0');
			measured.push(await guest.shell('dmesg | grep clock'));
		}
		t.true(measured.filter((said) => said.includes('clocking to 48000')).length >= 3, measured.join('\n'));

		guest.send('modprobe snd_pcm_oss; cat /tmp/sweep >/dev/dsp & sleep 2; reboot -f\n');
		await guest.until('TSVM-SHELL-READY', 120_000, ready);
		await quiet();
		const again = await position();
		await guest.shell(`${files.sweep}; cat /tmp/sweep >/dev/dsp`);
		await quiet();
		t.log(JSON.stringify(await audio()));
		await guest.stop();

		const [left, right] = readWav(wav).channels;
		const ideal = resample(source, 8000 / RATE);
		assertFaithful(t, ideal, left.subarray(0, beep));
		assertFaithful(t, ideal, right.subarray(0, beep));
		const tone = left.subarray(beep + 4800, beep + 4800 + 9600);
		t.true(Math.abs(pitch(tone, RATE, 1000) - 1000) < 1, `${pitch(tone, RATE, 1000)} Hz`);
		t.true(toneShare(tone, RATE, 1000) > 0.7);
		t.true(after - beep > 0.35 * RATE);
		assertFaithful(t, ideal, left.subarray(again));
	},
);

test.serial('in virtual time the same guest sounds the same, byte by byte', async (t) => {
	const { kernel, initrd, append } = await buildImage('debian-mini');
	if (!kernel || !initrd) throw new Error('debian-mini has no kernel');
	const words = 'tsvm.noreport tsvm.mods=snd-intel8x0,snd-pcm-oss,snd-mixer-oss tsvm.beep tsvm.poweroff';
	const runs = ['first.wav', 'second.wav'].map((name) => join(folder, name));
	for (const wav of runs) {
		const args = ['--kernel', kernel, '--initrd', initrd, '--append', `${append} ${words}`, '--audio', `wav:${wav}`];
		const { code, stderr } = await tsvm(['run', '--virtual-time', '--spice', 'none', ...args], 120_000);
		t.is(code, 0, stderr);
	}
	const [first, second] = runs.map((path) => fs.readFileSync(path));
	t.true(first.equals(second));
	const [left] = readWav(runs[0]).channels;
	t.true(left.length > 1.9 * RATE, 'two seconds of it');
	const tone = left.subarray(RATE / 2, RATE * 1.5);
	t.true(Math.abs(pitch(tone, RATE, 400) - 400) < 0.04, `${pitch(tone, RATE, 400)} Hz`);
});
