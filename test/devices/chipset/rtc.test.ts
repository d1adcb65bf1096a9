import test from 'ava';
import { fillCmos } from '../../../devices/chipset/cmos.ts';
import { Rtc } from '../../../devices/chipset/rtc.ts';
import { FakeBoard } from '../../helpers/board.ts';

const S = 1e9;

class Machine {
	readonly board: FakeBoard;
	readonly rtc: Rtc;
	constructor(wall: number) {
		this.board = new FakeBoard({ wall });
		this.rtc = new Rtc(this.board.host, this.board.ports, this.board.irqs[8]);
	}
	get(index: number): number {
		this.board.ports.out8(0x70, index);
		return this.board.ports.in8(0x71);
	}
	set(index: number, value: number): void {
		this.board.ports.out8(0x70, index);
		this.board.ports.out8(0x71, value);
	}
	advance(ns: number): void {
		this.board.host.advance(ns);
	}
	get irq(): boolean {
		return this.board.irqs[8].level;
	}
	/** Century to seconds, as hex digits. */
	time(): string {
		return [0x32, 9, 8, 7, 4, 2, 0].map((i) => this.get(i).toString(16).padStart(2, '0')).join(' ');
	}
}

test('time is the calendar, in BCD', (t) => {
	const m = new Machine(Date.UTC(2031, 11, 31, 23, 59, 58));
	t.is(m.time(), '20 31 12 31 23 59 58');
	t.is(m.get(6), 4, 'a Wednesday');
	m.advance(2 * S);
	t.is(m.time(), '20 32 01 01 00 00 00');
	t.is(m.get(6), 5);
});

test('twelve-hour format', (t) => {
	for (const [hour, byte] of [
		[0, 0x12],
		[1, 0x01],
		[11, 0x11],
		[12, 0x92],
		[13, 0x81],
		[23, 0x91],
	]) {
		const m = new Machine(Date.UTC(2000, 0, 1, hour));
		m.set(0x0b, 0);
		t.is(m.get(4), byte, `${hour} h`);
		m.set(4, byte);
		m.set(0x0b, 2);
		t.is(m.get(4), (Math.floor(hour / 10) << 4) | (hour % 10));
	}
});

test('a guest sets the time and it runs on; a system reset keeps it', (t) => {
	const m = new Machine(Date.UTC(2000, 0, 1));
	m.set(0x0b, 0x82);
	const values = { 50: 0x19, 9: 0x79, 8: 0x06, 7: 0x30, 4: 0x23, 2: 0x59, 0: 0x59 };
	for (const [index, value] of Object.entries(values)) m.set(Number(index), value);
	m.advance(5 * S);
	t.is(m.time(), '19 79 06 30 23 59 59', 'held');
	m.set(0x0b, 0x02);
	m.advance(1 * S);
	t.is(m.time(), '19 79 07 01 00 00 00');
	m.rtc.reset();
	m.advance(1 * S);
	t.is(m.time(), '19 79 07 01 00 00 01');
});

test('out of divider reset the first second lasts half a second', (t) => {
	const m = new Machine(Date.UTC(2000, 0, 1));
	m.advance(0.7 * S);
	m.set(0x0a, 0x76);
	m.advance(3 * S);
	m.set(0x0a, 0x26);
	t.is(m.get(0), 0);
	m.advance(0.49 * S);
	t.is(m.get(0), 0);
	m.advance(0.02 * S);
	t.is(m.get(0), 1);
});

test('update in progress shows just before the second ends', (t) => {
	const m = new Machine(Date.UTC(2000, 0, 1));
	t.is(m.get(0x0a), 0x26);
	m.advance(0.9999 * S);
	t.is(m.get(0x0a), 0xa6);
	m.advance(0.0001 * S);
	t.is(m.get(0x0a), 0x26);
});

test('periodic interrupt at each rate', (t) => {
	for (let rate = 3; rate < 16; rate++) {
		const m = new Machine(Date.UTC(2000, 0, 1));
		m.set(0x0a, 0x20 | rate);
		m.set(0x0b, 0x42);
		const expected = 32768 >> (rate - 1);
		let count = 0;
		// Once more than there are periods: the line must also be seen low.
		for (let i = 0; i < 2 * expected; i++) {
			m.advance(S / (2 * expected));
			if (!m.irq) continue;
			t.is(m.get(0x0c) & 0xc0, 0xc0);
			count++;
			t.false(m.irq);
		}
		t.true(Math.abs(count - expected) <= 1, `rate ${rate}: ${count} for ${expected}`);
	}
});

test('nobody looks, nothing runs', (t) => {
	const m = new Machine(Date.UTC(2000, 0, 1));
	t.is(m.board.host.clock.next, Number.POSITIVE_INFINITY);
	m.set(0x0b, 0x12);
	t.true(m.board.host.clock.next < Number.POSITIVE_INFINITY);
	m.set(0x0b, 0x02);
	m.advance(2 * S);
	t.is(m.board.host.clock.next, Number.POSITIVE_INFINITY);
});

test('alarms: exact, with wildcards, over midnight, and never for times that do not exist', (t) => {
	const at = (h: number, m: number, s: number) => {
		const machine = new Machine(Date.UTC(2000, 0, 1, 22, 58, 57));
		machine.set(5, h);
		machine.set(3, m);
		machine.set(1, s);
		machine.get(0x0c);
		machine.set(0x0b, 0x22);
		const start = machine.board.host.clock.now();
		const limit = 26 * 3600;
		for (let hops = 0; hops < 10 && !machine.irq; hops++) {
			const next = machine.board.host.clock.next;
			if (next > start + limit * S) return Number.POSITIVE_INFINITY;
			machine.advance(next - machine.board.host.clock.now());
		}
		t.is(machine.get(0x0c) & 0xa0, 0xa0);
		return Math.floor((machine.board.host.clock.now() - start) / S);
	};
	t.is(at(0x22, 0x58, 0x58), 1);
	t.is(at(0x22, 0x58, 0x57), 86400, 'this second has begun');
	t.is(at(0x23, 0xc0, 0xff), 63);
	t.is(at(0xff, 0x00, 0x00), 63);
	t.is(at(0xff, 0xff, 0x30), 33);
	t.is(at(0xff, 0xff, 0xff), 1);
	t.is(at(0x00, 0x00, 0x00), 3663);
	t.is(at(0x24, 0x00, 0x00), Number.POSITIVE_INFINITY);
	t.is(at(0x10, 0x60, 0x00), Number.POSITIVE_INFINITY);
});

test('interrupts that are off do not arrive, their flags do', (t) => {
	const m = new Machine(Date.UTC(2000, 0, 1));
	m.advance(1.5 * S);
	t.false(m.irq);
	t.is(m.get(0x0c) & 0x90, 0x10);
	t.is(m.get(0x0c) & 0x10, 0, 'read clears');
	m.set(0x0b, 0x12);
	m.advance(S);
	t.true(m.irq);
	m.set(0x0b, 0x02);
	t.false(m.irq, 'disabling takes the line down');
});

test('the calendar of the host may jump', (t) => {
	let wall = Date.UTC(2010, 0, 1);
	const board = new FakeBoard();
	const { clock } = board.host;
	const jumping = { now: () => clock.now(), wall: () => wall, timer: (fire: () => void) => clock.timer(fire) };
	const host = {
		clock: jumping,
		dma: board.host.dma,
		defer: () => {},
		overdue: false,
		spent: () => {},
		again: () => {},
	};
	const rtc = new Rtc(host, board.ports, board.irqs[8]);
	const year = () => {
		board.ports.out8(0x70, 9);
		return board.ports.in8(0x71);
	};
	t.is(year(), 0x10);
	wall = Date.UTC(2012, 5, 1);
	t.is(year(), 0x12);
	wall = Date.UTC(1999, 5, 1);
	t.is(year(), 0x99);
	rtc.reset();
});

test('the board may fill memory bytes, not the clock', (t) => {
	const m = new Machine(Date.UTC(2000, 0, 1));
	for (const bad of [-1, 0, 13, 128, 1.5e9]) t.throws(() => m.rtc.setCmos(bad, 1), { instanceOf: RangeError });
	m.rtc.setCmos(0x0e, 0x5a);
	t.is(m.get(0x0e), 0x5a);
	t.is(m.rtc.cmos(0x0e), 0x5a);
});

test('CMOS memory tells of memory, boot order and disks', (t) => {
	const m = new Machine(Date.UTC(2000, 0, 1));
	fillCmos(m.rtc, {
		memory: 2040 << 20,
		boot: 'dc',
		mouse: false,
		disks: [
			{ cylinders: 1024, heads: 16, sectors: 63, translation: 1 },
			undefined,
			undefined,
			{ cylinders: 5, heads: 2, sectors: 9, translation: 2 },
		],
	});
	const word = (at: number) => m.get(at) | (m.get(at + 1) << 8);
	t.is(word(0x15), 640);
	t.is(word(0x17), 65535);
	t.is(word(0x30), 65535);
	t.is(word(0x34), (2040 - 16) * 16);
	t.is(m.get(0x3d), 0x23);
	t.is(m.get(0x38), 0);
	t.is(m.get(0x14), 0x02);
	t.is(m.get(0x12), 0xf0);
	t.is(m.get(0x19), 47);
	t.deepEqual(
		[...Array(9).keys()].map((i) => m.get(0x1b + i)),
		[0, 4, 16, 0xff, 0xff, 0xc8, 0, 4, 63],
	);
	t.is(m.get(0x39), 0x81);
	fillCmos(m.rtc, { memory: 8 << 20, boot: '' });
	t.is(word(0x34), 0);
	t.is(word(0x17), 7168);
	t.throws(() => fillCmos(m.rtc, { memory: 8 << 20, boot: 'x' }), { message: 'no boot device x' });
	t.throws(() => fillCmos(m.rtc, { memory: 8 << 20, boot: 'cdna' }), { instanceOf: RangeError });
});
