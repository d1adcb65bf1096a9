/** Debian's ata_piix, sd_mod and sr_mod on our IDE: data arrives intact, flushed data survives, media change. */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { buildImage } from '../../images/index.ts';
import { Guest, tsvm } from '../helpers/guest.ts';

const MIB = 1 << 20;
const folder = fs.mkdtempSync(join(tmpdir(), 'tsvm-storage-'));
test.after.always(() => fs.rmSync(folder, { recursive: true, force: true }));

const md5 = (bytes: Uint8Array) => createHash('md5').update(bytes).digest('hex');

function pattern(name: string, size: number, seed: number): string {
	const path = join(folder, name);
	fs.writeFileSync(
		path,
		Uint8Array.from({ length: size }, (_, i) => seed + i * 7 + (i >> 11)),
	);
	return path;
}

function blank(name: string, size: number): string {
	const path = join(folder, name);
	fs.writeFileSync(path, '');
	fs.truncateSync(path, size);
	return path;
}

/** debian-mini beside these disks. */
async function boot(args: readonly string[]): Promise<Guest> {
	const { kernel, initrd, append } = await buildImage('debian-mini');
	if (!kernel || !initrd) throw new Error('debian-mini has no kernel');
	const guest = await Guest.start([
		...['--kernel', kernel, '--initrd', initrd, '--append', `${append} tsvm.noreport`],
		...args,
	]);
	await guest.until('TSVM-SHELL-READY');
	return guest;
}

test.serial('what the guest writes is on the disk, and what it flushed survives SIGKILL', async (t) => {
	const disk = blank('disk.img', 128 * MIB);
	const kept = pattern('kept.img', 16 * MIB, 5);
	const guest = await boot([disk]);
	t.teardown(() => guest.stop());
	t.is(await guest.shell('cat /sys/block/sda/size'), '262144');

	const second = await tsvm(['run', disk, '--spice', 'none']);
	t.is(second.code, 1);
	t.regex(second.stderr, /^tsvm: .*in use by another tsvm/m);

	await guest.shell('dd if=/dev/urandom of=/tmp/r bs=1M count=24');
	const sum = (await guest.shell('md5sum </tmp/r')).split(' ')[0];
	await guest.shell('dd if=/tmp/r of=/dev/sda bs=64k seek=16 conv=fsync');
	await guest.shell('echo 3 >/proc/sys/vm/drop_caches');
	t.is((await guest.shell('dd if=/dev/sda bs=1M skip=1 count=24 2>/dev/null | md5sum')).split(' ')[0], sum);
	// Odd sizes and places, through the page cache.
	await guest.shell('dd if=/tmp/r of=/dev/sda bs=1000 count=777 seek=99999 conv=fsync');
	guest.kill('SIGKILL');
	await guest.exited();
	const content = fs.readFileSync(disk);
	t.is(md5(content.subarray(MIB, 25 * MIB)), sum);
	t.deepEqual(content.subarray(99_999_000, 99_999_000 + 777_000), content.subarray(MIB, MIB + 777_000));

	const again = await boot([disk, '--snapshot', '--cdrom', kept]);
	t.teardown(() => again.stop());
	t.is((await again.shell('dd if=/dev/sda bs=1M skip=1 count=24 2>/dev/null | md5sum')).split(' ')[0], sum);
	await again.shell('dd if=/dev/zero of=/dev/sda bs=1M count=20 conv=fsync');
	t.is(await again.shell('dd if=/dev/sda bs=1M count=20 2>/dev/null | tr -d "\\0" | wc -c'), '0');
	t.is((await again.shell('md5sum </dev/sr0')).split(' ')[0], md5(fs.readFileSync(kept)));
	await again.stop();
	t.is(md5(fs.readFileSync(disk)), md5(content), 'a snapshot leaves the disk alone');
});

test.serial(
	'a file system that the guest made is sound to the host, and takes no more room than it needs',
	async (t) => {
		const disk = blank('ext2.img', 64 * MIB);
		const guest = await boot(['--drive', `file=${disk},discard=unmap`]);
		t.teardown(() => guest.stop());
		await guest.shell('mke2fs /dev/sda && mkdir -p /mnt && mount -t ext2 /dev/sda /mnt');
		await guest.shell('for i in $(seq 1 200); do head -c $((i * 997)) /dev/urandom >/mnt/f$i; done; sync', 60_000);
		await guest.shell('for i in $(seq 1 2 200); do rm /mnt/f$i; done; cp /bin/busybox /mnt/; umount /mnt', 60_000);
		const used = () => fs.statSync(disk).blocks * 512;
		const before = used();
		// ext2's own driver has no FITRIM; the kernel's own lines stand among what is printed.
		const trim = 'modprobe ext4; mount -t ext4 /dev/sda /mnt && fstrim /mnt && umount /mnt && echo fine';
		t.regex(await guest.shell(trim), /^fine$/m);
		t.true(before - used() > 9 * MIB, `10 MB were removed; ${before} bytes before, ${used()} after`);
		const sum = (await guest.shell('md5sum </bin/busybox')).split(' ')[0];
		await guest.stop();
		const env = { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/sbin` };
		execFileSync('e2fsck', ['-fn', disk], { env, stdio: 'ignore' });
		const out = join(folder, 'busybox');
		execFileSync('debugfs', ['-R', `dump /busybox ${out}`, disk], { env, stdio: 'ignore' });
		t.is(md5(fs.readFileSync(out)), sum);
	},
);

test.serial('a CD is locked while it is in use, and changed when it is not', async (t) => {
	const one = pattern('one.iso', 4 * MIB, 1);
	const two = pattern('two.iso', 6 * MIB, 2);
	const guest = await boot(['--cdrom', one]);
	t.teardown(() => guest.stop());
	const sumOf = async () => (await guest.shell('md5sum </dev/sr0 2>/dev/null')).split(' ')[0];
	const change = (filename: string) => guest.qmp('blockdev-change-medium', { device: 'ide1-cd0', filename });
	t.is(await sumOf(), md5(fs.readFileSync(one)));
	await guest.shell('exec 5</dev/sr0');
	await t.throwsAsync(guest.qmp('eject', { device: 'ide1-cd0' }), { message: /locked/ });
	await t.throwsAsync(change(two), { message: /locked/ });
	t.is(await sumOf(), md5(fs.readFileSync(one)));
	await guest.shell('exec 5<&-');
	await change(two);
	t.is(await sumOf(), md5(fs.readFileSync(two)), 'the first read sees the new disc');
	t.is(await guest.shell('cat /sys/block/sr0/size'), String((6 * MIB) / 512));
	await guest.qmp('eject', { device: 'ide1-cd0' });
	t.regex(await guest.shell('head -c 1 /dev/sr0'), /No medium found/);
	await t.throwsAsync(change(join(folder, 'missing.iso')), { message: /missing\.iso/ });
	await change(one);
	t.is(await sumOf(), md5(fs.readFileSync(one)));
	const complaints = (await guest.shell('dmesg'))
		.split('\n')
		.filter((line) => /I\/O error|ata\d.*(error|fail)/i.test(line));
	t.deepEqual(complaints, []);
});
