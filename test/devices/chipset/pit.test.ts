import test from 'ava';
import fc from 'fast-check';
import { Pit } from '../../../devices/chipset/pit.ts';
import { PIT_HZ } from '../../../devices/chipset/pit-channel.ts';
import { FakeBoard } from '../../helpers/board.ts';

/** One 8254 counter that really counts, clock by clock, after the data sheet's mode diagrams. */
class Counter {
	readonly mode: number;
	out: boolean;
	gate: boolean;
	loaded = false;
	left = 0;
	count = 0;
	/** Written while another count runs. */
	next = 0;
	high = true;
	/** Clocks of this half cycle of mode 3. */
	half = 0;
	triggered = false;

	constructor(mode: number, gate: boolean) {
		this.mode = mode;
		this.gate = gate;
		this.out = mode !== 0;
	}

	write(count: number): void {
		if ((this.mode === 2 || this.mode === 3) && this.loaded && this.gate) this.next = count;
		else if ((this.mode === 1 || this.mode === 5) && this.triggered) this.next = count;
		else {
			this.count = count;
			this.next = 0;
			this.loaded = true;
			if (this.mode === 0) this.out = false;
			if (this.mode === 4) this.out = true;
			this.start();
		}
	}

	setGate(level: boolean): void {
		if (level === this.gate) return;
		this.gate = level;
		if (this.mode === 0 || this.mode === 4) return;
		if (level) {
			if (this.next > 0) this.count = this.next;
			this.next = 0;
			if (this.loaded) {
				this.triggered = true;
				this.start();
				if (this.mode === 1) this.out = false;
				if (this.mode === 5) this.out = true;
			}
		} else if (this.mode === 2 || this.mode === 3) {
			this.out = true;
			if (this.loaded) this.start();
		}
	}

	start(): void {
		this.left = this.count;
		this.high = true;
		this.half = 0;
	}

	clock(): void {
		if (!this.loaded) return;
		const triggeredMode = this.mode === 1 || this.mode === 5;
		if (triggeredMode ? !this.triggered : !this.gate) return;
		if (this.mode === 3) this.clockSquare();
		else {
			this.left--;
			if (this.mode <= 1 && this.left === 0) this.out = true;
			if (this.mode >= 4) this.out = this.left !== 0;
			if (this.mode === 2) {
				if (this.left === 0) {
					if (this.next > 0) this.count = this.next;
					this.next = 0;
					this.left = this.count;
				}
				this.out = this.left !== 1;
			}
		}
	}

	clockSquare(): void {
		const length = this.high ? (this.count + 1) >> 1 : this.count >> 1;
		if (++this.half < length) return;
		if (this.next > 0) this.count = this.next;
		this.next = 0;
		this.half = 0;
		this.high = !this.high;
		this.out = this.high;
	}

	value(): number {
		const left = this.mode === 3 ? (this.count & ~1) - 2 * this.half : this.left;
		return ((left % 65536) + 65536) % 65536;
	}
}

class Machine {
	readonly board = new FakeBoard();
	readonly pit = new Pit(this.board.host, this.board.ports, this.board.irqs[0]);
	tick = 0;
	/** Moves to the moment at which `tick` input clocks have passed. */
	to(tick: number): void {
		const { clock } = this.board.host;
		clock.advance(Math.ceil((tick * 1e9) / PIT_HZ) - clock.now());
		this.tick = tick;
	}
	program(channel: number, mode: number, count?: number): void {
		this.board.ports.out8(0x43, (channel << 6) | 0x30 | (mode << 1));
		if (count !== undefined) this.count(channel, count);
	}
	count(channel: number, count: number): void {
		this.board.ports.out8(0x40 + channel, count & 0xff);
		this.board.ports.out8(0x40 + channel, (count >> 8) & 0xff);
	}
	read(channel: number): number {
		this.board.ports.out8(0x43, channel << 6);
		const low = this.board.ports.in8(0x40 + channel);
		return low | (this.board.ports.in8(0x40 + channel) << 8);
	}
	status(channel: number): number {
		this.board.ports.out8(0x43, 0xe0 | (2 << channel));
		return this.board.ports.in8(0x40 + channel);
	}
}

const steps = fc.array(
	fc.oneof(
		fc.record({ clocks: fc.integer({ min: 1, max: 40 }) }),
		fc.record({ count: fc.integer({ min: 2, max: 23 }) }),
		fc.record({ gate: fc.boolean() }),
	),
	{ maxLength: 30 },
);

for (let mode = 0; mode <= 5; mode++)
	test(`mode ${mode} counts as a counter that really counts`, (t) => {
		fc.assert(
			fc.property(fc.integer({ min: 2, max: 23 }), fc.boolean(), steps, (first, gate, list) => {
				const m = new Machine();
				const channel = m.pit.channels[2];
				channel.setGate(gate);
				const model = new Counter(mode, gate);
				m.program(2, mode, first);
				model.write(first);
				for (const step of list) {
					if ('count' in step) {
						m.count(2, step.count);
						model.write(step.count);
					} else if ('gate' in step) {
						channel.setGate(step.gate);
						model.setGate(step.gate);
					} else {
						for (let i = 0; i < step.clocks; i++) {
							m.to(m.tick + 1);
							model.clock();
							t.is(channel.output(), model.out, `output at clock ${m.tick}`);
							t.is(channel.value(), model.value(), `count at clock ${m.tick}`);
						}
					}
					t.is(channel.output(), model.out, `output after ${JSON.stringify(step)}`);
				}
			}),
		);
	});

for (const mode of [0, 2, 3, 4])
	test(`channel 0 interrupts with every rising output in mode ${mode}`, (t) => {
		fc.assert(
			fc.property(fc.integer({ min: 2, max: 23 }), fc.integer({ min: 1, max: 300 }), (count, clocks) => {
				const m = new Machine();
				m.program(0, mode, count);
				const model = new Counter(mode, true);
				model.write(count);
				const before = m.board.irqs[0].edges;
				let rises = 0;
				for (let i = 0; i < clocks; i++) {
					const was = model.out;
					model.clock();
					if (!was && model.out) rises++;
				}
				m.to(clocks);
				t.is(m.board.irqs[0].edges - before, rises);
			}),
		);
	});

test('reset: mode 3, the longest count, interrupts at 18.2 Hz', (t) => {
	const m = new Machine();
	m.board.host.advance(1e9);
	t.is(m.board.irqs[0].edges, 1 + 18);
	t.is(m.status(0) & 0x3f, 0x36);
	t.is(m.status(2) & 0x3f, 0x36);
});

test('BCD counts in decimal', (t) => {
	const m = new Machine();
	m.board.ports.out8(0x43, 0x31);
	m.count(0, 0x1000);
	m.to(1);
	t.is(m.read(0), 0x0999);
	m.to(1000);
	t.is(m.read(0), 0);
	m.to(1001);
	t.is(m.read(0), 0x9999);
	m.count(0, 0);
	t.is(m.status(0) & 0x80, 0);
	m.to(1001 + 9999);
	t.is(m.status(0) & 0x80, 0, '0 is ten thousand');
	m.to(1001 + 10000);
	t.is(m.status(0) & 0x80, 0x80);
});

test('latched counts and status wait for the reader', (t) => {
	const m = new Machine();
	const { ports } = m.board;
	m.program(0, 2, 1000);
	m.to(10);
	ports.out8(0x43, 0xc2);
	m.to(500);
	ports.out8(0x43, 0xc2);
	t.is(ports.in8(0x40), 0xb4, 'status first');
	t.is(ports.in8(0x40) | (ports.in8(0x40) << 8), 990, 'a second latch changes nothing');
	t.is(ports.in8(0x40) | (ports.in8(0x40) << 8), 500);
});

test('NULL COUNT stays until the count is in', (t) => {
	const m = new Machine();
	m.program(2, 0);
	t.is(m.status(2) & 0x40, 0x40, 'no count yet');
	m.board.ports.out8(0x42, 5);
	t.is(m.status(2) & 0x40, 0x40, 'half a count');
	m.board.ports.out8(0x42, 0);
	t.is(m.status(2) & 0x40, 0);
	m.pit.channels[2].setGate(true);
	m.program(2, 2, 100);
	m.count(2, 50);
	t.is(m.status(2) & 0x40, 0x40, 'waits for the cycle to end');
	m.to(m.tick + 101);
	t.is(m.status(2) & 0x40, 0);
});

test('a period of one clock cannot hold the host, and long lags are dropped', (t) => {
	const m = new Machine();
	m.board.ports.out8(0x43, 0x14);
	m.board.ports.out8(0x40, 1);
	const before = m.board.irqs[0].edges;
	m.board.host.clock.run();
	t.true(m.board.irqs[0].edges - before <= 1);
	m.program(0, 2, 1193);
	const edges = m.board.irqs[0].edges;
	m.board.host.clock.advance(100e6);
	t.is(m.board.irqs[0].edges - edges, 100);
});

test('what a busy host has missed is made up for, 200 ms of it at most', (t) => {
	const m = new Machine();
	const { clock } = m.board.host;
	for (const [stalled, owed] of [
		[50e6, 50],
		[10e9, 200],
	]) {
		m.program(0, 2, 1193);
		const edges = m.board.irqs[0].edges;
		clock.stall(stalled);
		for (let i = 0; i < 20_000 && clock.next <= clock.now(); i++) clock.run();
		const made = m.board.irqs[0].edges - edges;
		t.true(Math.abs(made - owed) <= 1, `${made} edges after ${stalled} ns`);
	}
});

test('an edge is not lost when time runs on while a short count is written', (t) => {
	const board = new FakeBoard();
	const { clock } = board.host;
	let delay = 0;
	// Each look at the clock takes as long as a busy host may need between two of them.
	const slow = {
		now: () => {
			clock.advance(delay);
			return clock.now();
		},
		wall: () => clock.wall(),
		timer: (fire: () => void) => clock.timer(fire),
	};
	new Pit(
		{ clock: slow, dma: board.host.dma, defer: () => {}, overdue: false, spent: () => {}, again: () => {} },
		board.ports,
		board.irqs[0],
	);
	board.ports.out8(0x43, 0x38);
	const before = board.irqs[0].edges;
	for (let shot = 1; shot <= 5; shot++) {
		delay = 50_000;
		board.ports.out8(0x40, 15);
		board.ports.out8(0x40, 0);
		delay = 0;
		clock.advance(1e6);
		t.is(board.irqs[0].edges - before, shot);
	}
});

test('a count that nobody has seen taken is saved and restored as it stands, and leaves nothing behind', (t) => {
	const m = new Machine();
	const other = new Machine();
	m.program(0, 2, 1000);
	m.to(m.tick + 10);
	m.count(0, 500);
	m.to(m.tick + 1200);
	other.to(m.tick);
	const saved = m.pit.save();
	other.pit.restore(saved);
	t.deepEqual(other.pit.save(), saved);
	t.is(other.pit.channels[0].value(), m.pit.channels[0].value());
	m.pit.reset();
	const fresh = new Machine();
	fresh.to(m.tick);
	fresh.pit.reset();
	t.deepEqual(m.pit.save(), fresh.pit.save());
});
