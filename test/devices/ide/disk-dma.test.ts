/** The ATA disk through the bus master. */
import test from 'ava';
import { sameBytes } from '../../helpers/bytes.ts';
import { filled, READY, sector, withDisk } from './machine.ts';

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

test('a table ends where its 64 KiB do: 8192 descriptors', (t) => {
	for (const [length, count, status] of [
		[2, 33 * 256, 0],
		[4, 33 * 128, 4],
	] as const) {
		const { m } = withDisk();
		m.descriptors(0x10000, new Array<[number, number]>(count).fill([0x1000, length]));
		m.dma(0x10000, true, () => m.command(0xc8, 0, 33));
		t.is(m.bmStatus, status, `${count} descriptors`);
	}
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
