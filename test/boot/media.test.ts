/** What users boot from: a CD by El Torito, a disk by GRUB, and in the order that --boot says. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { makeCd, makeGrubDisk } from '../helpers/boot-media.ts';
import { Guest } from '../helpers/guest.ts';

async function folder(t: ExecutionContext): Promise<string> {
	const path = await mkdtemp(join(tmpdir(), 'tsvm-media-'));
	t.teardown(() => rm(path, { recursive: true, force: true }));
	return path;
}
async function start(t: ExecutionContext, ...args: string[]): Promise<Guest> {
	const guest = await Guest.start(args);
	t.teardown(() => guest.stop());
	return guest;
}

test.serial('a CD boots by El Torito, its files can be read, and power-off ends tsvm with exit code 0', async (t) => {
	const cd = join(await folder(t), 'cd.iso');
	await makeCd(cd, 'quiet tsvm.noreport');
	const guest = await start(t, '--cdrom', cd);
	const ready = await guest.until('TSVM-SHELL-READY');
	t.true(guest.serial.slice(0, ready).includes('ISOLINUX'));
	t.is(await guest.shell('mount -t iso9660 -o ro /dev/sr0 /mnt && cat /mnt/hello'), 'hello from the CD');
	guest.send('poweroff -f\n');
	t.is(await guest.exited(), 0);
});

test.serial('a disk boots by GRUB; with --boot d and a CD beside it, the CD does', async (t) => {
	const path = await folder(t);
	const disk = join(path, 'disk.img');
	await makeGrubDisk(disk, 'quiet tsvm.noreport tsvm.poweroff');
	const guest = await start(t, disk);
	await guest.until('TSVM-GRUB');
	await guest.until('TSVM-POWEROFF');
	t.is(await guest.exited(), 0);

	const cd = join(path, 'cd.iso');
	await makeCd(cd, 'quiet tsvm.noreport tsvm.poweroff');
	const other = await start(t, disk, '--cdrom', cd, '--boot', 'd');
	await other.until('TSVM-POWEROFF');
	t.true(other.serial.includes('ISOLINUX'));
	t.false(other.serial.includes('TSVM-GRUB'));
});
