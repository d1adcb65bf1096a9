/**
 * `vga=` on a kernel's command line. The setup code sets the video mode before anything reads that line, so the boot
 * loader hands it over in the header's vid_mode. Linux Documentation/arch/x86/boot.rst, "Special Command Line Options".
 */
import { TsvmError } from '../../src/core/index.ts';

const NAMED: Readonly<Record<string, number>> = { normal: 0xffff, ext: 0xfffe, ask: 0xfffd };
/** An integer as C writes it. */
const NUMBER = /^(0x[\da-f]+|[1-9]\d*|0[0-7]*)$/i;

/** What belongs into vid_mode; undefined if nothing is said, and the kernel's own choice stays. The last one counts. */
export function videoMode(append: string): number | undefined {
	const word = append
		.split(/\s+/)
		.filter((word) => word.startsWith('vga='))
		.at(-1);
	if (word === undefined) return undefined;
	const text = word.slice('vga='.length);
	if (Object.hasOwn(NAMED, text)) return NAMED[text];
	const octal = /^0\d/.test(text);
	const mode = NUMBER.test(text) ? Number(octal ? `0o${text}` : text) : Number.NaN;
	if (!(mode <= 0xffff))
		throw new TsvmError(
			'append-vga',
			`--append: '${word}' is no video mode`,
			'write vga=normal, ext, ask or a number to 65535, such as 788 for 800x600 in 65536 colours',
			2,
		);
	return mode;
}
