/**
 * The VGA's indexed register blocks: each is reached through an index port and a data port, so `at` is the index.
 * IBM VGA XGA Technical Reference, chapter 2; writable bits as QEMU 7.2's stdvga keeps them.
 */
import { registers } from '../../../src/core/index.ts';

/** Index port 3C4h, data 3C5h. */
export const sequencer = registers({
	reset_: { at: 0, size: 1, w: 0x03, doc: 'asynchronous and synchronous reset' },
	clockingMode: { at: 1, size: 1, w: 0x3d, doc: 'bit 0 eight dots a character, 3 dot clock halved, 5 screen off' },
	mapMask: { at: 2, size: 1, w: 0x0f, doc: 'planes that writes reach' },
	characterMap: { at: 3, size: 1, w: 0x3f, doc: 'fonts for attribute bit 3 clear and set' },
	memoryMode: { at: 4, size: 1, w: 0x0e, doc: 'bit 1 more than 64 KiB, 2 odd/even off, 3 chain four' },
	counterReset: { at: 7, size: 1, w: 0xff, doc: 'horizontal character counter reset' },
});

/** Index port 3CEh, data 3CFh. */
export const graphics = registers({
	setReset: { at: 0, size: 1, w: 0x0f, doc: 'plane values for set/reset' },
	enableSetReset: { at: 1, size: 1, w: 0x0f, doc: 'planes that take set/reset instead of the byte written' },
	colorCompare: { at: 2, size: 1, w: 0x0f, doc: 'colour that read mode 1 looks for' },
	dataRotate: { at: 3, size: 1, w: 0x1f, doc: 'bits 0-2 rotate right, 3-4 logical function' },
	readMap: { at: 4, size: 1, w: 0x03, doc: 'plane that read mode 0 returns' },
	mode: { at: 5, size: 1, w: 0x7b, doc: 'bits 0-1 write mode, 3 read mode, 4 odd/even, 5-6 shift register' },
	miscellaneous: { at: 6, size: 1, w: 0x0f, doc: 'bit 0 graphics, 1 chain odd/even, 2-3 memory map' },
	colorDontCare: { at: 7, size: 1, w: 0x0f, doc: 'planes that read mode 1 compares' },
	bitMask: { at: 8, size: 1, w: 0xff, doc: 'bits that writes change; the others come from the latches' },
});

/** Index port 3x4h, data 3x5h, x by bit 0 of the miscellaneous output register. */
export const crtc = registers({
	horizontalTotal: { at: 0x00, size: 1, w: 0xff, doc: 'characters a line, minus 5' },
	horizontalDisplayEnd: { at: 0x01, size: 1, w: 0xff, doc: 'displayed characters, minus 1' },
	startHorizontalBlank: { at: 0x02, size: 1, w: 0xff, doc: 'character' },
	endHorizontalBlank: { at: 0x03, size: 1, w: 0xff, doc: 'character, skew' },
	startHorizontalRetrace: { at: 0x04, size: 1, w: 0xff, doc: 'character' },
	endHorizontalRetrace: { at: 0x05, size: 1, w: 0xff, doc: 'character, bit 5 of the blank end' },
	verticalTotal: { at: 0x06, size: 1, w: 0xff, doc: 'lines a frame, minus 2, bits 0-7' },
	overflow: { at: 0x07, size: 1, w: 0xff, doc: 'bits 8 and 9 of the vertical registers, bit 8 of line compare' },
	presetRowScan: { at: 0x08, size: 1, w: 0xff, doc: 'bits 0-4 first scan line of a character, 5-6 byte panning' },
	maximumScanLine: {
		at: 0x09,
		size: 1,
		w: 0xff,
		doc: 'bits 0-4 character height - 1, 6 line compare 9, 7 double scan',
	},
	cursorStart: { at: 0x0a, size: 1, w: 0xff, doc: 'bits 0-4 first line, 5 off' },
	cursorEnd: { at: 0x0b, size: 1, w: 0xff, doc: 'bits 0-4 last line' },
	startAddressHigh: { at: 0x0c, size: 1, w: 0xff, doc: 'first character on the screen' },
	startAddressLow: { at: 0x0d, size: 1, w: 0xff, doc: 'first character on the screen' },
	cursorLocationHigh: { at: 0x0e, size: 1, w: 0xff, doc: 'character under the cursor' },
	cursorLocationLow: { at: 0x0f, size: 1, w: 0xff, doc: 'character under the cursor' },
	verticalRetraceStart: { at: 0x10, size: 1, w: 0xff, doc: 'line, bits 0-7' },
	verticalRetraceEnd: { at: 0x11, size: 1, w: 0xff, doc: 'line, bits 0-3; bit 7 protects registers 0-7' },
	verticalDisplayEnd: { at: 0x12, size: 1, w: 0xff, doc: 'displayed lines - 1, bits 0-7' },
	offset: { at: 0x13, size: 1, w: 0xff, doc: 'half the characters from one row to the next' },
	underlineLocation: { at: 0x14, size: 1, w: 0xff, doc: 'bits 0-4 line of the underline, 6 doubleword mode' },
	startVerticalBlank: { at: 0x15, size: 1, w: 0xff, doc: 'line, bits 0-7' },
	endVerticalBlank: { at: 0x16, size: 1, w: 0xff, doc: 'line' },
	modeControl: { at: 0x17, size: 1, w: 0xff, doc: 'bits 0-1 clear: row scan bits join the address; 6 byte mode' },
	lineCompare: { at: 0x18, size: 1, w: 0xff, doc: 'line where the second screen part begins, bits 0-7' },
});

/** Index and data both at port 3C0h, read back at 3C1h. */
export const attribute = registers({
	...(Object.fromEntries(
		Array.from({ length: 16 }, (_, i) => [`palette${i}`, { at: i, size: 1, w: 0x3f, doc: `colour ${i}` }]),
	) as Record<`palette${number}`, { at: number; size: 1; w: number; doc: string }>),
	modeControl: {
		at: 0x10,
		size: 1,
		w: 0xef,
		doc: 'bit 0 graphics, 1 mono, 2 ninth dot, 3 blink, 5 pan top only, 6 8-bit colour, 7 bits 4-5 from colour select',
	},
	overscan: { at: 0x11, size: 1, w: 0xff, doc: 'border colour' },
	colorPlaneEnable: { at: 0x12, size: 1, w: 0x3f, doc: 'planes that are displayed' },
	pixelPanning: { at: 0x13, size: 1, w: 0x0f, doc: 'dots to move left' },
	colorSelect: { at: 0x14, size: 1, w: 0x0f, doc: 'colour bits 4-7' },
});
