/**
 * Direct kernel boot: `--kernel --initrd --append`. As QEMU does it (hw/i386/x86.c, x86_load_linux), the pieces are
 * fw_cfg items that an option ROM copies into place after firmware has set up the machine; but the kernel is unpacked
 * here, and the setup code is told to jump straight into it (the code32_start hook of the boot protocol).
 */
import { createHash, randomUUID } from 'node:crypto';
import { mkdir, readdir, readFile, rename, rm, stat, unlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fwCfgKey, TsvmError } from '../../src/core/index.ts';
import { type BzImage, parseBzImage, setupField } from './bzimage.ts';
import { type KernelImage, parseVmlinux } from './elf.ts';
import { linuxRom, type RomLoad } from './rom.ts';
import { unpackPayload } from './unpack.ts';
import { videoMode } from './video-mode.ts';

export interface LinuxOptions {
	/** Path of a bzImage. */
	readonly kernel: string;
	/** Path of an initial ramdisk or initramfs. */
	readonly initrd?: string;
	/** Kernel command line. */
	readonly append?: string;
	/** Guest RAM, bytes. */
	readonly memory: number;
	/** Folder that keeps unpacked kernels; left out, each start unpacks anew. */
	readonly cache?: string;
}

export interface LinuxBoot {
	readonly items: ReadonlyMap<number, Uint8Array>;
	readonly files: ReadonlyMap<string, Uint8Array>;
	/** The line for fw_cfg's `bootorder` that boots it. */
	readonly bootOrder: string;
}

const ROM_FILE = 'tsvm-linux.rom';
/** Where setup code and command line go, as in QEMU: free below SeaBIOS's own data. */
const SETUP_ADDRESS = 0x10000;
const CMDLINE_ADDRESS = 0x20000;
const CMDLINE_END = 0x90000;
const PROTECTED_MODE_ADDRESS = 0x100000;
/** SeaBIOS keeps ACPI tables and its own data at the top of memory. */
const FIRMWARE_RESERVE = 0x28000;
const UNPACKED_LIMIT = 512 << 20;
const CACHED_KERNELS = 4;
const LOADFLAGS_CAN_USE_HEAP = 0x80;
/** "Other" boot loaders' type with QEMU's number, so that kernels see what they know. */
const LOADER_TYPE = 0xb0;

/** Throws TsvmError when a file cannot be read, is not what it should be, or does not fit into memory. */
export async function loadLinux(options: LinuxOptions): Promise<LinuxBoot> {
	const { kernel: file, memory, append = '' } = options;
	const bytes = await readInput(file, 'kernel');
	const image = parseBzImage(bytes, file);
	const unpacked = await unpackedKernel(image, bytes, file, options.cache);
	const kernel = unpacked ?? {
		address: PROTECTED_MODE_ADDRESS,
		bytes: image.protectedMode,
		end: PROTECTED_MODE_ADDRESS + Math.max(image.protectedMode.length, image.initSize),
		entry: PROTECTED_MODE_ADDRESS,
	};
	const initrd = options.initrd === undefined ? undefined : await readInput(options.initrd, 'initrd');
	const initrdAddress = place(kernel, initrd, image, memory);
	const cmdline = commandLine(append, image);
	const mode = videoMode(append);

	const setup = image.setup.slice();
	const view = new DataView(setup.buffer);
	if (mode !== undefined) view.setUint16(setupField.vidMode, mode, true);
	setup[setupField.typeOfLoader] = LOADER_TYPE;
	setup[setupField.loadflags] |= LOADFLAGS_CAN_USE_HEAP;
	view.setUint16(setupField.heapEndPtr, CMDLINE_ADDRESS - SETUP_ADDRESS - 0x400, true);
	view.setUint32(setupField.cmdLinePtr, CMDLINE_ADDRESS, true);
	view.setUint32(setupField.code32Start, kernel.entry, true);
	view.setUint32(setupField.ramdiskImage, initrdAddress, true);
	view.setUint32(setupField.ramdiskSize, initrd?.length ?? 0, true);

	const items = new Map<number, Uint8Array>();
	const loads: RomLoad[] = [];
	const piece = (address: number, content: Uint8Array, addr: number, size: number, data: number) => {
		items.set(addr, u32(address));
		items.set(size, u32(content.length));
		items.set(data, content);
		loads.push({ key: data, length: content.length, address });
	};
	piece(kernel.address, kernel.bytes, fwCfgKey.kernelAddr, fwCfgKey.kernelSize, fwCfgKey.kernelData);
	if (initrd) piece(initrdAddress, initrd, fwCfgKey.initrdAddr, fwCfgKey.initrdSize, fwCfgKey.initrdData);
	piece(CMDLINE_ADDRESS, cmdline, fwCfgKey.cmdlineAddr, fwCfgKey.cmdlineSize, fwCfgKey.cmdlineData);
	piece(SETUP_ADDRESS, setup, fwCfgKey.setupAddr, fwCfgKey.setupSize, fwCfgKey.setupData);
	return {
		items,
		files: new Map([[`genroms/${ROM_FILE}`, linuxRom(loads, SETUP_ADDRESS >>> 4)]]),
		bootOrder: `/rom@genroms/${ROM_FILE}`,
	};
}

async function readInput(file: string, what: string): Promise<Uint8Array> {
	try {
		const bytes = await readFile(file);
		if (bytes.length === 0) throw new TsvmError(`${what}-empty`, `${what} ${file} is empty`, 'give a non-empty file');
		return bytes;
	} catch (error) {
		if (error instanceof TsvmError) throw error;
		const code = (error as NodeJS.ErrnoException).code;
		const why =
			code === 'ENOENT' ? 'does not exist' : code === 'EISDIR' ? 'is a directory' : `cannot be read (${code})`;
		throw new TsvmError(`${what}-unreadable`, `${what} ${file} ${why}`, `check the path given with --${what}`);
	}
}

/** Highest page-aligned place below firmware's data and the kernel's own limit, or 0 without an initrd. */
function place(kernel: KernelImage, initrd: Uint8Array | undefined, image: BzImage, memory: number): number {
	const tooSmall = () => {
		const need = kernel.end + (initrd?.length ?? 0) + FIRMWARE_RESERVE;
		return new TsvmError(
			'memory-small',
			`kernel and initrd need ${Math.ceil(need / 2 ** 20)} MiB of memory to start, the machine has ${memory / 2 ** 20} MiB`,
			'give it more with --memory',
		);
	};
	const top = Math.min(memory - FIRMWARE_RESERVE, image.initrdAddrMax + 1);
	if (kernel.end > memory - FIRMWARE_RESERVE) throw tooSmall();
	if (!initrd) return 0;
	const address = Math.floor((top - initrd.length) / 4096) * 4096;
	if (address < kernel.end) throw tooSmall();
	return address;
}

function commandLine(append: string, image: BzImage): Uint8Array {
	const text = new TextEncoder().encode(append);
	const most = Math.min(image.cmdlineSize, CMDLINE_END - CMDLINE_ADDRESS - 1);
	if (text.length > most)
		throw new TsvmError(
			'append-long',
			`the kernel command line has ${text.length} bytes, this kernel takes ${most}`,
			'shorten --append',
			2,
		);
	if (text.includes(0)) throw new TsvmError('append-nul', 'the kernel command line holds a NUL', 'remove it', 2);
	const out = new Uint8Array(text.length + 1);
	out.set(text);
	return out;
}

/** The kernel unpacked, from the cache if it is there; undefined if only the guest itself can unpack it. */
async function unpackedKernel(
	image: BzImage,
	bytes: Uint8Array,
	file: string,
	cache: string | undefined,
): Promise<KernelImage | undefined> {
	if (!image.payload) return undefined;
	const cached = cache && join(cache, `${createHash('sha256').update(bytes).digest('hex')}.elf`);
	if (cached) {
		const kept = await readFile(cached).catch(() => undefined);
		if (kept && kept.length === image.unpackedSize) return parseVmlinux(kept, file);
	}
	let elf: Uint8Array | undefined;
	try {
		elf = await unpackPayload(image.payload, UNPACKED_LIMIT);
	} catch (error) {
		const why = error instanceof Error ? error.message : String(error);
		throw new TsvmError('kernel-format', `${file}: the kernel in it is damaged: ${why}`, 'fetch it again');
	}
	if (!elf) return undefined;
	const kernel = parseVmlinux(elf, file);
	// A full or read-only cache costs time only, so it must not stop the machine.
	if (cache && cached) await keep(cache, cached, elf).catch(() => undefined);
	return kernel;
}

async function keep(folder: string, path: string, elf: Uint8Array): Promise<void> {
	await mkdir(folder, { recursive: true });
	const temporary = `${path}.${randomUUID()}`;
	try {
		await writeFile(temporary, elf);
		await rename(temporary, path);
	} catch (error) {
		await rm(temporary, { force: true });
		throw error;
	}
	const names = (await readdir(folder)).filter((name) => name.endsWith('.elf'));
	const dated = await Promise.all(
		names.map(async (name) => ({ name, time: (await stat(join(folder, name))).mtimeMs })),
	);
	dated.sort((a, b) => b.time - a.time);
	for (const { name } of dated.slice(CACHED_KERNELS)) await unlink(join(folder, name));
}

function u32(value: number): Uint8Array {
	const out = new Uint8Array(4);
	new DataView(out.buffer).setUint32(0, value, true);
	return out;
}
