/** Output that cannot be written: the lines are lost, the machine is not. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, openSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import test, { type ExecutionContext } from 'ava';
import { writeLog } from '../../src/cli/output.ts';
import { qmpExecute } from '../../src/control/qmp/client.ts';
import { cli } from '../helpers/guest.ts';

/** A boot sector: wait until COM1 takes a byte, write an x, again. */
const SPEAK = [0xba, 0xfd, 0x03, 0xec, 0xa8, 0x20, 0x74, 0xfb, 0xba, 0xf8, 0x03, 0xb0, 0x78, 0xee, 0xeb, 0xf0];

type Output = number | 'pipe' | 'ignore';

function start(t: ExecutionContext, args: readonly string[], stdout: Output, stderr: Output): ChildProcess {
	const child = spawn(process.execPath, [cli, ...args], { stdio: ['ignore', stdout, stderr] });
	t.teardown(() => child.kill('SIGKILL'));
	return child;
}

/** A disk whose guest writes to COM1 without end, and a QMP socket. */
function talkative(t: ExecutionContext): { readonly args: readonly string[]; readonly socket: string } {
	const folder = mkdtempSync(join(tmpdir(), 'tsvm-output-'));
	t.teardown(() => rmSync(folder, { recursive: true, force: true }));
	const [disk, socket] = [join(folder, 'disk.img'), join(folder, 'q.sock')];
	writeFileSync(disk, Buffer.concat([Buffer.from(SPEAK), Buffer.alloc(510 - SPEAK.length), Buffer.from([0x55, 0xaa])]));
	truncateSync(disk, 1 << 20);
	return { args: ['run', disk, '--memory', '32M', '--spice', 'none', '--qmp', `unix:${socket}`], socket };
}

/** It answers, goes on answering while it writes, and ends when it is told to. */
async function lives(t: ExecutionContext, child: ChildProcess, socket: string): Promise<void> {
	const gone = once(child, 'close');
	const ask = () => qmpExecute(socket, 'query-status', {}).catch(() => undefined);
	for (let answers = 0; answers < 10; await sleep(100)) {
		t.is(child.exitCode, null, 'it has ended by itself');
		if ((await ask()) !== undefined) answers++;
	}
	child.kill('SIGINT');
	t.is((await gone)[0], 0);
}

test('a serial console on a full disk: the guest goes on, one line says so', async (t) => {
	const { args, socket } = talkative(t);
	const child = start(t, [...args, '--serial', 'stdio'], openSync('/dev/full', 'w'), 'pipe');
	let stderr = '';
	child.stderr?.on('data', (data) => {
		stderr += data;
	});
	while (stderr === '' && child.exitCode === null) await sleep(50);
	await lives(t, child, socket);
	t.regex(stderr, /^tsvm: warning: stdout: ENOSPC: no space left on device[^\n]*\n$/);
});

test('a trace on a full disk: the machine goes on and ends at the first Ctrl-C', async (t) => {
	const { args, socket } = talkative(t);
	const child = start(t, [...args, '--serial', 'none', '--trace', 'ide.*'], 'ignore', openSync('/dev/full', 'w'));
	await lives(t, child, socket);
});

test('both on a full disk', async (t) => {
	const { args, socket } = talkative(t);
	const full = openSync('/dev/full', 'w');
	await lives(t, start(t, [...args, '--serial', 'stdio', '--trace', 'uart.*'], full, full), socket);
});

test('a command whose answer is lost has failed', async (t) => {
	const child = start(t, ['image', 'list'], openSync('/dev/full', 'w'), 'pipe');
	let stderr = '';
	child.stderr?.on('data', (data) => {
		stderr += data;
	});
	t.is((await once(child, 'close'))[0], 1);
	t.regex(stderr, /^tsvm: warning: stdout: ENOSPC/);
});

test('a log that nobody reads does not gather in memory', (t) => {
	const stream = {
		writableLength: 0,
		write(text: string) {
			this.writableLength += text.length;
			return false;
		},
	};
	const line = 'x'.repeat(1000);
	for (let i = 0; i < 1000; i++) writeLog(line, stream as unknown as NodeJS.WriteStream);
	t.true(stream.writableLength <= 65 * 1024 + line.length, String(stream.writableLength));
	stream.writableLength = 0;
	t.true(writeLog(line, stream as unknown as NodeJS.WriteStream), 'once it is read again it goes on');
});
