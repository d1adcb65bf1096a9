import { spawn } from 'node:child_process';
import { EventEmitter } from 'node:events';
import * as fs from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import { MemoryChar, nullChar, openChar, StdioChar } from '../../src/char/index.ts';
import type { CharDevice, TsvmError } from '../../src/core/index.ts';

const MODULE = new URL('../../src/char/index.js', import.meta.url).href;
const root = fs.mkdtempSync(join(tmpdir(), 'tsvm-char-'));
test.after.always(() => fs.rmSync(root, { recursive: true, force: true }));
const encode = (text: string) => new TextEncoder().encode(text);

/** A device that takes at most `room` bytes at a time. */
class Device implements CharDevice {
	room = Number.POSITIVE_INFINITY;
	received: number[] = [];
	drains = 0;
	opens: boolean[] = [];
	resizes = 0;
	receive(bytes: Uint8Array): number {
		const count = Math.min(this.room, bytes.length);
		this.received.push(...bytes.subarray(0, count));
		return count;
	}
	drained(): void {
		this.drains++;
	}
	hostOpen(open: boolean): void {
		this.opens.push(open);
	}
	resized(): void {
		this.resizes++;
	}
	get text(): string {
		return String.fromCharCode(...this.received);
	}
}

async function until(condition: () => boolean): Promise<void> {
	for (let i = 0; !condition(); i++) {
		if (i === 1000) throw new Error('it never came');
		await sleep(5);
	}
}

/** A client of a unix socket that keeps what it hears. */
async function client(path: string): Promise<Socket & { heard: string }> {
	const socket = Object.assign(connect(path), { heard: '' });
	socket.on('data', (data) => {
		socket.heard += data;
	});
	socket.on('error', () => {});
	await new Promise((resolve) => socket.once('connect', resolve));
	return socket;
}

test('none: output is lost', (t) => {
	t.is(nullChar().write(encode('abc')), 3);
});

test('file: emptied first, everything written, in order', async (t) => {
	const path = join(root, 'serial.log');
	fs.writeFileSync(path, 'old');
	const char = await openChar({ kind: 'file', path });
	t.is(fs.statSync(path).size, 0);
	for (const letter of 'hello ') t.is(char.write(encode(letter)), 1);
	await until(() => fs.readFileSync(path, 'latin1') === 'hello ');
	char.write(new Uint8Array(200_000).fill(0x41));
	char.close();
	t.is(fs.statSync(path).size, 200_006);
	t.is(char.write(encode('late')), 4, 'after close it is lost');
});

test('file: what cannot be opened is said in one line', async (t) => {
	const error = await t.throwsAsync<TsvmError>(openChar({ kind: 'file', path: join(root, 'no/such') }));
	t.is(error?.code, 'serial-file');
});

test('unix: a client comes, talks, goes, and another comes', async (t) => {
	const path = join(root, 'a.sock');
	const char = await openChar({ kind: 'unix', path });
	const device = new Device();
	char.attach(device);
	t.is(char.write(encode('nobody hears this')), 17);
	const one = await client(path);
	await until(() => device.opens.length === 2);
	char.write(encode('hello'));
	one.write('hi');
	await until(() => one.heard === 'hello' && device.text === 'hi');
	const second = await client(path);
	await new Promise((resolve) => second.once('close', resolve));
	one.destroy();
	await until(() => device.opens.length === 3);
	t.deepEqual(device.opens, [false, true, false]);
	const three = await client(path);
	await until(() => device.opens.length === 4);
	char.write(encode('again'));
	await until(() => three.heard === 'again');
	char.close();
	await until(() => three.destroyed);
	t.false(fs.existsSync(path));
});

test('unix: a device that takes little gets everything, in order', async (t) => {
	const path = join(root, 'b.sock');
	const char = await openChar({ kind: 'unix', path });
	const device = new Device();
	device.room = 3;
	char.attach(device);
	const one = await client(path);
	const text = Array.from({ length: 5000 }, (_, i) => `${i} `).join('');
	one.write(text);
	await until(() => device.received.length > 0);
	while (device.received.length < text.length) {
		char.ready?.();
		await new Promise((resolve) => setImmediate(resolve));
	}
	t.is(device.text, text);
	char.close();
});

test('unix: a client that does not read holds the guest back, and nothing grows', async (t) => {
	const path = join(root, 'c.sock');
	const char = await openChar({ kind: 'unix', path });
	const device = new Device();
	char.attach(device);
	const one = await client(path);
	one.pause();
	await until(() => device.opens.length === 2);
	const chunk = new Uint8Array(16 * 1024).fill(0x42);
	let taken = 0;
	for (let i = 0; i < 1000; i++) {
		const count = char.write(chunk);
		taken += count;
		if (count === 0) {
			await sleep(1);
			if (char.write(chunk) === 0) break;
			taken += chunk.length;
		}
	}
	t.true(taken < 4 << 20, `${taken} bytes waited`);
	let heard = 0;
	one.on('data', (data) => {
		heard += data.length;
	});
	one.resume();
	await until(() => device.drains > 0 && heard === taken);
	one.pause();
	while (char.write(chunk) > 0) await new Promise((resolve) => setImmediate(resolve));
	const before = device.drains;
	one.destroy();
	await until(() => device.drains > before);
	t.is(char.write(chunk), chunk.length, 'without a client nothing waits');
	char.close();
});

test('unix: what is at the path already', async (t) => {
	const file = join(root, 'file');
	fs.writeFileSync(file, 'precious');
	t.is((await t.throwsAsync<TsvmError>(openChar({ kind: 'unix', path: file })))?.code, 'serial-socket');
	t.is(fs.readFileSync(file, 'latin1'), 'precious');
	const live = join(root, 'live.sock');
	const server = createServer().listen(live);
	await new Promise((resolve) => server.once('listening', resolve));
	t.is((await t.throwsAsync<TsvmError>(openChar({ kind: 'unix', path: live })))?.code, 'serial-socket');
	server.close();
	const dead = join(root, 'dead.sock');
	const child = spawn(process.execPath, [
		'-e',
		`require('net').createServer().listen(${JSON.stringify(dead)}, () => process.kill(process.pid, 'SIGKILL'))`,
	]);
	await new Promise((resolve) => child.once('exit', resolve));
	t.true(fs.existsSync(dead));
	const char = await openChar({ kind: 'unix', path: dead });
	(await client(dead)).destroy();
	char.close();
});

test('memory: waits for text, sends, forgets what is old', async (t) => {
	const char = new MemoryChar();
	const device = new Device();
	char.attach(device);
	const login = char.waitFor(/log(in|out): /, 5000);
	for (const letter of 'Welcome\nlogin: ') char.write(encode(letter));
	t.is(await login, 'login: ');
	const from = char.position;
	char.send('root\n');
	t.is(device.text, 'root\n');
	const again = char.waitFor('login: ', 5000, from);
	char.write(encode('bad\nlogin: '));
	t.is(await again, 'login: ');
	await t.throwsAsync(char.waitFor('never', 20), { message: /no never within 20 ms[\s\S]*login: / });
	for (let i = 0; i < 12; i++) {
		char.write(new Uint8Array(1 << 20).fill(0x2e));
		await sleep(1);
	}
	t.true(char.text.length <= 8 << 20);
	t.is(char.position, from + 11 + (12 << 20));
	t.is(await char.waitFor(/\.$/, 1000, from), '.');
});

/** Terminal ends that only note what happens to them. */
class Input extends EventEmitter {
	isTTY = true;
	isRaw = false;
	paused = true;
	setRawMode(raw: boolean): this {
		this.isRaw = raw;
		return this;
	}
	pause(): this {
		this.paused = true;
		return this;
	}
	resume(): this {
		this.paused = false;
		return this;
	}
}
class Output extends EventEmitter {
	columns: number | undefined;
	rows: number | undefined;
	said = '';
	writableLength = 0;
	write(bytes: Uint8Array | string): boolean {
		this.said += typeof bytes === 'string' ? bytes : Buffer.from(bytes).toString('latin1');
		return true;
	}
}

function stdio(quit = () => {}) {
	const input = new Input();
	const output = new Output();
	const char = new StdioChar({
		input: input as unknown as NodeJS.ReadStream,
		output: output as unknown as NodeJS.WriteStream,
		quit,
	});
	const device = new Device();
	char.attach(device);
	return { input, output, char, device };
}

test('stdio: raw terminal, escapes, and the terminal as it was afterwards', (t) => {
	let quits = 0;
	const { input, output, char, device } = stdio(() => quits++);
	t.true(input.isRaw);
	t.false(input.paused);
	input.emit('data', Buffer.from('ls\r\x03'));
	t.is(device.text, 'ls\r\x03', 'Ctrl-C is for the guest');
	input.emit('data', Buffer.from('\x01'));
	input.emit('data', Buffer.from('\x01a\x01h'));
	t.is(device.text, 'ls\r\x03\x01a');
	t.regex(output.said, /Ctrl-A x/);
	t.is(quits, 0);
	input.emit('data', Buffer.from('\x01x'));
	t.is(quits, 1);
	char.close();
	t.false(input.isRaw);
	t.true(input.paused);
});

test('stdio: back-pressure both ways, and a reader that goes', (t) => {
	const { input, output, char, device } = stdio();
	device.room = 2;
	input.emit('data', Buffer.from('abcde'));
	t.true(input.paused);
	char.ready();
	t.true(input.paused);
	char.ready();
	t.false(input.paused);
	t.is(device.text, 'abcde');
	output.writableLength = 1 << 20;
	t.is(char.write(encode('x')), 0);
	output.writableLength = 0;
	output.emit('drain');
	t.is(device.drains, 1);
	output.writableLength = 1 << 20;
	t.is(char.write(encode('x')), 0);
	output.said = '';
	output.emit('error', Object.assign(new Error('no space left on device'), { code: 'ENOSPC' }));
	t.is(device.drains, 2, 'the guest does not wait for room on a disk');
	output.writableLength = 0;
	t.is(char.write(encode('later')), 5);
	t.is(output.said, 'later', 'what comes once there is room is written again');
	output.emit('error', Object.assign(new Error('broken pipe'), { code: 'EPIPE' }));
	t.is(char.write(encode('x')), 1);
	t.is(output.said, 'later');
	char.close();
});

test('stdio: the size of the terminal, now and when it changes', (t) => {
	const { output, char, device } = stdio();
	t.is(char.size, undefined);
	[output.columns, output.rows] = [132, 43];
	output.emit('resize');
	t.is(device.resizes, 1);
	t.deepEqual(char.size, { cols: 132, rows: 43 });
	char.close();
	output.emit('resize');
	t.is(device.resizes, 1);
});

test('stdio: a pipe carries every byte', async (t) => {
	const script = `
		const { StdioChar } = await import(${JSON.stringify(MODULE)});
		const char = new StdioChar();
		char.attach({ receive: (bytes) => { char.write(bytes); return bytes.length; }, drained: () => {} });`;
	const child = spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: ['pipe', 'pipe', 'inherit'] });
	let heard = Buffer.alloc(0);
	child.stdout.on('data', (data) => {
		heard = Buffer.concat([heard, data]);
	});
	const all = Buffer.from(Uint8Array.from({ length: 256 }, (_, i) => i));
	child.stdin.end(all);
	await new Promise((resolve) => child.once('close', resolve));
	t.deepEqual(heard, all);
});
