import test from 'ava';
import { access, displayBoard, RAM_BASE } from '../../../helpers/display-board.ts';
import { MODES, textColor, VgaDriver, wide6 } from '../../../helpers/vga-driver.ts';

function board() {
	const b = displayBoard();
	return { b, vga: new VgaDriver(access(b)) };
}

function grey(vga: VgaDriver): void {
	for (let i = 0; i < 256; i++) vga.color(i, i >> 2, (i >> 1) & 63, i & 63);
}
const greyPixel = (i: number) => (wide6(i >> 2) << 16) | (wide6((i >> 1) & 63) << 8) | wide6(i & 63);

test('sixteen colours from four planes', (t) => {
	const { b, vga } = board();
	vga.setMode(MODES.planar);
	vga.egaColors();
	for (let plane = 0; plane < 4; plane++) {
		vga.sequencer(2, 1 << plane);
		for (let i = 0; i < 38400; i += 5) b.mmio.write8(0xa0000 + i, (i * (plane + 3)) & 0xff);
	}
	b.refresh();
	t.deepEqual([b.sink.primary.width, b.sink.primary.height], [640, 480]);
	let wrong = 0;
	for (let y = 0; y < 480; y += 7) {
		for (let x = 0; x < 640; x++) {
			const at = y * 80 + (x >> 3);
			let color = 0;
			if (at % 5 === 0)
				for (let plane = 0; plane < 4; plane++) color |= (((at * (plane + 3)) >> (7 - (x & 7))) & 1) << plane;
			if (b.sink.pixel(x, y) !== textColor(color)) wrong++;
		}
	}
	t.is(wrong, 0);
});

test('mode 13h: each byte is a colour, shown two by two', (t) => {
	const { b, vga } = board();
	vga.setMode(MODES.mode13);
	grey(vga);
	for (let i = 0; i < 64000; i++) b.mmio.write8(0xa0000 + i, (i * 11) & 0xff);
	b.refresh();
	t.deepEqual([b.sink.primary.width, b.sink.primary.height], [640, 400]);
	for (const [x, y] of [
		[0, 0],
		[1, 1],
		[2, 0],
		[639, 399],
		[320, 200],
	])
		t.is(b.sink.pixel(x, y), greyPixel((((y >> 1) * 320 + (x >> 1)) * 11) & 0xff), `${x},${y}`);
});

test('unchained 256 colours: planes by the map mask, a page flip by the start address', (t) => {
	const { b, vga } = board();
	vga.setMode(MODES.mode13);
	grey(vga);
	vga.sequencer(4, 0x06);
	vga.crtc(0x14, 0x00);
	vga.crtc(0x17, 0xe3);
	for (let plane = 0; plane < 4; plane++) {
		vga.sequencer(2, 1 << plane);
		for (let i = 0; i < 16000; i++) {
			b.mmio.write8(0xa0000 + i, (i + plane * 64) & 0xff);
			if (i < 8000) b.mmio.write8(0xa0000 + 0x4000 + i, 200 + plane);
		}
	}
	b.refresh();
	t.is(b.sink.pixel(2 * 6, 0), greyPixel(1 + 2 * 64));
	vga.crtc(0x0c, 0x40);
	b.refresh();
	t.is(b.sink.pixel(2 * 5, 0), greyPixel(201));
});

test('four colours at CGA addresses: odd lines lie 8 KiB on', (t) => {
	const { b, vga } = board();
	vga.setMode(MODES.cga4);
	vga.egaColors();
	b.mmio.write8(0xb8000 + 80 * 10 + 3, 0b00011011);
	b.mmio.write8(0xb8000 + 0x2000 + 80 * 10 + 3, 0b11100100);
	b.refresh();
	t.deepEqual([b.sink.primary.width, b.sink.primary.height], [640, 400]);
	const row = (y: number) => [0, 1, 2, 3].map((i) => b.sink.pixel((12 + i) * 2, y));
	const even = row(40);
	t.is(new Set(even).size, 4);
	t.deepEqual(row(41), even, 'each line is shown twice');
	t.deepEqual(row(42), [...even].reverse());
});

for (const bpp of [8, 15, 16, 24, 32]) {
	test(`VBE at ${bpp} bits a pixel through the linear frame buffer`, (t) => {
		const { b, vga } = board();
		vga.setVbe(640, 480, bpp);
		if (bpp === 8) grey(vga);
		b.refresh();
		t.deepEqual([b.sink.primary.width, b.sink.primary.height], [640, 480]);
		b.sink.draws.length = 0;
		const bytes = bpp === 15 ? 2 : bpp / 8;
		const colors: { [bits: number]: readonly [number, number] } = {
			8: [0xc1, greyPixel(0xc1)],
			15: [0x7c1f, 0xff00ff],
			16: [0x07e0, 0x00ff00],
			24: [0x123456, 0x123456],
			32: [0xff654321, 0x654321],
		};
		const [value, shown] = colors[bpp];
		const at = RAM_BASE + (100 * 640 + 200) * bytes;
		for (let i = 0; i < bytes; i++) b.mmio.write8(at + i, (value >>> (i * 8)) & 0xff);
		b.refresh();
		t.is(b.sink.pixel(200, 100), shown);
		t.is(b.sink.draws.length, 1);
		const { box } = b.sink.draws[0];
		t.true((box.right - box.left) * (box.bottom - box.top) <= 512, 'a small change sends a small rectangle');
	});
}

test('VBE through the bank window at A0000h', (t) => {
	const { b, vga } = board();
	vga.setVbe(1024, 768, 32);
	b.refresh();
	const at = (700 * 1024 + 17) * 4;
	vga.vbe(5, at >> 16);
	b.mmio.write32(0xa0000 + (at & 0xffff), 0x00abcdef);
	b.refresh();
	t.is(b.sink.pixel(17, 700), 0xabcdef);
	t.is(b.mmio.read32(RAM_BASE + at), 0x00abcdef);
});

test('VBE panning: virtual width, offsets, and a flip between two pages', (t) => {
	const { b, vga } = board();
	vga.setVbe(640, 480, 32);
	vga.vbe(6, 1024);
	t.is(vga.readVbe(6), 1024);
	t.is(vga.readVbe(7), 4096);
	b.mmio.write32(RAM_BASE + (600 * 1024 + 72) * 4, 0x00112233);
	b.mmio.write32(RAM_BASE, 0x00445566);
	b.refresh();
	t.is(b.sink.pixel(0, 0), 0x445566);
	vga.vbe(8, 64);
	vga.vbe(9, 600);
	b.refresh();
	t.is(b.sink.pixel(8, 0), 0x112233);
	t.is(b.sink.pixel(0, 0), 0);
});

test('VBE corrects what cannot be shown, as QEMU does', (t) => {
	const { vga } = board();
	vga.setVbe(643, 480, 7);
	t.is(vga.readVbe(1), 640);
	t.is(vga.readVbe(3), 8);
	vga.vbe(3, 32);
	vga.vbe(1, 4096);
	vga.vbe(2, 9999);
	t.is(vga.readVbe(2), 1024);
	vga.vbe(9, 5000);
	t.is(vga.readVbe(9), 0);
	vga.vbe(4, 0x03);
	t.deepEqual(
		[1, 2, 3].map((i) => vga.readVbe(i)),
		[16000, 12000, 32],
	);
	t.is(vga.readVbe(10), 256);
});

test('VBE with sixteen colours in planes', (t) => {
	const { b, vga } = board();
	vga.setMode(MODES.planar);
	vga.egaColors();
	vga.setVbe(800, 600, 4);
	vga.sequencer(4, 0x06);
	vga.sequencer(2, 0x02);
	b.mmio.write8(0xa0000 + 100 * 50, 0x80);
	b.refresh();
	t.is(b.sink.primary.width, 800);
	t.is(b.sink.pixel(0, 50), textColor(2));
});

test('a full screen goes out in bands, and an idle one is looked at ten times a second', (t) => {
	const { b, vga } = board();
	vga.setVbe(1024, 768, 32);
	b.refresh();
	b.sink.draws.length = 0;
	b.ram.bytes().fill(0x55, 0, 1024 * 768 * 4);
	for (let i = 0; i < 1024 * 768 * 4; i += 4096) b.ram.touch(i);
	b.refresh();
	t.true(b.sink.draws.length >= 3 && b.sink.draws.length <= 8);
	b.sink.draws.length = 0;
	b.host.advance(3e9);
	t.is(b.sink.draws.length, 0);
	const before = b.host.clock.next - b.host.clock.now();
	t.true(before > 0 && before <= 100e6);
});
