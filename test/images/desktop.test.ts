/** debian-desktop as built: partitions, boot files, a clean root file system owned as it should be. */
import { execFileSync } from 'node:child_process';
import { open, stat } from 'node:fs/promises';
import test from 'ava';
import { buildImage } from '../../images/index.ts';

const MIB = 1 << 20;
const tool = (command: string, ...args: string[]) =>
	execFileSync(command, args, {
		encoding: 'utf8',
		env: { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/sbin`, LC_ALL: 'C' },
	});

test('the disk boots from a FAT partition into a clean ext4 root', async (t) => {
	t.timeout(900_000);
	const { disk = '' } = await buildImage('debian-desktop', { progress: (line) => t.log(line) });
	const { size, blocks } = await stat(disk);
	t.is(size, 465 * MIB);
	t.true(blocks * 512 < 400 * MIB, 'it is sparse');

	const file = await open(disk, 'r');
	t.teardown(() => file.close());
	const mbr = Buffer.alloc(512);
	await file.read(mbr, 0, 512, 0);
	t.is(mbr.readUInt16LE(510), 0xaa55);
	const partition = (n: number) => [
		mbr[446 + 16 * n],
		mbr[450 + 16 * n],
		mbr.readUInt32LE(454 + 16 * n),
		mbr.readUInt32LE(458 + 16 * n),
	];
	t.deepEqual(partition(0), [0x80, 0x0e, 2048, 24 * 2048]);
	t.deepEqual(partition(1), [0, 0x83, 25 * 2048, 440 * 2048]);

	const names = tool('mdir', '-a', '-b', '-i', `${disk}@@1M`).trim().split('\n').sort();
	t.deepEqual(names, ['::/initrd.gz', '::/ldlinux.c32', '::/ldlinux.sys', '::/syslinux.cfg', '::/vmlinuz']);
	const root = `${disk}?offset=${25 * MIB}`;
	t.notThrows(() => tool('e2fsck', '-fn', root), 'the file system is clean');
	const stats = (path: string) => tool('debugfs', '-R', `stat ${path}`, root);
	t.regex(stats('/etc/shadow'), /Mode:\s+0640[\s\S]*User:\s+0 /);
	t.regex(stats('/home/demo'), /User:\s+1000\s+Group:\s+1000/);
	t.regex(stats('/usr/bin/Xorg'), /Type: regular/);
	t.regex(stats('/etc/tsvm/rcS'), /Mode:\s+0755/);
	t.regex(stats('/usr/bin/xterm'), /Type: regular/);
});
