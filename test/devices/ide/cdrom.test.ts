import test from 'ava';
import fc from 'fast-check';
import { AtapiCdrom } from '../../../devices/ide/index.ts';
import { MemoryImage } from '../../helpers/memory-image.ts';
import { IdeMachine } from './machine.ts';

const READY = 0x50;
const CHECK = 0x41;

function drive(sectors = 40) {
	const image = MemoryImage.patterned(sectors * 2048);
	const cdrom = new AtapiCdrom({ image });
	const m = new IdeMachine([undefined, undefined, cdrom], 1);
	return { image, cdrom, m, ...commands(m) };
}

function commands(m: IdeMachine) {
	const issue = (cdb: readonly number[], limit: number, features: number) => {
		m.set(6, 0xa0);
		m.set(1, features);
		m.set(4, limit & 0xff);
		m.set(5, limit >> 8);
		m.set(7, 0xa0);
		if (m.reg(7) !== 0x58) return false;
		m.dataOut(Uint8Array.from({ length: 12 }, (_, i) => cdb[i] ?? 0));
		return true;
	};
	/** The data of a packet command by PIO, or undefined if it failed; `blocks` are the byte counts offered. */
	const pio = (cdb: readonly number[], limit = 0xfffe) => {
		const blocks: number[] = [];
		const parts: Uint8Array[] = [];
		issue(cdb, limit, 0);
		while (m.reg(7) & 8) {
			const count = m.reg(4) | (m.reg(5) << 8);
			blocks.push(count);
			parts.push(m.dataIn(count + (count & 1)).subarray(0, count));
		}
		const failed = (m.reg(7) & 1) !== 0;
		return { data: failed ? undefined : Buffer.concat(parts), blocks, reason: m.reg(2) };
	};
	const dma = (cdb: readonly number[], address: number, length: number) => {
		m.descriptors(0x1000, [[address, length]]);
		m.dma(0x1000, true, () => issue(cdb, 0, 1));
		return m.board.host.dma.read(address, length);
	};
	const sense = () => {
		const { data } = pio([3, 0, 0, 0, 18]);
		return [data?.[2], data?.[12]];
	};
	const hex = (cdb: readonly number[]) => pio(cdb).data?.toString('hex');
	return { pio, dma, sense, hex };
}

const read10 = (lba: number, count: number) => [0x28, 0, 0, 0, lba >> 8, lba & 0xff, 0, 0, count];

test('signature, and how old software is told that this is no disk', (t) => {
	const { m } = drive();
	t.deepEqual(m.regs(), [0, 1, 1, 0x14, 0xeb, 0xa0, READY]);
	m.set(7, 0xec);
	t.deepEqual(m.regs(), [4, 1, 1, 0x14, 0xeb, 0xa0, CHECK]);
	m.board.ports.out8(m.control, 4);
	m.board.ports.out8(m.control, 0);
	t.deepEqual(m.regs(), [1, 1, 1, 0x14, 0xeb, 0xa0, 0]);
	m.set(7, 0x08);
	t.deepEqual(m.regs(), [0, 1, 1, 0x14, 0xeb, 0xa0, 0]);
	m.set(7, 0xa1);
	t.is(m.reg(7), 0x58);
	t.is(new Uint16Array(m.dataIn(512).buffer)[0], 0x85c0);
});

test('what the drive says of itself and of the disc', (t) => {
	const { hex, pio } = drive();
	t.is(pio([0]).data?.length, 0);
	t.is(pio([0x12, 0, 0, 0, 36]).data?.subarray(8).toString('latin1'), 'TSVM    TSVM DVD-ROM    1.0 ');
	t.is(hex([0x12, 0, 0, 0, 6]), '058000211f00');
	t.is(hex([0x12, 1, 0, 0, 64]), '050000020083');
	t.is(hex([0x25]), '0000002700000800');
	t.is(hex([0x43, 0, 0, 0, 0, 0, 0, 0, 100]), '0012010100140100000000000016aa0000000028');
	t.is(hex([0x43, 2, 0, 0, 0, 0, 0, 0, 100]), '0012010100140100000002000016aa0000000228');
	t.is(hex([0x43, 0, 0, 0, 0, 0, 0xaa, 0, 100]), '000a01010016aa0000000028');
	t.is(hex([0x43, 0, 0, 0, 0, 0, 0, 0, 12, 0x40]), '000a01010000000000000000');
	t.is(
		hex([0x43, 2, 2, 0, 0, 0, 0, 0, 100]),
		'002e0101011400a000000000010000011400a100000000010000011400a2000000000002280114000100000000000200',
	);
	t.is(hex([0x46, 0, 0, 0, 0, 0, 0, 0, 200]), '0000001000000008000003080010000000080100');
	t.is(hex([0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8]), '0004041000020000');
	t.is(hex([0x4a, 1, 0, 0, 4, 0, 0, 0, 8]), '00008010');
	t.is(hex([0x51, 0, 0, 0, 0, 0, 0, 0, 100]), `00200e0101010120${'00'.repeat(26)}`);
	t.is(hex([0x5a, 0, 1, 0, 0, 0, 0, 0, 100]), '000e7000000000000106000500000000');
	t.is(hex([0x5a, 0, 0x2a, 0, 0, 0, 0, 0, 128]), '001c7000000000002a143b007160290002c00002020002c0000000000000');
	t.is(hex([0xbd, 0, 0, 0, 0, 0, 0, 0, 0, 8]), '0000000000010000');
});

test('a disc larger than a CD is a DVD', (t) => {
	const { hex, cdrom } = drive();
	const huge = new MemoryImage(0);
	Object.defineProperty(huge, 'size', { value: 4_700_000_000 });
	t.true(cdrom.eject());
	cdrom.insert(huge);
	hex([0]);
	t.is(hex([0x46, 0, 0, 0, 0, 0, 0, 0, 8]), '0000001000000010');
	t.is(hex([0xad, 0, 0, 0, 0, 0, 0, 0, 0, 8]), '08020000010f0100');
});

test('refusals, and the sense that says why', (t) => {
	const { pio, sense } = drive();
	for (const [cdb, asc] of [
		[[0xff], 0x20],
		[[0x28, 0, 0, 0, 0, 39, 0, 0, 2], 0x21],
		[[0x12, 1, 0x80, 0, 64], 0x24],
		[[0x43, 0, 0, 0, 0, 0, 5, 0, 100], 0x24],
		[[0x5a, 0, 0xea, 0, 0, 0, 0, 0, 128], 0x39],
		[[0xad, 0, 0, 0, 0, 0, 0, 0, 0, 100], 0x30],
		[[0x4a, 0, 0, 0, 0x10, 0, 0, 0, 8], 0x24],
	] as const) {
		t.is(pio(cdb).data, undefined);
		t.deepEqual(sense(), [5, asc]);
		t.deepEqual(sense(), [0, 0], 'told once');
	}
});

test('reading by PIO in blocks that the byte count limits', (t) => {
	const { pio, image, m } = drive();
	const expected = Buffer.from(image.bytes.subarray(3 * 2048, 5 * 2048));
	const edges = m.irq.edges;
	const whole = pio(read10(3, 2));
	t.deepEqual(whole.data, expected);
	t.deepEqual(whole.blocks, [4096]);
	t.is(whole.reason, 3);
	t.is(m.irq.edges - edges, 2, 'one for the data, one for the end');
	const odd = pio(read10(3, 2), 3001);
	t.deepEqual(odd.data, expected);
	t.deepEqual(odd.blocks, [3000, 1096]);
	t.is(pio(read10(3, 2), 0).data, undefined, 'no limit at all is an error');
	t.deepEqual(pio([0xa8, 0, 0, 0, 0, 3, 0, 0, 0, 2]).data, expected);
	t.is(pio(read10(3, 0)).data?.length, 0);
});

test('reading by DMA, data and raw', (t) => {
	const { dma, image, m } = drive();
	t.deepEqual(dma(read10(7, 4), 0x20000, 8192), image.bytes.slice(7 * 2048, 11 * 2048));
	t.is(m.bmStatus, 4);
	t.deepEqual([m.reg(2), m.reg(7)], [3, READY]);
	m.stopDma();
	const raw = dma([0xbe, 0, 0, 0, 0, 7, 0, 0, 2, 0xf8], 0x20000, 4704);
	t.deepEqual([...raw.subarray(0, 16)], [0, ...new Array(10).fill(0xff), 0, 0, 2, 7, 1]);
	t.deepEqual(raw.subarray(16, 2064), image.bytes.slice(7 * 2048, 8 * 2048));
	t.deepEqual(raw.subarray(2352 + 16, 2352 + 2064), image.bytes.slice(8 * 2048, 9 * 2048));
});

test('an image that takes its time, and one that fails', async (t) => {
	const { m, image, pio, sense } = drive();
	image.slow = true;
	pio(read10(1, 1));
	t.is(m.altStatus & 0x88, 0x80);
	await image.release();
	t.is(m.reg(7), 0x58);
	t.deepEqual(m.dataIn(2048), image.bytes.slice(2048, 4096));
	t.is(m.reg(7), READY);
	image.slow = false;
	image.failNext = 'read';
	pio(read10(1, 1));
	await new Promise((resolve) => setImmediate(resolve));
	t.is(m.reg(7), CHECK);
	t.deepEqual(sense(), [3, 0x11]);
});

test('the guest locks, ejects and loads, as eject(1) does', (t) => {
	const { pio, sense, hex, cdrom } = drive();
	const moves: boolean[] = [];
	cdrom.onTray = (open) => moves.push(open);
	pio([0x1e, 0, 0, 0, 1]);
	t.true(cdrom.locked);
	t.is(hex([0x5a, 0, 0x2a, 0, 0, 0, 0, 0, 16])?.slice(28, 30), '2b');
	t.is(pio([0x1b, 0, 0, 0, 2]).data, undefined);
	t.deepEqual(sense(), [2, 0x53]);
	pio([0x1e]);
	t.is(pio([0x1b, 0, 0, 0, 2]).data?.length, 0);
	t.true(cdrom.trayOpen);
	t.is(pio([0]).data, undefined);
	t.deepEqual(sense(), [2, 0x3a]);
	t.is(hex([0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8]), '0004041000010000');
	pio([0x1b, 0, 0, 0, 3]);
	t.false(cdrom.trayOpen);
	t.is(pio([0]).data?.length, 0);
	t.deepEqual(moves, [true, false]);
});

test('the operator changes the medium', (t) => {
	const { pio, sense, hex, cdrom } = drive();
	const next = MemoryImage.patterned(100 * 2048);
	next.bytes.fill(0xab, 0, 2048);
	pio([0x1e, 0, 0, 0, 1]);
	t.false(cdrom.eject(), 'locked');
	t.is(hex([0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8]), '0004041001020000', 'the guest is asked');
	t.is(hex([0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8]), '0004041000020000', 'once');
	t.true(cdrom.eject(true));
	t.is(cdrom.medium, undefined);
	t.is(hex([0x25]), undefined);
	t.deepEqual(sense(), [2, 0x3a]);
	cdrom.insert(next);
	t.is(hex([0x12, 0, 0, 0, 6]), '058000211f00', 'INQUIRY always answers');
	t.is(hex([0]), undefined);
	t.deepEqual(sense(), [6, 0x28], 'medium may have changed');
	t.is(hex([0]), '');
	t.is(hex([0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8]), '0004041002020000');
	t.is(hex([0x25]), '0000006300000800');
	t.deepEqual(pio(read10(0, 1)).data, Buffer.alloc(2048, 0xab));
});

test('a medium that goes while it is read', async (t) => {
	const { pio, sense, cdrom, image, m } = drive();
	image.slow = true;
	pio(read10(1, 1));
	t.true(cdrom.eject());
	t.is(m.reg(7), CHECK);
	await image.release();
	t.is(m.reg(7), CHECK);
	t.deepEqual(sense(), [2, 0x3a]);
});

test('an empty drive', (t) => {
	const cdrom = new AtapiCdrom();
	const { pio, sense, hex } = commands(new IdeMachine([undefined, undefined, cdrom], 1));
	for (const cdb of [[0], [0x25], [0x43], read10(0, 1), [0x51]]) {
		t.is(pio(cdb).data, undefined);
		t.deepEqual(sense(), [2, 0x3a]);
	}
	t.is(hex([0x46, 0, 0, 0, 0, 0, 0, 0, 8]), '0000001000000000');
	t.is(hex([0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8]), '0004041000000000');
});

test('an image that ends within a sector', (t) => {
	const image = MemoryImage.patterned(2048 + 512);
	const cdrom = new AtapiCdrom({ image });
	const { pio, hex } = commands(new IdeMachine([undefined, undefined, cdrom], 1));
	t.is(hex([0x25]), '0000000100000800');
	const { data } = pio(read10(1, 1));
	t.deepEqual(data?.subarray(0, 512), Buffer.from(image.bytes.subarray(2048)));
	t.deepEqual(data?.subarray(512), Buffer.alloc(1536));
});

test('save, restore, save again in mid-transfer', (t) => {
	const { m, image } = drive();
	m.set(4, 0);
	m.set(5, 4);
	m.set(7, 0xa0);
	m.dataOut(Uint8Array.from([...read10(2, 1), 0, 0, 0]));
	const first = m.dataIn(600);
	const saved = m.ide.save();
	const other = new IdeMachine([undefined, undefined, new AtapiCdrom({ image })], 1);
	other.ide.restore(saved);
	t.deepEqual(other.ide.save(), saved);
	const rest = [...other.dataIn(424), ...other.dataIn(1024)];
	t.deepEqual(new Uint8Array([...first, ...rest]), image.bytes.slice(4096, 6144));
	t.is(other.reg(7), READY);
});

test('random packets and registers never throw or hang', (t) => {
	const opcode = fc.constantFrom(
		0,
		3,
		0x12,
		0x1b,
		0x1e,
		0x25,
		0x28,
		0x2b,
		0x43,
		0x46,
		0x4a,
		0x51,
		0x5a,
		0xa8,
		0xad,
		0xbe,
	);
	fc.assert(
		fc.property(
			fc.array(
				fc.oneof(
					fc.record({
						packet: fc.tuple(fc.oneof(opcode, fc.nat(255)), fc.uint8Array({ minLength: 11, maxLength: 11 })),
						features: fc.nat(3),
						limit: fc.nat(0xffff),
					}),
					fc.record({ port: fc.integer({ min: 0x170, max: 0x177 }), value: fc.nat(255) }),
					fc.record({ take: fc.nat(5000) }),
					fc.record({ bm: fc.constantFrom(0, 1, 8, 9) }),
					fc.constantFrom({ tray: true }, { tray: false }),
				),
				{ maxLength: 60 },
			),
			(steps) => {
				const { m, cdrom, image } = drive();
				for (const step of steps) {
					if ('packet' in step) {
						m.set(1, step.features);
						m.set(4, step.limit & 0xff);
						m.set(5, step.limit >> 8);
						m.set(7, 0xa0);
						m.dataOut(Uint8Array.from([step.packet[0], ...step.packet[1]]));
					} else if ('port' in step) m.board.ports.out8(step.port, step.value);
					else if ('take' in step) m.dataIn(step.take);
					else if ('bm' in step) m.board.ports.out8(m.bm, step.bm);
					else if (step.tray) cdrom.insert(image);
					else cdrom.eject(true);
				}
				m.board.host.settle();
			},
		),
		{ numRuns: 300 },
	);
	t.pass();
});
