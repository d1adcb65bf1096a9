import test from 'ava';
import { access, displayBoard } from '../../../helpers/display-board.ts';
import { MODES, VgaDriver } from '../../../helpers/vga-driver.ts';

function board() {
	const b = displayBoard();
	return { b, io: access(b), vga: new VgaDriver(access(b)) };
}

test('after reset everything reads as on QEMU: mono ports answer, colour ports do not', (t) => {
	const { io } = board();
	t.is(io.in8(0x3cc), 0);
	t.is(io.in8(0x3d4), 0xff);
	t.is(io.in8(0x3da), 0xff);
	t.is(io.in8(0x3b4), 0);
	t.is(io.in8(0x3c1), 0);
	t.is(io.in16(0x1ce), 0);
	t.is(io.in16(0x1cf), 0xb0c5);
	t.is(io.in16(0x1d0), 0xb0c5);
});

test('miscellaneous output moves the CRTC ports', (t) => {
	const { io } = board();
	io.out8(0x3c2, 1);
	io.out8(0x3d4, 0x0f);
	io.out8(0x3d5, 0x5a);
	t.is(io.in8(0x3d5), 0x5a);
	t.is(io.in8(0x3b5), 0xff);
	t.is(io.in8(0x3cc), 1);
});

test('indexed registers keep their writable bits', (t) => {
	const { io, vga } = board();
	io.out8(0x3c2, 1);
	const read = (index: number, port: number, data: number) => {
		io.out8(port, index);
		return io.in8(data);
	};
	for (let i = 0; i < 5; i++) vga.sequencer(i, 0xff);
	t.deepEqual(
		[0, 1, 2, 3, 4].map((i) => read(i, 0x3c4, 0x3c5)),
		[0x03, 0x3d, 0x0f, 0x3f, 0x0e],
	);
	for (let i = 0; i < 9; i++) vga.graphics(i, 0xff);
	t.deepEqual(
		[0, 1, 2, 3, 4, 5, 6, 7, 8].map((i) => read(i, 0x3ce, 0x3cf)),
		[0x0f, 0x0f, 0x0f, 0x1f, 0x03, 0x7b, 0x0f, 0x0f, 0xff],
	);
	io.in8(0x3da);
	io.out8(0x3c0, 3);
	io.out8(0x3c0, 0xff);
	t.is(io.in8(0x3c0), 3, 'the index reads back');
	t.is(io.in8(0x3c1), 0x3f);
});

test('register 11h of the CRTC protects 0 to 7, but for bit 4 of 7', (t) => {
	const { io, vga } = board();
	io.out8(0x3c2, 1);
	vga.crtc(1, 0x4f);
	vga.crtc(7, 0);
	vga.crtc(0x11, 0x80);
	vga.crtc(1, 0x11);
	vga.crtc(7, 0xff);
	io.out8(0x3d4, 1);
	t.is(io.in8(0x3d5), 0x4f);
	io.out8(0x3d4, 7);
	t.is(io.in8(0x3d5), 0x10);
});

test('the DAC takes and gives three bytes an entry', (t) => {
	const { io, vga } = board();
	vga.color(7, 1, 2, 3);
	t.is(io.in8(0x3c8), 8);
	t.is(io.in8(0x3c7), 0);
	io.out8(0x3c7, 7);
	t.is(io.in8(0x3c7), 3);
	t.deepEqual([io.in8(0x3c9), io.in8(0x3c9), io.in8(0x3c9)], [1, 2, 3]);
});

test('display and retrace bits both come and go within a frame', (t) => {
	const { b, io, vga } = board();
	vga.setMode(MODES.text80);
	let [retrace, blank, both] = [0, 0, 0];
	const steps = 1600;
	for (let i = 0; i < steps; i++) {
		const status = io.in8(0x3da);
		if (status & 8) retrace++;
		if (status & 1) blank++;
		if ((status & 9) === 8) both++;
		b.host.advance(1e9 / 70 / steps);
	}
	t.true(retrace > 0 && retrace < steps / 50, `${retrace}`);
	t.true(blank > steps / 10 && blank < steps / 2, `${blank}`);
	t.is(both, 0, 'nothing is displayed during retrace');
});

test('write mode 0: rotate, set/reset, logical functions, bit mask, map mask', (t) => {
	const { b, vga } = board();
	vga.setMode(MODES.planar);
	const planes = (at: number) =>
		[0, 1, 2, 3].map((p) => {
			vga.graphics(4, p);
			return b.mmio.read8(0xa0000 + at);
		});
	b.mmio.write8(0xa0000, 0xa5);
	t.deepEqual(planes(0), [0xa5, 0xa5, 0xa5, 0xa5]);
	vga.sequencer(2, 0x05);
	b.mmio.write8(0xa0001, 0xff);
	t.deepEqual(planes(1), [0xff, 0, 0xff, 0]);
	vga.sequencer(2, 0x0f);
	vga.graphics(3, 4);
	b.mmio.write8(0xa0002, 0x12);
	t.deepEqual(planes(2), [0x21, 0x21, 0x21, 0x21]);
	vga.graphics(3, 0);
	vga.graphics(1, 0x0c);
	vga.graphics(0, 0x04);
	b.mmio.write8(0xa0003, 0x3c);
	t.deepEqual(planes(3), [0x3c, 0x3c, 0xff, 0]);
	vga.graphics(1, 0);
	b.mmio.read8(0xa0003);
	vga.graphics(8, 0x0f);
	b.mmio.write8(0xa0003, 0x00);
	t.deepEqual(planes(3), [0x30, 0x30, 0xf0, 0]);
	vga.graphics(8, 0xff);
	for (const [fn, want] of [
		[1, 0x30 & 0x55],
		[2, 0x30 | 0x55],
		[3, 0x30 ^ 0x55],
	]) {
		b.mmio.write8(0xa0004, 0x30);
		b.mmio.read8(0xa0004);
		vga.graphics(3, fn << 3);
		b.mmio.write8(0xa0004, 0x55);
		t.is(planes(4)[0], want, `function ${fn}`);
		vga.graphics(3, 0);
	}
});

test('write modes 1, 2 and 3, read mode 1', (t) => {
	const { b, vga } = board();
	vga.setMode(MODES.planar);
	const plane = (at: number, p: number) => {
		vga.graphics(4, p);
		return b.mmio.read8(0xa0000 + at);
	};
	vga.graphics(5, 2);
	b.mmio.write8(0xa0000, 0x09);
	t.deepEqual(
		[0, 1, 2, 3].map((p) => plane(0, p)),
		[0xff, 0, 0, 0xff],
	);
	b.mmio.read8(0xa0000);
	vga.graphics(5, 1);
	b.mmio.write8(0xa0010, 0x00);
	t.deepEqual(
		[0, 1, 2, 3].map((p) => plane(0x10, p)),
		[0xff, 0, 0, 0xff],
	);
	vga.graphics(5, 3);
	vga.graphics(0, 0x06);
	vga.graphics(8, 0x3c);
	b.mmio.read8(0xa0020);
	b.mmio.write8(0xa0020, 0xf0);
	t.deepEqual(
		[0, 1, 2, 3].map((p) => plane(0x20, p)),
		[0, 0x30, 0x30, 0],
	);
	vga.graphics(5, 8);
	vga.graphics(2, 0x06);
	vga.graphics(7, 0x0f);
	t.is(b.mmio.read8(0xa0020), 0x30);
	vga.graphics(2, 0);
	t.is(b.mmio.read8(0xa0020), 0xcf);
});

test('the memory map chooses where the window answers', (t) => {
	const { b, vga } = board();
	vga.setMode(MODES.text80);
	b.mmio.write8(0xb8000, 0x41);
	t.is(b.mmio.read8(0xb8000), 0x41);
	t.is(b.mmio.read8(0xb0000), 0xff);
	t.is(b.mmio.read8(0xa0000), 0xff);
	vga.graphics(6, 0x0a);
	t.is(b.mmio.read8(0xb0000), 0x41);
	t.is(b.mmio.read8(0xb8000), 0xff);
});

test('save, restore, save gives the same, and the same picture', (t) => {
	const { b, vga } = board();
	vga.setMode(MODES.mode13);
	for (let i = 0; i < 256; i++) vga.color(i, i & 63, (i * 3) & 63, (i * 5) & 63);
	for (let i = 0; i < 64000; i += 7) b.mmio.write8(0xa0000 + i, i & 0xff);
	b.refresh();
	const saved = b.device.save();
	const other = displayBoard();
	other.ram.bytes().set(b.ram.bytes());
	other.device.restore(saved);
	t.deepEqual(other.device.save(), saved);
	other.refresh();
	t.deepEqual(other.sink.primary.pixels, b.sink.primary.pixels);
});
