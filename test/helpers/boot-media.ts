/**
 * Media that boot debian-mini the way users' media boot: an El Torito CD with isolinux, a disk with GRUB; and memtest86+
 * on a CD. Made with Debian's isolinux, xorriso, grub-pc-bin, mtools, dosfstools and memtest86+.
 */
import { execFileSync } from 'node:child_process';
import { copyFile, mkdir, open, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { buildImage } from '../../images/index.ts';

const MIB = 1 << 20;
const SECTOR = 512;
/** First partition at 1 MiB: GRUB's core image lives in the gap before it. */
const GAP = 1 * MIB;

function tool(command: string, args: readonly string[]): void {
	const env = { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/sbin` };
	try {
		execFileSync(command, args, { env, stdio: ['ignore', 'ignore', 'pipe'] });
	} catch (error) {
		if ((error as NodeJS.ErrnoException).code === 'ENOENT')
			throw new Error(`${command} is not installed (test/packages.txt)`);
		throw error;
	}
}

/** debian-mini's kernel and initrd in `folder`, packed, since boot loaders read them through the BIOS. */
async function guestFiles(folder: string): Promise<{ kernel: string; initrd: string; append: string }> {
	const image = await buildImage('debian-mini');
	const kernel = join(folder, 'vmlinuz');
	const initrd = join(folder, 'initrd.gz');
	await copyFile(image.kernel as string, kernel);
	await writeFile(initrd, gzipSync(await readFile(image.initrd as string)));
	return { kernel, initrd, append: image.append };
}

/** Writes an El Torito CD image to `path`. `words` go to the kernel's command line. */
export async function makeCd(path: string, words = ''): Promise<void> {
	await isolinuxCd(path, async (root) => {
		const { append } = await guestFiles(root);
		await writeFile(join(root, 'hello'), 'hello from the CD\n');
		return ['KERNEL /vmlinuz', 'INITRD /initrd.gz', `APPEND ${append} ${words}`];
	});
}

/** Writes an El Torito CD image with Debian's memtest86+ of that kind, reporting on the first serial line too. */
export async function makeMemtestCd(path: string, kind: 'ia32' | 'x64'): Promise<void> {
	await isolinuxCd(path, async (root) => {
		// By its name isolinux would take a .bin for a boot sector.
		await copyFile(`/boot/memtest86+${kind}.bin`, join(root, 'memtest'));
		return ['KERNEL /memtest', 'APPEND console=ttyS0,115200'];
	});
}

/** `fill` puts files into the CD's root and says what isolinux boots. */
async function isolinuxCd(path: string, fill: (root: string) => Promise<readonly string[]>): Promise<void> {
	const root = `${path}.tree`;
	await mkdir(join(root, 'isolinux'), { recursive: true });
	try {
		const entry = await fill(root);
		await copyFile('/usr/lib/ISOLINUX/isolinux.bin', join(root, 'isolinux/isolinux.bin'));
		await copyFile('/usr/lib/syslinux/modules/bios/ldlinux.c32', join(root, 'isolinux/ldlinux.c32'));
		const config = ['SERIAL 0 115200', 'DEFAULT cd', 'PROMPT 0', 'LABEL cd', ...entry.map((line) => ` ${line}`)];
		await writeFile(join(root, 'isolinux/isolinux.cfg'), `${config.join('\n')}\n`);
		tool('xorriso', [
			...['-as', 'mkisofs', '-quiet', '-R', '-J', '-V', 'TSVMTEST', '-o', path],
			...['-b', 'isolinux/isolinux.bin', '-c', 'isolinux/boot.cat'],
			...['-no-emul-boot', '-boot-load-size', '4', '-boot-info-table', root],
		]);
	} finally {
		await rm(root, { recursive: true, force: true });
	}
}

/** Writes a disk image with GRUB in its MBR gap and debian-mini on a FAT partition to `path`. */
export async function makeGrubDisk(path: string, words = ''): Promise<void> {
	const work = `${path}.work`;
	await mkdir(work, { recursive: true });
	try {
		const { kernel, initrd, append } = await guestFiles(work);
		const config = join(work, 'grub.cfg');
		const lines = [
			...['serial --unit=0 --speed=115200', 'terminal_output console serial', 'echo TSVM-GRUB'],
			...[`linux /vmlinuz ${append} ${words}`, 'initrd /initrd.gz', 'boot'],
		];
		await writeFile(config, `${lines.join('\n')}\n`);
		const core = join(work, 'core.img');
		const modules = ['biosdisk', 'part_msdos', 'fat', 'normal', 'linux', 'serial', 'terminal', 'echo', 'boot'];
		tool('grub-mkimage', ['-O', 'i386-pc', '-o', core, '-c', config, '-p', '(hd0,msdos1)/', ...modules]);

		const fat = join(work, 'fat');
		const size = 32 * MIB;
		await writeFile(fat, '');
		await truncate(fat, size);
		tool('mkfs.vfat', ['-F', '16', '-h', String(GAP / SECTOR), fat]);
		tool('mcopy', ['-i', fat, kernel, initrd, '::/']);

		const mbr = Buffer.alloc(SECTOR);
		(await readFile('/usr/lib/grub/i386-pc/boot.img')).copy(mbr, 0, 0, 440);
		mbr.set([0x80, 0xfe, 0xff, 0xff, 0x0e, 0xfe, 0xff, 0xff], 446);
		mbr.writeUInt32LE(GAP / SECTOR, 454);
		mbr.writeUInt32LE(size / SECTOR, 458);
		mbr.writeUInt16LE(0xaa55, 510);
		const coreBytes = await readFile(core);
		if (SECTOR + coreBytes.length > GAP) throw new Error('GRUB does not fit before the partition');
		const disk = await open(path, 'w');
		try {
			await disk.write(mbr, 0, SECTOR, 0);
			await disk.write(coreBytes, 0, coreBytes.length, SECTOR);
			await disk.write(await readFile(fat), 0, size, GAP);
		} finally {
			await disk.close();
		}
	} finally {
		await rm(work, { recursive: true, force: true });
	}
}
