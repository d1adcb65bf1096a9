/** The ATA disk: identity, PIO commands, addresses, settings. */
import test from 'ava';
import { AtaDisk } from '../../../devices/ide/index.ts';
import { sameBytes } from '../../helpers/bytes.ts';
import { MemoryImage } from '../../helpers/memory-image.ts';
import { filled, READY, sector, withDisk } from './machine.ts';

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
