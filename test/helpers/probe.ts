/** Drives test/client/probe.py, spice-gtk without a window; its commands and events are described there. */
import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { fileURLToPath } from 'node:url';

/** Compiled files run from dist; the script stays where its source is. */
const script = join(dirname(fileURLToPath(import.meta.url)), '..', '..', '..', 'test', 'client', 'probe.py');
const PATIENCE_MS = 60_000;

type Line = Readonly<Record<string, unknown>>;

export class Probe {
	/** Everything it said, for failing tests. */
	readonly lines: Line[] = [];
	readonly #child: ChildProcessByStdio<Writable, Readable, Readable>;
	readonly #listeners = new Set<() => void>();
	#stderr = '';
	#ended = false;
	#seen = 0;

	constructor(args: readonly string[]) {
		this.#child = spawn('/usr/bin/python3', [script, ...args], { stdio: ['pipe', 'pipe', 'pipe'] });
		this.#child.stderr.on('data', (data) => {
			this.#stderr = `${this.#stderr}${data}`.slice(-4000);
		});
		this.#child.stdin.on('error', () => {});
		createInterface({ input: this.#child.stdout }).on('line', (line) => {
			this.lines.push(JSON.parse(line));
			this.#wake();
		});
		this.#child.on('close', () => {
			this.#ended = true;
			this.#wake();
		});
	}

	/** Runs one command; answers what it answered. Rejects with its reason when it failed. */
	async do(command: string): Promise<Line> {
		const from = this.lines.length;
		this.#child.stdin.write(`${command}\n`);
		const answer = await this.#find(from, (line) => line.done === command || line.failed === command, command);
		if (answer.failed !== undefined) throw new Error(String(answer.reason));
		const { done: _, ...rest } = answer;
		return rest;
	}

	/** The next event of that name and kind that no earlier call has given out. */
	async event(name: string, matches: (event: Line) => boolean = () => true): Promise<Line> {
		const event = await this.#find(this.#seen, (line) => line.event === name && matches(line), name);
		this.#seen = this.lines.indexOf(event) + 1;
		return event;
	}

	async stop(): Promise<void> {
		if (this.#ended) return;
		this.#child.stdin.end('quit\n');
		const timer = setTimeout(() => this.#child.kill('SIGKILL'), 5000);
		await new Promise<void>((resolve) => this.#child.once('close', () => resolve()));
		clearTimeout(timer);
	}

	#wake(): void {
		for (const listener of [...this.#listeners]) listener();
	}

	#find(from: number, matches: (line: Line) => boolean, what: string): Promise<Line> {
		return new Promise((resolve, reject) => {
			const finish = (): void => {
				clearTimeout(timer);
				this.#listeners.delete(look);
			};
			const fail = (why: string): void => {
				finish();
				reject(new Error(`${what}: ${why}\n${this.#stderr}`));
			};
			const look = (): void => {
				const found = this.lines.slice(from).find(matches);
				if (found !== undefined) {
					finish();
					resolve(found);
				} else if (this.#ended) {
					fail('the probe ended');
				}
			};
			const timer = setTimeout(() => fail(`nothing within ${PATIENCE_MS / 1000} s`), PATIENCE_MS);
			this.#listeners.add(look);
			look();
		});
	}
}
