/** What every chipset device must pass, and the small ones' own behaviour. */
import test from 'ava';
import fc from 'fast-check';
import { Debugcon } from '../../../devices/chipset/debugcon.ts';
import type { Device, DeviceState } from '../../../src/core/index.ts';
import { ChipsetBoard } from '../../helpers/chipset.ts';

const NAMES = ['bus', 'i440fx', 'piix3', 'pm', 'pit', 'port61', 'port92', 'rtc', 'dma', 'com1'] as const;
/** Every port the chipset answers at, and some between. */
const PORTS = [
	...Array(0x20).keys(),
	...[0x40, 0x41, 0x42, 0x43, 0x61, 0x70, 0x71, 0x92, 0xb2, 0xb3, 0xcf8, 0xcf9, 0xcfc, 0xcfd, 0xcfe, 0xcff],
	...Array.from({ length: 16 }, (_, i) => 0x80 + i),
	...Array.from({ length: 32 }, (_, i) => 0xc0 + i),
	...Array.from({ length: 8 }, (_, i) => 0x3f8 + i),
	...Array.from({ length: 16 }, (_, i) => 0x600 + i),
	...[0xafe0, 0xafe1, 0xafe2, 0xafe3, 0xb100, 0xb102, 0xb104, 0xb107],
];

const access = fc.record({
	write: fc.boolean(),
	port: fc.constantFrom(...PORTS),
	width: fc.constantFrom(1, 2, 4),
	value: fc.oneof(fc.nat(0xffffffff), fc.constantFrom(0, 0xff, 0x80000b40, 0x80000b80, 0x601, 0x80000860)),
	wait: fc.constantFrom(0, 0, 1e3, 1e6, 3e8),
});
type Access = typeof access extends fc.Arbitrary<infer T> ? T : never;

function act(board: ChipsetBoard, list: readonly Access[]): void {
	const { ports, host } = board;
	for (const { write, port, width, value, wait } of list) {
		if (!write) (width === 1 ? ports.in8 : width === 2 ? ports.in16 : ports.in32).call(ports, port);
		else if (width === 1) ports.out8(port, value);
		else if (width === 2) ports.out16(port, value);
		else ports.out32(port, value);
		if (wait > 0) host.advance(wait);
	}
	host.settle();
}

function saveAll(board: ChipsetBoard): Record<string, DeviceState> {
	return Object.fromEntries(NAMES.map((name) => [name, (board[name] as Device).save()]));
}

test('random accesses never throw or hang', (t) => {
	fc.assert(
		fc.property(fc.array(access, { maxLength: 300 }), (list) => {
			const board = new ChipsetBoard();
			act(board, list);
			return board.ports.ranges.length < 60;
		}),
		{ numRuns: 200 },
	);
	t.pass();
});

test('after reset all is as at power-on but for time, memory and pages', (t) => {
	const kept = new Set(['rtc', 'dma']);
	fc.assert(
		fc.property(fc.array(access, { maxLength: 100 }), (list) => {
			const board = new ChipsetBoard();
			act(board, list);
			for (const name of NAMES) (board[name] as Device).reset();
			const fresh = new ChipsetBoard();
			fresh.host.advance(board.host.clock.now());
			for (const name of NAMES) (fresh[name] as Device).reset();
			const [after, expected] = [saveAll(board), saveAll(fresh)];
			for (const name of NAMES) if (!kept.has(name)) t.deepEqual(after[name], expected[name], name);
			for (let irq = 0; irq < 16; irq++) if (irq > 0) t.false(board.irqs[irq].level, `IRQ ${irq}`);
		}),
		{ numRuns: 100 },
	);
});

test('what is saved, restored and saved again is the same, and goes on the same way', (t) => {
	fc.assert(
		fc.property(fc.array(access, { maxLength: 150 }), fc.array(access, { maxLength: 50 }), (before, after) => {
			const board = new ChipsetBoard();
			act(board, before);
			const saved = structuredClone(saveAll(board));
			const other = new ChipsetBoard();
			other.host.clock.advance(board.host.clock.now());
			for (const name of NAMES) (other[name] as Device).restore(saved[name]);
			t.deepEqual(saveAll(other), saved);
			act(board, after);
			act(other, after);
			t.deepEqual(saveAll(other), saveAll(board), 'afterwards');
			t.deepEqual(
				other.irqs.map((i) => i.level),
				board.irqs.map((i) => i.level),
			);
		}),
		{ numRuns: 100 },
	);
});

test('a state of another version is refused by name', (t) => {
	const board = new ChipsetBoard();
	for (const name of NAMES)
		t.throws(() => (board[name] as Device).restore({ ...(board[name] as Device).save(), version: 99 }), {
			message: /saved state has version 99, this tsvm reads 1/,
		});
});

test('PIRQs go where the route registers say, joined on one request', (t) => {
	const board = new ChipsetBoard();
	const route = (pirq: number, value: number) => {
		board.ports.out32(0xcf8, 0x80000860);
		board.ports.out8(0xcfc + pirq, value);
	};
	const high = () => board.irqs.flatMap((irq, n) => (irq.level && n > 0 ? [n] : []));
	board.piix3.pirq[0].set(true);
	t.deepEqual(high(), [], 'disabled after reset');
	route(0, 10);
	t.deepEqual(high(), [10], 'a line that is up already');
	route(1, 10);
	board.piix3.pirq[1].set(true);
	board.piix3.pirq[0].set(false);
	t.deepEqual(high(), [10], 'one still asserts');
	route(1, 11);
	t.deepEqual(high(), [11], 'moved');
	for (const reserved of [0, 1, 2, 8, 13]) {
		route(1, reserved);
		t.deepEqual(high(), [], `request ${reserved} is the board's own`);
	}
	route(1, 5);
	board.isa.source(5).set(true);
	board.piix3.pirq[1].set(false);
	t.deepEqual(high(), [5], 'another device drives it too');
});

test('three ways to reset', (t) => {
	const board = new ChipsetBoard();
	board.ports.out8(0xcf9, 0x02);
	board.ports.out8(0xcf9, 0x06);
	board.ports.out8(0xcf9, 0x04);
	board.ports.out8(0x92, 0x02);
	t.is(board.ports.in8(0x92), 0x02);
	board.ports.out8(0x92, 0x03);
	t.is(board.ports.in8(0x92), 0x02, 'bit 0 is not kept');
	t.deepEqual(board.asked, ['hard reset', 'reset', 'port 92h']);
});

test('soft-off is sleep type 0 with SLP_EN, whatever the width of the write', (t) => {
	const enable = (board: ChipsetBoard) => {
		board.ports.out32(0xcf8, 0x80000b40);
		board.ports.out32(0xcfc, 0x601);
		board.ports.out32(0xcf8, 0x80000b80);
		board.ports.out8(0xcfc, 1);
		return board;
	};
	const off: ((b: ChipsetBoard) => void)[] = [
		(b) => b.ports.out16(0x604, 0x2000),
		(b) => b.ports.out8(0x605, 0x20),
		(b) => b.ports.out16(0x604, 0x2801),
	];
	for (const write of off) {
		const board = enable(new ChipsetBoard());
		write(board);
		t.deepEqual(board.asked, ['power off']);
		t.is(board.ports.in16(0x604) & 0x2000, 0, 'SLP_EN reads 0');
	}
	const board = enable(new ChipsetBoard());
	for (const value of [0x0000, 0x1c00, 0x2400, 0x3c00]) board.ports.out16(0x604, value);
	t.deepEqual(board.asked, [], 'no SLP_EN, or a state that is not there');
});

test('the PM block follows its base and enable registers', (t) => {
	const board = new ChipsetBoard();
	const { ports } = board;
	t.is(ports.in32(0x608), 0xffffffff);
	ports.out32(0xcf8, 0x80000b80);
	ports.out8(0xcfc, 1);
	ports.out32(0xcf8, 0x80000b40);
	ports.out32(0xcfc, 0x601);
	board.host.advance(1e6);
	t.is(ports.in32(0x608), 3579);
	ports.out32(0xcfc, 0xb001);
	t.is(ports.in32(0x608), 0xffffffff);
	t.is(ports.in32(0xb008), 3579);
	board.bus.reset();
	board.pm.reset();
	t.is(ports.in32(0xb008), 0xffffffff);
});

test('the SMBus is empty: every address answers with a device error', (t) => {
	const board = new ChipsetBoard();
	const { ports } = board;
	t.is(ports.in8(0xb100), 0, 'where the base register says after reset');
	ports.out32(0xcf8, 0x80000b90);
	ports.out32(0xcfc, 0x701);
	t.is(ports.in8(0xb100), 0xff);
	for (const address of [0x60, 0x61, 0xa1]) {
		ports.out8(0x700, 0x1e);
		ports.out8(0x704, address);
		ports.out8(0x702, 0x48);
		t.is(ports.in8(0x700), 0x01, 'busy');
		t.is(ports.in8(0x700), 0x04, 'nobody there');
		t.is(ports.in8(0x702), 0x08, 'start reads 0');
	}
	ports.out8(0x702, 0x40);
	ports.out8(0x702, 0x02);
	t.is(ports.in8(0x700), 0x14, 'killed');
	ports.out8(0x700, 0xff);
	t.is(ports.in8(0x700), 0);
});

test('the debug port says it is there and hands on lines', (t) => {
	const board = new ChipsetBoard();
	const lines: string[] = [];
	const debugcon = new Debugcon(board.host, board.ports, (line) => lines.push(line));
	const print = (text: string) => {
		for (const c of text) board.ports.out8(0x402, c.charCodeAt(0));
	};
	t.is(board.ports.in8(0x402), 0xe9);
	print('SeaBIOS\r\n\nhalf');
	t.deepEqual(lines, ['SeaBIOS', '']);
	t.deepEqual(debugcon.save(), { version: 1, line: 'half' });
	debugcon.restore({ version: 1, line: 'other half' });
	debugcon.reset();
	t.deepEqual(lines, ['SeaBIOS', '', 'other half']);
	print('x'.repeat(5000));
	t.is(lines.length, 3 + 4, 'endless lines come in pieces');
});
