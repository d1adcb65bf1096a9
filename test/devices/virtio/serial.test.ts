/** The console device: control conversation, names, flow control both ways. Virtio 1.2, 5.3. */
import test from 'ava';
import { VirtioSerial } from '../../../devices/virtio/serial.ts';
import type { CharBackend, CharDevice, TerminalSize } from '../../../src/core/index.ts';
import { CapType, type DriverOptions, guestErrors, VirtioDriver } from '../../helpers/virtio-driver.ts';

const DEVICE_READY = 0;
const DEVICE_ADD = 1;
const PORT_READY = 3;
const CONSOLE_PORT = 4;
const RESIZE = 5;
const PORT_OPEN = 6;
const PORT_NAME = 7;
const RECEIVE_CONTROL = 2;
const SEND_CONTROL = 3;
const MULTIPORT = 1;

/** A host end that takes `appetite` bytes a call and notes everything. */
class Peer implements CharBackend {
	readonly taken: number[] = [];
	readonly opens: boolean[] = [];
	appetite = Number.POSITIVE_INFINITY;
	device: CharDevice | undefined;
	/** Bytes for the guest that it has not taken. */
	waiting: Uint8Array = new Uint8Array(0);
	asked = 0;
	size: TerminalSize | undefined;

	write(bytes: Uint8Array): number {
		const count = Math.min(bytes.length, this.appetite);
		for (const byte of bytes.subarray(0, count)) this.taken.push(byte);
		return count;
	}
	attach(device: CharDevice): void {
		this.device = device;
	}
	ready(): void {
		this.asked++;
		this.say(new Uint8Array(0));
	}
	guestOpen(open: boolean): void {
		this.opens.push(open);
	}
	close(): void {}

	say(bytes: Uint8Array): void {
		const all = new Uint8Array([...this.waiting, ...bytes]);
		this.waiting = all.slice(this.device?.receive(all) ?? 0);
	}
}

/** What Linux's virtio_console does with the control queues. */
class Guest extends VirtioDriver {
	constructor(serial: VirtioSerial, options: DriverOptions = {}) {
		super(serial, { memory: 4 << 20, ...options });
		this.start();
		for (let i = 0; i < 8; i++) this.queue(RECEIVE_CONTROL).add({ in: [64] });
		this.kick(RECEIVE_CONTROL);
	}

	/** Messages that came, as `port event value rest`. */
	get news(): string[] {
		return this.take(RECEIVE_CONTROL, 64).map((bytes) => {
			const view = new DataView(bytes.buffer);
			const rest = bytes.length > 8 ? ` ${Buffer.from(bytes.subarray(8)).toString('latin1')}` : '';
			return `${view.getUint32(0, true)} ${view.getUint16(4, true)} ${view.getUint16(6, true)}${rest}`;
		});
	}

	/** What came through queue `n`; as many buffers are put back, of `length` bytes. */
	take(n: number, length: number): Uint8Array[] {
		const used = this.queue(n).used();
		for (const _ of used) this.queue(n).add({ in: [length] });
		if (used.length > 0) this.kick(n);
		return used.map(({ bytes, written }) => bytes.slice(0, written));
	}

	tell(port: number, event: number, value: number): void {
		const bytes = new Uint8Array(8);
		const view = new DataView(bytes.buffer);
		view.setUint32(0, port, true);
		view.setUint16(4, event, true);
		view.setUint16(6, value, true);
		this.send(SEND_CONTROL, { out: [bytes] });
	}

	/** Makes itself known and opens `port`. */
	open(port: number): void {
		this.tell(0, DEVICE_READY, 1);
		this.tell(port, PORT_READY, 1);
		this.tell(port, PORT_OPEN, 1);
		void this.news;
	}
}

const receiveQueue = (port: number) => (port === 0 ? 0 : 2 + 2 * port);
const sendQueue = (port: number) => receiveQueue(port) + 1;
const bytes = (text: string) => new TextEncoder().encode(text);
const joined = (pieces: readonly Uint8Array[]) => pieces.flatMap((piece) => [...piece]);

test('the control conversation: every port is announced, named, and open or not', (t) => {
	const closed = new Peer();
	const guest = new Guest(
		new VirtioSerial({
			ports: [
				{ backend: new Peer(), console: true },
				{ backend: new Peer(), name: 'org.example.one' },
				{ backend: closed, name: 'org.example.two', number: 9 },
				{ backend: new Peer() },
			],
		}),
	);
	closed.device?.hostOpen?.(false);
	t.deepEqual(guest.news, [], 'nothing before the driver is ready');
	guest.tell(0, DEVICE_READY, 1);
	t.deepEqual(guest.news, [`0 ${DEVICE_ADD} 1`, `1 ${DEVICE_ADD} 1`, `9 ${DEVICE_ADD} 1`, `2 ${DEVICE_ADD} 1`]);
	guest.tell(0, PORT_READY, 1);
	t.deepEqual(guest.news, [`0 ${CONSOLE_PORT} 1`, `0 ${PORT_OPEN} 1`]);
	guest.tell(1, PORT_READY, 1);
	t.deepEqual(guest.news, [`1 ${PORT_NAME} 1 org.example.one\0`, `1 ${PORT_OPEN} 1`]);
	guest.tell(9, PORT_READY, 1);
	t.deepEqual(guest.news, [`9 ${PORT_NAME} 1 org.example.two\0`]);
	guest.tell(2, PORT_READY, 1);
	t.deepEqual(guest.news, [`2 ${PORT_OPEN} 1`]);
	guest.tell(5, PORT_READY, 1);
	guest.tell(1, PORT_READY, 0);
	guest.tell(1, 77, 1);
	t.deepEqual(guest.news, [], 'a port that is not there, one that failed, an event that is none');
});

test('the host comes and goes: the guest is told', (t) => {
	const peer = new Peer();
	const guest = new Guest(new VirtioSerial({ ports: [{ backend: peer, name: 'x' }] }));
	peer.device?.hostOpen?.(false);
	peer.device?.hostOpen?.(true);
	t.deepEqual(guest.news, [], 'not before the driver is ready');
	guest.tell(0, DEVICE_READY, 1);
	void guest.news;
	peer.device?.hostOpen?.(false);
	peer.device?.hostOpen?.(false);
	t.deepEqual(guest.news, [`1 ${PORT_OPEN} 0`]);
	peer.device?.hostOpen?.(true);
	t.deepEqual(guest.news, [`1 ${PORT_OPEN} 1`]);
});

test('the guest opens and closes: the back end is told once each', (t) => {
	const peer = new Peer();
	const guest = new Guest(new VirtioSerial({ ports: [{ backend: peer }] }));
	guest.open(1);
	guest.tell(1, PORT_OPEN, 1);
	t.deepEqual(peer.opens, [true]);
	guest.tell(1, PORT_OPEN, 0);
	t.deepEqual(peer.opens, [true, false]);
	guest.tell(1, PORT_OPEN, 1);
	guest.status = 0;
	t.deepEqual(peer.opens, [true, false, true, false], 'a reset closes');
});

for (const kind of [{}, { packed: true }, { legacy: true }] as const)
	test(`bytes go both ways ${JSON.stringify(kind)}`, (t) => {
		const peer = new Peer();
		const guest = new Guest(new VirtioSerial({ ports: [{ backend: peer }] }), kind);
		guest.open(1);
		guest.send(sendQueue(1), { out: [bytes('from '), bytes('the guest')] }, { out: [bytes('!')] });
		t.is(new TextDecoder().decode(Uint8Array.from(peer.taken)), 'from the guest!');
		for (let i = 0; i < 3; i++) guest.queue(receiveQueue(1)).add({ in: [3, 2] });
		guest.kick(receiveQueue(1));
		peer.say(bytes('to the guest'));
		t.is(new TextDecoder().decode(Uint8Array.from(joined(guest.take(receiveQueue(1), 5)))), 'to the guest');
		t.is(peer.waiting.length, 0);
	});

test('a back end that takes one byte at a time gets everything, in order', (t) => {
	const peer = new Peer();
	peer.appetite = 1;
	const guest = new Guest(new VirtioSerial({ ports: [{ backend: peer }] }));
	guest.open(1);
	const data = Uint8Array.from({ length: 300 }, (_, i) => i * 7);
	const queue = guest.queue(sendQueue(1));
	queue.add({ out: [data.subarray(0, 100), data.subarray(100, 101)] });
	queue.add({ out: [data.subarray(101)] });
	guest.kick(sendQueue(1));
	t.is(peer.taken.length, 1);
	t.is(queue.used().length, 0, 'a buffer is kept until all of it is taken');
	let turns = 0;
	for (; peer.taken.length < 300 && turns < 1000; turns++) {
		peer.device?.drained();
		guest.settle();
	}
	// The last byte of one buffer and the first of the next go in the same turn.
	t.is(turns, 298);
	t.deepEqual(peer.taken, [...data]);
	t.is(queue.used().length, 2);
});

test('a back end that takes nothing holds the guest, and loses nothing when it leaves off', (t) => {
	const peer = new Peer();
	peer.appetite = 0;
	const guest = new Guest(new VirtioSerial({ ports: [{ backend: peer }] }));
	guest.open(1);
	const queue = guest.queue(sendQueue(1));
	for (let i = 0; i < queue.size; i++) queue.add({ out: [Uint8Array.of(i)] });
	guest.kick(sendQueue(1));
	guest.kick(sendQueue(1));
	t.is(queue.used().length, 0);
	peer.appetite = 5;
	peer.device?.drained();
	guest.settle();
	t.deepEqual(
		peer.taken,
		Array.from({ length: 128 }, (_, i) => i),
	);
	t.is(queue.used().length, 128);
});

test('what the guest says while nobody is there is lost, and its buffers come back', (t) => {
	const peer = new Peer();
	peer.appetite = 2;
	const guest = new Guest(new VirtioSerial({ ports: [{ backend: peer }] }));
	guest.open(1);
	guest.queue(sendQueue(1)).add({ out: [bytes('abcdef')] });
	guest.kick(sendQueue(1));
	peer.device?.hostOpen?.(false);
	guest.settle();
	t.is(guest.queue(sendQueue(1)).used().length, 1, 'half taken: the rest goes nowhere');
	t.is(guest.send(sendQueue(1), { out: [bytes('more')] }).length, 1);
	t.deepEqual(peer.taken, [...bytes('ab')]);
});

test('a guest without buffers makes the host wait, and asks when it has some', (t) => {
	const peer = new Peer();
	const guest = new Guest(new VirtioSerial({ ports: [{ backend: peer }] }));
	guest.open(1);
	const data = Uint8Array.from({ length: 1000 }, (_, i) => i * 3);
	peer.say(data);
	t.is(peer.waiting.length, 1000);
	const come: number[] = [];
	for (let i = 0; i < 40 && come.length < 1000; i++) {
		guest.queue(receiveQueue(1)).add({ in: [31] });
		guest.kick(receiveQueue(1));
		come.push(
			...joined(
				guest
					.queue(receiveQueue(1))
					.used()
					.map((used) => used.bytes.slice(0, used.written)),
			),
		);
	}
	t.deepEqual(come, [...data]);
	t.is(peer.waiting.length, 0);
	const { asked } = peer;
	guest.queue(receiveQueue(1)).add({ in: [31] });
	guest.kick(receiveQueue(1));
	t.is(peer.asked, asked, 'who has nothing to say is not asked');
});

test('what the host says before the guest opens the port is there when it does', (t) => {
	const peer = new Peer();
	const guest = new Guest(new VirtioSerial({ ports: [{ backend: peer }] }));
	guest.tell(0, DEVICE_READY, 1);
	guest.queue(receiveQueue(1)).add({ in: [16] });
	guest.kick(receiveQueue(1));
	peer.say(bytes('early'));
	t.deepEqual(guest.take(receiveQueue(1), 16), []);
	guest.tell(1, PORT_READY, 1);
	guest.tell(1, PORT_OPEN, 1);
	t.deepEqual(guest.take(receiveQueue(1), 16), [bytes('early')]);
});

test('without MULTIPORT there is one console, open from the start', (t) => {
	const peer = new Peer();
	const serial = new VirtioSerial({ ports: [{ backend: peer, console: true }] });
	const guest = new VirtioDriver(serial, { without: [MULTIPORT] });
	guest.start();
	t.deepEqual(peer.opens, [true]);
	guest.send(1, { out: [bytes('hello')] });
	t.deepEqual(peer.taken, [...bytes('hello')]);
	guest.queue(0).add({ in: [8] });
	guest.kick(0);
	peer.say(bytes('there'));
	t.is(guest.queue(0).used()[0].written, 5);
	t.is(guest.queue(2).used().length, 0, 'no control messages');
});

test('a character can be said without any queue', (t) => {
	const peer = new Peer();
	const guest = new Guest(new VirtioSerial({ ports: [{ backend: peer, console: true }] }));
	guest.writeConfig(8, 4, 0x141);
	t.deepEqual(peer.taken, [0x41]);
});

test('the size of the console: offered if known, told when it changes, columns first', (t) => {
	t.is(new VirtioDriver(new VirtioSerial({ ports: [] })).offered & 1n, 0n);
	const peer = new Peer();
	peer.size = { cols: 132, rows: 43 };
	const plain = new VirtioSerial({ ports: [{ backend: peer, name: 'no terminal' }] });
	t.is(new VirtioDriver(plain).offered & 1n, 0n);
	const guest = new Guest(new VirtioSerial({ ports: [{ backend: peer, console: true }] }));
	t.is(guest.offered & 1n, 1n);
	t.is(guest.readConfig(0, 2), 132);
	t.is(guest.readConfig(2, 2), 43);
	guest.tell(0, DEVICE_READY, 1);
	guest.tell(0, PORT_READY, 1);
	t.true(guest.news.includes(`0 ${RESIZE} 0 ${String.fromCharCode(132, 0, 43, 0)}`));
	guest.tell(0, PORT_OPEN, 1);
	guest.takeIsr();
	peer.size = { cols: 80, rows: 25 };
	peer.device?.resized?.();
	t.is(guest.takeIsr(), 3);
	t.is(guest.readConfig(0, 4), 80 + (25 << 16));
	t.deepEqual(guest.news, [`0 ${RESIZE} 0 P\0\x19\0`]);
});

test('ports have numbers of their own', (t) => {
	const plug = (...ports: { console?: boolean; number?: number }[]) => {
		const serial = new VirtioSerial({ ports: ports.map((port) => ({ backend: new Peer(), ...port })) });
		new VirtioDriver(serial);
		return [...serial.ports.keys()];
	};
	t.deepEqual(plug({}, { console: true }, { console: true }, {}), [1, 0, 2, 3]);
	t.deepEqual(plug({ number: 1 }, {}, { number: 30 }), [1, 2, 30]);
	t.throws(() => plug({ number: 31 }), { instanceOf: RangeError });
	t.throws(() => plug({ number: 3 }, { number: 3 }), { instanceOf: RangeError, message: /3 is taken/ });
	t.throws(() => plug(...Array.from({ length: 31 }, () => ({}))), { instanceOf: RangeError });
});

test('a driver that asks and never reads is told nothing more; one line in the log', (t) => {
	const guest = new Guest(new VirtioSerial({ ports: [{ backend: new Peer(), name: 'x' }] }));
	const log = guestErrors(() => {
		for (let i = 0; i < 1000; i++) guest.tell(0, DEVICE_READY, 1);
	});
	t.is(log.length, 1);
	t.regex(log[0], /does not read control messages/);
	let messages = 0;
	for (let some = guest.news; some.length > 0; some = guest.news) messages += some.length;
	t.is(messages, 256 + 8);
});

test('a hostile chain of many gigabytes is taken in bounded turns', (t) => {
	const peer = new Peer();
	let turn = 0;
	let most = 0;
	peer.write = (piece) => {
		turn += piece.length;
		most = Math.max(most, turn);
		return piece.length;
	};
	const guest = new Guest(new VirtioSerial({ ports: [{ backend: peer }] }));
	guest.open(1);
	const { dma } = guest.arena;
	const table = 0x1000;
	for (let i = 0; i < 1024; i++) {
		dma.write32(table + 16 * i, 0);
		dma.write32(table + 16 * i + 4, 0);
		dma.write32(table + 16 * i + 8, 4 << 20);
		dma.write16(table + 16 * i + 12, i < 1023 ? 1 : 0);
		dma.write16(table + 16 * i + 14, i + 1);
	}
	guest.queue(sendQueue(1)).offer([{ address: table, length: 1024 * 16, flags: 4 }]);
	// The settling of a test would take all turns at once: one turn is what runs before the device defers again.
	const host = guest.board.host;
	const { defer } = host;
	const later: (() => void)[] = [];
	host.defer = (work) => void later.push(work);
	guest.write(CapType.notify, sendQueue(1) * 4, 2, sendQueue(1));
	for (let turns = 0; turns < 20; turns++) {
		turn = 0;
		for (const work of later.splice(0)) work();
	}
	host.defer = defer;
	t.true(most > 0 && most <= (256 << 10) + (64 << 10), `${most} bytes in a turn`);
	t.is(later.length, 1, 'it goes on');
});

for (const kind of [{}, { packed: true }, { legacy: true }] as const)
	test(`saved with a buffer half taken, it goes on where it was ${JSON.stringify(kind)}`, (t) => {
		const peer = new Peer();
		peer.appetite = 3;
		const guest = new Guest(new VirtioSerial({ ports: [{ backend: peer, name: 'x' }] }), kind);
		guest.open(1);
		const queue = guest.queue(sendQueue(1));
		queue.add({ out: [bytes('abcdefgh')] });
		queue.add({ out: [bytes('ijk')] });
		guest.kick(sendQueue(1));
		peer.say(bytes('for the guest'));

		const next = new Peer();
		const serial = new VirtioSerial({ ports: [{ backend: next, name: 'x' }] });
		const saved = guest.migrate(serial);
		t.deepEqual(guest.device.save(), saved);
		t.deepEqual(next.opens, [true]);
		guest.settle();
		t.is(new TextDecoder().decode(Uint8Array.from(next.taken)), 'defghijk');
		t.is(queue.used().length, 2);
		next.say(peer.waiting);
		guest.queue(receiveQueue(1)).add({ in: [64] });
		guest.kick(receiveQueue(1));
		t.deepEqual(guest.take(receiveQueue(1), 64), [bytes('for the guest')]);
	});

test('after a restore without its client the guest learns that nobody is there', (t) => {
	const guest = new Guest(new VirtioSerial({ ports: [{ backend: new Peer(), name: 'x' }] }));
	guest.open(1);
	const gone = new Peer();
	gone.attach = (device) => {
		gone.device = device;
		device.hostOpen?.(false);
	};
	guest.migrate(new VirtioSerial({ ports: [{ backend: gone, name: 'x' }] }));
	guest.settle();
	t.deepEqual(guest.news, [`1 ${PORT_OPEN} 0`]);
});

test('a saved state without one of the ports is refused', (t) => {
	const guest = new Guest(new VirtioSerial({ ports: [{ backend: new Peer() }] }));
	const ports = [{ backend: new Peer() }, { backend: new Peer() }];
	t.throws(() => guest.migrate(new VirtioSerial({ ports })), { message: /no port 2/ });
});
