/** Images are locked as QEMU locks them: Debian's qemu-img, qemu-io and QEMU itself are refused ours, and we theirs. */
import { spawn, spawnSync } from 'node:child_process';
import * as fs from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import test, { type ExecutionContext } from 'ava';
import { type ByteLocks, openImage } from '../../src/block/index.ts';
import type { TsvmError } from '../../src/core/index.ts';
import { nativeImageCalls } from '../../src/machine/medium.ts';
import { tsvm } from '../helpers/guest.ts';

const root = fs.mkdtempSync(join(tmpdir(), 'tsvm-qemu-lock-'));
test.after.always(() => fs.rmSync(root, { recursive: true, force: true }));

let files = 0;
function image(): string {
	const path = join(root, `${files++}.img`);
	fs.writeFileSync(path, new Uint8Array(1 << 16));
	return path;
}

function locks(): ByteLocks {
	const { byteLocks } = nativeImageCalls();
	if (!byteLocks) throw new Error('the native addon is missing or old: node native/install.mjs');
	return byteLocks;
}

/** A program that ends by itself: what it said, and how it ended. */
function run(program: string, ...args: readonly string[]): { readonly status: number | null; readonly text: string } {
	const { status, stdout, stderr, error } = spawnSync(program, args, { encoding: 'utf8' });
	if (error) throw error;
	return { status, text: stdout + stderr };
}

/** QEMU with the image as a disk, until the test ends or it is told to let go. */
async function qemu(t: ExecutionContext, path: string, words = ''): Promise<{ release(): Promise<void> }> {
	const drive = ['-drive', `file=${path},format=raw,if=none,id=d${words}`, '-device', 'virtio-blk-pci,drive=d'];
	const args = ['-M', 'pc', '-accel', 'tcg', '-nodefaults', '-display', 'none', '-S', '-qmp', 'stdio', ...drive];
	const child = spawn('qemu-system-i386', args, { stdio: ['pipe', 'pipe', 'inherit'] });
	t.teardown(() => child.kill('SIGKILL'));
	const gone = new Promise((resolve) => child.once('exit', resolve));
	await new Promise((resolve, reject) => {
		// It greets before it has opened its drives, and answers after.
		child.stdin.write('{"execute":"qmp_capabilities"}\n');
		child.stdout.on('data', (data) => String(data).includes('"return"') && resolve(undefined));
		child.once('exit', (code) => reject(new Error(`QEMU ended with ${code}`)));
	});
	return {
		release: async () => {
			child.kill('SIGKILL');
			await gone;
		},
	};
}

async function refused(t: ExecutionContext, path: string, options = {}): Promise<void> {
	const error = await t.throwsAsync<TsvmError>(openImage(path, { byteLocks: locks(), ...options }));
	t.is(error?.code, 'image-in-use');
	t.regex(error?.message ?? '', /in use by another program, such as QEMU$/);
}

/** An image that was let go of may stay locked until what another thread starts meanwhile has begun to run. */
async function opened(t: ExecutionContext, path: string, options = {}) {
	for (let attempt = 0; ; attempt++) {
		try {
			const open = await openImage(path, { byteLocks: locks(), ...options });
			t.teardown(() => open.close());
			return open;
		} catch (error) {
			if ((error as TsvmError).code !== 'image-in-use' || attempt === 50) throw error;
			await sleep(20);
		}
	}
}

test.serial('an image that we write: qemu-img and QEMU may neither write nor read it', async (t) => {
	const path = image();
	const open = await opened(t, path);
	const write = () => run('qemu-io', '-f', 'raw', '-c', 'write 0 512', path);
	t.regex(write().text, /Failed to get "write" lock/);
	const convert = () => run('qemu-img', 'convert', '-f', 'raw', '-O', 'raw', path, `${path}.copy`);
	t.regex(convert().text, /Failed to get shared "write" lock/);
	t.is(run('qemu-img', 'resize', '-f', 'raw', path, '+64K').status, 1);
	const drive = `file=${path},format=raw`;
	const machine = run('qemu-system-i386', '-M', 'pc', '-accel', 'tcg', '-display', 'none', '-drive', drive);
	t.regex(machine.text, /Failed to get "write" lock/);
	t.is(fs.statSync(path).size, 1 << 16);
	await open.close();
	for (let attempt = 0; write().status !== 0; attempt++) t.true(attempt < 50, write().text);
	t.is(convert().status, 0);
});

test.serial('an image that we read: others may read it, nobody may write or resize it', async (t) => {
	const path = image();
	await opened(t, path, { readOnly: true });
	await opened(t, path, { snapshot: true });
	t.is(run('qemu-img', 'convert', '-f', 'raw', '-O', 'raw', path, `${path}.copy`).status, 0);
	t.is(run('qemu-io', '-r', '-f', 'raw', '-c', 'read 0 512', path).status, 0);
	t.regex(run('qemu-io', '-f', 'raw', '-c', 'write 0 512', path).text, /Failed to get "write" lock/);
	t.not(run('qemu-img', 'resize', '-f', 'raw', path, '+64K').status, 0);
	await qemu(t, path, ',readonly=on');
});

test.serial('an image that QEMU writes is refused, to read too, until QEMU lets go', async (t) => {
	const path = image();
	const { release } = await qemu(t, path);
	await refused(t, path);
	await refused(t, path, { readOnly: true });
	await refused(t, path, { snapshot: true });
	const { code, stderr } = await tsvm(['run', path, '--spice', 'none']);
	t.is(code, 1);
	t.regex(stderr, /^tsvm: disk .* is in use by another program, such as QEMU; end that one first/);
	await release();
	await opened(t, path);
});

test.serial('an image that QEMU reads may be read, not written', async (t) => {
	const path = image();
	await qemu(t, path, ',readonly=on');
	const open = await opened(t, path, { readOnly: true });
	await open.close();
	await refused(t, path);
});

test.serial('two of us are kept apart by these locks alone, as across containers', async (t) => {
	const path = image();
	const fds = [fs.openSync(path, 'r+'), fs.openSync(path, 'r')];
	t.teardown(() => fds.map((fd) => fs.closeSync(fd)));
	const { lockByte, byteLocked } = locks();
	t.is(lockByte(fds[0], 101), 0);
	t.is(byteLocked(fds[0], 101), 0, 'one’s own lock is none of another');
	t.is(byteLocked(fds[1], 101), 1);
	t.is(lockByte(fds[1], 101), 0, 'they are read locks');
	await refused(t, path, { readOnly: true });
	t.is(byteLocked(9999, 101), -constants.errno.EBADF);
	t.throws(() => lockByte(Number.NaN, 0), { message: /no such byte/ });
	t.throws(() => lockByte(fds[0], -1), { message: /no such byte/ });
});

test.serial('a file system without locks: the image opens, and a line says so', async (t) => {
	const lines: string[] = [];
	const none = { lockByte: () => constants.errno.ENOLCK, byteLocked: () => -constants.errno.ENOLCK };
	const open = await openImage(image(), { byteLocks: none, warn: (line) => lines.push(line) });
	await open.close();
	t.is(lines.length, 1);
	t.regex(lines[0], /its file system knows no locks/);
});
