/** The agent's port between a guest that speaks vdagent and a client of the main channel. */
import test from 'ava';
import fc from 'fast-check';
import { wordOptions } from '../../src/cli/words.ts';
import { decode, WireError } from '../../src/core/index.ts';
import { createSpicePorts } from '../../src/machine/agent.ts';
import { parseConfig } from '../../src/machine/config.ts';
import { planDevices } from '../../src/machine/planner.ts';
import { AgentCap, AgentMessage, AnnounceCapabilities, GraphicsDeviceInfo } from '../../src/spice/agent/messages.ts';
import { SpiceVmc, type SpiceVmcOptions } from '../../src/spice/agent/spicevmc.ts';
import { wholeMessage } from '../../src/spice/agent/stream.ts';
import { CLIENT_TOKENS, MAX_AGENT_DATA } from '../../src/spice/agent.ts';
import { announcement, chunk, cut, FakeClient, FakeGuest } from '../helpers/agent-ends.ts';

/** Tokens that spice-gtk grants: as good as no limit. */
const ENDLESS = 0xffffffff;
const { clipboard, clipboardGrab, clipboardRequest, clipboardRelease } = AgentMessage;
const { fileXferStart, fileXferStatus, fileXferData, maxClipboard, audioVolumeSync, displayConfig } = AgentMessage;
const CLIPBOARD = [clipboard, clipboardGrab, clipboardRequest, clipboardRelease];
const FILES = [fileXferStart, fileXferStatus, fileXferData];

interface Ends {
	readonly vmc: SpiceVmc;
	readonly guest: FakeGuest;
	readonly client: FakeClient;
}

/** A guest whose agent is there and a client that talks to it. */
function talk(options: SpiceVmcOptions = {}, tokens = ENDLESS): Ends {
	const vmc = new SpiceVmc(options);
	const guest = new FakeGuest(vmc);
	const client = new FakeClient();
	guest.open();
	vmc.attachClient(client);
	vmc.start(tokens);
	return { vmc, guest, client };
}

/** Sends one message as a client does; every piece costs a token. */
function say({ vmc, client }: Ends, type: number, body: Uint8Array): void {
	for (const piece of cut(type, body)) {
		client.tokens--;
		vmc.receive(piece);
	}
}

test('messages of any size pass in both directions unchanged', (t) => {
	const size = fc.oneof(fc.nat({ max: 60 }), fc.nat({ max: 6000 }));
	fc.assert(
		fc.property(fc.array(fc.tuple(fc.boolean(), size), { maxLength: 12 }), (messages) => {
			const ends = talk();
			const wanted = { guest: [] as Buffer[], client: [] as Buffer[] };
			for (const [i, [up, length]] of messages.entries()) {
				const body = Buffer.alloc(length, i + 1);
				if (up) {
					ends.guest.say(clipboard, body);
					wanted.client.push(body);
				} else {
					say(ends, clipboard, body);
					wanted.guest.push(body);
				}
			}
			t.deepEqual(
				ends.client.stream.all.map(({ body }) => Buffer.from(body)),
				wanted.client,
			);
			t.deepEqual(
				ends.guest.messages.map(({ body }) => Buffer.from(body)),
				wanted.guest,
			);
			t.true(ends.client.sizes.every((bytes) => bytes <= MAX_AGENT_DATA));
		}),
		{ numRuns: 100 },
	);
});

test('a client gets its tokens back as the guest takes what it sent, and a slow guest loses nothing', (t) => {
	const ends = talk();
	ends.guest.room = 0;
	const file = Buffer.alloc(CLIENT_TOKENS * MAX_AGENT_DATA - 20, 7);
	say(ends, fileXferData, file);
	t.is(ends.client.tokens, 0);
	ends.guest.make(MAX_AGENT_DATA);
	t.is(ends.client.tokens, 0);
	for (let i = 0; i < 300; i++) ends.guest.make(100);
	t.is(ends.client.tokens, CLIENT_TOKENS);
	t.deepEqual(
		ends.guest.messages.map(({ body }) => body),
		[file],
	);
});

test('a client that grants no tokens makes the guest wait, and nothing is lost', (t) => {
	const { vmc, guest, client } = talk({}, 3);
	const message = wholeMessage(clipboard, Buffer.alloc(300_000, 3));
	let left = guest.write(chunk(1, message));
	t.is(client.sizes.length, 3);
	const held = message.length - left.length - client.sizes.reduce((sum, size) => sum + size, 0);
	t.true(held < 200_000, `${held} bytes are held`);
	t.is(guest.write(left).length, left.length);
	t.is(guest.drains, 0);
	while (left.length > 0) {
		const drains = guest.drains;
		vmc.grant(40);
		t.is(guest.drains, drains + 1);
		left = guest.write(left);
	}
	vmc.grant(40);
	t.deepEqual(client.stream.all[0]?.body, Buffer.alloc(300_000, 3));
});

test('a client that does not read makes the guest wait until it does', (t) => {
	const { vmc, guest, client } = talk();
	client.writable = false;
	const left = guest.write(chunk(1, wholeMessage(clipboard, Buffer.alloc(300_000))));
	t.true(left.length > 0);
	t.is(client.sizes.length, 0);
	client.writable = true;
	vmc.resume();
	t.is(guest.drains, 1);
	t.is(guest.write(left).length, 0);
	t.is(client.stream.all.length, 1);
});

test('the capabilities that a client hears of are those that it may use', (t) => {
	const all = [AgentCap.mouseState, AgentCap.clipboard, AgentCap.clipboardByDemand, AgentCap.clipboardSelection];
	const heard = (options: SpiceVmcOptions) => {
		const { guest, client } = talk(options);
		guest.say(AgentMessage.announceCapabilities, announcement(1, ...all, 14));
		const { request, caps } = decode(AnnounceCapabilities, client.stream.all[0].body);
		t.is(request, 1);
		return Array.from({ length: 32 }, (_, bit) => bit).filter((bit) => caps[0] & (1 << bit));
	};
	t.deepEqual(heard({}), [0, 3, 5, 6, 14]);
	t.deepEqual(heard({ copyPaste: false }), [0, 14]);
	t.deepEqual(heard({ fileTransfer: false }), [0, 3, 5, 6, 13, 14]);
});

test('without copy and paste or file transfer their messages go neither way; all others do', (t) => {
	const others = [displayConfig, maxClipboard, audioVolumeSync, 99];
	const passing = (options: SpiceVmcOptions) => {
		const ends = talk(options);
		for (const type of [...CLIPBOARD, ...FILES, ...others]) {
			say(ends, type, Buffer.alloc(2500));
			ends.guest.say(type, Buffer.alloc(2500));
		}
		t.deepEqual(ends.guest.types(1), ends.client.types());
		t.true(ends.client.tokens > CLIENT_TOKENS / 2, 'what is dropped has been taken, too');
		return ends.client.types();
	};
	t.deepEqual(passing({}), [...CLIPBOARD, ...FILES, ...others]);
	t.deepEqual(passing({ copyPaste: false }), [...FILES, ...others]);
	t.deepEqual(passing({ fileTransfer: false }), [...CLIPBOARD, ...others]);
	t.deepEqual(passing({ copyPaste: false, fileTransfer: false }), others);
});

test('a client hears of an agent that comes, leaves and comes again', (t) => {
	const vmc = new SpiceVmc();
	const guest = new FakeGuest(vmc);
	const client = new FakeClient();
	vmc.attachClient(client);
	t.false(vmc.connected);
	for (let i = 0; i < 3; i++) {
		guest.open();
		vmc.start(ENDLESS);
		guest.say(clipboardGrab, Buffer.from([i]));
		guest.close();
	}
	t.deepEqual(client.calls, Array.from({ length: 3 }, () => ['connected', 'disconnected']).flat());
});

test('what a client was saying to an agent that left does not reach the next one, and does not harm it', (t) => {
	const ends = talk();
	const pieces = cut(fileXferData, Buffer.alloc(10_000, 1));
	for (const piece of pieces.slice(0, 2)) ends.vmc.receive(piece);
	ends.guest.close();
	ends.vmc.receive(pieces[2]);
	ends.guest.open();
	ends.vmc.receive(pieces[3]);
	ends.vmc.start(ENDLESS);
	// spice-gtk goes on with what it has queued: here the end of the old message.
	ends.vmc.receive(pieces[4]);
	say(ends, clipboardGrab, Buffer.from('new'));
	t.deepEqual(
		ends.guest.messages.map(({ body }) => body.toString()),
		['new'],
	);
});

test('what is under way when the agent leaves costs the client no tokens', (t) => {
	const ends = talk();
	ends.guest.room = 100;
	say(ends, fileXferData, Buffer.alloc(CLIENT_TOKENS * MAX_AGENT_DATA - 20));
	t.is(ends.client.tokens, 0);
	ends.guest.close();
	t.is(ends.client.tokens, CLIENT_TOKENS);
});

test('a client that leaves in the middle of its message leaves the agent in order for the next one', (t) => {
	const ends = talk();
	ends.guest.room = 3000;
	const pieces = cut(fileXferData, Buffer.alloc(10_000, 1));
	for (const piece of pieces.slice(0, 4)) ends.vmc.receive(piece);
	ends.vmc.detachClient();
	const next = new FakeClient();
	ends.vmc.attachClient(next);
	ends.vmc.start(ENDLESS);
	const after = { ...ends, client: next };
	say(after, clipboardGrab, Buffer.from('next'));
	ends.guest.make(100_000);
	t.deepEqual(
		ends.guest.messages.map(({ port, type }) => [port, type]),
		[
			[2, AgentMessage.clientDisconnected],
			[1, clipboardGrab],
		],
	);
	for (let i = 0; i < 10; i++) say(after, clipboardGrab, Buffer.from([i]));
	t.true(next.tokens >= CLIENT_TOKENS / 2 && next.tokens <= CLIENT_TOKENS, `${next.tokens} tokens`);
});

test("what the agent was saying to a client that left does not reach the next one; the guest's end goes on", (t) => {
	const { vmc, guest, client } = talk({}, 2);
	const bytes = chunk(1, wholeMessage(clipboard, Buffer.alloc(500_000)));
	let left = guest.write(bytes);
	t.is(client.sizes.length, 2);
	t.true(left.length > 0);
	vmc.detachClient();
	t.is(guest.drains, 1);
	const next = new FakeClient();
	vmc.attachClient(next);
	vmc.start(ENDLESS);
	left = guest.write(left);
	t.is(left.length, 0);
	guest.say(clipboardGrab, Buffer.from('whole'));
	t.deepEqual(
		next.stream.all.map(({ body }) => body.toString()),
		['whole'],
	);
});

test('an agent hears nothing of a client that never spoke to it, nor that client of the agent', (t) => {
	const vmc = new SpiceVmc();
	const guest = new FakeGuest(vmc);
	guest.open();
	for (let i = 0; i < 50; i++) {
		const client = new FakeClient();
		vmc.attachClient(client);
		guest.say(AgentMessage.announceCapabilities, announcement(1, AgentCap.clipboard));
		guest.say(clipboardGrab, Buffer.alloc(5000));
		vmc.receive(wholeMessage(clipboardGrab, Buffer.alloc(9)));
		vmc.detachClient();
		t.deepEqual(client.stream.all, []);
	}
	t.deepEqual(guest.messages, []);
});

test('bytes that are no chunks end the talk until the agent opens its port again', (t) => {
	const { vmc, guest, client } = talk();
	t.is(guest.write(Buffer.from('ffffffffffffffffffffffffffffffff', 'hex')).length, 0);
	t.false(vmc.connected);
	t.deepEqual(client.calls, ['disconnected']);
	t.is(guest.write(Buffer.alloc(1_000_000)).length, 0);
	guest.close();
	guest.open();
	t.deepEqual(client.calls, ['disconnected', 'connected']);
	vmc.start(ENDLESS);
	guest.say(clipboardGrab, Buffer.from('sane'));
	t.is(client.stream.all.length, 1);
});

test('a client that speaks another protocol is told so by an error', (t) => {
	const { vmc } = talk();
	t.throws(() => vmc.receive(Buffer.alloc(20, 9)), { instanceOf: WireError });
	const hostile = talk({ monitors: () => true });
	const count = Buffer.alloc(8);
	count.writeUInt32LE(0xffffffff);
	t.throws(() => hostile.vmc.receive(wholeMessage(AgentMessage.monitorsConfig, count)), { instanceOf: WireError });
});

test("any guest's bytes and any client's at any time: no throw but a client's WireError, and little is held", (t) => {
	const step = fc.oneof(
		fc.record({ do: fc.constant('guest' as const), bytes: fc.uint8Array({ maxLength: 200 }) }),
		fc.record({ do: fc.constant('client' as const), bytes: fc.uint8Array({ maxLength: 200 }) }),
		fc.record({ do: fc.constantFrom('open', 'close', 'attach', 'detach', 'start', 'grant', 'room') }),
		fc.record({ do: fc.constant('say' as const), type: fc.integer({ min: 0, max: 20 }), size: fc.nat({ max: 4000 }) }),
		fc.record({ do: fc.constant('tell' as const), type: fc.integer({ min: 0, max: 20 }), size: fc.nat({ max: 4000 }) }),
	);
	fc.assert(
		fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
			const vmc = new SpiceVmc({ monitors: () => false, displays: [] });
			const guest = new FakeGuest(vmc);
			guest.room = 500;
			let attached = false;
			const toServer = (bytes: Uint8Array) => {
				if (!attached) return;
				try {
					vmc.receive(bytes);
				} catch (error) {
					if (!(error instanceof WireError)) throw error;
					vmc.detachClient();
					attached = false;
				}
			};
			for (const now of steps) {
				if (now.do === 'guest' && 'bytes' in now) guest.write(now.bytes);
				else if (now.do === 'client' && 'bytes' in now) toServer(now.bytes);
				else if (now.do === 'say' && 'type' in now)
					guest.write(chunk(1, wholeMessage(now.type, Buffer.alloc(now.size))));
				else if (now.do === 'tell' && 'type' in now)
					for (const piece of cut(now.type, Buffer.alloc(now.size))) toServer(piece);
				else if (now.do === 'open') guest.open();
				else if (now.do === 'close') guest.close();
				else if (now.do === 'attach' && !attached) {
					vmc.attachClient(new FakeClient());
					attached = true;
				} else if (now.do === 'detach' && attached) {
					vmc.detachClient();
					attached = false;
				} else if (now.do === 'start' && attached) vmc.start(5);
				else if (now.do === 'grant' && attached) vmc.grant(1);
				else if (now.do === 'room') guest.make(300);
			}
			// Whatever came before, the agent that opens its port now can talk to a client.
			guest.close();
			if (attached) vmc.detachClient();
			guest.open();
			const client = new FakeClient();
			vmc.attachClient(client);
			vmc.start(5);
			guest.say(clipboardGrab, Buffer.from('fine'));
			t.is(client.stream.all.at(-1)?.body.toString(), 'fine');
		}),
		{ numRuns: 300 },
	);
});

test('an agent that says that it moves pointers is one, until it leaves', (t) => {
	const { vmc, guest } = talk();
	const changes: boolean[] = [];
	vmc.pointer.onActive = (active) => changes.push(active);
	guest.say(AgentMessage.announceCapabilities, announcement(0, AgentCap.mouseState));
	vmc.detachClient();
	t.true(vmc.pointer.active);
	guest.close();
	t.deepEqual(changes, [true, false]);
});

test("the client's monitors go to the display adapter, and to the agent if the adapter does not take them", (t) => {
	const body = encodeMonitors([{ width: 800, height: 600, x: 0, y: 0 }]);
	const asked: unknown[] = [];
	let taken = true;
	const ends = talk({
		monitors: (heads) => {
			asked.push(heads.map(({ width, height }) => [width, height]));
			return taken;
		},
	});
	say(ends, AgentMessage.monitorsConfig, body);
	t.deepEqual(ends.guest.messages, []);
	taken = false;
	say(ends, AgentMessage.monitorsConfig, body);
	t.deepEqual(asked, [[[800, 600]], [[800, 600]]]);
	t.deepEqual(
		ends.guest.messages.map(({ type, body }) => [type, Buffer.from(body)]),
		[[AgentMessage.monitorsConfig, body]],
	);
});

test('an agent that wants to know is told which output of which device a monitor is', (t) => {
	const displays = [{ channelId: 0, monitorId: 0, deviceDisplayId: 0, deviceAddress: 'pci/0000/02.0' }];
	const { guest } = talk({ displays });
	guest.say(AgentMessage.announceCapabilities, announcement(0, AgentCap.mouseState));
	t.deepEqual(guest.messages, []);
	guest.say(AgentMessage.announceCapabilities, announcement(0, AgentCap.graphicsDeviceInfo));
	t.deepEqual(guest.types(2), [AgentMessage.graphicsDeviceInfo]);
	const { displayInfo } = decode(GraphicsDeviceInfo, guest.messages[0].body);
	t.is(Buffer.from(displayInfo[0].deviceAddress).toString(), 'pci/0000/02.0\0');
});

test('the agent is told of as many outputs as max_outputs allows and the driver has', (t) => {
	const told = (word: string) => {
		const config = parseConfig({ spice: { port: 5900 }, ...wordOptions({ device: [`qxl-vga${word}`] }) });
		const { agent } = createSpicePorts(config, planDevices(config), new Map(), {});
		if (!agent) throw new Error('the machine has no agent');
		const guest = new FakeGuest(agent);
		guest.open();
		guest.say(AgentMessage.announceCapabilities, announcement(0, AgentCap.graphicsDeviceInfo));
		return decode(GraphicsDeviceInfo, guest.messages[0].body).displayInfo.length;
	};
	t.deepEqual(['', ',max_outputs=0', ',max_outputs=1', ',max_outputs=3', ',max_outputs=16'].map(told), [4, 4, 1, 3, 4]);
});

function encodeMonitors(heads: readonly { width: number; height: number; x: number; y: number }[]): Buffer {
	const body = Buffer.alloc(8 + 20 * heads.length);
	body.writeUInt32LE(heads.length);
	for (const [i, { width, height, x, y }] of heads.entries())
		for (const [j, word] of [height, width, 32, x, y].entries()) body.writeUInt32LE(word, 8 + 20 * i + 4 * j);
	return body;
}
