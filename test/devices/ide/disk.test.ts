import test from 'ava';
import fc from 'fast-check';
import { AtaDisk } from '../../../devices/ide/index.ts';
import { listenTrace } from '../../../src/core/index.ts';
import { sameBytes } from '../../helpers/bytes.ts';
import { MemoryImage } from '../../helpers/memory-image.ts';
import { IdeMachine, withDisk } from './machine.ts';

const READY = 0x50;
const sector = (image: MemoryImage, lba: number, count = 1) => image.bytes.slice(lba * 512, (lba + count) * 512);
const filled = (length: number, seed: number) => Uint8Array.from({ length }, (_, i) => seed + i * 3 + (i >> 8));

test('signature after power-on, software reset and diagnostic', (t) => {
	const { m } = withDisk();
	t.deepEqual(m.regs(), [0, 1, 1, 0, 0, 0xa0, READY]);
	m.board.ports.out8(m.control, 4);
	t.is(m.altStatus & 0x80, 0x80);
	m.board.ports.out8(m.control, 0);
	t.deepEqual(m.regs(), [1, 1, 1, 0, 0, 0xa0, READY]);
	m.set(7, 0x90);
	t.true(m.irq.level);
	t.deepEqual(m.regs(), [1, 1, 1, 0, 0, 0xa0, READY]);
	t.false(m.irq.level);
});

test('an absent slave and an empty channel', (t) => {
	const { m } = withDisk();
	m.set(6, 0xb0);
	t.deepEqual(m.regs(), [0, 1, 1, 0xff, 0xff, 0xb0, 0]);
	m.set(7, 0xec);
	t.deepEqual(m.regs(), [0, 1, 1, 0xff, 0xff, 0xb0, 0]);
	for (let port = 0x170; port < 0x178; port++) t.is(m.board.ports.in8(port), 0);
	t.is(m.board.ports.in16(0x170), 0);
	t.false(m.irq.level);
});

test('IDENTIFY DEVICE', (t) => {
	const { m, disk } = withDisk(64 << 20);
	m.command(0xec);
	t.true(m.irq.level);
	t.is(m.reg(7), 0x58);
	t.false(m.irq.level);
	const data = m.dataIn(512);
	const words = new Uint16Array(data.buffer);
	t.is(m.reg(7), READY);
	t.is(words[1], disk.geometry.cylinders);
	t.is(words[60] + words[61] * 65536, 131072);
	t.is(words[100] + words[101] * 65536, 131072);
	t.is(Buffer.from(data.buffer, 54, 40).swap16().toString().trim(), 'TSVM HARDDISK');
	m.command(0xa1);
	t.deepEqual([m.reg(1), m.reg(7)], [4, 0x41], 'IDENTIFY PACKET DEVICE is not for disks');
});

test('READ SECTORS: one interrupt a sector', (t) => {
	const { m, image } = withDisk();
	const before = m.irq.edges;
	m.command(0x20, 5, 3);
	for (let i = 0; i < 3; i++) {
		t.is(m.reg(7), 0x58);
		sameBytes(t, m.dataIn(512), sector(image, 5 + i));
	}
	t.is(m.reg(7), READY);
	t.is(m.irq.edges - before, 3);
	t.is(m.reg(2), 0);
});

test('READ MULTIPLE by 32-bit accesses: one interrupt a block', (t) => {
	const { m, image } = withDisk();
	m.command(0xc6, 0, 8);
	const before = m.irq.edges;
	m.command(0xc4, 1, 20);
	const got = new Uint8Array(20 * 512);
	const view = new DataView(got.buffer);
	for (let i = 0; i < got.length; i += 4) {
		if (i % 4096 === 0) t.is(m.reg(7), 0x58);
		view.setUint32(i, m.board.ports.in32(m.base), true);
	}
	sameBytes(t, got, sector(image, 1, 20));
	t.is(m.irq.edges - before, 3);
	m.command(0xc6, 0, 3);
	t.is(m.reg(1), 4, 'not a power of two');
	m.command(0xc6, 0, 0);
	m.command(0xc4, 0, 1);
	t.is(m.reg(1), 4, 'no block size');
});

test('WRITE SECTORS and WRITE MULTIPLE', (t) => {
	const { m, image } = withDisk();
	const data = filled(512 * 3, 9);
	m.command(0x30, 7, 3);
	t.false(m.irq.level, 'the first block comes without an interrupt');
	for (let i = 0; i < 3; i++) {
		t.is(m.altStatus, 0x58);
		m.dataOut(data.subarray(i * 512, (i + 1) * 512));
		t.true(m.irq.level);
		m.reg(7);
	}
	t.is(m.altStatus, READY);
	sameBytes(t, sector(image, 7, 3), data);
	const more = filled(512 * 18, 77);
	m.command(0xc5, 100, 18);
	m.dataOut(more);
	t.is(m.reg(7), READY);
	sameBytes(t, sector(image, 100, 18), more);
});

test('CHS addresses with the translation that the driver sets', (t) => {
	const { m, image } = withDisk();
	const read = (c: number, h: number, s: number) => {
		m.set(2, 1);
		m.set(3, s);
		m.set(4, c & 0xff);
		m.set(5, c >> 8);
		m.set(6, 0xa0 | h);
		m.set(7, 0x20);
		return m.reg(7) & 8 ? m.dataIn(512) : undefined;
	};
	sameBytes(t, read(0, 0, 1), sector(image, 0));
	sameBytes(t, read(1, 2, 3), sector(image, (1 * 16 + 2) * 63 + 2));
	t.is(read(0, 0, 0), undefined);
	m.set(2, 17);
	m.set(6, 0xa3);
	m.set(7, 0x91);
	sameBytes(t, read(2, 1, 5), sector(image, (2 * 4 + 1) * 17 + 4));
});

test('48-bit addresses: both halves of each register, and reading them back', (t) => {
	const { m, image } = withDisk(40 << 20);
	m.commandExt(0x24, 70000, 2);
	sameBytes(t, m.dataIn(1024), sector(image, 70000, 2));
	m.commandExt(0x24, 2 ** 40, 1);
	t.is(m.reg(7) & 1, 1, 'beyond the end');
	m.commandExt(0x27, 0, 0);
	const low = [m.reg(3), m.reg(4), m.reg(5)];
	m.board.ports.out8(m.control, 0x80);
	const high = [m.reg(3), m.reg(4), m.reg(5)];
	t.deepEqual([...low, ...high], [0xff, 0x3f, 1, 0, 0, 0]);
});

test('addresses beyond the end are refused whole', (t) => {
	const { m, image } = withDisk();
	for (const opcode of [0x20, 0x30, 0xc4, 0xc5, 0xc8, 0xca, 0x40]) {
		m.command(opcode, 2047, 2);
		t.deepEqual([m.reg(1), m.reg(7)], [4, 0x41], opcode.toString(16));
	}
	t.deepEqual(image.log.slice(1), []);
});

test('DMA read over several regions', (t) => {
	const { m, image } = withDisk();
	const { dma } = m.board.host;
	m.descriptors(0x1000, [
		[0x10000, 0x600],
		[0x20002, 0x0200],
		[0x30000, 0x1800],
	]);
	const before = m.irq.edges;
	m.dma(0x1000, true, () => m.command(0xc8, 10, 16));
	t.is(m.bmStatus, 4, 'interrupt, no longer active');
	t.is(m.irq.edges - before, 1);
	t.is(m.reg(7), READY);
	m.stopDma();
	const expected = sector(image, 10, 16);
	sameBytes(t, dma.read(0x10000, 0x600), expected.slice(0, 0x600));
	sameBytes(t, dma.read(0x20002, 0x200), expected.slice(0x600, 0x800));
	sameBytes(t, dma.read(0x30000, 0x1800), expected.slice(0x800));
});

test('DMA started before the command', (t) => {
	const { m, image } = withDisk();
	m.descriptors(0x1000, [[0x10000, 0x200]]);
	m.board.ports.out32(m.bm + 4, 0x1000);
	m.board.ports.out8(m.bm, 9);
	t.is(m.bmStatus, 1);
	m.command(0xc8, 3, 1);
	t.is(m.bmStatus, 4);
	sameBytes(t, m.board.host.dma.read(0x10000, 512), sector(image, 3));
});

test('64 KiB are there when the start bit has been written', (t) => {
	const { m, image } = withDisk();
	m.descriptors(0x1000, [[0x20000, 0]]);
	m.board.ports.out32(m.bm + 4, 0x1000);
	m.command(0xc8, 0, 128);
	m.board.ports.out8(m.bm, 9);
	t.true(m.irq.level);
	sameBytes(t, m.board.host.dma.read(0x20000, 65536), sector(image, 0, 128));
});

test('DMA write, 48-bit, more than a turn allows', (t) => {
	const { m, image } = withDisk(8 << 20);
	const { dma } = m.board.host;
	const data = filled(512 * 1024, 3);
	dma.bytes.set(data, 0x40000);
	// 12 times the same 512 KiB in one command of 6 MiB.
	const regions: [number, number][] = [];
	for (let i = 0; i < 96; i++) regions.push([0x40000 + (i % 8) * 0x10000, 0]);
	m.descriptors(0x1000, regions);
	m.dma(0x1000, false, () => m.commandExt(0x35, 64, 12288));
	t.is(m.bmStatus, 4);
	t.is(m.reg(7), READY);
	for (let i = 0; i < 12; i++) sameBytes(t, sector(image, 64 + i * 1024, 1024), data);
});

test('descriptors that are too short, too long, or nowhere', (t) => {
	const { m } = withDisk();
	m.descriptors(0x1000, [[0x10000, 0x200]]);
	m.dma(0x1000, true, () => m.command(0xc8, 0, 4));
	t.is(m.bmStatus, 0, 'too short: neither active nor interrupt');
	t.false(m.irq.level);
	m.stopDma();
	m.descriptors(0x1000, [[0x10000, 0x800]]);
	m.dma(0x1000, true, () => m.command(0xc8, 0, 1));
	t.is(m.bmStatus, 5, 'too long: active stays');
	m.stopDma();
	t.is(m.bmStatus, 4);
	m.descriptors(0x1000, [[0xfff00000, 0x200]]);
	m.dma(0x1000, true, () => m.command(0xc8, 0, 1));
	t.is(m.bmStatus & 3, 2, 'region outside memory');
	t.is(m.reg(7) & 1, 1);
	m.stopDma();
	m.dma(0xfffffff0, true, () => m.command(0xc8, 0, 1));
	t.is(m.bmStatus & 3, 2, 'table outside memory');
	m.stopDma();
	m.pci.write(4, 2, 1);
	m.descriptors(0x1000, [[0x10000, 0x200]]);
	m.dma(0x1000, true, () => m.command(0xc8, 0, 1));
	t.is(m.bmStatus & 3, 2, 'bus mastering off');
});

test('bus master registers', (t) => {
	const { m } = withDisk();
	const { ports } = m.board;
	t.deepEqual(
		Array.from({ length: 16 }, (_, i) => ports.in8(0xc000 + i)),
		[0, 0xff, 0, 0xff, 0, 0, 0, 0, 0, 0xff, 0, 0xff, 0, 0, 0, 0],
	);
	t.is(ports.in32(0xc000), 0xffffffff);
	ports.out32(0xc004, 0x12345679);
	t.is(ports.in32(0xc004), 0x12345678);
	ports.out8(0xc005, 0xab);
	t.is(ports.in32(0xc004), 0x1234ab78);
	ports.out16(0xc006, 0xcdef);
	t.is(ports.in16(0xc006), 0xcdef);
	ports.out8(0xc002, 0x66);
	t.is(ports.in8(0xc002), 0x60);
});

test('a flush is over when the image says so, and not before', async (t) => {
	const { m, image } = withDisk();
	m.command(0x30, 0, 1);
	m.dataOut(filled(512, 1));
	m.reg(7);
	image.slow = true;
	m.command(0xe7);
	t.is(m.altStatus & 0x80, 0x80);
	t.false(m.irq.level);
	m.set(7, 0xec);
	t.is(m.altStatus & 0x80, 0x80, 'busy: other commands are not heard');
	await image.release();
	t.true(m.irq.level);
	t.is(m.reg(7), READY);
	t.deepEqual(image.log.slice(-3), ['write 0+512', 'flush', 'flush done']);
});

test('without a write cache every write is flushed before it is over', async (t) => {
	const { m, image } = withDisk();
	m.command(0xef, 0, 0, 0x82);
	t.is(m.reg(7), READY);
	image.slow = true;
	m.command(0x30, 0, 1);
	m.dataOut(filled(512, 1));
	await image.release();
	t.is(m.altStatus & 0x80, 0x80);
	t.false(m.irq.level);
	await image.release();
	t.true(m.irq.level);
	t.deepEqual(image.log.slice(-4), ['write 0+512', 'write 0+512 done', 'flush', 'flush done']);
});

test('an image that takes its time: PIO and DMA', async (t) => {
	const { m, image } = withDisk();
	image.slow = true;
	m.command(0x20, 4, 2);
	t.is(m.altStatus & 0x88, 0x80);
	await image.release();
	t.is(m.reg(7), 0x58);
	sameBytes(t, m.dataIn(512), sector(image, 4));
	t.is(m.altStatus & 0x80, 0x80);
	await image.release();
	sameBytes(t, m.dataIn(512), sector(image, 5));
	m.descriptors(0x1000, [[0x10000, 0x400]]);
	m.dma(0x1000, true, () => m.command(0xc8, 8, 2));
	t.is(m.bmStatus, 1);
	t.false(m.irq.level);
	await image.release();
	t.is(m.bmStatus, 4);
	sameBytes(t, m.board.host.dma.read(0x10000, 1024), sector(image, 8, 2));
});

test('a reset in mid-transfer: what ends late changes nothing', async (t) => {
	const { m, image } = withDisk();
	image.slow = true;
	m.command(0x20, 4, 1);
	m.board.ports.out8(m.control, 4);
	m.board.ports.out8(m.control, 0);
	t.is(m.reg(7), READY);
	image.slow = false;
	m.command(0x20, 9, 1);
	await image.release();
	sameBytes(t, m.dataIn(512), sector(image, 9));
	image.slow = true;
	m.descriptors(0x1000, [[0x10000, 0x200]]);
	m.dma(0x1000, true, () => m.command(0xc8, 8, 1));
	m.board.ports.out8(m.control, 4);
	m.board.ports.out8(m.control, 0);
	await image.release();
	sameBytes(t, m.board.host.dma.read(0x10000, 512), new Uint8Array(512));
	t.is(m.reg(7), READY);
});

test('errors of the host are errors of the drive, and the next command works', async (t) => {
	const { m, image } = withDisk();
	const settle = () => new Promise((resolve) => setImmediate(resolve));
	const lines: unknown[] = [];
	const stop = listenTrace(
		(name) => name === 'ide.host_error',
		(e) => lines.push(e.fields.message),
	);
	image.failNext = 'read';
	m.command(0x20, 4, 1);
	await settle();
	t.deepEqual([m.reg(1), m.reg(7)], [0x40, 0x41]);
	image.failNext = 'write';
	m.command(0x30, 4, 1);
	m.dataOut(filled(512, 0));
	await settle();
	t.deepEqual([m.reg(1), m.reg(7)], [4, 0x61]);
	image.failNext = 'flush';
	m.command(0xea);
	await settle();
	t.deepEqual([m.reg(1), m.reg(7)], [4, 0x61]);
	image.failNext = 'read';
	m.descriptors(0x1000, [[0x10000, 0x200]]);
	m.dma(0x1000, true, () => m.command(0xc8, 8, 1));
	await settle();
	t.deepEqual([m.reg(1), m.reg(7)], [0x40, 0x41]);
	t.is(m.bmStatus & 1, 0);
	m.command(0x20, 4, 1);
	sameBytes(t, m.dataIn(512), sector(image, 4));
	stop();
	t.true(lines.length >= 3);
});

test('a read-only image refuses writes', (t) => {
	const { m, image } = withDisk();
	image.readOnly = true;
	const was = image.bytes.slice();
	m.command(0x30, 0, 1);
	t.is(m.reg(7), 0x41);
	m.command(0xca, 0, 1);
	t.is(m.reg(7), 0x41);
	sameBytes(t, image.bytes, was);
});

test('TRIM', (t) => {
	const { m, image } = withDisk();
	const { dma } = m.board.host;
	const view = new DataView(dma.bytes.buffer);
	view.setBigUint64(0x10000, 5n | (3n << 48n), true);
	view.setBigUint64(0x10008, 2047n | (5n << 48n), true);
	m.descriptors(0x1000, [[0x10000, 0x200]]);
	m.dma(0x1000, false, () => m.commandExt(0x06, 0, 1, 1));
	t.is(m.reg(7), READY);
	t.deepEqual(
		image.log.filter((entry) => entry.startsWith('discard')),
		['discard 2560+1536'],
		'the range beyond the end is left alone',
	);
});

test('SET FEATURES, power and SMART', (t) => {
	const { m } = withDisk();
	const identify = () => {
		m.command(0xec);
		return new Uint16Array(m.dataIn(512).buffer);
	};
	m.command(0xef, 0, 0x22, 0x03);
	t.is(identify()[63], 0x0407);
	m.command(0xef, 0, 0x45, 0x03);
	t.is(identify()[88], 0x203f);
	m.command(0xef, 0, 0, 0x77);
	t.is(m.reg(7), 0x41);
	m.command(0xe5);
	t.is(m.reg(2), 0xff);
	m.command(0xb0, 0xc24f00, 0, 0xda);
	t.deepEqual([m.reg(7), m.reg(4), m.reg(5)], [READY, 0x4f, 0xc2]);
	m.command(0xb0, 0xc24f00, 0, 0xd0);
	t.is(m.dataIn(512).reduce((sum, b) => sum + b, 0) & 0xff, 0, 'checksum');
	m.command(0xb0, 0, 0, 0xd0);
	t.is(m.reg(7), 0x41);
});

test('interrupts masked by nIEN stay away', (t) => {
	const { m } = withDisk();
	m.board.ports.out8(m.control, 2);
	m.command(0xec);
	t.false(m.irq.level);
	t.is(m.altStatus, 0x58);
	t.is(m.bmStatus & 4, 0);
});

test('geometry follows the partition table', (t) => {
	const image = new MemoryImage(512 * 63 * 16 * 40);
	t.deepEqual(new AtaDisk({ image }).geometry, { cylinders: 40, heads: 16, sectors: 63, translation: 0 });
	image.bytes.set([0x55, 0xaa], 510);
	image.bytes.set([0x80, 1, 1, 0, 0x83, 7, 17, 3, 17, 0, 0, 0, 100, 0, 0, 0], 0x1be);
	t.deepEqual(new AtaDisk({ image }).geometry, { cylinders: 296, heads: 8, sectors: 17, translation: 0 });
	image.bytes[0x1be + 5] = 254;
	image.bytes[0x1be + 6] = 63;
	t.deepEqual(new AtaDisk({ image }).geometry, { cylinders: 40, heads: 16, sectors: 63, translation: 2 });
});

test('save, restore, save again; a PIO transfer goes on', (t) => {
	const { m, image } = withDisk();
	m.command(0x20, 5, 2);
	const first = m.dataIn(100);
	const saved = m.ide.save();
	const other = new IdeMachine([new AtaDisk({ image })]);
	other.ide.restore(saved);
	t.deepEqual(other.ide.save(), saved);
	t.true(other.irq.level);
	sameBytes(t, new Uint8Array([...first, ...other.dataIn(924)]), sector(image, 5, 2));
});

test('a command that waits for the host is done again after restore', async (t) => {
	const { m, image } = withDisk();
	const data = filled(1024, 5);
	image.slow = true;
	m.command(0x30, 20, 2);
	m.dataOut(data.subarray(0, 512));
	const saved = m.ide.save();
	const copy = MemoryImage.patterned(1 << 20);
	const other = new IdeMachine([new AtaDisk({ image: copy })]);
	other.ide.restore(saved);
	other.dataOut(data.subarray(512));
	t.is(other.reg(7), READY);
	sameBytes(t, sector(copy, 20, 2), data);
	await image.release();
});

test('random accesses never throw, hang or leave the disk', (t) => {
	const port = fc.constantFrom(0x1f0, 0x1f1, 0x1f2, 0x1f3, 0x1f4, 0x1f5, 0x1f6, 0x1f7, 0x3f6, 0xc000, 0xc002, 0xc004);
	fc.assert(
		fc.property(
			fc.array(
				fc.oneof(
					fc.record({ port, value: fc.oneof(fc.nat(255), fc.constantFrom(0x20, 0x30, 0xc8, 0xca, 0x35, 0xe0, 9)) }),
					fc.record({ port, wide: fc.nat(0xffffffff) }),
					fc.record({ port, read: fc.constantFrom(1, 2, 4) }),
					fc.constant({ settle: true }),
				),
				{ maxLength: 300 },
			),
			fc.uint8Array({ minLength: 64, maxLength: 64 }),
			(steps, prds) => {
				const { m } = withDisk(1 << 16);
				m.board.host.dma.bytes.set(prds, 0);
				const { ports, host } = m.board;
				for (const step of steps) {
					if ('value' in step) ports.out8(step.port, step.value);
					else if ('wide' in step) ports.out32(step.port, step.wide);
					else if ('settle' in step) host.settle();
					else if (step.read === 1) ports.in8(step.port);
					else if (step.read === 2) ports.in16(step.port);
					else ports.in32(step.port);
				}
				host.settle();
			},
		),
		{ numRuns: 300 },
	);
	t.pass();
});

test('random commands, resets and answers that come late: nothing throws, and the drive works afterwards', async (t) => {
	const opcode = fc.constantFrom(0x20, 0x30, 0xc4, 0xc5, 0xc8, 0xca, 0xe7, 0xec);
	await fc.assert(
		fc.asyncProperty(
			fc.array(
				fc.oneof(
					fc.record({ opcode, lba: fc.nat(2100), count: fc.integer({ min: 1, max: 40 }) }),
					fc.record({ bm: fc.constantFrom(0, 1, 8, 9) }),
					fc.record({ words: fc.nat(600) }),
					fc.constantFrom<'release' | 'fail' | 'reset'>('release', 'release', 'release', 'fail', 'reset'),
				),
				{ maxLength: 60 },
			),
			async (steps) => {
				const { m, image } = withDisk();
				m.descriptors(0x1000, [
					[0x10000, 0x3000],
					[0x20000, 0x2000],
				]);
				m.board.ports.out32(m.bm + 4, 0x1000);
				image.slow = true;
				for (const step of steps) {
					if (step === 'release') await image.release();
					else if (step === 'fail') image.failNext = 'read';
					else if (step === 'reset') {
						m.board.ports.out8(m.control, 4);
						m.board.ports.out8(m.control, 0);
					} else if ('opcode' in step) m.command(step.opcode, step.lba, step.count);
					else if ('bm' in step) m.board.ports.out8(m.bm, step.bm);
					else for (let i = 0; i < step.words; i++) m.board.ports.in16(m.base);
					m.board.host.settle();
				}
				m.board.ports.out8(m.control, 4);
				m.board.ports.out8(m.control, 0);
				while (image.waiting > 0) await image.release();
				image.slow = false;
				image.failNext = undefined;
				m.stopDma();
				m.command(0x20, 77, 1);
				return Buffer.compare(m.dataIn(512), sector(image, 77)) === 0 && m.reg(7) === READY;
			},
		),
		{ numRuns: 200 },
	);
	t.pass();
});
