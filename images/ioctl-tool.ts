/**
 * A program for guests that have no other way to reach an ioctl: `ioctl FILE` takes eight bytes from standard input, a
 * request and an argument (both little-endian), and calls ioctl(FILE, request, &argument). It is 32-bit x86 machine
 * code in the smallest ELF file that Linux runs (System V ABI, "Object files"; Linux asm/unistd_32.h).
 */
const LOAD = 0x08048000;
const ELF_HEADER = 52;
const PROGRAM_HEADER = 32;

const CODE = [
	...[0x8b, 0x5c, 0x24, 0x08], //             mov ebx, [esp+8]   argv[1]
	...[0xb9, 0x02, 0x08, 0x00, 0x00], //       mov ecx, 0x802     O_RDWR | O_NONBLOCK
	...[0xb8, 0x05, 0x00, 0x00, 0x00], //       mov eax, 5         open
	...[0xcd, 0x80],
	...[0x89, 0xc6], //                         mov esi, eax
	...[0x83, 0xec, 0x08], //                   sub esp, 8
	...[0x31, 0xdb], //                         xor ebx, ebx       standard input
	...[0x89, 0xe1], //                         mov ecx, esp
	...[0xba, 0x08, 0x00, 0x00, 0x00], //       mov edx, 8
	...[0xb8, 0x03, 0x00, 0x00, 0x00], //       mov eax, 3         read
	...[0xcd, 0x80],
	...[0x89, 0xf3], //                         mov ebx, esi
	...[0x8b, 0x0c, 0x24], //                   mov ecx, [esp]
	...[0x8d, 0x54, 0x24, 0x04], //             lea edx, [esp+4]
	...[0xb8, 0x36, 0x00, 0x00, 0x00], //       mov eax, 54        ioctl
	...[0xcd, 0x80],
	...[0x89, 0xc3], //                         mov ebx, eax
	...[0xc1, 0xeb, 0x1f], //                   shr ebx, 31        1 if it failed
	...[0xb8, 0x01, 0x00, 0x00, 0x00], //       mov eax, 1         exit
	...[0xcd, 0x80],
];

export function ioctlTool(): Uint8Array {
	const start = ELF_HEADER + PROGRAM_HEADER;
	const size = start + CODE.length;
	const elf = new Uint8Array(size);
	const view = new DataView(elf.buffer);
	const words = (at: number, ...values: number[]) => {
		for (const [i, value] of values.entries()) view.setUint32(at + i * 4, value, true);
	};
	// Magic; 32-bit, little-endian, version 1.
	elf.set([0x7f, 0x45, 0x4c, 0x46, 1, 1, 1]);
	// Executable for the 386, version 1, entry, program headers.
	view.setUint16(16, 2, true);
	view.setUint16(18, 3, true);
	words(20, 1, LOAD + start, ELF_HEADER);
	view.setUint16(40, ELF_HEADER, true);
	view.setUint16(42, PROGRAM_HEADER, true);
	view.setUint16(44, 1, true);
	// PT_LOAD: the whole file, readable and executable.
	words(ELF_HEADER, 1, 0, LOAD, LOAD, size, size, 5, 0x1000);
	elf.set(CODE, start);
	return elf;
}
