/** Keys, pointer and LEDs from a client to the guest's devices. */
import test, { type ExecutionContext } from 'ava';
import { HeldKeys } from '../../src/spice/channels/held-keys.ts';
import { ChannelType, MouseMode } from '../../src/spice/protocol/constants.ts';
import { inputs as spec } from '../../src/spice/protocol/inputs.ts';
import { main } from '../../src/spice/protocol/main.ts';
import { SpiceClient } from '../helpers/spice-client.ts';
import { serve, until } from './support.ts';

async function open(t: ExecutionContext, absolute = false) {
	const served = await serve(t, {}, { screen: () => ({ width: 800, height: 600, heads: [] }) });
	served.inputs.absolute = absolute;
	served.inputs.change({ leds: 2 });
	const client = await SpiceClient.connect({ port: served.port });
	t.teardown(() => client.close());
	const channel = await client.open(ChannelType.inputs);
	const { modifiers } = await channel.read(spec.server.init);
	const { calls } = served.inputs;
	const expect = async (...expected: string[]): Promise<void> => {
		await until(() => calls.length >= expected.length, expected.join(', ')).catch(() => {});
		t.deepEqual(calls.splice(0), expected);
	};
	return { ...served, client, channel, send: channel.sender(spec.client), modifiers, expect };
}

test('keys arrive as the bytes that were typed', async (t) => {
	const { channel, send, modifiers, expect } = await open(t);
	t.is(modifiers, 2);
	t.true(channel.caps.has(0));
	send.keyDown({ code: 0x1e });
	send.keyUp({ code: 0x9e });
	send.keyDown({ code: 0x4de0 });
	send.keyUp({ code: 0xcde0 });
	send.keyDown({ code: 0 });
	send.keyScancode({ codes: Uint8Array.of(0xe1, 0x1d, 0x45, 0xe1, 0x9d, 0xc5) });
	await expect('keys 1e', 'keys 9e', 'keys e04d', 'keys e0cd', 'keys e11d45e19dc5');
});

test('a client that leaves lets go of keys and buttons', async (t) => {
	const { client, send, expect } = await open(t);
	send.keyDown({ code: 0x2a });
	send.keyDown({ code: 0x1de0 });
	send.keyDown({ code: 0x1e });
	send.keyUp({ code: 0x9e });
	send.mousePress({ button: 1, buttonsState: 1 });
	await expect('keys 2a', 'keys e01d', 'keys 1e', 'keys 9e', 'motion 0 0 0 1');
	client.close();
	await expect('keys aae09d', 'motion 0 0 0 0');
});

test('relative motion, buttons and wheel in server mode; every fourth motion is confirmed', async (t) => {
	const { channel, send, expect } = await open(t);
	send.mouseMotion({ dx: 5, dy: -7, buttonsState: 0 });
	send.mousePress({ button: 3, buttonsState: 4 });
	send.mouseMotion({ dx: 1, dy: 0, buttonsState: 4 });
	send.mouseRelease({ button: 3, buttonsState: 0 });
	send.mousePress({ button: 4, buttonsState: 8 });
	send.mouseRelease({ button: 4, buttonsState: 0 });
	send.mousePress({ button: 5, buttonsState: 16 });
	send.mousePress({ button: 6, buttonsState: 32 });
	send.mousePress({ button: 7, buttonsState: 96 });
	await expect(
		'motion 5 -7 0 0',
		'motion 0 0 0 4',
		'motion 1 0 0 4',
		'motion 0 0 0 0',
		'motion 0 0 -1 0',
		'motion 0 0 0 0',
		'motion 0 0 1 0',
		'motion 0 0 0 32',
		'motion 0 0 0 96',
	);
	t.is(channel.waiting.length, 0);
	for (let i = 0; i < 6; i++) send.mouseMotion({ dx: 0, dy: 0, buttonsState: 0 });
	await channel.next(spec.server.mouseMotionAck[0]);
	await channel.next(spec.server.mouseMotionAck[0]);
	t.is(channel.waiting.length, 0);
});

test('absolute positions in client mode, kept inside the screen', async (t) => {
	const { client, send, expect, channel } = await open(t, true);
	send.mousePosition({ x: 10, y: 20, buttonsState: 0, displayId: 0 });
	client.main.sender(main.client).mouseModeRequest({ mode: MouseMode.client });
	await client.main.next(main.server.mouseMode[0]);
	send.mouseMotion({ dx: 5, dy: 5, buttonsState: 0 });
	send.mousePosition({ x: 30, y: 40, buttonsState: 1, displayId: 0 });
	send.mousePosition({ x: 5000, y: 0xffffffff, buttonsState: 1, displayId: 0 });
	send.mouseRelease({ button: 1, buttonsState: 0 });
	send.mousePress({ button: 5, buttonsState: 16 });
	await expect(
		'position 30 40 800 600 0 1',
		'position 799 599 800 600 0 1',
		'position 799 599 800 600 0 0',
		'position 799 599 800 600 1 0',
	);
	await channel.next(spec.server.mouseMotionAck[0]);
});

test('the locks of client and guest are made equal by keys, once', async (t) => {
	const { send, expect, inputs, channel } = await open(t);
	send.keyModifiers({ modifiers: 2 });
	send.keyModifiers({ modifiers: 2 | 4 });
	send.keyModifiers({ modifiers: 2 | 4 });
	await expect('keys 3a', 'keys ba');
	inputs.change({ leds: 2 | 4 });
	t.is((await channel.read(spec.server.keyModifiers)).modifiers, 6);
	send.keyModifiers({ modifiers: 1 });
	await expect('keys 46', 'keys 45', 'keys 3a', 'keys c6', 'keys c5', 'keys ba');
	inputs.change({ leds: 1 });
	t.is((await channel.read(spec.server.keyModifiers)).modifiers, 1);
	inputs.change({ leds: 1 });
	send.keyDown({ code: 0x1e });
	await expect('keys 1e');
	t.is(channel.waiting.length, 0, 'what the client knows is not told again');
});

test('a lock key that the guest ignores is told after a while', async (t) => {
	const { send, channel, expect } = await open(t);
	send.keyDown({ code: 0x3a });
	send.keyDown({ code: 0x3a });
	send.keyUp({ code: 0xba });
	await expect('keys 3a', 'keys 3a', 'keys ba');
	const start = performance.now();
	t.is((await channel.read(spec.server.keyModifiers)).modifiers, 2);
	t.true(performance.now() - start > 1000);
});

test('a lock key that is tapped is held for a while, a second tap lets go of it first', async (t) => {
	const { client, send, expect } = await open(t);
	// From before it is sent: a busy host may look long after the press, and find the release near.
	const start = performance.now();
	send.keyScancode({ codes: Uint8Array.of(0x3a, 0xba, 0x1e, 0x9e) });
	await expect('keys 3a1e9e');
	await expect('keys ba');
	t.true(performance.now() - start > 30);
	send.keyScancode({ codes: Uint8Array.of(0x45, 0xc5, 0x45, 0xc5) });
	await expect('keys 45c545', 'keys c5');
	send.keyScancode({ codes: Uint8Array.of(0x46, 0xc6) });
	await expect('keys 46');
	client.close();
	await expect('keys c6');
});

test('held keys: prefixes, repeats and pause', (t) => {
	const held = new HeldKeys();
	t.deepEqual(held.follow(Uint8Array.of(0x1e, 0x1e, 0xe0, 0x1e)), [0x1e, 0xe01e]);
	t.deepEqual(held.follow(Uint8Array.of(0xe1, 0x1d, 0x45, 0xe1, 0x9d, 0xc5)), []);
	t.deepEqual(held.follow(Uint8Array.of(0xe0)), []);
	t.deepEqual(held.follow(Uint8Array.of(0x9e, 0x3a)), [0x3a]);
	t.deepEqual([...held.releaseAll()], [0x9e, 0xba]);
	t.deepEqual([...held.releaseAll()], []);
});
