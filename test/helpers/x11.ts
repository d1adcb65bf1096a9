/** A headless X display with a window manager, for the real clients. Needs xvfb, openbox, xdotool, imagemagick. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Picture, readPng } from './picture.ts';

export class XDisplay {
	readonly name: string;
	readonly #children: ChildProcess[] = [];
	readonly #scratch = mkdtempSync(join(tmpdir(), 'tsvm-x11-'));
	#log = '';

	private constructor(name: string) {
		this.name = name;
	}

	/** Starts Xvfb on a free display number, and openbox in it. */
	static async start(width: number, height: number): Promise<XDisplay> {
		const number = freeDisplay();
		const display = new XDisplay(`:${number}`);
		const screen = `${width}x${height}x24`;
		display.spawn('Xvfb', [display.name, '-screen', '0', screen, '-nolisten', 'tcp', '-noreset', '-dpi', '96']);
		await waitFor(() => existsSync(`/tmp/.X11-unix/X${number}`), 'Xvfb');
		await waitFor(() => display.run('xdotool', ['getdisplaygeometry']).status === 0, 'Xvfb to answer');
		display.spawn('openbox', []);
		return display;
	}

	/** Starts a program in this display; it ends with the display. */
	spawn(command: string, args: readonly string[], env: Readonly<Record<string, string>> = {}): ChildProcess {
		const child = spawn(command, args, {
			stdio: ['ignore', 'pipe', 'pipe'],
			env: { ...process.env, DISPLAY: this.name, HOME: this.#scratch, NO_AT_BRIDGE: '1', GTK_A11Y: 'none', ...env },
		});
		const keep = (data: Buffer) => {
			this.#log = (this.#log + data.toString()).slice(-20000);
		};
		child.stdout.on('data', keep);
		child.stderr.on('data', keep);
		child.on('error', (error) => keep(Buffer.from(`${command}: ${error.message}\n`)));
		this.#children.push(child);
		return child;
	}

	/** The last output of everything that runs here, for a failing test's message. */
	get log(): string {
		return this.#log;
	}

	run(command: string, args: readonly string[]): { readonly status: number | null; readonly stdout: string } {
		return spawnSync(command, args, { env: { ...process.env, DISPLAY: this.name }, encoding: 'utf8', timeout: 20000 });
	}

	/** The newest visible window whose title or class matches; waits for it. */
	async window(pattern: string, limitMs = 30000): Promise<string> {
		let found = '';
		await waitFor(
			() => {
				for (const by of ['--name', '--class']) {
					const ids = this.run('xdotool', ['search', '--onlyvisible', by, pattern]).stdout.trim().split('\n');
					found = ids[ids.length - 1];
					if (found !== '') return true;
				}
				return false;
			},
			`a window ${pattern}; clients said: ${this.#log.slice(-2000)}`,
			limitMs,
		);
		return found;
	}

	/** The whole screen as it is. */
	screenshot(): Picture {
		const path = join(this.#scratch, 'shot.png');
		const done = this.run('import', ['-window', 'root', '-depth', '8', `PNG24:${path}`]);
		if (done.status !== 0) throw new Error('import could not take a screenshot');
		return readPng(path);
	}

	/** Types into whatever has the focus. */
	type(text: string): void {
		this.run('xdotool', ['type', '--delay', '60', text]);
	}

	key(...names: string[]): void {
		this.run('xdotool', ['key', '--delay', '60', ...names]);
	}

	async stop(): Promise<void> {
		for (const child of this.#children.reverse()) {
			if (child.exitCode === null && child.signalCode === null) {
				const gone = new Promise((resolve) => child.once('exit', resolve));
				child.kill('SIGTERM');
				await Promise.race([gone, sleep(2000)]);
				child.kill('SIGKILL');
			}
		}
		rmSync(this.#scratch, { recursive: true, force: true });
	}
}

/** Polls until `ready`; throws `no WHAT` after the limit. */
export async function waitFor(ready: () => boolean | Promise<boolean>, what: string, limitMs = 20000): Promise<void> {
	const end = Date.now() + limitMs;
	while (!(await ready())) {
		if (Date.now() > end) throw new Error(`waited ${limitMs / 1000} s in vain for ${what}`);
		await sleep(50);
	}
}

function freeDisplay(): number {
	for (let number = 100 + (process.pid % 400); number < 1000; number++) {
		if (!existsSync(`/tmp/.X11-unix/X${number}`) && !existsSync(`/tmp/.X${number}-lock`)) return number;
	}
	throw new Error('no free X display number');
}
