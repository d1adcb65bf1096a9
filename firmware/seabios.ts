/** Finds SeaBIOS and the QXL VGA BIOS: as given, as installed, in the cache, or fetched from Debian's package. */
import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { TsvmError } from '../src/core/index.ts';

export interface FirmwareOptions {
	/** Path of a system BIOS; looked for if left out. */
	readonly bios?: string;
	/** Path of a VGA BIOS; looked for if left out. */
	readonly vgaBios?: string;
	/** Folders to look in; Debian's and QEMU's if left out. */
	readonly folders?: readonly string[];
	/** Called when no folder has them: fetches Debian's `seabios` package and returns the folder they are in. */
	readonly fetch?: () => Promise<string>;
}

export interface FirmwareImages {
	readonly bios: Uint8Array;
	readonly biosPath: string;
	readonly vgaBios: Uint8Array;
	readonly vgaBiosPath: string;
}

/** Where Debian's seabios package and other distributions' QEMU put them. */
export const FIRMWARE_FOLDERS = ['/usr/share/seabios', '/usr/share/qemu'];
export const BIOS_FILE = 'bios-256k.bin';
export const VGA_BIOS_FILE = 'vgabios-qxl.bin';

/** The low copy of the BIOS ends at 1 MiB and may start at 896 KiB; the whole may fill what lies below 4 GiB. */
const BIOS_SIZE_MAX = 16 << 20;
const VGA_BIOS_SIZE_MAX = 64 << 10;

/** Throws TsvmError when a file is absent or cannot be firmware. */
export async function findFirmware(options: FirmwareOptions = {}): Promise<FirmwareImages> {
	const folders = options.folders ?? FIRMWARE_FOLDERS;
	let fetched: Promise<string> | undefined;
	const find = async (given: string | undefined, name: string): Promise<string> => {
		if (given !== undefined) return given;
		for (const folder of folders) {
			const path = join(folder, name);
			if (await isFile(path)) return path;
		}
		if (options.fetch) {
			fetched ??= options.fetch();
			const path = join(await fetched, name);
			if (await isFile(path)) return path;
		}
		throw new TsvmError(
			'firmware-missing',
			`no ${name} in ${folders.join(' or ')}`,
			'install the Debian package seabios, or pass --bios and --vga-bios',
		);
	};
	const biosPath = await find(options.bios, BIOS_FILE);
	const vgaBiosPath = await find(options.vgaBios, VGA_BIOS_FILE);
	return {
		bios: await read(biosPath, '--bios', checkBios),
		biosPath,
		vgaBios: await read(vgaBiosPath, '--vga-bios', checkVgaBios),
		vgaBiosPath,
	};
}

async function isFile(path: string): Promise<boolean> {
	return stat(path).then(
		(s) => s.isFile(),
		() => false,
	);
}

async function read(path: string, flag: string, check: (bytes: Uint8Array) => string): Promise<Uint8Array> {
	const bytes = await readFile(path).catch((error: NodeJS.ErrnoException) => {
		const why = error.code === 'ENOENT' ? 'does not exist' : `cannot be read (${error.code})`;
		throw new TsvmError('firmware-unreadable', `firmware ${path} ${why}`, `check the path given with ${flag}`);
	});
	const wrong = check(bytes);
	if (wrong) throw new TsvmError('firmware-format', `${path} ${wrong}`, `check the path given with ${flag}`);
	return bytes;
}

function checkBios(bytes: Uint8Array): string {
	if (bytes.length < 65536 || bytes.length > BIOS_SIZE_MAX || bytes.length % 65536 !== 0)
		return 'is no PC BIOS: its size is no multiple of 64 KiB';
	return '';
}

function checkVgaBios(bytes: Uint8Array): string {
	if (bytes.length < 512 || bytes[0] !== 0x55 || bytes[1] !== 0xaa) return 'is no option ROM';
	return bytes.length > VGA_BIOS_SIZE_MAX ? 'is too large for a VGA BIOS' : '';
}
