/**
 * What a listener hears, tsvm and QEMU TCG in one run on the same guest with the same client: a sweep of SECONDS played
 * by aplay, recorded behind remote-viewer; once while the guest is idle, once while it compresses random bytes.
 * Usage: npm run bench:sound [-- SECONDS [mini]]     mini: debian-mini with the desktop's tools, which boots faster
 */
import type { ChildProcess } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { buildImage } from '../images/index.ts';
import { freePort } from '../test/helpers/guest.ts';
import { Pulse, type Recording } from '../test/helpers/pulse.ts';
import { type Pieces, pieces, sweep, wavBytes } from '../test/helpers/sound.ts';
import { waitFor, XDisplay } from '../test/helpers/x11.ts';
import { cpuSeconds, end, type Guest, quantile, row, startQemu, startTsvm, untilMarker } from './peer.ts';

const seconds = Number(process.argv[2] ?? 30);
const mini = process.argv[3] === 'mini';
const RATE = 48000;
/** The desktop has more to do after it says that it is there. */
const SETTLE_MS = 5000;
const IDLE_SECONDS = 10;
const LATENCY_PROBES = 8;
const PROC_STATUS = '/proc/asound/card0/pcm0p/sub0/status';
/** A pause that a listener notices, ms. */
const NOTICED = 20;
const BUSY = 'dd if=/dev/urandom bs=64k 2>/dev/null | gzip >/dev/null &';

const song = sweep(seconds, RATE, 200, 4000);
const folder = mkdtempSync(join(tmpdir(), 'tsvm-bench-'));
const wav = wavBytes(RATE, [song]);
const wavDisk = join(folder, 'song.img');
writeFileSync(wavDisk, Buffer.concat([wav, Buffer.alloc(512 - (wav.length % 512))]));

interface Heard {
	readonly pieces: Pieces;
	/** Silences and jumps, ms each. */
	readonly gaps: readonly number[];
	/** How much too high or low, as a share. */
	readonly pitch: number;
	/** From the device to the ear, ms. */
	readonly latency: readonly number[];
	/** Share of one core that the machine's process took. */
	readonly cpu: number;
}
interface Figures {
	/** Shares of one core: silence with a client; the song to nobody, and to a client. */
	readonly idleCpu: number;
	readonly aloneCpu: number;
	readonly playingCpu: number;
	readonly idle: Heard;
	readonly busy: Heard;
}

/** A guest's shell on its first serial line. */
class Shell {
	readonly #child: ChildProcess;
	readonly #prefix: string;
	#text = '';

	/** `prefix` stands before each command. */
	constructor(child: ChildProcess, prefix: string) {
		this.#child = child;
		this.#prefix = prefix;
		child.stdout?.on('data', (data: Buffer) => {
			this.#text = (this.#text + data.toString('latin1')).slice(-65536);
		});
	}

	async run(command: string, limit = 120): Promise<string> {
		const tag = Math.random().toString(36).slice(2, 10);
		const between = command.endsWith('&') ? ' ' : '; ';
		this.#text = '';
		this.#child.stdin?.write(`${this.#prefix}${command}${between}echo "DONE-"${tag}\n`);
		await waitFor(() => this.#text.includes(`DONE-${tag}`), `the guest to ${command}`, limit * 1000);
		return this.#text;
	}

	/** When the device has played which frame: what the guest's kernel says, and when it had said so. */
	async played(): Promise<{ readonly frame: number; readonly at: number } | undefined> {
		const text = await this.run(`cat ${PROC_STATUS}`);
		const at = performance.now();
		const frame = /hw_ptr\s*:\s*(\d+)/.exec(text)?.[1];
		return frame === undefined ? undefined : { frame: Number(frame), at };
	}
}

/** Share of a core over some seconds. */
async function cpuShare(child: ChildProcess): Promise<number> {
	const before = cpuSeconds(child.pid ?? 0);
	await sleep(IDLE_SECONDS * 1000);
	return (cpuSeconds(child.pid ?? 0) - before) / IDLE_SECONDS;
}

/** Share of a core while the song plays; it is cut off then. */
async function cpuOfPlaying(child: ChildProcess, shell: Shell): Promise<number> {
	await shell.run('aplay -q /tmp/song.wav &');
	await sleep(3000);
	const share = await cpuShare(child);
	await shell.run('pkill aplay');
	await sleep(2000);
	return share;
}

/** Runs of silence inside the song, ms. */
function silences(samples: Float64Array): number[] {
	const found: number[] = [];
	let last = -1;
	for (let n = 0; n < samples.length; n++) {
		if (Math.abs(samples[n]) < 30) continue;
		if (last >= 0 && n - last > (NOTICED * RATE) / 1000) found.push(Math.round(((n - last) / RATE) * 1000));
		last = n;
	}
	return found;
}

async function listen(child: ChildProcess, shell: Shell, pulse: Pulse): Promise<Heard> {
	const pid = child.pid ?? 0;
	const recording: Recording = pulse.record();
	while (recording.frames < RATE / 2) await sleep(50);
	const before = cpuSeconds(pid);
	const start = performance.now();
	await shell.run('aplay -q /tmp/song.wav &');
	await sleep(3000);
	const probes: { readonly frame: number; readonly at: number }[] = [];
	for (let n = 0; n < LATENCY_PROBES; n++) {
		const probe = await shell.played();
		if (probe) probes.push(probe);
		await sleep(300);
	}
	while (performance.now() - start < (seconds + 2) * 1000) await sleep(100);
	const cpu = (cpuSeconds(pid) - before) / ((performance.now() - start) / 1000);
	const [left] = await recording.stop();
	const found = pieces(song, left, RATE);
	const noticed = found.slips.filter((slip) => Math.abs(slip) > NOTICED);
	const gaps = silences(left);
	const latency = probes.map(({ frame, at }) => recording.heardAt(frame + found.lastLag) - at);
	return {
		pieces: found,
		gaps: gaps.length >= noticed.length ? gaps : noticed,
		pitch: found.stretch,
		latency,
		cpu,
	};
}

async function measure(start: typeof startQemu, guest: Guest): Promise<Figures> {
	const port = await freePort();
	const child = start(guest, port);
	const pulse = await Pulse.start();
	const display = await XDisplay.start(1280, 1024);
	try {
		await untilMarker(child, mini ? 'TSVM-SHELL-READY' : 'TSVM-DESKTOP-OK', 300);
		await sleep(SETTLE_MS);
		const outside = new Shell(child, '');
		if (mini) {
			await outside.run(
				'modprobe ext4; mount -t ext4 /dev/sda2 /mnt; for d in dev proc; do mount -o bind /$d /mnt/$d; done',
			);
			await outside.run('mount -t tmpfs tmp /mnt/tmp');
		}
		const shell = new Shell(child, mini ? 'chroot /mnt ' : '');
		await shell.run('dd if=/dev/vda of=/tmp/song.wav bs=1M');
		await shell.run('amixer -q -c0 set Master 100% unmute');
		await shell.run('amixer -q -c0 set PCM 100% unmute');
		const aloneCpu = await cpuOfPlaying(child, shell);
		display.spawn('remote-viewer', [`spice://127.0.0.1:${port}`], pulse.env);
		await display.window('[Rr]emote.[Vv]iewer');
		await sleep(SETTLE_MS);
		const idleCpu = await cpuShare(child);
		const playingCpu = await cpuOfPlaying(child, shell);
		const idle = await listen(child, shell, pulse);
		await outside.run(BUSY);
		await sleep(2000);
		const busy = await listen(child, shell, pulse);
		return { idleCpu, aloneCpu, playingCpu, idle, busy };
	} finally {
		await end(child);
		await display.stop();
		await pulse.stop();
	}
}

async function main(): Promise<void> {
	const progress = (line: string) => console.error(line);
	const { disk } = await buildImage('debian-desktop', { progress });
	if (disk === undefined) throw new Error('debian-desktop has no disk');
	const more = ['drive', `file=${wavDisk},if=virtio,format=raw`];
	let guest: Guest = { disk, memoryMiB: 512, more };
	if (mini) {
		const { kernel, initrd, append } = await buildImage('debian-mini', { progress });
		if (kernel === undefined || initrd === undefined) throw new Error('debian-mini has no kernel');
		more.push('drive', `file=${disk},if=ide,format=raw,snapshot=on`);
		guest = { kernel, initrd, append, memoryMiB: 256, more };
	}
	const qemu = await measure(startQemu, guest);
	const tsvm = await measure(startTsvm, guest);
	for (const state of ['idle', 'busy'] as const) {
		const ours = tsvm[state];
		const theirs = qemu[state];
		console.log(`guest ${state}, ${seconds} s:`);
		row('  correlation, middle of all 100 ms', ours.pieces.median, theirs.pieces.median, '', 5);
		row('  share of 100 ms above 0.95', ours.pieces.good, theirs.pieces.good, '', 3);
		row(`  gaps over ${NOTICED} ms`, ours.gaps.length, theirs.gaps.length, '', 0);
		row('  longest gap', Math.max(0, ...ours.gaps.map(Math.abs)), Math.max(0, ...theirs.gaps.map(Math.abs)), 'ms', 0);
		row('  pitch error', ours.pitch * 100, theirs.pitch * 100, '%', 4);
		row('  device to ear, p50', quantile(ours.latency, 0.5), quantile(theirs.latency, 0.5), 'ms', 0);
		row('  share of a core', ours.cpu * 100, theirs.cpu * 100, '%');
	}
	row('share of a core, silent', tsvm.idleCpu * 100, qemu.idleCpu * 100, '%');
	row('playing to nobody', tsvm.aloneCpu * 100, qemu.aloneCpu * 100, '%');
	row('playing to a client', tsvm.playingCpu * 100, qemu.playingCpu * 100, '%');
	row(
		'  beyond the guest by itself',
		(tsvm.playingCpu - tsvm.aloneCpu) * 100,
		(qemu.playingCpu - qemu.aloneCpu) * 100,
		'%',
	);
}

try {
	await main();
} finally {
	rmSync(folder, { recursive: true, force: true });
}
