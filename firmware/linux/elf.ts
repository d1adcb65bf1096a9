/** The unpacked kernel as an ELF executable (System V ABI, Intel386 supplement): which bytes go where. */
import { TsvmError } from '../../src/core/index.ts';
import { wants64 } from './bzimage.ts';

export interface KernelImage {
	/** Physical address of the first byte. */
	readonly address: number;
	/** All loadable segments in one piece, gaps filled with zeros. */
	readonly bytes: Uint8Array;
	/** Physical address behind the last byte the kernel uses, zero-initialised data included. */
	readonly end: number;
	/** Physical entry point: 32-bit protected mode, boot_params in esi. */
	readonly entry: number;
}

const ELFCLASS64 = 2;
const EM_386 = 3;
const EM_X86_64 = 62;
const PT_LOAD = 1;
const EHDR_SIZE = 52;
const PHDR_SIZE = 32;
const LOW_LIMIT = 0x100000;
/** No 32-bit kernel is larger; a header that says so is damaged. */
const SIZE_LIMIT = 512 << 20;

/** Throws TsvmError if it is not a 32-bit x86 executable, or damaged. `file` is for messages. */
export function parseVmlinux(elf: Uint8Array, file: string): KernelImage {
	const damaged = (why: string) =>
		new TsvmError('kernel-format', `${file}: the kernel in it is damaged: ${why}`, 'fetch it again');
	if (elf.length < EHDR_SIZE || elf[0] !== 0x7f || elf[1] !== 0x45 || elf[2] !== 0x4c || elf[3] !== 0x46)
		throw damaged('not an ELF file');
	const view = new DataView(elf.buffer, elf.byteOffset, elf.byteLength);
	const machine = view.getUint16(18, true);
	if (elf[4] === ELFCLASS64 || machine === EM_X86_64) throw wants64(file);
	if (machine !== EM_386)
		throw new TsvmError('kernel-format', `${file} is no x86 kernel`, 'give the vmlinuz of a 32-bit x86 kernel');

	const entry = view.getUint32(24, true);
	const phoff = view.getUint32(28, true);
	const phnum = view.getUint16(44, true);
	if (view.getUint16(42, true) !== PHDR_SIZE || phoff + phnum * PHDR_SIZE > elf.length)
		throw damaged('program headers leave the file');
	const segments: { paddr: number; offset: number; filesz: number; memsz: number }[] = [];
	for (let at = phoff; at < phoff + phnum * PHDR_SIZE; at += PHDR_SIZE) {
		if (view.getUint32(at, true) !== PT_LOAD) continue;
		const offset = view.getUint32(at + 4, true);
		const paddr = view.getUint32(at + 12, true);
		const filesz = view.getUint32(at + 16, true);
		const memsz = view.getUint32(at + 20, true);
		if (offset + filesz > elf.length || filesz > memsz) throw damaged('a segment leaves the file');
		segments.push({ paddr, offset, filesz, memsz });
	}
	if (segments.length === 0) throw damaged('nothing to load');
	const address = Math.min(...segments.map((s) => s.paddr));
	const fileEnd = Math.max(...segments.map((s) => s.paddr + s.filesz));
	const end = Math.max(...segments.map((s) => s.paddr + s.memsz));
	if (address < LOW_LIMIT || end - address > SIZE_LIMIT) throw damaged('it would not load above 1 MiB');
	if (entry < address || entry >= fileEnd) throw damaged('the entry point is outside');
	const bytes = new Uint8Array(fileEnd - address);
	for (const s of segments) bytes.set(elf.subarray(s.offset, s.offset + s.filesz), s.paddr - address);
	return { address, bytes, end, entry };
}
