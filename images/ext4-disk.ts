/** A bootable disk without root and without loop devices: MBR, a FAT16 partition with syslinux, an ext4 root. */
import { open, readFile, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { TsvmError } from '../src/core/index.ts';
import { run } from './run.ts';

const MIB = 1 << 20;
const SECTOR = 512;
/** First partition at 1 MiB, as partitioning tools do. */
const FIRST = 1 * MIB;
const MBR_CODE = '/usr/lib/syslinux/mbr/mbr.bin';
/** Fixed, so that the same packages give the same disk. */
const DISK_ID = 0x7473766d;
const ROOT_UUID = '00000000-0000-4000-8000-000000000001';
const HASH_SEED = '00000000-0000-4000-8000-000000000000';
const TYPE_FAT16_LBA = 0x0e;
const TYPE_LINUX = 0x83;

export interface DiskParts {
	/** Tree of the root file system, and the fakeroot state that knows its owners. */
	readonly root: string;
	readonly fakerootState: string;
	readonly rootMib: number;
	/** Files for the boot partition, by path on the host; among them syslinux.cfg. */
	readonly bootFiles: readonly string[];
	readonly bootMib: number;
	/** Folder for what is made on the way. */
	readonly work: string;
}

export const DISK_TOOLS = ['fakeroot', 'mke2fs', 'mkfs.vfat', 'mcopy', 'syslinux'];

/** Makes `disk`, sparse. Throws TsvmError if a tool fails. */
export async function makeDisk(disk: string, parts: DiskParts): Promise<void> {
	const ext4 = join(parts.work, 'root.ext4');
	await run('fakeroot', [
		...['-i', parts.fakerootState, '--', 'mke2fs', '-q', '-F', '-t', 'ext4', '-m', '0', '-L', 'tsvmroot'],
		...['-O', '^has_journal,^metadata_csum,^64bit', '-E', `root_owner=0:0,hash_seed=${HASH_SEED}`],
		...['-U', ROOT_UUID, '-d', parts.root, ext4, `${parts.rootMib}M`],
	]);

	const fat = join(parts.work, 'boot.fat');
	await writeFile(fat, '');
	await truncate(fat, parts.bootMib * MIB);
	// `-h` is the number of sectors before the partition, which the boot sector counts from.
	await run('mkfs.vfat', ['-F', '16', '-n', 'TSVMBOOT', '-i', '75737631', '-h', String(FIRST / SECTOR), fat]);
	await run('mcopy', ['-i', fat, ...parts.bootFiles, '::/']);
	await run('syslinux', ['--install', fat]);

	const rootStart = FIRST + parts.bootMib * MIB;
	const code = await readFile(MBR_CODE).catch(() => {
		throw new TsvmError(
			'tools-missing',
			`this host lacks ${MBR_CODE}`,
			'install on Debian: apt-get install syslinux-common',
		);
	});
	await writeFile(disk, mbr(code, parts.bootMib * MIB, rootStart, parts.rootMib * MIB));
	await truncate(disk, rootStart + parts.rootMib * MIB);
	await copySparse(fat, disk, FIRST);
	await copySparse(ext4, disk, rootStart);
}

function mbr(code: Uint8Array, bootSize: number, rootStart: number, rootSize: number): Uint8Array {
	const sector = new Uint8Array(SECTOR);
	sector.set(code.subarray(0, 440));
	const view = new DataView(sector.buffer);
	view.setUint32(440, DISK_ID, true);
	const entry = (n: number, active: boolean, type: number, start: number, size: number) => {
		const at = 446 + 16 * n;
		sector[at] = active ? 0x80 : 0;
		// Cylinder, head and sector: "too far for that", all of it is reached by LBA.
		sector.set([0xfe, 0xff, 0xff], at + 1);
		sector[at + 4] = type;
		sector.set([0xfe, 0xff, 0xff], at + 5);
		view.setUint32(at + 8, start / SECTOR, true);
		view.setUint32(at + 12, size / SECTOR, true);
	};
	entry(0, true, TYPE_FAT16_LBA, FIRST, bootSize);
	entry(1, false, TYPE_LINUX, rootStart, rootSize);
	view.setUint16(510, 0xaa55, true);
	return sector;
}

/** Copies a file into another at `offset`; pieces that are all zeros stay holes. */
export async function copySparse(from: string, to: string, offset = 0): Promise<void> {
	const source = await open(from, 'r');
	try {
		const target = await open(to, 'r+');
		try {
			const piece = Buffer.alloc(64 << 10);
			const zeros = Buffer.alloc(piece.length);
			for (let at = 0; ; ) {
				const { bytesRead } = await source.read(piece, 0, piece.length, at);
				if (bytesRead === 0) break;
				const got = piece.subarray(0, bytesRead);
				if (!got.equals(zeros.subarray(0, bytesRead))) await target.write(got, 0, bytesRead, offset + at);
				at += bytesRead;
			}
		} finally {
			await target.close();
		}
	} finally {
		await source.close();
	}
}
