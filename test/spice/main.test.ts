/** The main channel and the session around it. */
import test from 'ava';
import { type AgentClient, type AgentPort, CLIENT_TOKENS } from '../../src/spice/agent.ts';
import { CapSet } from '../../src/spice/caps.ts';
import { baseServer } from '../../src/spice/protocol/base.ts';
import { ChannelType, MainCap, MouseMode } from '../../src/spice/protocol/constants.ts';
import { main } from '../../src/spice/protocol/main.ts';
import { ClientChannel, LinkRefused, SpiceClient } from '../helpers/spice-client.ts';
import { FakeInputs, serve, until } from './support.ts';

const uuid = '6ba7b810-9dad-11d1-80b4-00c04fd430c8';

test('a client is greeted with init, name and uuid, and told of the channels when it asks', async (t) => {
	const { port } = await serve(t, {}, { name: 'Prüfling', uuid, mmTime: () => 5000.7 });
	const caps = CapSet.of(MainCap.nameAndUuid);
	const link = await ClientChannel.link({ port }, ChannelType.main, { caps });
	t.teardown(() => link.close());
	t.true(link.caps.has(MainCap.nameAndUuid));
	t.true(link.caps.has(MainCap.agentConnectedTokens));
	t.false(link.caps.has(MainCap.seamlessMigrate));
	const { sessionId, ...init } = await link.read(main.server.init);
	t.not(sessionId, 0);
	t.deepEqual(init, {
		displayChannelsHint: 1,
		supportedMouseModes: MouseMode.server,
		currentMouseMode: MouseMode.server,
		agentConnected: 0,
		agentTokens: CLIENT_TOKENS,
		multiMediaTime: 4600,
		ramHint: 64 << 20,
	});
	t.is(Buffer.from((await link.read(main.server.name)).name).toString(), 'Prüfling\0');
	t.is(Buffer.from((await link.read(main.server.uuid)).uuid).toString('hex'), uuid.replaceAll('-', ''));
	link.sender(main.client).attachChannels();
	const { channels } = await link.read(main.server.channelsList);
	t.deepEqual(channels.map(({ type }) => type).sort(), [ChannelType.display, ChannelType.inputs]);
});

test('a client without the capability hears neither name nor uuid; no uuid is not sent as zeros', async (t) => {
	const { port } = await serve(t, {}, { name: 'x', uuid: '00000000-0000-0000-0000-000000000000' });
	for (const caps of [new CapSet([]), CapSet.of(MainCap.nameAndUuid)]) {
		const link = await ClientChannel.link({ port }, ChannelType.main, { caps });
		link.sender(main.client).attachChannels();
		const seen: number[] = [];
		link.onMessage = ({ type }) => seen.push(type);
		await link.next(main.server.channelsList[0]);
		const types = [...seen, ...link.waiting.map(({ type }) => type)];
		t.false(types.includes(main.server.uuid[0]));
		if (!caps.has(MainCap.nameAndUuid)) t.false(types.includes(main.server.name[0]));
		link.close();
	}
});

test('the network test finds loopback fast', async (t) => {
	const { port, display } = await serve(t);
	const client = await SpiceClient.connect({ port });
	t.teardown(() => client.close());
	await client.open(ChannelType.display);
	await until(() => display.links.length === 1, 'the channel');
	const { session } = display.link;
	await until(() => session.bitsPerSecond > 0, 'the network test');
	t.false(session.lowBandwidth);
	t.true(session.latencyMs > 0);
});

test('a thin line is found out', async (t) => {
	const { port, server } = await serve(t);
	const link = await ClientChannel.link({ port, polite: false }, ChannelType.main);
	t.teardown(() => link.close());
	await link.next(main.server.init[0]);
	const pong = link.sender({ pong: main.client.pong }).pong;
	for (let i = 0; i < 3; i++) {
		const { id, timestamp, data } = await link.read(baseServer.ping);
		t.is(data.length, [0, 0, 256_000][i]);
		if (i === 2) await new Promise((resolve) => setTimeout(resolve, 1100));
		pong({ id, timestamp });
	}
	// A second channel shows it: its window is the wide one.
	const { connectionId } = server.clients()[0];
	const inputs = await ClientChannel.link({ port, polite: false }, ChannelType.inputs, { connectionId });
	t.teardown(() => inputs.close());
	t.is((await inputs.read(baseServer.setAck)).window, 40);
});

test("the mouse mode is the client's wish as far as the guest can", async (t) => {
	const { port, inputs, server } = await serve(t);
	t.is(server.info().mouseMode, 'unknown');
	const client = await SpiceClient.connect({ port });
	t.teardown(() => client.close());
	const send = client.main.sender(main.client);
	send.mouseModeRequest({ mode: MouseMode.client });
	t.deepEqual(await client.main.read(main.server.mouseMode), { supportedModes: 1, currentMode: 1 });
	inputs.change({ absolute: true });
	t.deepEqual(await client.main.read(main.server.mouseMode), { supportedModes: 3, currentMode: 1 });
	send.mouseModeRequest({ mode: MouseMode.client });
	t.deepEqual(await client.main.read(main.server.mouseMode), { supportedModes: 3, currentMode: 2 });
	t.is(server.info().mouseMode, 'client');
	send.mouseModeRequest({ mode: 3 });
	t.deepEqual(await client.main.read(main.server.mouseMode), { supportedModes: 3, currentMode: 2 });
	inputs.change({ absolute: false });
	t.deepEqual(await client.main.read(main.server.mouseMode), { supportedModes: 1, currentMode: 1 });
	t.is(server.info().mouseMode, 'server');
});

test('a second client takes over', async (t) => {
	const { port, server, inputs, display, warnings } = await serve(t);
	const first = await SpiceClient.connect({ port });
	await first.open(ChannelType.display);
	await first.open(ChannelType.inputs);
	await until(() => server.clients().length === 3, 'three channels');
	const listening = inputs.listening;
	const second = await SpiceClient.connect({ port });
	t.teardown(() => second.close());
	await first.main.closed;
	t.is(display.closed, 1);
	t.not(second.init.sessionId, first.init.sessionId);
	t.is(server.clients().length, 1);
	t.is(inputs.listening, listening - 1, 'the old inputs channel listens no more');
	await t.throwsAsync(first.open(ChannelType.display));
	await second.open(ChannelType.display);
	t.deepEqual(warnings.length, 1);
});

test('many clients one after the other leave nothing behind', async (t) => {
	const { port, server, inputs, display } = await serve(t);
	const before = inputs.listening;
	for (let i = 0; i < 20; i++) {
		const client = await SpiceClient.connect({ port });
		await client.open(ChannelType.display);
		await client.open(ChannelType.inputs);
		client.close();
	}
	await until(() => server.clients().length === 0, 'the end of the last one');
	t.is(display.closed, 20);
	t.is(inputs.listening, before);
});

test('query-spice and events name the channels as QEMU does', async (t) => {
	const { port, server } = await serve(t, { password: 'x' });
	const events: [string, Record<string, unknown>][] = [];
	server.onEvent((event, data) => events.push([event, data]));
	const client = await SpiceClient.connect({ port, password: 'x' });
	await client.open(ChannelType.inputs);
	const { auth, channels, host, port: shown, mouseMode } = server.info();
	t.deepEqual([auth, host, shown, mouseMode], ['spice', '127.0.0.1', port, 'server']);
	t.deepEqual(
		channels.map(({ port: _, ...rest }) => rest),
		[1, 3].map((channelType) => ({
			host: '127.0.0.1',
			family: 'ipv4',
			connectionId: client.init.sessionId,
			channelType,
			channelId: 0,
			tls: false,
		})),
	);
	client.close();
	await until(() => events.length === 6, 'six events');
	t.deepEqual(
		events.map(([event]) => event.replace('SPICE_', '')),
		['CONNECTED', 'INITIALIZED', 'CONNECTED', 'INITIALIZED', 'DISCONNECTED', 'DISCONNECTED'],
	);
	const initialized = events[3][1] as { server: Record<string, unknown>; client: Record<string, unknown> };
	t.deepEqual(initialized.server, { host: '127.0.0.1', port: String(port), family: 'ipv4', auth: 'spice' });
	t.is(typeof initialized.client.port, 'string');
	t.is(initialized.client['connection-id'], client.init.sessionId);
	t.is(initialized.client['channel-type'], 3);
	t.is(initialized.client.tls, false);
});

test('set_password may spare, refuse or end the client that is there', async (t) => {
	const { port, server } = await serve(t);
	const client = await SpiceClient.connect({ port });
	server.setPassword('one');
	t.true(client.main.open);
	t.throws(() => server.setPassword('two', 'fail'), { message: /connected/ });
	server.setPassword('three', 'disconnect');
	await client.main.closed;
	await t.throwsAsync(SpiceClient.connect({ port, password: 'two' }));
	(await SpiceClient.connect({ port, password: 'three' })).close();
});

test("a display client's capabilities reach the adapter, and its leaving", async (t) => {
	const told: [boolean, string][] = [];
	const clientPresent = (present: boolean, caps: Uint8Array) => {
		told.push([present, Buffer.from(caps).toString('hex')]);
	};
	const { port } = await serve(t, {}, { clientPresent });
	const client = await SpiceClient.connect({ port });
	t.deepEqual(told, []);
	await client.open(ChannelType.display, CapSet.of(1, 9));
	client.close();
	await until(() => told.length === 2, 'both');
	t.deepEqual(told, [
		[true, `0202${'00'.repeat(56)}`],
		[false, '00'.repeat(58)],
	]);
});

test('a plain inputs channel is warned of on the main channel, as libspice-server does', async (t) => {
	const { port } = await serve(t);
	const client = await SpiceClient.connect({ port });
	t.teardown(() => client.close());
	await client.open(ChannelType.inputs);
	const { severity, visibility, message } = await client.main.read(baseServer.notify);
	t.deepEqual([severity, visibility, Buffer.from(message).toString()], [1, 2, 'keyboard channel is insecure']);
});

class FakeAgent implements AgentPort {
	connected = false;
	client: AgentClient | undefined;
	readonly calls: string[] = [];
	attachClient(client: AgentClient): void {
		this.client = client;
		this.calls.push('attach');
	}
	detachClient(): void {
		this.client = undefined;
		this.calls.push('detach');
	}
	receive(data: Uint8Array): void {
		this.calls.push(`data ${data.length}`);
	}
	start(tokens: number): void {
		this.calls.push(`start ${tokens}`);
	}
	grant(count: number): void {
		this.calls.push(`grant ${count}`);
	}
	resume(): void {}
}

test("the agent's messages and tokens go both ways, and it may come and go", async (t) => {
	const agent = new FakeAgent();
	const { port, warnings } = await serve(t, {}, { agent });
	const client = await SpiceClient.connect({ port });
	const send = client.main.sender(main.client);
	t.is(client.init.agentConnected, 0);
	t.deepEqual(agent.calls, ['attach']);
	send.agentData({ data: Buffer.alloc(5) });
	agent.connected = true;
	agent.client?.agentConnected();
	t.is((await client.main.read(main.server.agentConnectedTokens)).numTokens, CLIENT_TOKENS);
	send.agentStart({ numTokens: 7 });
	for (let i = 1; i <= CLIENT_TOKENS; i++) send.agentData({ data: Buffer.alloc(i) });
	send.agentToken({ numTokens: 3 });
	await until(() => agent.calls.includes('grant 3'), 'the last call');
	t.deepEqual(agent.calls, [
		'attach',
		'data 5',
		'start 7',
		...Array.from({ length: 10 }, (_, i) => `data ${i + 1}`),
		'grant 3',
	]);
	agent.client?.agentData(Buffer.from('from the guest'));
	agent.client?.agentTokens(2);
	t.is(Buffer.from((await client.main.read(main.server.agentData)).data).toString(), 'from the guest');
	t.is((await client.main.read(main.server.agentToken)).numTokens, 2);
	agent.connected = false;
	agent.client?.agentDisconnected();
	await client.main.next(main.server.agentDisconnected[0]);
	client.close();
	await until(() => agent.calls.includes('detach'), 'the end');
	t.deepEqual(warnings, []);
});

test("a client that gets no new tokens with an agent keeps those that it has, over the agent's life", async (t) => {
	const agent = new FakeAgent();
	const { port, warnings } = await serve(t, {}, { agent });
	const link = await ClientChannel.link({ port }, ChannelType.main);
	t.teardown(() => link.close());
	const send = link.sender(main.client);
	// For nobody: it is returned.
	send.agentData({ data: Buffer.alloc(3) });
	t.is((await link.read(main.server.agentToken)).numTokens, 1);
	agent.connected = true;
	agent.client?.agentConnected();
	await link.next(main.server.agentConnected[0]);
	send.agentStart({ numTokens: 7 });
	for (let i = 0; i < CLIENT_TOKENS; i++) send.agentData({ data: Buffer.alloc(1) });
	await until(() => agent.calls.length === CLIENT_TOKENS + 3, 'all of its messages');
	t.deepEqual(warnings, []);
	send.agentData({ data: Buffer.alloc(1) });
	await link.closed;
	t.is(warnings.length, 1);
});

for (const [name, size, count] of [
	['more messages than it has tokens', 1, CLIENT_TOKENS + 1],
	['a message over the limit', 2049, 1],
] as const) {
	test(`a client that sends the agent ${name} is out`, async (t) => {
		const agent = new FakeAgent();
		agent.connected = true;
		const { port, warnings } = await serve(t, {}, { agent });
		const client = await SpiceClient.connect({ port });
		const send = client.main.sender(main.client);
		send.agentStart({ numTokens: 1 });
		for (let i = 0; i < count; i++) send.agentData({ data: Buffer.alloc(size) });
		await client.main.closed;
		t.is(warnings.length, 1);
	});
}

test('absolute pointers are offered from the start if the guest has one', async (t) => {
	const inputs = new FakeInputs();
	inputs.absolute = true;
	const { port } = await serve(t, {}, { inputs });
	const client = await SpiceClient.connect({ port });
	t.teardown(() => client.close());
	t.is(client.init.supportedMouseModes, 3);
	t.is(client.init.currentMouseMode, MouseMode.server);
});

for (const count of [2, 4, 100])
	test(`of ${count} clients that come at once the last has the machine, and one session is left`, async (t) => {
		const { port, server, warnings } = await serve(t, { password: 'secret' });
		const clients = await Promise.allSettled(
			Array.from({ length: count }, () => SpiceClient.connect({ port, password: 'secret' })),
		);
		t.teardown(() => {
			for (const client of clients) if (client.status === 'fulfilled') client.value.close();
		});
		const open = () => clients.flatMap((c) => (c.status === 'fulfilled' && c.value.main.open ? [c.value] : []));
		await until(() => open().length === 1, 'the end of the others');
		const [left] = open();
		t.deepEqual(
			server.clients().map(({ connectionId }) => connectionId),
			[left.init.sessionId],
		);
		t.true((await left.open(ChannelType.display)).open, 'it is served');
		await t.throwsAsync(left.open(ChannelType.display), { instanceOf: LinkRefused }, 'each channel once');
		t.true(warnings.length <= 6, warnings.join('\n'));
	});
