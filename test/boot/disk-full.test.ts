/**
 * The file system below a sparse image is full while Linux writes: the machine pauses and says so, and once there is room
 * it goes on and nothing is lost. On a small tmpfs, in a mount namespace of its own where this is not root.
 */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { buildImage } from '../../images/index.ts';
import { Guest } from '../helpers/guest.ts';
import { waitFor } from '../helpers/x11.ts';

const MIB = 1 << 20;

/** A directory with room for `size` bytes, as the host sees it. */
async function smallDisk(t: ExecutionContext, size: string): Promise<string> {
	const folder = fs.mkdtempSync(join(tmpdir(), 'tsvm-full-'));
	t.teardown(() => fs.rmSync(folder, { recursive: true, force: true }));
	const script = `mount -t tmpfs -o size=${size} tmpfs ${folder} && echo mounted && exec cat`;
	const holder = spawn('unshare', ['--user', '--map-root-user', '--mount', 'sh', '-c', script], {
		stdio: ['pipe', 'pipe', 'inherit'],
	});
	t.teardown(() => holder.kill('SIGKILL'));
	await new Promise((resolve, reject) => {
		holder.stdout.once('data', resolve);
		holder.once('exit', () => reject(new Error('no tmpfs could be mounted')));
	});
	return `/proc/${holder.pid}/root${folder}`;
}

for (const [bus, device] of [
	['virtio', '/dev/vda'],
	['ide', '/dev/sda'],
])
	test.serial(`${bus}: io-error, BLOCK_IO_ERROR, room is made, cont: what the guest wrote is there`, async (t) => {
		const small = await smallDisk(t, '24m');
		const [image, filler] = [join(small, 'd.img'), join(small, 'filler')];
		fs.writeFileSync(filler, Buffer.alloc(16 * MIB));
		fs.writeFileSync(image, '');
		fs.truncateSync(image, 64 * MIB);
		const { kernel, initrd, append } = await buildImage('debian-mini');
		if (!kernel || !initrd) throw new Error('debian-mini has no kernel');
		const mini = ['--kernel', kernel, '--initrd', initrd, '--append', `${append} tsvm.noreport`];
		const guest = await Guest.start([...mini, '--drive', `file=${image},if=${bus}`]);
		t.teardown(() => guest.stop());
		await guest.until('TSVM-SHELL-READY');
		const events = await guest.events();
		t.teardown(() => events.close());
		await guest.shell('dd if=/dev/urandom of=/tmp/r bs=1M count=20 2>/dev/null');
		const sum = (await guest.shell('md5sum </tmp/r')).split(' ')[0];
		const from = guest.serial.length;
		guest.send(`dd if=/tmp/r of=${device} bs=1M conv=fsync; echo "dd said"" $?"\n`);
		const error = await events.next('BLOCK_IO_ERROR');
		t.like(error, {
			device: bus === 'virtio' ? 'virtio0' : 'ide0-hd0',
			operation: 'write',
			action: 'stop',
			nospace: true,
		});
		t.deepEqual(await guest.qmp('query-status'), { status: 'io-error', running: false, singlestep: false });
		await waitFor(() => guest.stderr.includes('no space left on device'), 'a line on stderr');
		const lines = guest.stderr.split('\n').filter((line) => line.includes(image));
		t.is(lines.length, 1, guest.stderr);

		await guest.qmp('cont');
		await events.next('BLOCK_IO_ERROR');
		t.like(await guest.qmp('query-status'), { status: 'io-error' }, 'there still is no room');
		fs.rmSync(filler);
		if (bus === 'virtio') await guest.qmp('cont');
		else guest.kill('SIGCONT');
		await guest.until('dd said 0', 60_000, from);
		t.like(await guest.qmp('query-status'), { status: 'running' });
		const written = fs.readFileSync(image).subarray(0, 20 * MIB);
		t.is(createHash('md5').update(written).digest('hex'), sum);
		t.notRegex(await guest.shell('dmesg'), /I\/O error|DMA disabled|exception Emask/i);
		await guest.stop();
	});
