/**
 * spice-gtk without a window against the server alone: who may come in, how, and what arrives of what it types.
 * Needs gir1.2-spiceclientglib-2.0 and python3-gi.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { CursorType } from '../../src/core/index.ts';
import { createCursorChannel } from '../../src/spice/channels/cursor.ts';
import { createDisplayChannel } from '../../src/spice/channels/display.ts';
import { Display } from '../../src/spice/display/display.ts';
import { ChannelType } from '../../src/spice/protocol/constants.ts';
import type { ListenOptions } from '../../src/spice/server.ts';
import { drawPattern, PATTERN } from '../helpers/pattern.ts';
import { Probe } from '../helpers/probe.ts';
import { serve, until } from '../spice/support.ts';

async function start(t: ExecutionContext, listen: Partial<ListenOptions> = {}) {
	const display = new Display();
	drawPattern(display);
	const factories = new Map([
		[ChannelType.display, createDisplayChannel(display)],
		[ChannelType.cursor, createCursorChannel(display)],
	]);
	const options = { factories, screen: () => display.screen, name: 'probed' };
	const served = await serve(t, { tls: { port: 0 }, ...listen }, options);
	const folder = mkdtempSync(join(tmpdir(), 'tsvm-probe-'));
	t.teardown(() => rmSync(folder, { recursive: true }));
	const { ca, hostSubject, tlsPort } = served.server.info();
	const caFile = join(folder, 'ca.pem');
	writeFileSync(caFile, ca ?? '');
	const probe = (...args: string[]) => {
		const made = new Probe(args);
		t.teardown(() => made.stop());
		return made;
	};
	const plain = ['--port', String(served.port)];
	const tls = ['--tls-port', String(tlsPort), '--ca', caFile, '--host-subject', hostSubject ?? ''];
	return { ...served, display, probe, plain, tls };
}

for (const way of ['plain', 'tls'] as const) {
	test(`a session over ${way}, with a password`, async (t) => {
		const { probe, [way]: args } = await start(t, { password: 'secret' });
		const client = probe(...args, '--password', 'secret');
		await client.do('connect');
		t.deepEqual(await client.do('wait-primary'), { width: PATTERN.width, height: PATTERN.height });
		const { channels, mouseMode, name } = await client.do('state');
		t.deepEqual([name, mouseMode], ['probed', 'server']);
		t.deepEqual(channels, ['cursor 0', 'display 0', 'inputs 0', 'main 0']);
	});
}

test('a wrong password, an expired one and a plain link to a TLS-only channel are refused', async (t) => {
	const { probe, plain, tls, server, warnings } = await start(t, { password: 'secret', secureChannels: ['main'] });
	const refused = async (args: readonly string[], reason: string): Promise<void> => {
		const error = await t.throwsAsync(probe(...args).do('connect'));
		t.is(error?.message, reason);
	};
	await refused([...tls, '--password', 'guess'], 'error-auth');
	await refused([...plain, '--password', 'secret'], 'error-connect');
	server.expirePassword('now');
	await refused([...tls, '--password', 'secret'], 'error-auth');
	t.is(warnings.length, 3);
	server.expirePassword('never');
	await probe(...tls, '--password', 'secret').do('connect');
});

test('with both ports, spice-gtk takes each channel to the port that serves it', async (t) => {
	const { probe, plain, tls, server } = await start(t, { secureChannels: ['main', 'inputs'] });
	const client = probe(...plain, ...tls);
	await client.do('connect');
	await client.do('wait-primary');
	await until(() => server.clients().length === 4, 'four channels');
	const secure = server.clients().filter((channel) => channel.tls);
	t.deepEqual(secure.map((channel) => channel.channelType).sort(), [ChannelType.main, ChannelType.inputs]);
});

test('keys, buttons, wheel and locks arrive', async (t) => {
	const { probe, plain, inputs } = await start(t);
	const client = probe(...plain);
	await client.do('connect');
	await client.do('wait-primary');
	await client.do('type Ab\\n');
	await client.do('key 0x1d 0x14b');
	await client.do('motion 3 -4');
	await client.do('click 3');
	await client.do('click 4');
	inputs.calls.splice(0, inputs.calls.indexOf('keys 2a'));
	t.deepEqual(
		inputs.calls.map((call) => call.replace(/^keys /, '')),
		['2a', '1e', '9e', 'aa', '30', 'b0', '1c', '9c', '1d', 'e04b', 'e0cb', '9d'].concat(
			'motion 3 -4 0 0',
			'motion 0 0 0 4',
			'motion 0 0 0 0',
			'motion 0 0 -1 0',
			'motion 0 0 0 0',
		),
	);
	inputs.change({ leds: 4 });
	t.deepEqual((await client.event('modifiers', ({ leds }) => leds === 4)).leds, 4);
});

test('an absolute pointer makes spice-gtk ask for client mode', async (t) => {
	const { probe, plain, inputs } = await start(t);
	inputs.change({ absolute: true });
	const client = probe(...plain);
	await client.do('connect');
	await client.do('wait-primary');
	await client.do('mouse-mode client');
	await client.event('mouse-mode', ({ mode }) => mode === 'client');
	await client.do('position 100 50 1');
	await until(() => inputs.calls.includes(`position 100 50 ${PATTERN.width} ${PATTERN.height} 0 1`), 'the position');
	inputs.change({ absolute: false });
	const back = await client.event('mouse-mode', ({ mode }) => mode === 'server');
	t.is(back.mode, 'server');
});

test("the guest's cursor is shown and follows", async (t) => {
	const { probe, plain, display } = await start(t);
	const client = probe(...plain);
	await client.do('connect');
	await client.do('wait-primary');
	const data = new Uint8Array(16 * 8 * 4).fill(0xff);
	const shape = { unique: 0n, type: CursorType.alpha, width: 16, height: 8, hotSpotX: 3, hotSpotY: 5, data };
	display.cursorSet(shape, 10, 20, true);
	const seen = await client.event('cursor-set', ({ width }) => width === 16);
	t.deepEqual([seen.height, seen.hot_x, seen.hot_y], [8, 3, 5]);
	display.cursorMove(40, 50);
	const moved = await client.event('cursor-move', ({ x }) => x === 40);
	t.is(moved.y, 50);
	display.cursorHide();
	await client.event('cursor-hide');
});

test('a second client takes over, and the first may come back', async (t) => {
	const { probe, plain, server } = await start(t);
	const first = probe(...plain);
	await first.do('connect');
	await first.do('wait-primary');
	const second = probe(...plain);
	await second.do('connect');
	await second.do('wait-primary');
	await first.event('channel', ({ channel, state }) => channel === 'main' && state !== 'opened');
	await second.do('disconnect');
	await until(() => server.clients().length === 0, 'nobody');
	await first.do('disconnect');
	await first.do('connect');
	t.is((await first.do('wait-primary')).width, PATTERN.width);
});
