/** A real guest in a tsvm of its own, started from the command line as a user would: serial line, QMP, pictures. */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { createConnection, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { type Picture, readPng } from './picture.ts';
import { waitFor } from './x11.ts';

export const cli = join(dirname(fileURLToPath(import.meta.url)), '..', '..', 'src', 'cli', 'main.js');

export interface Finished {
	readonly code: number | null;
	readonly stdout: string;
	readonly stderr: string;
}

/** Runs the command line to its end. */
export function tsvm(args: readonly string[], limitMs = 60000): Promise<Finished> {
	const child = spawn(process.execPath, [cli, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
	const text = { stdout: '', stderr: '' };
	child.stdout.on('data', (data) => {
		text.stdout += data;
	});
	child.stderr.on('data', (data) => {
		text.stderr += data;
	});
	const timer = setTimeout(() => child.kill('SIGKILL'), limitMs);
	return new Promise((resolve) => {
		child.on('close', (code) => {
			clearTimeout(timer);
			resolve({ code, ...text });
		});
	});
}

/** A TCP port on 127.0.0.1 that was free a moment ago. */
export function freePort(): Promise<number> {
	return new Promise((resolve, reject) => {
		const server = createServer();
		server.on('error', reject);
		server.listen(0, '127.0.0.1', () => {
			const address = server.address();
			server.close(() => resolve(typeof address === 'object' && address ? address.port : 0));
		});
	});
}

export class Guest {
	readonly port: number;
	readonly folder: string;
	readonly #child: ChildProcess;
	readonly #qmp: string;
	#serial = '';
	#stderr = '';

	private constructor(child: ChildProcess, port: number, folder: string) {
		this.#child = child;
		this.port = port;
		this.folder = folder;
		this.#qmp = join(folder, 'qmp.sock');
		child.stdout?.on('data', (data: Buffer) => {
			this.#serial = (this.#serial + data.toString('latin1')).slice(-1_000_000);
		});
		child.stderr?.on('data', (data: Buffer) => {
			this.#stderr = (this.#stderr + data.toString()).slice(-100_000);
		});
	}

	/** `tsvm run ARGS` with SPICE on a free port, the first serial line here and a QMP socket. */
	static async start(args: readonly string[] = []): Promise<Guest> {
		const port = await freePort();
		const folder = mkdtempSync(join(tmpdir(), 'tsvm-guest-'));
		const common = ['--spice', String(port), '--serial', 'stdio', '--qmp', `unix:${join(folder, 'qmp.sock')}`];
		const child = spawn(process.execPath, [cli, 'run', ...common, ...args], { stdio: ['pipe', 'pipe', 'pipe'] });
		const guest = new Guest(child, port, folder);
		await guest.#ready();
		return guest;
	}

	get pid(): number {
		return this.#child.pid ?? 0;
	}
	/** Path of its QMP socket. */
	get qmpSocket(): string {
		return this.#qmp;
	}
	/** Everything the guest has written to its first serial line. */
	get serial(): string {
		return this.#serial;
	}
	get stderr(): string {
		return this.#stderr;
	}
	/** The exit code, or undefined while it runs. */
	get exitCode(): number | undefined {
		return this.#child.exitCode ?? undefined;
	}

	/** Waits until `marker` stands in the serial text from `from` on; returns where it ends. */
	async until(marker: string, limitMs = 120_000, from = 0): Promise<number> {
		await waitFor(
			() => {
				if (this.#serial.includes(marker, from)) return true;
				if (this.#child.exitCode !== null) throw new Error(`tsvm ended before ${marker}: ${this.report()}`);
				return false;
			},
			`${marker} on the serial line: ${this.report()}`,
			limitMs,
		).catch((error: Error) => {
			throw new Error(`${error.message}\n${this.report()}`);
		});
		return this.#serial.indexOf(marker, from) + marker.length;
	}

	/** Types into the serial line. */
	send(text: string): void {
		this.#child.stdin?.write(text);
	}

	/** Runs a shell command over the serial line; returns what it printed. */
	async shell(command: string, limitMs = 30_000): Promise<string> {
		const tag = Math.random().toString(36).slice(2, 10);
		const from = this.#serial.length;
		// Split in the middle, so that the echo of what is typed is taken for neither end.
		const say = (letter: string) => `echo "${letter}-${tag.slice(0, 4)}""${tag.slice(4)}"`;
		const between = command.endsWith('&') ? ' ' : '; ';
		this.send(`${say('B')}; ${command}${between}${say('E')}\n`);
		const begin = await this.until(`B-${tag}`, limitMs, from);
		const end = await this.until(`E-${tag}`, limitMs, begin);
		return this.#serial
			.slice(begin, end - tag.length - 2)
			.replaceAll('\r', '')
			.trim();
	}

	/** One QMP command on a connection of its own; returns its `return`, throws its error's words. */
	async qmp(execute: string, args: Record<string, unknown> = {}): Promise<unknown> {
		const socket = await this.#connectQmp();
		try {
			return await converse(socket, execute, args);
		} finally {
			socket.destroy();
		}
	}

	/** What QMP tells from now on. */
	async events(): Promise<QmpEvents> {
		const socket = await this.#connectQmp();
		socket.write(`${JSON.stringify({ execute: 'qmp_capabilities' })}\n`);
		const events = new QmpEvents(socket);
		await events.until(() => events.ready);
		return events;
	}

	async screendump(): Promise<Picture> {
		const filename = join(this.folder, `dump-${Math.random().toString(36).slice(2)}.png`);
		await this.qmp('screendump', { filename, format: 'png' });
		const picture = readPng(filename);
		rmSync(filename);
		return picture;
	}

	/** Sends a signal and does not wait. */
	kill(signal: NodeJS.Signals): void {
		this.#child.kill(signal);
	}

	/** Waits for the process to end by itself; returns its exit code. */
	async exited(limitMs = 30_000): Promise<number | null> {
		await waitFor(
			() => this.#child.exitCode !== null || this.#child.signalCode !== null,
			`tsvm to end: ${this.report()}`,
			limitMs,
		);
		return this.#child.exitCode;
	}

	async stop(): Promise<void> {
		if (this.#child.exitCode === null && this.#child.signalCode === null) {
			const gone = new Promise((resolve) => this.#child.once('exit', resolve));
			this.#child.kill('SIGTERM');
			await Promise.race([gone, sleep(5000)]);
			this.#child.kill('SIGKILL');
		}
		rmSync(this.folder, { recursive: true, force: true });
	}

	/** What to read when something went wrong. */
	report(): string {
		return `--- serial:\n${this.#serial.slice(-1500)}\n--- stderr:\n${this.#stderr.slice(-1500)}`;
	}

	/** The QMP socket comes after the SPICE port: once it answers, clients can connect. */
	async #ready(): Promise<void> {
		const ended = new Promise<never>((_, reject) => {
			this.#child.once('exit', (code) => reject(new Error(`tsvm ended with ${code} at its start: ${this.report()}`)));
		});
		await Promise.race([this.qmp('query-status'), ended]);
	}

	#connectQmp(): Promise<Socket> {
		return new Promise((resolve, reject) => {
			const end = Date.now() + 60_000;
			const attempt = () => {
				const socket = createConnection(this.#qmp);
				socket.once('connect', () => resolve(socket));
				socket.once('error', (error) => {
					if (Date.now() > end) reject(error);
					else setTimeout(attempt, 50);
				});
			};
			attempt();
		});
	}
}

export class QmpEvents {
	ready = false;
	readonly #socket: Socket;
	readonly #heard: { readonly event: string; readonly data: Record<string, unknown> }[] = [];
	#text = '';

	constructor(socket: Socket) {
		this.#socket = socket;
		socket.on('data', (data: Buffer) => {
			const lines = (this.#text + data.toString()).split('\n');
			this.#text = lines.pop() ?? '';
			for (const line of lines) {
				const message = JSON.parse(line);
				if (message.event !== undefined) this.#heard.push(message);
				else if (message.return !== undefined) this.ready = true;
			}
		});
	}

	/** Waits for the next one of this name, past what came before it; returns its data. */
	async next(name: string, limitMs = 60_000): Promise<Record<string, unknown>> {
		const at = () => this.#heard.findIndex(({ event }) => event === name);
		await this.until(() => at() >= 0, limitMs, name);
		return this.#heard.splice(0, at() + 1).at(-1)?.data ?? {};
	}

	until(condition: () => boolean, limitMs = 60_000, what = 'QMP'): Promise<void> {
		return waitFor(condition, what, limitMs);
	}

	close(): void {
		this.#socket.destroy();
	}
}

interface QmpReply {
	readonly id?: string;
	readonly return?: unknown;
	readonly error?: { readonly class: string; readonly desc: string };
}

function converse(socket: Socket, execute: string, args: Record<string, unknown>): Promise<unknown> {
	return new Promise((resolve, reject) => {
		let text = '';
		socket.on('error', reject);
		socket.on('close', () => reject(new Error(`QMP closed before ${execute} was answered`)));
		socket.on('data', (data: Buffer) => {
			text += data.toString();
			for (let end = text.indexOf('\n'); end >= 0; end = text.indexOf('\n')) {
				const reply = JSON.parse(text.slice(0, end)) as QmpReply;
				text = text.slice(end + 1);
				if (reply.id !== 'the-command') continue;
				if (reply.error) reject(new Error(`${reply.error.class}: ${reply.error.desc}`));
				else resolve(reply.return);
			}
		});
		socket.write(`${JSON.stringify({ execute: 'qmp_capabilities' })}\n`);
		socket.write(`${JSON.stringify({ execute, arguments: args, id: 'the-command' })}\n`);
	});
}
