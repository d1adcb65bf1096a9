import test from 'ava';
import fc from 'fast-check';
import { guestErrors } from '../../helpers/virtio-driver.ts';
import { AudioBoard, MASTER, MC, MIXER, MS, PI, PO } from './machine.ts';

const LIST = 0x1000;
const DATA = 0x10000;
const CODEC = { master: 0x02, pcm: 0x18, select: 0x1a, gain: 0x1c, power: 0x26, extended: 0x2a, dac: 0x2c, adc: 0x32 };
const DCH = 1;
const CELV = 2;
const LVBCI = 4;
const BCIS = 8;
const FIFOE = 16;

/** Frame n at `DATA` is (n, -n). */
function ramp(board: AudioBoard, frames: number): void {
	for (let n = 0; n < frames; n++) {
		board.host.dma.write16(DATA + n * 4, n);
		board.host.dma.write16(DATA + n * 4 + 2, -n & 0xffff);
	}
}

function expected(frames: number): number[] {
	return Array.from({ length: frames * 2 }, (_, i) => (i % 2 === 0 ? i / 2 : 0 - (i - 1) / 2) + 0);
}

test('after reset: the codec names itself, is muted, and every bus master stands', (t) => {
	const { ports } = new AudioBoard();
	t.is(ports.in16(MIXER + 0x7c), 0x8384);
	t.is(ports.in16(MIXER + 0x7e), 0x7600);
	t.is(ports.in16(MIXER + CODEC.master), 0x8000);
	t.is(ports.in16(MIXER + CODEC.dac), 48000);
	for (const box of [PI, PO, MC]) {
		t.is(ports.in16(MASTER + box + 6), DCH);
		t.is(ports.in32(MASTER + box), 0);
	}
	t.is(ports.in32(MASTER + 0x30), 0x100);
});

test('a list plays at the codec rate, buffer after buffer, each with its interrupt', (t) => {
	const board = new AudioBoard();
	ramp(board, 1440);
	board.describe(LIST, [
		[DATA, 960, true],
		[DATA + 1920, 960, true],
		[DATA + 3840, 960, true],
	]);
	board.play(PO, LIST, 2);
	t.deepEqual(board.out.log, ['start 48000']);
	t.is(board.civ(PO), 0);
	t.is(board.picb(PO), 960);
	board.host.advance(5 * MS);
	t.is(board.picb(PO), 480);
	t.false(board.intx.level);
	board.host.advance(5 * MS);
	t.true(board.intx.level, 'at the very end of the buffer');
	t.is(board.globSta, 0x140);
	t.is(board.sr(PO), BCIS);
	t.is(board.civ(PO), 1);
	board.ports.out16(MASTER + PO + 6, BCIS);
	t.false(board.intx.level);
	board.host.advance(20 * MS);
	t.is(board.sr(PO), BCIS | LVBCI | CELV | DCH);
	t.deepEqual(board.out.samples, expected(1440));
	t.deepEqual(board.out.log, ['start 48000', 'stop']);
	board.ports.out16(MASTER + PO + 6, 0x1c);
	t.is(board.sr(PO), CELV | DCH);
	t.false(board.intx.level);
});

test('a list that is made longer goes on where it ended', (t) => {
	const board = new AudioBoard();
	ramp(board, 960);
	board.describe(LIST, [
		[DATA, 960],
		[DATA + 1920, 960],
	]);
	board.play(PO, LIST, 0);
	board.host.advance(30 * MS);
	t.is(board.sr(PO) & (DCH | CELV), DCH | CELV);
	board.ports.out8(MASTER + PO + 5, 1);
	t.is(board.sr(PO) & (DCH | CELV), 0);
	t.is(board.civ(PO), 1);
	board.host.advance(30 * MS);
	t.deepEqual(board.out.samples, expected(960));
});

test('pause keeps the place in the buffer, reset forgets it', (t) => {
	const board = new AudioBoard();
	ramp(board, 960);
	board.describe(LIST, [[DATA, 1920]]);
	board.play(PO, LIST, 0);
	board.host.advance(5 * MS);
	board.ports.out8(MASTER + PO + 0xb, 0x1c);
	t.is(board.picb(PO), 1440);
	board.host.advance(50 * MS);
	t.is(board.picb(PO), 1440);
	board.ports.out8(MASTER + PO + 0xb, 0x1d);
	board.host.advance(15 * MS);
	t.deepEqual(board.out.samples, expected(960));
	board.ports.out8(MASTER + PO + 0xb, 0x02);
	t.is(board.ports.in32(MASTER + PO), 0);
	t.is(board.sr(PO), DCH);
	t.is(board.ports.in8(MASTER + PO + 0xb), 0);
});

test('position follows the clock exactly, however the timers come: no drift in an hour', (t) => {
	const board = new AudioBoard();
	board.ports.out16(MIXER + CODEC.dac, 44100);
	// A ring of 32 buffers that never ends, as Linux plays.
	board.describe(
		LIST,
		Array.from({ length: 32 }, (_, i) => [DATA + i * 0x4000, 0x4000] as const),
	);
	board.play(PO, LIST, 31, 0x01);
	let count = 0;
	board.out.write = (samples) => {
		count += samples.length / 2;
	};
	for (let second = 1; second <= 3600; second += 1) {
		board.host.clock.advance(1e9);
		board.ports.out8(MASTER + PO + 5, (board.civ(PO) + 31) % 32);
		// PICB is read at the same moment: what is gone from the buffers is what was heard.
		if (second % 600 === 0) t.true(Math.abs(count - second * 44100) <= 32, `${second} s: ${count}`);
	}
});

test('a stall is made up for in small steps, a long one is given up', (t) => {
	const board = new AudioBoard();
	board.describe(
		LIST,
		Array.from({ length: 32 }, (_, i) => [DATA + i * 0x2000, 0x1000] as const),
	);
	board.play(PO, LIST, 31, 0x01);
	let largest = 0;
	let count = 0;
	board.out.write = (samples) => {
		largest = Math.max(largest, samples.length / 2);
		count += samples.length / 2;
	};
	const { clock } = board.host;
	board.host.advance(100 * MS);
	clock.stall(150 * MS);
	board.host.advance(200 * MS);
	t.true(largest <= 960, `${largest} frames at once`);
	t.true(Math.abs(count - 0.45 * 48000) <= 480, `${count} frames`);
	clock.stall(5000 * MS);
	board.host.advance(100 * MS);
	t.true(count < 0.7 * 48000, `${count} frames`);
});

test('variable rates: the DMA takes the rate of the codec, at once', (t) => {
	const board = new AudioBoard();
	board.describe(LIST, [
		[DATA, 0x8000],
		[DATA, 0x8000],
	]);
	board.ports.out16(MIXER + CODEC.dac, 8000);
	board.play(PO, LIST, 1);
	board.host.advance(100 * MS);
	t.is(board.out.samples.length / 2, 800);
	board.ports.out16(MIXER + CODEC.dac, 22050);
	board.host.advance(100 * MS);
	t.is(board.out.samples.length / 2, 800 + 2205);
	t.deepEqual(board.out.log, ['start 8000', 'start 22050']);
	for (const [written, read] of [
		[100, 8000],
		[65535, 48000],
		[12345, 12345],
	]) {
		board.ports.out16(MIXER + CODEC.adc, written);
		t.is(board.ports.in16(MIXER + CODEC.adc), read);
	}
	board.ports.out16(MIXER + CODEC.extended, 0);
	t.is(board.ports.in16(MIXER + CODEC.dac), 48000);
	board.ports.out16(MIXER + CODEC.dac, 8000);
	t.is(board.ports.in16(MIXER + CODEC.dac), 48000);
});

test('volumes and mutes reach the sink: 1.5 dB a step, and nothing while a section is powered down', (t) => {
	const board = new AudioBoard();
	const set = (register: number, value: number) => board.ports.out16(MIXER + register, value);
	t.true(board.out.heard?.mute);
	set(CODEC.master, 0);
	set(CODEC.pcm, 0);
	t.deepEqual(board.out.heard, { left: 1, right: 1, mute: false });
	set(CODEC.master, 0x0400);
	t.true(Math.abs((board.out.heard?.left ?? 0) - 10 ** (-6 / 20)) < 1e-9);
	t.is(board.out.heard?.right, 1);
	set(CODEC.pcm, 0x080c);
	t.true(Math.abs((board.out.heard?.right ?? 0) - 10 ** (-6 / 20)) < 1e-9);
	t.true(Math.abs((board.out.heard?.left ?? 0) - 10 ** (-6 / 20)) < 1e-9, '0 dB of one and -6 dB of the other');
	set(CODEC.pcm, 0x8000);
	t.true(board.out.heard?.mute);
	set(CODEC.pcm, 0);
	set(CODEC.power, 0x0200);
	t.true(board.out.heard?.mute);
	t.is(board.ports.in16(MIXER + CODEC.power), 0x020d);
	set(CODEC.power, 0);
	t.false(board.out.heard?.mute);
	set(CODEC.master, 0x203f);
	t.is(board.ports.in16(MIXER + CODEC.master), 0x3f3f);
});

test('recording: samples arrive in guest memory at the codec rate, from what is selected', (t) => {
	const board = new AudioBoard();
	board.describe(LIST, [[DATA, 1920, true]]);
	board.ports.out16(MIXER + CODEC.gain, 0x0f0f);
	t.deepEqual(board.in.heard, { left: 1, right: 1, mute: false });
	board.play(PI, LIST, 0);
	board.host.advance(20 * MS);
	t.is(board.globSta, 0x120);
	const view = new DataView(board.host.dma.bytes.buffer, DATA);
	for (let n = 0; n < 960; n++) t.deepEqual([view.getInt16(n * 4, true), view.getInt16(n * 4 + 2, true)], [n, 0 - n]);
	t.is(view.getInt16(3840, true), 0, 'not a sample more');
	board.ports.out16(MIXER + CODEC.select, 0x0104);
	t.deepEqual(board.in.heard, { left: 0, right: 1, mute: false });
	board.ports.out16(MIXER + CODEC.gain, 0x8f0f);
	t.true(board.in.heard?.mute);
});

test('half frames stay in step over odd buffers', (t) => {
	const board = new AudioBoard();
	ramp(board, 300);
	board.describe(LIST, [
		[DATA, 101],
		[DATA + 202, 97],
		[DATA + 396, 402],
	]);
	board.play(PO, LIST, 2);
	board.host.advance(100 * MS);
	t.deepEqual(board.out.samples, expected(300));
	board.describe(LIST, [
		[DATA, 101],
		[DATA + 202, 99],
	]);
	board.play(PI, LIST, 1);
	board.host.advance(100 * MS);
	const view = new DataView(board.host.dma.bytes.buffer, DATA);
	for (let n = 0; n < 100; n++) t.is(view.getInt16(n * 4, true), n);
});

test('the mic bus master records at its own rate', (t) => {
	const board = new AudioBoard();
	board.ports.out16(MIXER + 0x34, 16000);
	board.describe(LIST, [[DATA, 320, true]]);
	board.play(MC, LIST, 0);
	board.host.advance(10 * MS);
	t.deepEqual(board.mic.log, ['start 16000', 'stop']);
	t.is(board.globSta, 0x180);
});

test('empty buffers are passed, a list of nothing else does not hold the host', (t) => {
	const board = new AudioBoard();
	ramp(board, 10);
	board.describe(LIST, [
		[DATA, 0, true],
		[DATA, 20],
	]);
	board.play(PO, LIST, 1);
	board.host.advance(10 * MS);
	t.deepEqual(board.out.samples, expected(10));
	board.ports.out8(MASTER + PO + 0xb, 2);
	board.describe(
		LIST,
		Array.from({ length: 32 }, () => [DATA, 0, true] as const),
	);
	const { dma } = board.host;
	const read32 = dma.read32.bind(dma);
	let reads = 0;
	dma.read32 = (at) => {
		reads++;
		return read32(at);
	};
	board.play(PO, LIST, 31);
	for (let i = 0; i < 1000; i++) {
		reads = 0;
		board.host.advance(10 * MS);
		board.ports.out8(MASTER + PO + 5, (board.civ(PO) + 31) % 32);
		// Timers are at least 1 ms apart; each turn reads the 32 descriptors once at the most, two words each.
		t.true(reads <= 11 * 2 * 33, `${reads} reads in 10 ms`);
	}
});

test('addresses outside memory, and a bus master that may not master, end in a FIFO error', (t) => {
	const board = new AudioBoard();
	board.describe(LIST, [[0xfffffff0, 0xffff]]);
	board.play(PO, LIST, 0);
	board.host.advance(10 * MS);
	t.is(board.sr(PO), FIFOE | DCH);
	t.true(board.intx.level);
	board.ports.out16(MASTER + PO + 6, FIFOE);
	t.false(board.intx.level);
	board.play(PO, 0xfffffff8, 0, 0x1c);
	board.play(PO, 0xfffffff8, 0);
	t.is(board.sr(PO) & FIFOE, FIFOE);
	const other = new AudioBoard();
	other.device.pci.write(4, 2, 1);
	other.describe(LIST, [[DATA, 100]]);
	other.play(PO, LIST, 0);
	t.is(other.sr(PO), FIFOE | DCH);
	t.is(other.out.samples.length, 0);
});

test('a guest that errs again and again is told of once, whatever it resets', (t) => {
	const log = guestErrors(() => {
		const board = new AudioBoard();
		board.describe(LIST, [[0xfffffff0, 0xffff]]);
		for (let i = 0; i < 100; i++) {
			board.ports.out32(MASTER + 0x2c, 2);
			board.play(PO, LIST, 0);
			board.host.advance(10 * MS);
			t.is(board.sr(PO) & FIFOE, FIFOE);
			board.ports.out8(MASTER + PO + 0xb, 2);
			board.ports.out32(MASTER + 0x2c, 0);
		}
	});
	t.is(log.length, 1);
});

test('two bus masters share one line: it falls when both are served', (t) => {
	const board = new AudioBoard();
	board.describe(LIST, [[DATA, 96, true]]);
	board.play(PO, LIST, 0);
	board.play(PI, LIST, 0);
	board.host.advance(10 * MS);
	t.is(board.globSta, 0x160);
	board.ports.out16(MASTER + PO + 6, 0x1c);
	t.true(board.intx.level);
	board.ports.out16(MASTER + PI + 6, 0x1c);
	t.false(board.intx.level);
});

test('the semaphore is taken by reading it and returned by an access to the codec', (t) => {
	const { ports } = new AudioBoard();
	t.is(ports.in8(MASTER + 0x34), 0);
	t.is(ports.in8(MASTER + 0x34), 1);
	ports.in16(MIXER + 2);
	t.is(ports.in8(MASTER + 0x34), 0);
});

test('a cold reset resets codec and bus masters, a warm one nothing', (t) => {
	const board = new AudioBoard();
	board.describe(LIST, [[DATA, 1000]]);
	board.ports.out32(MASTER + 0x2c, 2);
	board.ports.out16(MIXER + CODEC.master, 0x0101);
	board.play(PO, LIST, 0);
	board.ports.out32(MASTER + 0x2c, 6);
	t.is(board.ports.in32(MASTER + 0x2c), 2);
	t.is(board.ports.in16(MIXER + CODEC.master), 0x0101);
	board.ports.out32(MASTER + 0x2c, 0);
	t.is(board.ports.in16(MIXER + CODEC.master), 0x8000);
	t.is(board.sr(PO), DCH);
	t.deepEqual(board.out.log, ['start 48000', 'stop']);
});

test('save, restore, save gives the same, and playing goes on where it was', (t) => {
	const board = new AudioBoard();
	ramp(board, 1000);
	board.describe(LIST, [[DATA, 2000, true]]);
	board.ports.out16(MIXER + CODEC.dac, 44100);
	board.ports.out16(MIXER + CODEC.master, 0x0202);
	board.play(PO, LIST, 0);
	board.host.advance(7 * MS);
	const saved = board.device.save();
	const other = new AudioBoard();
	other.host.advance(7 * MS);
	other.host.dma.bytes.set(board.host.dma.bytes);
	other.device.restore(structuredClone(saved));
	t.deepEqual(other.device.save(), saved);
	t.deepEqual(other.out.log, ['start 44100']);
	const before = board.out.samples.length;
	board.host.advance(30 * MS);
	other.host.advance(30 * MS);
	t.deepEqual(other.out.samples, board.out.samples.slice(before));
	t.true(other.intx.level);
	other.device.reset();
	t.false(other.intx.level);
	t.deepEqual(other.device.save().boxes, new AudioBoard().device.save().boxes);
});

test('whatever a guest does, the host goes on', (t) => {
	const access = fc.record({
		port: fc.oneof(fc.integer({ min: MIXER, max: MIXER + 0x82 }), fc.integer({ min: MASTER, max: MASTER + 0x40 })),
		width: fc.constantFrom(1, 2, 4),
		write: fc.boolean(),
		value: fc.oneof(fc.integer({ min: 0, max: 0xffffffff }), fc.constantFrom(0, 1, 0x1d, LIST, 0xfffff8)),
		wait: fc.constantFrom(0, 0, 0, 1e3, MS, 30 * MS, 1000 * MS),
	});
	const descriptor = fc.tuple(
		fc.oneof(fc.integer({ min: 0, max: 0xffffffff }), fc.integer({ min: 0, max: 0xfffff })),
		fc.constantFrom(0, 0, 1, 2, 3, 100, 0x7fff, 0xfffe, 0xffff),
		fc.boolean(),
	);
	fc.assert(
		fc.property(
			fc.array(descriptor, { minLength: 32, maxLength: 32 }),
			fc.array(access, { maxLength: 60 }),
			(list, accesses) => {
				const board = new AudioBoard();
				board.describe(LIST, list);
				for (const box of [PI, PO, MC]) board.play(box, LIST, 31);
				for (const { port, width, write, value, wait } of accesses) {
					const bits = width === 1 ? value & 0xff : width === 2 ? value & 0xffff : value;
					if (width === 1) write ? board.ports.out8(port, bits) : board.ports.in8(port);
					else if (width === 2) write ? board.ports.out16(port, bits) : board.ports.in16(port);
					else write ? board.ports.out32(port, bits) : board.ports.in32(port);
					board.host.advance(wait);
				}
				const saved = board.device.save();
				const other = new AudioBoard();
				other.device.restore(structuredClone(saved));
				t.deepEqual(other.device.save(), saved);
			},
		),
		{ numRuns: 60 },
	);
});
