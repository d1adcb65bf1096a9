/** Port channels: a guest's named byte streams on the client's side. */
import { createHash, randomBytes } from 'node:crypto';
import test, { type ExecutionContext } from 'ava';
import fc from 'fast-check';
import type { CharDevice } from '../../src/core/index.ts';
import type { ChannelFactory, ChannelLink } from '../../src/spice/channel.ts';
import { SpicePort, WEBDAV_PORT } from '../../src/spice/channels/port.ts';
import { ChannelType } from '../../src/spice/protocol/constants.ts';
import { PortEvent, port as spec } from '../../src/spice/protocol/port.ts';
import { type ClientChannel, SpiceClient } from '../helpers/spice-client.ts';
import { serve, until } from './support.ts';

/** A guest's port: takes what it has room for. */
class FakePort implements CharDevice {
	readonly #port: SpicePort;
	readonly #got: Buffer[] = [];
	hostIsOpen: boolean | undefined;
	room = Number.POSITIVE_INFINITY;
	isOpen = false;
	/** What waits to be written. */
	#left: Uint8Array = new Uint8Array(0);

	constructor(port: SpicePort) {
		this.#port = port;
		port.attach(this);
	}
	receive(bytes: Uint8Array): number {
		if (!this.isOpen) return 0;
		const count = Math.min(this.room, bytes.length);
		this.room -= count;
		this.#got.push(Buffer.from(bytes.subarray(0, count)));
		return count;
	}
	drained(): void {
		this.write(new Uint8Array(0));
	}
	hostOpen(open: boolean): void {
		this.hostIsOpen = open;
	}
	open(open: boolean): void {
		this.isOpen = open;
		this.#port.guestOpen(open);
		if (open) this.#port.ready();
	}
	make(room: number): void {
		this.room += room;
		this.#port.ready();
	}
	write(bytes: Uint8Array): void {
		this.#left = Buffer.concat([this.#left, bytes]);
		while (this.#left.length > 0) {
			const taken = this.#port.write(this.#left.subarray(0, 65536));
			if (taken === 0) return;
			this.#left = this.#left.subarray(taken);
		}
	}
	get unwritten(): number {
		return this.#left.length;
	}
	get got(): Buffer {
		return Buffer.concat(this.#got);
	}
}

async function connected(t: ExecutionContext, name = 'org.example.0') {
	const port = new SpicePort(name);
	const guest = new FakePort(port);
	const factories = new Map([[port.channelType, port.factory]]);
	const served = await serve(t, {}, { factories });
	const client = await SpiceClient.connect({ port: served.port });
	t.teardown(() => client.close());
	const link = () => client.open(port.channelType);
	return { ...served, spicePort: port, guest, client, link };
}

/** Reads data messages until there are so many bytes. */
async function take(channel: ClientChannel, count: number): Promise<Buffer> {
	const parts: Buffer[] = [];
	for (let length = 0; length < count; ) {
		const { data } = await channel.read(spec.server.data);
		parts.push(Buffer.from(data));
		length += data.length;
	}
	return Buffer.concat(parts);
}

test('the one name makes a channel that shares folders, every other a port', (t) => {
	t.is(new SpicePort(WEBDAV_PORT).channelType, ChannelType.webdav);
	t.is(new SpicePort('org.qemu.console.0').channelType, ChannelType.port);
});

test('a client hears the name, whether the guest is there, and when that changes', async (t) => {
	const { guest, link } = await connected(t, 'org.example.ä');
	t.false(guest.hostIsOpen);
	const channel = await link();
	const { name: bytes, nameSize, opened } = await channel.read(spec.server.init);
	const name = Buffer.from(bytes ?? []);
	t.is(name.toString(), 'org.example.ä\0');
	t.is(nameSize, name.length);
	t.is(opened, 0);
	t.true(guest.hostIsOpen);
	guest.open(true);
	t.is((await channel.read(spec.server.event)).event, PortEvent.opened);
	guest.open(false);
	t.is((await channel.read(spec.server.event)).event, PortEvent.closed);
	guest.open(true);
	channel.close();
	await until(() => guest.hostIsOpen === false, 'the guest to hear that nobody listens');
	const again = await link();
	t.is((await again.read(spec.server.init)).opened, 1);
});

test('bytes pass both ways; those for a guest that is not there yet wait for it', async (t) => {
	const { guest, link } = await connected(t);
	guest.write(Buffer.from('nobody listens'));
	const channel = await link();
	const send = channel.sender(spec.client);
	send.data({ data: Buffer.from('early ') });
	send.event({ event: PortEvent.break });
	send.data({ data: Buffer.from('words') });
	await new Promise((resolve) => setTimeout(resolve, 30));
	t.is(guest.got.length, 0);
	guest.open(true);
	await until(() => guest.got.length === 11, 'the words');
	t.is(guest.got.toString(), 'early words');
	guest.write(Buffer.from('answer'));
	t.is((await take(channel, 6)).toString(), 'answer', 'what was written before the client came is lost');
});

test('a guest that closes its port is not given what was meant for the program before', async (t) => {
	const { guest, link } = await connected(t);
	const channel = await link();
	guest.open(true);
	guest.room = 3;
	channel.sender(spec.client).data({ data: Buffer.from('for the first') });
	await until(() => guest.got.length === 3, 'the beginning');
	guest.open(false);
	guest.open(true);
	guest.make(100);
	channel.sender(spec.client).data({ data: Buffer.from('second') });
	await until(() => guest.got.length === 9, 'the rest');
	t.is(guest.got.toString(), 'forsecond');
});

test('ten megabytes each way, past a guest and a client that both are slow, arrive whole', async (t) => {
	const SIZE = 10 << 20;
	const [up, down] = [randomBytes(SIZE), randomBytes(SIZE)];
	const { guest, link } = await connected(t);
	const channel = await link();
	guest.open(true);
	guest.room = 1;
	const send = channel.sender(spec.client);
	for (let at = 0; at < SIZE; at += 65545) send.data({ data: up.subarray(at, Math.min(SIZE, at + 65545)) });
	guest.write(down);
	t.true(guest.unwritten > SIZE / 2, 'a client that does not read makes the guest wait');
	const drip = setInterval(() => guest.make(777_777), 1);
	t.teardown(() => clearInterval(drip));
	const [got] = await Promise.all([take(channel, SIZE), until(() => guest.got.length === SIZE, 'all of it', 30_000)]);
	const sum = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');
	t.is(sum(got), sum(down));
	t.is(sum(guest.got), sum(up));
	t.is(guest.unwritten, 0);
});

test('a guest that does not read can still write', async (t) => {
	const { guest, link } = await connected(t);
	const channel = await link();
	guest.open(true);
	guest.room = 0;
	const more = Buffer.alloc(1 << 20);
	for (let i = 0; i < 8; i++) channel.sender(spec.client).data({ data: more });
	const words = randomBytes(8 << 20);
	guest.write(words);
	t.true(words.equals(await take(channel, words.length)));
	t.is(guest.got.length, 0);
});

test('a message that no client sends closes the channel and frees the guest; others go on', async (t) => {
	const { guest, link, warnings, client } = await connected(t);
	const channel = await link();
	guest.open(true);
	channel.send(spec.client.data[0], [new Uint8Array((1 << 20) + 1)]);
	await channel.closed;
	t.false(guest.hostIsOpen);
	guest.write(Buffer.alloc(1 << 20));
	t.is(guest.unwritten, 0, 'what nobody reads is lost');
	t.is(warnings.filter((line) => /port 0 .*closed/.test(line)).length, 1);
	t.true(client.main.open);
	t.is((await (await link()).read(spec.server.init)).opened, 1);
});

test('several ports are channels of their own', async (t) => {
	const names = ['a', WEBDAV_PORT, 'b'];
	const ports = names.map((name) => new SpicePort(name));
	const guests = ports.map((port) => new FakePort(port));
	const [a, webdav, b] = ports;
	const factories = new Map<number, ChannelFactory | readonly ChannelFactory[]>([
		[ChannelType.port, [a.factory, b.factory]],
		[ChannelType.webdav, webdav.factory],
	]);
	const served = await serve(t, {}, { factories });
	const client = await SpiceClient.connect({ port: served.port });
	t.teardown(() => client.close());
	t.deepEqual(
		client.channels.filter(([type]) => type === ChannelType.port || type === ChannelType.webdav),
		[
			[ChannelType.port, 0],
			[ChannelType.port, 1],
			[ChannelType.webdav, 0],
		],
	);
	const channel = await client.open(ChannelType.webdav);
	t.is(Buffer.from((await channel.read(spec.server.init)).name ?? []).toString(), `${WEBDAV_PORT}\0`);
	t.deepEqual(
		guests.map(({ hostIsOpen }) => hostIsOpen),
		[false, true, false],
	);
});

test('any order of opening, writing, making room and reading keeps bytes in order and memory bounded', (t) => {
	const step = fc.oneof(
		fc.record({ do: fc.constant('data' as const), size: fc.integer({ min: 0, max: 9000 }) }),
		fc.record({ do: fc.constant('room' as const), size: fc.integer({ min: 0, max: 9000 }) }),
		fc.record({ do: fc.constant('write' as const), size: fc.integer({ min: 0, max: 9000 }) }),
		fc.record({ do: fc.constant('block' as const), size: fc.integer({ min: 0, max: 1 }) }),
	);
	fc.assert(
		fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
			const port = new SpicePort('x');
			const guest = new FakePort(port);
			const link = new FakeLink();
			const channel = port.factory(link as unknown as ChannelLink);
			channel.start?.();
			guest.open(true);
			guest.room = 0;
			let [up, down] = [0, 0];
			for (const { do: what, size } of steps) {
				if (what === 'data' && !link.paused) {
					channel.receive(spec.client.data[0], count(up, size));
					up += size;
				} else if (what === 'room') guest.make(size);
				else if (what === 'write') {
					guest.write(count(down, size));
					down += size;
				} else link.block(size === 1);
				t.true(guest.got.length === up || link.paused, 'nothing more is read while bytes wait');
			}
			guest.make(Number.POSITIVE_INFINITY);
			link.block(false);
			t.false(link.paused);
			t.true(guest.got.equals(count(0, up)));
			t.true(link.data.equals(count(0, down)));
		}),
	);
});

/** Bytes that count up, so that each tells its place. */
function count(from: number, size: number): Buffer {
	return Buffer.from(Uint8Array.from({ length: size }, (_, i) => (from + i) * 31 + ((from + i) >> 8)));
}

/** As much of a link as a port's channel uses. */
class FakeLink {
	writable = true;
	paused = false;
	closed = false;
	onWritable: (() => void) | undefined;
	readonly #data: Uint8Array[] = [];

	send(type: number, parts: readonly Uint8Array[]): void {
		if (type === spec.server.data[0]) this.#data.push(...parts.map((part) => part.slice()));
	}
	pause(): void {
		this.paused = true;
	}
	resume(): void {
		this.paused = false;
	}
	block(blocked: boolean): void {
		this.writable = !blocked;
		if (!blocked) this.onWritable?.();
	}
	get data(): Buffer {
		return Buffer.concat(this.#data);
	}
}
