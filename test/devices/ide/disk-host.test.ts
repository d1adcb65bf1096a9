/** The ATA disk and an image that takes its time or fails; saved states; guests that do anything. */
import test from 'ava';
import fc from 'fast-check';
import { AtaDisk } from '../../../devices/ide/index.ts';
import { listenTrace } from '../../../src/core/index.ts';
import { sameBytes } from '../../helpers/bytes.ts';
import { MemoryImage } from '../../helpers/memory-image.ts';
import { filled, IdeMachine, READY, sector, withDisk } from './machine.ts';

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

test('TRIM is over when the image has discarded every range', async (t) => {
	const { m, image } = withDisk();
	const trim = () => m.dma(0x1000, false, () => m.commandExt(0x06, 0, 1, 1));
	const view = new DataView(m.board.host.dma.bytes.buffer);
	view.setBigUint64(0x10000, 5n | (3n << 48n), true);
	view.setBigUint64(0x10008, 20n | (1n << 48n), true);
	m.descriptors(0x1000, [[0x10000, 0x200]]);
	image.slow = true;
	trim();
	t.is(image.waiting, 1, 'one after the other');
	await image.release();
	t.is(image.waiting, 1);
	t.is(m.bmStatus, 1);
	t.false(m.irq.level);
	await image.release();
	t.is(m.bmStatus, 4);
	t.is(m.reg(7), READY);
	sameBytes(t, sector(image, 5, 3), new Uint8Array(3 * 512));
	image.slow = false;
	image.failNext = 'discard';
	trim();
	await new Promise((resolve) => setImmediate(resolve));
	t.is(m.reg(7), 0x61, 'a drive fault');
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

test('flushes, transfers and resets without end: the host has one request, and old ones do not reach the disk late', async (t) => {
	const { m, image } = withDisk();
	const before = image.bytes.slice();
	m.descriptors(0x1000, [[0x10000, 0x200]]);
	image.slow = true;
	const reset = () => {
		m.board.ports.out8(m.control, 4);
		m.board.ports.out8(m.control, 0);
	};
	const commands = [
		() => m.command(0xe7),
		() => m.command(0x20, 4, 1),
		() => m.dma(0x1000, false, () => m.command(0xca, 8, 1)),
		() => m.dma(0x1000, true, () => m.command(0xc8, 8, 1)),
	];
	for (let i = 0; i < 400; i++) {
		commands[i % 4]();
		reset();
		t.true(image.waiting <= 1);
	}
	m.command(0x20, 9, 1);
	t.is(m.altStatus & 0x80, 0x80);
	await image.release();
	await image.release();
	sameBytes(t, m.dataIn(512), sector(image, 9));
	t.deepEqual(image.log.slice(1), ['flush', 'flush done', 'read 4608+512', 'read 4608+512 done'], 'after the geometry');
	sameBytes(t, image.bytes, before);
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
				do await image.release();
				while (image.waiting > 0);
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
