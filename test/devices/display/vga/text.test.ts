import test from 'ava';
import { access, displayBoard } from '../../../helpers/display-board.ts';
import { biosFont, MODES, textColor, VgaDriver } from '../../../helpers/vga-driver.ts';

const font = biosFont();

function textBoard(mode: keyof typeof MODES = 'text80') {
	const board = displayBoard();
	const vga = new VgaDriver(access(board));
	vga.setMode(MODES[mode]);
	vga.egaColors();
	vga.loadFont(font);
	vga.crtc(0x0a, 0x20);
	return { board, vga };
}

function put(board: ReturnType<typeof displayBoard>, cell: number, character: number, attribute: number): void {
	board.mmio.write16(0xb8000 + cell * 2, character | (attribute << 8));
}

/** The 9-dot picture of one character: colour at column x, line y. */
function glyph(character: number, attribute: number, x: number, y: number): number {
	const bits = font[character * 16 + y];
	const on = x < 8 ? (bits >> (7 - x)) & 1 : (character & 0xe0) === 0xc0 ? bits & 1 : 0;
	return textColor(on ? attribute & 15 : (attribute >> 4) & 15);
}

test('a screen of text has the pixels of the font the guest loaded, ninth dot and colours included', (t) => {
	const { board, vga } = textBoard();
	// Blink off: sixteen background colours. Line graphics repeat their eighth dot.
	vga.attribute(0x10, 0x04);
	for (let i = 0; i < 2000; i++) put(board, i, (i * 7) & 0xff, (i * 13) & 0xff);
	board.refresh();
	const { width, height } = board.sink.primary;
	t.deepEqual([width, height], [720, 400]);
	let wrong = 0;
	for (let i = 0; i < 2000; i++) {
		const [left, top] = [(i % 80) * 9, Math.floor(i / 80) * 16];
		for (let y = 0; y < 16; y++)
			for (let x = 0; x < 9; x++)
				if (board.sink.pixel(left + x, top + y) !== glyph((i * 7) & 0xff, (i * 13) & 0xff, x, y)) wrong++;
	}
	t.is(wrong, 0);
});

test('one changed character sends a rectangle around it and nothing more', (t) => {
	const { board } = textBoard();
	board.refresh();
	board.sink.draws.length = 0;
	put(board, 80 * 3 + 10, 0x41, 0x07);
	board.refresh();
	t.is(board.sink.draws.length, 1);
	const { box } = board.sink.draws[0];
	t.true(box.left <= 90 && box.right >= 99 && box.right - box.left <= 32);
	t.deepEqual([box.top, box.bottom], [48, 64]);
});

test('a screen that does not change sends nothing', (t) => {
	const { board } = textBoard();
	board.refresh();
	board.sink.draws.length = 0;
	for (let i = 0; i < 20; i++) board.refresh();
	t.is(board.sink.draws.length, 0);
	t.is(board.host.clock.next, Number.POSITIVE_INFINITY);
});

test('the cursor is drawn between its lines, in the foreground colour, and blinks', (t) => {
	const { board, vga } = textBoard();
	put(board, 5, 0x20, 0x0e);
	vga.crtc(0x0a, 13);
	vga.crtc(0x0b, 14);
	vga.crtc(0x0e, 0);
	vga.crtc(0x0f, 5);
	const seen = new Set<string>();
	for (let i = 0; i < 50; i++) {
		board.host.advance(20e6);
		if (board.sink.surfaces.size === 0) continue;
		seen.add([12, 13, 14, 15].map((y) => (board.sink.pixel(5 * 9 + 4, y) === textColor(14) ? 'x' : '.')).join(''));
	}
	t.deepEqual([...seen].sort(), ['....', '.xx.']);
});

test('characters with the blink attribute come and go, with eight background colours', (t) => {
	const { board, vga } = textBoard();
	vga.attribute(0x10, 0x0c);
	put(board, 0, 0xdb, 0x92);
	const seen = new Set<number>();
	for (let i = 0; i < 60; i++) {
		board.host.advance(20e6);
		seen.add(board.sink.pixel(3, 3));
	}
	seen.delete(0);
	t.deepEqual([...seen].sort(), [textColor(1), textColor(2)].sort());
});

test('forty columns are twice as wide', (t) => {
	const { board, vga } = textBoard('text40');
	vga.attribute(0x10, 0x04);
	put(board, 41, 0x41, 0x1f);
	board.refresh();
	t.is(board.sink.primary.width, 720);
	for (let y = 0; y < 16; y++)
		for (let x = 0; x < 18; x++) t.is(board.sink.pixel(18 + x, 16 + y), glyph(0x41, 0x1f, x >> 1, y));
});

test('start address, split screen and eight-dot characters', (t) => {
	const { board, vga } = textBoard();
	vga.sequencer(1, 0x01);
	vga.attribute(0x13, 0);
	for (let i = 0; i < 4000; i++) put(board, i, 0x30 + (Math.floor(i / 80) % 10), 0x07);
	vga.crtc(0x0c, 80 >> 8);
	vga.crtc(0x0d, 80);
	// The lower part begins on scan line 192, row 12, with the memory's first row.
	vga.crtc(0x18, 191);
	vga.crtc(0x07, 0x0f);
	vga.crtc(0x09, 0x0f);
	board.refresh();
	t.is(board.sink.primary.width, 640);
	const digit = (row: number) => {
		for (let d = 0; d < 10; d++) {
			let same = true;
			for (let y = 0; y < 16 && same; y++)
				for (let x = 0; x < 8 && same; x++) same = board.sink.pixel(x, row * 16 + y) === glyph(0x30 + d, 0x07, x, y);
			if (same) return d;
		}
		return -1;
	};
	t.deepEqual([0, 1, 11, 12, 13].map(digit), [1, 2, 2, 0, 1]);
});

test('panning by dots and by lines', (t) => {
	const { board, vga } = textBoard();
	for (let i = 0; i < 2100; i++) put(board, i, 0x41 + (i % 26), 0x07);
	vga.attribute(0x13, 2);
	vga.crtc(0x08, 4);
	board.refresh();
	// Nine dots: a value of 2 moves three dots to the left.
	for (let y = 0; y < 12; y++)
		for (let x = 0; x < 6; x++) t.is(board.sink.pixel(x, y), glyph(0x41, 0x07, x + 3, y + 4));
	t.is(board.sink.pixel(6, 3), glyph(0x42, 0x07, 0, 7));
});
