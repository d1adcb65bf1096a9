/**
 * A PulseAudio server without a sound card, for the real clients: what they play is recorded, what they record is
 * played. Needs pulseaudio, pulseaudio-utils; GStreamer's clients need gstreamer1.0-pulseaudio.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { waitFor } from './x11.ts';

const RATE = 48000;
const CHANNELS = 2;
const FRAME = CHANNELS * 2;
const FORMAT = ['--raw', '--format=s16le', `--rate=${RATE}`, `--channels=${CHANNELS}`];

/** Sound on its way into memory. */
export class Recording {
	readonly rate = RATE;
	readonly #child: ChildProcess;
	readonly #chunks: Buffer[] = [];
	/** When each chunk came (performance.now()), and how many bytes there were by then. */
	readonly #times: { readonly at: number; readonly bytes: number }[] = [];
	#bytes = 0;

	constructor(child: ChildProcess) {
		this.#child = child;
		child.stdout?.on('data', (chunk: Buffer) => {
			this.#chunks.push(chunk);
			this.#bytes += chunk.length;
			this.#times.push({ at: performance.now(), bytes: this.#bytes });
		});
	}

	/** Frames so far. */
	get frames(): number {
		return Math.floor(this.#bytes / FRAME);
	}

	/** When frame `n` was heard, performance.now(): chunks come late, so the earliest of the ones around it counts. */
	heardAt(n: number): number {
		let best = Number.POSITIVE_INFINITY;
		for (const { at, bytes } of this.#times) {
			const distance = bytes / FRAME - n;
			if (Math.abs(distance) < 2 * RATE) best = Math.min(best, at - (distance / RATE) * 1000);
		}
		return best;
	}

	/** Ends it; the left and the right samples, -32768 .. 32767. */
	async stop(): Promise<[left: Float64Array, right: Float64Array]> {
		const gone = new Promise((resolve) => this.#child.once('exit', resolve));
		this.#child.kill('SIGTERM');
		await gone;
		return this.samples();
	}

	/** What there is so far from frame `from` on. */
	samples(from = 0): [left: Float64Array, right: Float64Array] {
		const bytes = Buffer.concat(this.#chunks);
		const count = Math.max(0, Math.floor(bytes.length / FRAME) - from);
		const side = (channel: number) =>
			Float64Array.from({ length: count }, (_, n) => bytes.readInt16LE((from + n) * FRAME + channel * 2));
		return [side(0), side(1)];
	}
}

export class Pulse {
	readonly #folder = mkdtempSync(join(tmpdir(), 'tsvm-pulse-'));
	readonly #children: ChildProcess[] = [];
	#log = '';

	/** What programs must have in their environment. */
	get env(): Readonly<Record<string, string>> {
		return { PULSE_SERVER: `unix:${join(this.#folder, 'pulse.sock')}`, PULSE_COOKIE: join(this.#folder, 'cookie') };
	}
	get log(): string {
		return this.#log;
	}

	static async start(): Promise<Pulse> {
		const pulse = new Pulse();
		const home = join(pulse.#folder, 'home');
		mkdirSync(home, { mode: 0o700 });
		const sink = (name: string) => `module-null-sink sink_name=${name} rate=${RATE} channels=${CHANNELS} format=s16le`;
		const modules = [
			`module-native-protocol-unix socket=${join(pulse.#folder, 'pulse.sock')} auth-anonymous=1`,
			sink('mouth'),
			sink('ear'),
		];
		pulse.#spawn(
			'pulseaudio',
			[
				...[
					'-n',
					'--daemonize=no',
					'--exit-idle-time=-1',
					'--disable-shm=yes',
					'--use-pid-file=no',
					'--log-target=stderr',
				],
				...modules.flatMap((module) => ['-L', module]),
			],
			{ HOME: home, XDG_RUNTIME_DIR: home, PULSE_RUNTIME_PATH: home },
		);
		await waitFor(() => pulse.control('info').status === 0, 'PulseAudio');
		pulse.control('set-default-sink', 'ear');
		pulse.control('set-default-source', 'mouth.monitor');
		return pulse;
	}

	/** pactl. */
	control(...args: readonly string[]): { readonly status: number | null; readonly stdout: string } {
		return spawnSync('pactl', args, { env: { ...process.env, ...this.env }, encoding: 'utf8', timeout: 10_000 });
	}

	/** Records what is played. */
	record(): Recording {
		const child = this.#spawn('parec', ['-d', 'ear.monitor', '--latency-msec=10', ...FORMAT], this.env, false);
		return new Recording(child);
	}

	/** Plays a WAV file to whoever records. */
	play(wav: Uint8Array): ChildProcess {
		const path = join(this.#folder, `play-${this.#children.length}.wav`);
		writeFileSync(path, wav);
		return this.#spawn('paplay', ['-d', 'mouth', path], this.env);
	}

	async stop(): Promise<void> {
		for (const child of this.#children.reverse()) {
			if (child.exitCode !== null || child.signalCode !== null) continue;
			const gone = new Promise((resolve) => child.once('exit', resolve));
			child.kill('SIGKILL');
			await gone;
		}
		rmSync(this.#folder, { recursive: true, force: true });
	}

	#spawn(command: string, args: readonly string[], env: Readonly<Record<string, string>>, log = true): ChildProcess {
		const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, ...env } });
		const keep = (data: Buffer) => {
			this.#log = (this.#log + data.toString()).slice(-10_000);
		};
		if (log) child.stdout.on('data', keep);
		child.stderr.on('data', keep);
		child.on('error', (error) => keep(Buffer.from(`${command}: ${error.message}\n`)));
		this.#children.push(child);
		return child;
	}
}
