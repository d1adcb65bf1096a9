import test from 'ava';
import fc from 'fast-check';
import { Uart16550 } from '../../../devices/char/uart16550.ts';
import type { CharBackend, CharDevice } from '../../../src/core/index.ts';
import { FakeBoard } from '../../helpers/board.ts';

const LSR_DR = 0x01;
const LSR_THRE = 0x20;

/** A host side that takes at most `room` bytes until the test makes more. */
class Backend implements CharBackend {
	room = Number.POSITIVE_INFINITY;
	readonly got: number[] = [];
	readonly opened: boolean[] = [];
	waiting: number[] = [];
	device: CharDevice | undefined;
	attach(device: CharDevice): void {
		this.device = device;
	}
	write(bytes: Uint8Array): number {
		const taken = Math.min(this.room, bytes.length);
		this.got.push(...bytes.subarray(0, taken));
		this.room -= taken;
		return taken;
	}
	guestOpen(open: boolean): void {
		this.opened.push(open);
	}
	close(): void {}
	send(...bytes: number[]): void {
		this.waiting.push(...bytes);
		this.ready();
	}
	ready(): void {
		if (this.waiting.length === 0 || !this.device) return;
		this.waiting.splice(0, this.device.receive(Uint8Array.from(this.waiting)));
	}
}

class Machine {
	readonly board = new FakeBoard();
	readonly backend = new Backend();
	readonly uart = new Uart16550(this.board.host, this.board.ports, this.board.irqs[4], {
		base: 0x3f8,
		backend: this.backend,
	});
	get(offset: number): number {
		return this.board.ports.in8(0x3f8 + offset);
	}
	set(offset: number, value: number): void {
		this.board.ports.out8(0x3f8 + offset, value);
	}
	settle(): void {
		this.board.host.settle();
	}
	get irq(): boolean {
		return this.board.irqs[4].level;
	}
}

test('what the guest writes reaches the back end in order and in batches', (t) => {
	const m = new Machine();
	let calls = 0;
	const write = m.backend.write.bind(m.backend);
	m.backend.write = (bytes) => {
		calls++;
		return write(bytes);
	};
	for (let i = 0; i < 1000; i++) {
		t.is(m.get(5) & LSR_THRE, LSR_THRE);
		m.set(0, i & 0xff);
	}
	m.settle();
	t.deepEqual(
		m.backend.got,
		Array.from({ length: 1000 }, (_, i) => i & 0xff),
	);
	t.is(calls, 1);
});

test('a back end that is full holds the guest back and loses nothing', (t) => {
	const m = new Machine();
	m.backend.room = 0;
	m.set(2, 0x01);
	m.set(1, 0x02);
	const sent: number[] = [];
	for (let i = 0; i < 100_000 && m.get(5) & LSR_THRE; i++) {
		// As a driver does it: a whole FIFO when THRE is up.
		for (let n = 0; n < 16; n++) {
			sent.push(sent.length & 0xff);
			m.set(0, sent[sent.length - 1]);
		}
		m.settle();
	}
	t.true(sent.length < 8192, `${sent.length} bytes buffered`);
	t.is(m.get(5) & LSR_THRE, 0);
	m.get(2);
	t.false(m.irq);
	m.backend.room = 100;
	m.backend.device?.drained();
	t.true(m.irq, 'THRE is up again');
	t.is(m.get(2), 0xc2);
	m.backend.room = Number.POSITIVE_INFINITY;
	m.backend.device?.drained();
	t.deepEqual(m.backend.got, sent);
});

test('bytes from the host wait until the guest has read those before', (t) => {
	const m = new Machine();
	const bytes = Array.from({ length: 300 }, (_, i) => i & 0xff);
	for (const [fcr, expected] of [
		[0x00, 1],
		[0x01, 16],
	]) {
		m.set(2, fcr);
		m.backend.send(...bytes);
		t.is(m.backend.waiting.length, bytes.length - expected);
		const got: number[] = [];
		while (m.get(5) & LSR_DR) got.push(m.get(0));
		t.deepEqual(got, bytes);
		t.is(m.get(5) & 0x1e, 0, 'no overrun');
	}
});

test('received data interrupts at its trigger level, or after a while', (t) => {
	const m = new Machine();
	m.set(2, 0x81);
	m.set(1, 0x01);
	m.backend.send(1, 2, 3);
	t.false(m.irq);
	m.board.host.advance(10e6);
	t.true(m.irq);
	t.is(m.get(2), 0xcc);
	t.is(m.get(0), 1);
	t.false(m.irq, 'a read restarts the wait');
	m.backend.send(4, 5, 6, 7, 8, 9);
	t.true(m.irq);
	t.is(m.get(2), 0xc4);
	m.set(2, 0x83);
	t.false(m.irq, 'cleared');
	t.is(m.get(5) & LSR_DR, 0);
	m.board.host.advance(100e6);
	t.false(m.irq);
});

test('priorities: line status, data, transmitter, modem', (t) => {
	const m = new Machine();
	m.set(1, 0x0f);
	m.set(4, 0x10);
	for (const byte of [1, 2]) m.set(0, byte);
	m.set(4, 0x12);
	t.is(m.get(2), 0x06);
	t.is(m.get(5) & 0x02, 0x02, 'overrun');
	t.is(m.get(2), 0x04);
	t.is(m.get(0), 2, 'the newer character took the place of the older');
	t.is(m.get(2), 0x02);
	t.is(m.get(2), 0x00, 'reading took the transmitter away');
	t.is(m.get(6) & 0x0f, 0x0b, 'CTS, DSR and DCD have changed');
	t.is(m.get(2), 0x01);
	t.false(m.irq);
});

test('the back end is told when the guest opens and closes the port', (t) => {
	const m = new Machine();
	for (const mcr of [0x0b, 0x0b, 0x0a, 0x09]) m.set(4, mcr);
	m.uart.reset();
	t.deepEqual(m.backend.opened, [true, false, true, false]);
});

test('without a back end the port works and the bytes are gone', (t) => {
	const board = new FakeBoard();
	new Uart16550(board.host, board.ports, board.irqs[3], { base: 0x2f8 });
	for (let i = 0; i < 10_000; i++) board.ports.out8(0x2f8, 0x41);
	board.host.settle();
	t.is(board.ports.in8(0x2fd) & LSR_THRE, LSR_THRE);
});

test('buffers in both directions survive a snapshot', (t) => {
	const m = new Machine();
	m.backend.room = 0;
	m.set(2, 0x41);
	for (const byte of [10, 11, 12]) m.set(0, byte);
	m.backend.send(1, 2, 3);
	m.settle();
	const saved = m.uart.save();
	const other = new Machine();
	other.uart.restore(structuredClone(saved));
	t.deepEqual(other.uart.save(), saved);
	t.deepEqual([other.get(0), other.get(0), other.get(0)], [1, 2, 3]);
	other.settle();
	t.deepEqual(other.backend.got, [10, 11, 12]);
});

test('a hostile guest and a hostile host at once', (t) => {
	const step = fc.oneof(
		fc.record({ offset: fc.nat(7), value: fc.nat(255) }),
		fc.record({ offset: fc.nat(7) }),
		fc.record({ bytes: fc.uint8Array({ maxLength: 40 }) }),
		fc.record({ wait: fc.nat(2_000_000) }),
		fc.record({ room: fc.nat(50) }),
	);
	fc.assert(
		fc.property(fc.array(step, { maxLength: 300 }), (steps) => {
			const m = new Machine();
			for (const s of steps) {
				if ('value' in s) m.set(s.offset, s.value);
				else if ('offset' in s) t.true(m.get(s.offset) <= 0xff);
				else if ('bytes' in s) t.true((m.backend.device?.receive(s.bytes) ?? 0) <= 16);
				else if ('wait' in s) m.board.host.advance(s.wait);
				else {
					m.backend.room = s.room;
					m.backend.device?.drained();
				}
			}
			m.settle();
		}),
	);
});
