/** MONITORS_CONFIG from a client that may send anything. vd_agent.h, VDAgentMonitorsConfig. */
import test from 'ava';
import fc from 'fast-check';
import { WireError } from '../../src/core/index.ts';
import { AgentMessage, type MonConfig } from '../../src/spice/agent/messages.ts';
import { SpiceVmc } from '../../src/spice/agent/spicevmc.ts';
import { cut, FakeClient, FakeGuest } from '../helpers/agent-ends.ts';

/** Sends one message body as a client; returns the lists of heads that the display adapter was asked for. */
function send(body: Uint8Array, taken = true): { asked: MonConfig[][]; guest: FakeGuest; error: unknown } {
	const asked: MonConfig[][] = [];
	const vmc = new SpiceVmc({
		monitors: (heads) => {
			asked.push([...(heads as MonConfig[])]);
			return taken;
		},
	});
	const guest = new FakeGuest(vmc);
	guest.open();
	vmc.attachClient(new FakeClient());
	vmc.start(10);
	let error: unknown;
	try {
		for (const piece of cut(AgentMessage.monitorsConfig, body)) vmc.receive(piece);
	} catch (thrown) {
		error = thrown;
	}
	return { asked, guest, error };
}

/** `count` as told, and as many monitors as there are words for. */
function config(count: number, ...monitors: readonly (readonly number[])[]): Buffer {
	const body = Buffer.alloc(8 + 20 * monitors.length);
	body.writeUInt32LE(count);
	for (const [i, words] of monitors.entries())
		for (const [j, word] of words.entries()) body.writeUInt32LE(word >>> 0, 8 + 20 * i + 4 * j);
	return body;
}

test('several monitors, some of them off, some left of the first', (t) => {
	const { asked, error } = send(config(3, [600, 800, 32, 0, 0], [0, 0, 0, 0, 0], [480, 640, 32, -640, 12]));
	t.is(error, undefined);
	t.deepEqual(asked, [
		[
			{ height: 600, width: 800, depth: 32, x: 0, y: 0 },
			{ height: 0, width: 0, depth: 0, x: 0, y: 0 },
			{ height: 480, width: 640, depth: 32, x: -640, y: 12 },
		],
	]);
});

test('what may follow the monitors is not theirs', (t) => {
	const { asked, error } = send(Buffer.concat([config(1, [600, 800, 32, 0, 0]), Buffer.alloc(4)]));
	t.is(error, undefined);
	t.deepEqual(asked[0].length, 1);
});

test('counts that the body does not hold end the talk, and nobody is asked', (t) => {
	for (const body of [
		config(0xffffffff),
		config(257, ...Array.from({ length: 257 }, () => [600, 800, 32, 0, 0])),
		config(2, [600, 800, 32, 0, 0]),
		Buffer.alloc(7),
		Buffer.alloc(0),
		config(1, ...Array.from({ length: 900 }, () => [600, 800, 32, 0, 0])),
	]) {
		const { asked, guest, error } = send(body);
		t.true(error instanceof WireError, `${body.length} bytes`);
		t.deepEqual([asked.length, guest.messages.length], [0, 0]);
	}
});

test('no bytes do harm: they are an error of the client or a list that the agent gets as it was', (t) => {
	fc.assert(
		fc.property(fc.uint8Array({ maxLength: 300 }), fc.nat({ max: 20 }), (noise, count) => {
			const body = Buffer.concat([Buffer.from([count, 0, 0, 0]), noise]);
			const { asked, guest, error } = send(body, false);
			if (error !== undefined) {
				t.true(error instanceof WireError);
				return;
			}
			t.is(asked[0].length, count);
			t.deepEqual(guest.types(1), [AgentMessage.monitorsConfig]);
			t.true(guest.messages[0].body.equals(body));
		}),
	);
});
