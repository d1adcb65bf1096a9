/** Machines that boot from virtio disks, by firmware's own driver and Debian's, modern and legacy; and disks beside it. */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { makeGrubDisk } from '../helpers/boot-media.ts';
import { Guest } from '../helpers/guest.ts';

const MIB = 1 << 20;
const folder = fs.mkdtempSync(join(tmpdir(), 'tsvm-virtio-blk-'));
test.after.always(() => fs.rmSync(folder, { recursive: true, force: true }));

const md5 = (bytes: Uint8Array) => createHash('md5').update(bytes).digest('hex');

function image(name: string, content: Uint8Array): string {
	const path = join(folder, name);
	fs.writeFileSync(path, content);
	return path;
}

test.serial('GRUB starts from a virtio disk, and Linux finds its disks there', async (t) => {
	const boot = join(folder, 'boot.img');
	await makeGrubDisk(boot, 'quiet tsvm.noreport');
	const data = image('data.img', new Uint8Array(64 * MIB).fill(0xa5));
	const kept = image(
		'kept.img',
		Uint8Array.from({ length: 8 * MIB }, (_, i) => i * 7 + (i >> 11)),
	);
	const guest = await Guest.start([
		...['--drive', `file=${boot},if=virtio,format=raw`],
		...['--drive', `file=${data},if=none,id=data,discard=unmap`],
		...['--device', 'virtio-blk-pci,drive=data,serial=TSVM-0815'],
		...['--drive', `file=${kept},if=none,id=kept,readonly=on`],
		...['--device', 'virtio-blk-pci,drive=kept,logical_block_size=4096,packed=on'],
	]);
	t.teardown(() => guest.stop());
	await guest.until('TSVM-GRUB');
	await guest.until('TSVM-SHELL-READY');
	t.is(await guest.shell('cat /sys/block/vda/size'), String(fs.statSync(boot).size / 512));
	t.is(await guest.shell('cat /sys/block/vdb/serial; echo'), 'TSVM-0815');
	t.is(await guest.shell('cat /sys/block/vdc/ro /sys/block/vdc/queue/logical_block_size'), '1\n4096');

	t.is((await guest.shell('md5sum </dev/vdc')).split(' ')[0], md5(fs.readFileSync(kept)));
	t.regex(await guest.shell('dd if=/dev/zero of=/dev/vdc bs=4k count=1'), /read-only|not permitted/i);
	await guest.shell('dd if=/dev/urandom of=/tmp/r bs=1M count=16');
	const sum = (await guest.shell('md5sum </tmp/r')).split(' ')[0];
	await guest.shell('dd if=/tmp/r of=/dev/vdb bs=64k seek=16 conv=fsync');
	t.is(md5(fs.readFileSync(data).subarray(MIB, 17 * MIB)), sum, 'there as soon as fsync returns');
	await guest.shell('echo 3 >/proc/sys/vm/drop_caches');
	t.is((await guest.shell('dd if=/dev/vdb bs=1M skip=1 count=16 2>/dev/null | md5sum')).split(' ')[0], sum);

	const discard = 'blkdiscard -o $((32*1024*1024)) -l $((16*1024*1024)) /dev/vdb && echo fine';
	const before = fs.statSync(data).blocks * 512;
	t.is(await guest.shell(discard), 'fine');
	t.is(Math.round((before - fs.statSync(data).blocks * 512) / MIB), 16, 'the host has the room again');
	t.is(fs.statSync(data).size, 64 * MIB);
	const zeros = (mib: number) => `dd if=/dev/vdb bs=1M skip=${mib} count=1 2>/dev/null | tr -d "\\0" | wc -c`;
	t.deepEqual([await guest.shell(zeros(32)), await guest.shell(zeros(47))], ['0', '0']);
	for (const beside of [31, 48])
		t.is(await guest.shell(`dd if=/dev/vdb bs=1M skip=${beside} count=1 2>/dev/null | tr -d "\\245" | wc -c`), '0');

	await guest.shell('mke2fs /dev/vdb && mkdir -p /mnt && mount -t ext2 /dev/vdb /mnt');
	await guest.shell('for i in $(seq 1 100); do head -c $((i * 997)) /dev/urandom >/mnt/f$i; done', 60_000);
	await guest.shell('for i in $(seq 1 2 100); do rm /mnt/f$i; done; umount /mnt', 60_000);
	const complaints = (await guest.shell('dmesg'))
		.split('\n')
		.filter((line) => /I\/O error|vd[abc].*(error|fail)/i.test(line));
	t.deepEqual(complaints, []);
	const blocks = (await guest.qmp('query-block')) as readonly { readonly device: string }[];
	t.deepEqual(blocks.map(({ device }) => device).sort(), ['data', 'ide1-cd0', 'kept', 'virtio0']);
	await guest.stop();
	const env = { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/sbin` };
	execFileSync('e2fsck', ['-fn', data], { env, stdio: 'ignore' });
});

test.serial(
	'bootindex chooses the disk, and the legacy interface alone is enough for firmware and Linux',
	async (t) => {
		const boot = join(folder, 'legacy.img');
		await makeGrubDisk(boot, 'quiet tsvm.noreport tsvm.poweroff');
		const blank = image('blank.img', new Uint8Array(MIB));
		const guest = await Guest.start([
			...['--drive', `file=${blank},if=ide`, '--drive', `file=${boot},if=none,id=boot,snapshot=on`],
			...['--device', 'virtio-blk-pci,drive=boot,disable-modern=on,bootindex=0,addr=0x1f'],
		]);
		t.teardown(() => guest.stop());
		await guest.until('TSVM-GRUB');
		await guest.until('TSVM-POWEROFF');
		t.is(await guest.exited(), 0);
	},
);
