/** Messages, flow control and ends of a channel, over real sockets. */
import test, { type ExecutionContext } from 'ava';
import { WireError } from '../../src/core/index.ts';
import { baseServer } from '../../src/spice/protocol/base.ts';
import { ChannelType, LinkError } from '../../src/spice/protocol/constants.ts';
import { main } from '../../src/spice/protocol/main.ts';
import { SpiceClient } from '../helpers/spice-client.ts';
import { serve, until } from './support.ts';

for (const miniHeader of [true, false]) {
	const kind = miniHeader ? 'mini' : 'full';
	test(`messages go both ways with ${kind} headers`, async (t) => {
		const { port, display } = await serve(t);
		const client = await SpiceClient.connect({ port, miniHeader });
		t.teardown(() => client.close());
		const channel = await client.open(ChannelType.display);
		await until(() => display.links.length === 1, 'the channel');
		display.link.send(200, [Buffer.from('abc'), Buffer.from('def')]);
		display.link.send(201, []);
		display.link.send(202, [Buffer.alloc(1_000_000, 7), Buffer.of(8)]);
		t.is((await channel.next(200)).body.toString(), 'abcdef');
		t.is((await channel.next(201)).body.length, 0);
		const large = await channel.next(202);
		t.is(large.body.length, 1_000_001);
		t.true(large.body.subarray(0, -1).every((byte) => byte === 7));
		t.is(large.body[1_000_000], 8);
		channel.send(300, [Buffer.from('hello')]);
		channel.send(301, []);
		channel.send(302, [Buffer.alloc(65536, 9)]);
		await until(() => display.messages.length === 3, 'three messages');
		t.deepEqual(
			display.messages.map(({ type, body }) => [type, body.length]),
			[
				[300, 5],
				[301, 0],
				[302, 65536],
			],
		);
		t.true(display.messages[2].body.every((byte) => byte === 9));
	});
}

test('messages may come in any pieces', async (t) => {
	const { port, display } = await serve(t);
	const client = await SpiceClient.connect({ port });
	t.teardown(() => client.close());
	const channel = await client.open(ChannelType.display);
	const one = Buffer.from('2c0103000000616263', 'hex');
	const many = Buffer.concat([one, one, one]);
	for (let cut = 1; cut < many.length; cut++) {
		channel.stream.write(many.subarray(0, cut));
		await new Promise((resolve) => setTimeout(resolve, 1));
		channel.stream.write(many.subarray(cut));
	}
	const expected = 3 * (many.length - 1);
	await until(() => display.messages.length === expected, `${expected} messages`);
	for (const { type, body } of display.messages) t.deepEqual([type, body.toString()], [300, 'abc']);
});

test('the server stops at two unconfirmed windows and goes on with the confirmation', async (t) => {
	const { port, display } = await serve(t);
	const client = await SpiceClient.connect({ port, polite: false });
	t.teardown(() => client.close());
	const channel = await client.open(ChannelType.display);
	await until(() => display.links.length === 1, 'the channel');
	const { link } = display;
	let woken = 0;
	link.onWritable = () => {
		woken++;
	};
	const { generation, window } = await channel.read(baseServer.setAck);
	t.is(window, 20);
	let sent = 0;
	while (link.writable) link.send(400, [Buffer.of(sent++)]);
	t.is(sent, 39, 'set_ack counts');
	for (let i = 0; i < 10; i++) link.send(400, [Buffer.of(sent++)]);
	await until(() => channel.received === 40, '40 messages');
	await new Promise((resolve) => setTimeout(resolve, 50));
	t.is(channel.received, 40);
	t.is(woken, 0);

	const base = channel.sender({ ackSync: main.client.ackSync, ack: main.client.ack });
	base.ack();
	await new Promise((resolve) => setTimeout(resolve, 50));
	t.is(channel.received, 40, 'confirmations count only after ack_sync');
	base.ackSync({ generation });
	await until(() => channel.received === 50, 'what was held');
	t.true(link.writable);
	t.is(woken, 1);
	for (let i = 0; i < 100; i++) base.ack();
	channel.send(300, []);
	await until(() => display.messages.length === 1, 'the last message');
	t.is(woken, 1, 'a confirmation that opens nothing wakes nobody');
	const order = channel.waiting.map(({ body }) => body[0]);
	t.deepEqual(
		order,
		Array.from({ length: 49 }, (_, i) => i),
	);
});

test('a backed-up socket closes the channel for senders until it drains', async (t) => {
	const { port, display } = await serve(t);
	const client = await SpiceClient.connect({ port });
	t.teardown(() => client.close());
	const channel = await client.open(ChannelType.display);
	await until(() => display.links.length === 1, 'the channel');
	const { link } = display;
	let woken = 0;
	link.onWritable = () => {
		woken++;
	};
	channel.stream.pause();
	link.send(400, [Buffer.alloc(20_000_000)]);
	t.false(link.writable);
	await new Promise((resolve) => setTimeout(resolve, 100));
	t.is(woken, 0);
	channel.stream.resume();
	t.is((await channel.next(400)).body.length, 20_000_000);
	await until(() => woken === 1, 'the wake-up');
	t.true(link.writable);
});

test('a client that reads nothing is dropped before it costs much memory', async (t) => {
	const { port, display, warnings } = await serve(t);
	const client = await SpiceClient.connect({ port, polite: false });
	t.teardown(() => client.close());
	const channel = await client.open(ChannelType.display);
	await until(() => display.links.length === 1, 'the channel');
	channel.stream.pause();
	const picture = Buffer.alloc(1024 * 1024);
	let sent = 0;
	while (!display.link.closed && sent < 200) {
		display.link.send(400, [picture]);
		sent++;
	}
	t.true(sent <= 110, `${sent} MiB were taken`);
	t.is(display.closed, 1);
	await client.main.closed;
	t.deepEqual(warnings, ['SPICE client 127.0.0.1 dropped: its display 0 channel does not read']);
});

for (const [name, provoke] of [
	['a body that is too short', (send: (type: number, parts: Uint8Array[]) => void) => send(105, [])],
	['a message that does not exist', (send: (type: number, parts: Uint8Array[]) => void) => send(99, [])],
	[
		'a message that is too long',
		(send: (type: number, parts: Uint8Array[]) => void) => send(101, [Buffer.alloc(5000)]),
	],
] as const) {
	test(`${name} closes its channel with the protocol's error, and no other`, async (t) => {
		const { port, display, warnings } = await serve(t);
		const client = await SpiceClient.connect({ port });
		t.teardown(() => client.close());
		const inputs = await client.open(ChannelType.inputs);
		const channel = await client.open(ChannelType.display);
		provoke((type, parts) => inputs.send(type === 105 ? 103 : type, parts));
		const { reason } = await inputs.read(baseServer.disconnecting);
		t.is(reason, LinkError.invalidData);
		await inputs.closed;
		t.is(warnings.length, 1);
		t.regex(warnings[0], /^inputs 0 of 127\.0\.0\.1: .*; channel closed$/);
		channel.send(300, []);
		await until(() => display.messages.length === 1, 'a message on the other channel');
		t.true(client.main.open);
		const again = await client.open(ChannelType.inputs);
		t.true(again.open, 'and the channel can be linked again');
	});
}

test('an error in a behaviour costs that channel, not the server', async (t) => {
	const { port, display, warnings } = await serve(t);
	const client = await SpiceClient.connect({ port });
	t.teardown(() => client.close());
	const channel = await client.open(ChannelType.display);
	display.onReceive = () => {
		throw new TypeError('a bug');
	};
	channel.send(300, []);
	t.is((await channel.read(baseServer.disconnecting)).reason, LinkError.error);
	await channel.closed;
	t.regex(warnings[0], /a bug/);
	t.true(client.main.open);
});

test('a wire error that a behaviour throws names invalid data', async (t) => {
	const { port, display } = await serve(t);
	const client = await SpiceClient.connect({ port });
	t.teardown(() => client.close());
	const channel = await client.open(ChannelType.display);
	display.onReceive = () => {
		throw new WireError('not so');
	};
	channel.send(300, []);
	t.is((await channel.read(baseServer.disconnecting)).reason, LinkError.invalidData);
});

test('a client that says goodbye leaves, and its channel is told once', async (t) => {
	const { port, display, warnings } = await serve(t);
	const client = await SpiceClient.connect({ port });
	t.teardown(() => client.close());
	const channel = await client.open(ChannelType.display);
	channel.sender({ bye: main.client.disconnecting }).bye({ timeStamp: 0n, reason: 0 });
	await channel.closed;
	t.is(display.closed, 1);
	t.deepEqual(warnings, []);
	display.link.send(400, []);
	display.link.close();
	t.is(display.closed, 1);
});

test('pings come back with their time', async (t) => {
	const { port, display } = await serve(t);
	const client = await SpiceClient.connect({ port });
	t.teardown(() => client.close());
	await client.open(ChannelType.display);
	await until(() => display.links.length === 1, 'the channel');
	const pongs: [number, number][] = [];
	display.link.onPong = (id, ms) => pongs.push([id, ms]);
	const ids = [display.link.ping(), display.link.ping(1000)];
	await until(() => pongs.length === 2, 'two answers');
	t.deepEqual(
		pongs.map(([id]) => id),
		ids,
	);
	for (const [, ms] of pongs) t.true(ms > 0 && ms < 5000);
});

/** A display channel whose server's time is the test's. */
async function timed(t: ExecutionContext, polite: boolean) {
	const clock = { now: 1000 };
	const { port, display, warnings } = await serve(t, {}, { now: () => clock.now });
	const client = await SpiceClient.connect({ port, polite });
	t.teardown(() => client.close());
	const channel = await client.open(ChannelType.display);
	await until(() => display.links.length === 1, 'the channel');
	await until(() => channel.received === 1, 'set_ack');
	const { link } = display;
	const pass = (ms: number) => {
		clock.now += ms;
		link.tick();
	};
	return { client, channel, link, pass, warnings };
}

test('a silent client is given up after a while', async (t) => {
	const { client, channel, link, pass, warnings } = await timed(t, false);
	pass(14_000);
	t.false(link.closed);
	pass(2000);
	await until(() => channel.received === 2, 'the ping');
	pass(13_000);
	t.false(link.closed, 'a ping is under way');
	pass(21_000);
	t.true(link.closed);
	t.deepEqual(warnings, ['SPICE client 127.0.0.1 dropped: its display 0 channel gave no sign of life for 30 s']);
	await client.main.closed;
});

test('a client that stops confirming is given up after a while', async (t) => {
	const { client, channel, link, pass, warnings } = await timed(t, false);
	while (link.writable) link.send(400, []);
	await until(() => channel.received === 40, 'two windows');
	pass(29_000);
	t.false(link.closed);
	pass(2000);
	t.true(link.closed);
	t.deepEqual(warnings, ['SPICE client 127.0.0.1 dropped: its display 0 channel confirmed nothing for 30 s']);
	await client.main.closed;
});

test('a client that confirms and talks but does not read is given up after a while', async (t) => {
	const { client, channel, link, pass, warnings } = await timed(t, true);
	channel.stream.pause();
	link.send(400, [Buffer.alloc(20_000_000)]);
	const base = channel.sender({ ack: main.client.ack });
	for (let second = 0; second < 30; second++) {
		base.ack();
		channel.send(300, []);
		await new Promise((resolve) => setTimeout(resolve, 2));
		pass(1000);
		t.false(link.closed, `after ${second + 1} s`);
	}
	pass(1000);
	t.true(link.closed);
	t.deepEqual(warnings, ['SPICE client 127.0.0.1 dropped: its display 0 channel read nothing for 30 s']);
	await client.main.closed;
});

test('a client that reads slowly is kept', async (t) => {
	const { channel, link, pass } = await timed(t, true);
	const last = channel.received + 60;
	for (let i = 0; i < 60; i++) link.send(400, [Buffer.alloc(1_000_000)]);
	for (let seen = channel.received; seen < last; seen = channel.received) {
		pass(2000);
		t.false(link.closed);
		await until(() => channel.received > seen, 'more');
	}
});

test('small messages cost what they take, not only their bytes', async (t) => {
	const { port, display, warnings } = await serve(t);
	const client = await SpiceClient.connect({ port });
	t.teardown(() => client.close());
	const channel = await client.open(ChannelType.display);
	const base = channel.sender({ ackSync: main.client.ackSync, ack: main.client.ack });
	await until(() => display.links.length === 1, 'the channel');
	const { link } = display;
	await until(() => channel.received === 1, 'set_ack');
	channel.stream.pause();
	// As long as it confirms, nothing holds these messages back.
	display.onReceive = () => {
		for (let i = 0; i < 40; i++) link.send(400, [Buffer.alloc(100)]);
	};
	let sent = 0;
	for (; !link.closed && sent < 10_000; sent++) {
		base.ack();
		base.ack();
		channel.send(300, []);
		if (sent % 100 === 0) await new Promise((resolve) => setTimeout(resolve, 1));
	}
	await client.main.closed;
	t.true(sent * 40 > 50_000 && sent < 10_000, `${sent * 40} messages`);
	t.deepEqual(warnings, ['SPICE client 127.0.0.1 dropped: its display 0 channel does not read']);
});
