import test from 'ava';
import { Dma8237 } from '../../../devices/chipset/dma8237.ts';
import { listenTrace } from '../../../src/core/index.ts';
import { FakeBoard } from '../../helpers/board.ts';

const WRITE = 0x44;
const READ = 0x48;
const AUTO = 0x10;
const DECREMENT = 0x20;

class Machine {
	readonly board = new FakeBoard({ memory: 1 << 20 });
	readonly dma = new Dma8237(this.board.host, this.board.ports);
	/** Channel 0-3: bytes; 5-7: words. `units` is the number of them. */
	program(channel: number, mode: number, page: number, address: number, units: number): void {
		const { ports } = this.board;
		const [base, step] = channel < 4 ? [0, 1] : [0xc0, 2];
		const local = channel & 3;
		ports.out8(base + 12 * step, 0);
		ports.out8(base + 11 * step, mode | local);
		for (const byte of [address & 0xff, address >> 8]) ports.out8(base + local * 2 * step, byte);
		for (const byte of [(units - 1) & 0xff, (units - 1) >> 8]) ports.out8(base + (local * 2 + 1) * step, byte);
		ports.out8([0x87, 0x83, 0x81, 0x82, 0x8f, 0x8b, 0x89, 0x8a][channel], page);
		ports.out8(base + 10 * step, local);
	}
	status(channel: number): number {
		return this.board.ports.in8(channel < 4 ? 0x08 : 0xd0);
	}
}

test('bytes from a device to memory, to the last and no further', (t) => {
	const m = new Machine();
	t.false(m.dma.ready(2), 'masked after reset');
	t.is(m.dma.toMemory(2, Uint8Array.of(1)), 0);
	m.program(2, WRITE, 0x03, 0x1000, 4);
	t.true(m.dma.ready(2));
	t.is(m.dma.left(2), 4);
	t.is(m.dma.toMemory(2, Uint8Array.of(1, 2)), 2);
	t.is(m.dma.left(2), 2);
	t.is(m.status(2), 0);
	t.is(m.dma.toMemory(2, Uint8Array.of(3, 4, 5)), 2);
	t.deepEqual([...m.board.host.dma.read(0x31000, 5)], [1, 2, 3, 4, 0]);
	t.false(m.dma.ready(2), 'masks itself');
	t.is(m.status(2), 0x04, 'terminal count');
	t.is(m.status(2), 0, 'read clears');
	t.is(m.dma.fromMemory(2, new Uint8Array(1)), 0, 'wrong direction');
});

test('words from memory on the second controller', (t) => {
	const m = new Machine();
	m.board.host.dma.write(0x20200, Uint8Array.of(1, 2, 3, 4, 5, 6));
	m.program(5, READ, 0x03, 0x0100, 3);
	t.is(m.dma.left(5), 6);
	const into = new Uint8Array(5);
	t.is(m.dma.fromMemory(5, into), 4, 'whole words');
	t.deepEqual([...into], [1, 2, 3, 4, 0]);
	t.is(m.dma.fromMemory(5, into), 2);
	t.deepEqual([...into.subarray(0, 2)], [5, 6]);
	t.is(m.status(5), 0x02);
	t.false(m.dma.ready(4), 'channel 4 joins the controllers');
});

test('auto-initialize goes round, decrement goes down, pages wrap', (t) => {
	const m = new Machine();
	m.program(1, WRITE | AUTO, 0, 0x8000, 4);
	t.is(m.dma.toMemory(1, Uint8Array.of(1, 2, 3, 4, 5, 6)), 6);
	t.deepEqual([...m.board.host.dma.read(0x8000, 4)], [5, 6, 3, 4]);
	t.is(m.dma.left(1), 2);
	t.is(m.status(1), 0x02);
	m.program(3, WRITE | DECREMENT, 0, 0x0101, 3);
	t.is(m.dma.toMemory(3, Uint8Array.of(7, 8, 9)), 3);
	t.deepEqual([...m.board.host.dma.read(0xff, 3)], [9, 8, 7]);
	m.program(0, WRITE, 0x02, 0xfffe, 4);
	t.is(m.dma.toMemory(0, Uint8Array.of(1, 2, 3, 4)), 4);
	t.deepEqual([...m.board.host.dma.read(0x2fffe, 2)], [1, 2]);
	t.deepEqual([...m.board.host.dma.read(0x20000, 2)], [3, 4], 'inside the 64 KiB page');
});

test('verify moves nothing but counts; a disabled controller does nothing', (t) => {
	const m = new Machine();
	m.program(0, 0x40, 0, 0x100, 2);
	t.is(m.dma.toMemory(0, Uint8Array.of(9, 9)), 2);
	t.deepEqual([...m.board.host.dma.read(0x100, 2)], [0, 0]);
	t.is(m.status(0), 0x01);
	m.program(0, WRITE, 0, 0x100, 2);
	m.board.ports.out8(0x08, 0x04);
	t.false(m.dma.ready(0));
});

test('memory that is not there ends the transfer with one line in the log', (t) => {
	const m = new Machine();
	const lines: unknown[] = [];
	const stop = listenTrace(
		(name) => name === 'guest.error',
		(event) => lines.push(event.fields.message),
	);
	m.program(2, WRITE, 0xff, 0, 100);
	t.is(m.dma.toMemory(2, new Uint8Array(10)), 0);
	stop();
	t.is(lines.length, 1);
	t.regex(String(lines[0]), /channel 2.*0xff0000/);
});
