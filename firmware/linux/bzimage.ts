/** Linux x86 boot protocol: what a bzImage says about itself. Linux Documentation/x86/boot.rst. */
import { TsvmError } from '../../src/core/index.ts';

/** Offsets in the first sector of the setup code. */
const at = {
	setupSects: 0x1f1,
	vidMode: 0x1fa,
	bootFlag: 0x1fe,
	magic: 0x202,
	version: 0x206,
	typeOfLoader: 0x210,
	loadflags: 0x211,
	code32Start: 0x214,
	ramdiskImage: 0x218,
	ramdiskSize: 0x21c,
	heapEndPtr: 0x224,
	cmdLinePtr: 0x228,
	initrdAddrMax: 0x22c,
	xloadflags: 0x236,
	cmdlineSize: 0x238,
	payloadOffset: 0x248,
	payloadLength: 0x24c,
	initSize: 0x260,
} as const;
export const setupField = at;

const MAGIC = 0x53726448; // "HdrS"
const BOOT_FLAG = 0xaa55;
/** 2.06 brought cmdline_size, 2.08 the payload's place, 2.10 init_size, 2.12 xloadflags. */
const VERSION_MIN = 0x0206;
const LOADED_HIGH = 0x01;
const XLF_KERNEL_64 = 0x01;

export interface BzImage {
	/** Real-mode setup code, setup_sects + 1 sectors. */
	readonly setup: Uint8Array;
	/** What follows: the decompressor with the payload in it. */
	readonly protectedMode: Uint8Array;
	/** The compressed kernel, without the size behind it; undefined before protocol 2.08. */
	readonly payload: Uint8Array | undefined;
	/** Its size when unpacked, as the build wrote it behind the payload. */
	readonly unpackedSize: number;
	readonly version: number;
	/** Longest command line, without the final zero. */
	readonly cmdlineSize: number;
	/** Highest address an initrd may use. */
	readonly initrdAddrMax: number;
	/** Room the kernel needs from its load address while it starts. */
	readonly initSize: number;
}

/** Throws TsvmError for what is no bzImage, is too old, or wants a 64-bit CPU. `file` is for messages. */
export function parseBzImage(image: Uint8Array, file = 'kernel'): BzImage {
	const view = new DataView(image.buffer, image.byteOffset, image.byteLength);
	if (
		image.length < 0x268 ||
		view.getUint16(at.bootFlag, true) !== BOOT_FLAG ||
		view.getUint32(at.magic, true) !== MAGIC
	)
		throw new TsvmError('kernel-format', `${file} is no Linux bzImage`, 'give the vmlinuz of a 32-bit x86 kernel');
	const version = view.getUint16(at.version, true);
	if (version < VERSION_MIN)
		throw new TsvmError(
			'kernel-old',
			`${file} speaks boot protocol ${version >> 8}.${version & 0xff}; 2.6 or later is needed`,
			'use Linux 2.6.22 or later, or boot it from a disk image',
		);
	if ((image[at.loadflags] & LOADED_HIGH) === 0)
		throw new TsvmError('kernel-format', `${file} is a zImage, which loads low`, 'give a bzImage');
	if (version >= 0x020c && view.getUint16(at.xloadflags, true) & XLF_KERNEL_64) throw wants64(file);

	const setupSize = ((image[at.setupSects] || 4) + 1) * 512;
	if (setupSize >= image.length) throw new TsvmError('kernel-format', `${file} is cut short`, 'fetch it again');
	const protectedMode = image.subarray(setupSize);
	let payload: Uint8Array | undefined;
	let unpackedSize = 0;
	if (version >= 0x0208) {
		const offset = view.getUint32(at.payloadOffset, true);
		const length = view.getUint32(at.payloadLength, true);
		if (offset + length > protectedMode.length || length < 8)
			throw new TsvmError('kernel-format', `${file} is cut short`, 'fetch it again');
		payload = protectedMode.subarray(offset, offset + length);
		unpackedSize = new DataView(payload.buffer, payload.byteOffset + length - 4).getUint32(0, true);
	}
	return {
		setup: image.subarray(0, setupSize),
		protectedMode,
		payload,
		unpackedSize,
		version,
		cmdlineSize: view.getUint32(at.cmdlineSize, true) || 255,
		initrdAddrMax: view.getUint32(at.initrdAddrMax, true),
		initSize: version >= 0x020a ? view.getUint32(at.initSize, true) : 0,
	};
}

export function wants64(file: string): TsvmError {
	return new TsvmError(
		'kernel-64bit',
		`${file} is a 64-bit kernel; this machine has a 32-bit CPU`,
		"use an i386 kernel, such as Debian's linux-image-686",
	);
}
