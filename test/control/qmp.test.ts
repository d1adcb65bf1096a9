/** The QMP server: several clients, events, input, bad and hostile peers. */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createConnection, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import test, { type ExecutionContext } from 'ava';
import fc from 'fast-check';
import { qmpExecute } from '../../src/control/qmp/client.ts';
import { type QmpServer, serveQmp } from '../../src/control/qmp/server.ts';
import { TsvmError } from '../../src/core/index.ts';
import { FakeMachine } from '../helpers/fake-machine.ts';
import { QmpPeer } from '../helpers/qmp-peer.ts';

interface Setup {
	readonly machine: FakeMachine;
	readonly server: QmpServer;
	readonly path: string;
	/** A client that has negotiated. */
	client(): Promise<QmpPeer>;
}

async function setup(t: ExecutionContext): Promise<Setup> {
	const folder = mkdtempSync(join(tmpdir(), 'tsvm-qmp-'));
	const path = join(folder, 's.sock');
	const machine = new FakeMachine({ name: 'vm1' });
	const server = await serveQmp(machine, path);
	t.teardown(async () => {
		await server.close();
		rmSync(folder, { recursive: true });
	});
	return {
		machine,
		server,
		path,
		async client() {
			const peer = await QmpPeer.connect(path);
			t.deepEqual((await peer.ask('qmp_capabilities')).return, {});
			return peer;
		},
	};
}

test('several clients, each with its own negotiation; events go to those that have negotiated', async (t) => {
	const { machine, path, client } = await setup(t);
	const [a, b] = [await client(), await client()];
	const mute = await QmpPeer.connect(path);
	await mute.until(1);
	t.deepEqual((await a.ask('cont')).return, {});
	t.is(machine.status, 'running');
	await b.ask('query-status');
	for (const peer of [a, b]) {
		const event = peer.messages.find((message) => message.event === 'RESUME');
		if (!event) return t.fail('no event');
		const { seconds, microseconds } = event.timestamp as { seconds: number; microseconds: number };
		t.true(Math.abs(seconds - Date.now() / 1000) < 30 && microseconds >= 0 && microseconds < 1e6);
		t.false('data' in event);
	}
	t.is(mute.messages.length, 1);
});

test('commands of one client run one after another, in order', async (t) => {
	const { client } = await setup(t);
	const peer = await client();
	const from = peer.messages.length;
	const lines = Array.from({ length: 50 }, (_, id) => JSON.stringify({ execute: 'query-status', id }));
	peer.send(lines.join(''));
	await peer.until(from + 50);
	t.deepEqual(
		peer.messages.slice(from).map((message) => message.id),
		lines.map((_, id) => id),
	);
});

test('query-commands names what there is', async (t) => {
	const { client } = await setup(t);
	const peer = await client();
	const names = ((await peer.ask('query-commands')).return as { name: string }[]).map(({ name }) => name);
	const promised =
		'qmp_capabilities query-status query-version query-spice query-block stop cont system_reset system_powerdown quit screendump send-key input-send-event set_password expire_password eject blockdev-change-medium human-monitor-command';
	for (const name of promised.split(' ')) t.true(names.includes(name), name);
	t.is(new Set(names).size, names.length);
});

test('send-key presses together, lets go in reverse, and the next one waits for it', async (t) => {
	const { machine, client } = await setup(t);
	const peer = await client();
	const press = (hold: number, ...keys: string[]) =>
		peer.ask('send-key', { keys: keys.map((data) => ({ type: 'qcode', data })), 'hold-time': hold });
	await press(1, 'ctrl', 'alt', 'delete');
	await press(1, 'a');
	while (machine.scancodes.length < 8) await sleep(5);
	t.deepEqual(machine.scancodes, ['1d', '38', 'e053', 'e0d3', 'b8', '9d', '1e', '9e']);
	await peer.ask('send-key', { keys: [{ type: 'number', data: 0xc8 }], 'hold-time': 1 });
	while (machine.scancodes.length < 10) await sleep(5);
	t.deepEqual(machine.scancodes.slice(8), ['e048', 'e0c8']);
	// Held longer than this test takes: the answers do not wait for the keys, the second one's keys for the first's do.
	await press(3_600_000, 'shift');
	await press(1, 'b');
	t.deepEqual(machine.scancodes.slice(10), ['2a']);
});

test('input-send-event makes one movement of a command and keeps buttons between commands', async (t) => {
	const { machine, client } = await setup(t);
	const peer = await client();
	await peer.ask('cont');
	const rel = (axis: string, value: number) => ({ type: 'rel', data: { axis, value } });
	const abs = (axis: string, value: number) => ({ type: 'abs', data: { axis, value } });
	const btn = (button: string, down: boolean) => ({ type: 'btn', data: { button, down } });
	const send = (...events: unknown[]) => peer.ask('input-send-event', { events });
	await send(rel('x', 5), rel('y', -3), rel('x', 1), btn('left', true));
	await send(btn('wheel-down', true), btn('wheel-down', false));
	t.regex(JSON.stringify(await send(abs('x', 5))), /Input handler not found for event type abs/);
	machine.absolute = true;
	await send(abs('x', 0x7fff), abs('y', 99999));
	await send(abs('y', -5), btn('left', false), btn('extra', true));
	t.deepEqual(machine.pointer, [
		'motion 6 -3 0 1',
		'motion 0 0 1 1',
		'position 32767 32767 32768 32768 0 1',
		'position 32767 0 32768 32768 0 64',
	]);
	const key = { type: 'key', data: { key: { type: 'qcode', data: 'ret' }, down: true } };
	await send(key);
	t.deepEqual(machine.scancodes, ['1c']);
});

test('passwords, media and screendump reach the machine', async (t) => {
	const { machine, path, client } = await setup(t);
	const peer = await client();
	machine.spiceInfo = { ...machine.spiceInfo, auth: 'spice' };
	await peer.ask('set_password', { protocol: 'spice', password: 'secret', connected: 'disconnect' });
	await peer.ask('expire_password', { protocol: 'spice', time: '+60' });
	machine.drives = [{ device: 'ide1-cd0', qdev: '/cd', removable: true, locked: true, trayOpen: false }];
	const refused = await peer.ask('eject', { id: '/cd' });
	t.regex(JSON.stringify(refused), /Device 'ide1-cd0' is locked and force was not specified/);
	await peer.ask('eject', { id: '/cd', force: true });
	await peer.ask('blockdev-change-medium', { id: '/cd', filename: path, force: true, 'read-only-mode': 'read-only' });
	t.deepEqual(machine.calls, [
		'setPassword secret disconnect',
		'expirePassword +60',
		'eject ide1-cd0 false',
		'eject ide1-cd0 true',
		`changeMedium ide1-cd0 ${path} true read-only`,
	]);
	const filename = `${path}.png`;
	t.deepEqual((await peer.ask('screendump', { filename, format: 'png' })).return, {});
	t.is(readFileSync(filename).toString('latin1', 1, 4), 'PNG');
	machine.picture = undefined;
	t.deepEqual((await peer.ask('screendump', { filename })).error, { class: 'GenericError', desc: 'no surface' });
});

test('quit is answered, and the server takes its socket away', async (t) => {
	const { machine, server, path, client } = await setup(t);
	const peer = await client();
	t.deepEqual((await peer.ask('quit')).return, {});
	t.is((await machine.ended).cause, 'host-qmp-quit');
	t.true(peer.messages.some((message) => message.event === 'SHUTDOWN'));
	await server.close();
	await peer.closed();
	t.false(existsSync(path));
	t.is(machine.listeners, 0);
});

test('a dead socket is replaced; a live one, and any other file, is left alone', async (t) => {
	const { machine, path } = await setup(t);
	await t.throwsAsync(serveQmp(machine, path), { instanceOf: TsvmError, message: `${path} is in use` });
	const file = `${path}.txt`;
	writeFileSync(file, 'mine');
	await t.throwsAsync(serveQmp(machine, file), { message: `${file} exists and is no socket` });
	t.is(readFileSync(file, 'utf8'), 'mine');
	await t.throwsAsync(serveQmp(machine, '/nonexist/s.sock'), { instanceOf: TsvmError });

	// A socket whose listener died without unlinking it: a name nobody listens on any more.
	const dead = `${path}.dead`;
	const { spawnSync } = await import('node:child_process');
	const script = `require('net').createServer().listen(${JSON.stringify(dead)}, () => process.kill(process.pid, 'SIGKILL'))`;
	spawnSync(process.execPath, ['-e', script]);
	t.true(existsSync(dead));
	const second = await serveQmp(machine, dead);
	await second.close();
});

test('a client that does not read is cut off and holds little', async (t) => {
	const { machine, path, client } = await setup(t);
	const { createConnection } = await import('node:net');
	const socket = createConnection(path);
	const gone = new Promise((resolve) => socket.once('close', resolve));
	socket.on('error', () => {});
	let said = '';
	socket.on('data', (chunk) => {
		said += chunk;
	});
	socket.write('{"execute":"qmp_capabilities"}');
	while (!said.includes('"return"')) await sleep(5);
	socket.pause();
	const big = { text: 'x'.repeat(100_000) };
	for (let i = 0; i < 100; i++) machine.emit('BIG', big);
	await sleep(50);
	socket.resume();
	await gone;
	t.deepEqual((await (await client()).ask('query-name')).return, { name: 'vm1' });
});

test('random bytes, and disconnects anywhere, leave the others in peace', async (t) => {
	const { path, client } = await setup(t);
	const witness = await client();
	const piece = fc.oneof(
		fc.constantFrom(
			'{"execute":',
			'"qmp_capabilities"}',
			'{"execute":"qmp_capabilities"}',
			'"send-key"',
			'"arguments":{',
			'}',
			'[',
			'\\u00',
			"'",
			'\n',
		),
		fc.string({ unit: 'binary', maxLength: 30 }),
	);
	await fc.assert(
		fc.asyncProperty(fc.array(piece, { maxLength: 20 }), fc.boolean(), async (pieces, rude) => {
			const peer = await QmpPeer.connect(path);
			for (const text of pieces) peer.send(text);
			if (!rude) await peer.until(1);
			peer.destroy();
		}),
		{ numRuns: 150 },
	);
	t.deepEqual((await witness.ask('query-name')).return, { name: 'vm1' });
});

test('more clients than there is room for are turned away', async (t) => {
	const { path } = await setup(t);
	const peers: QmpPeer[] = [];
	for (let i = 0; i < 16; i++) peers.push(await QmpPeer.connect(path));
	for (const peer of peers) await peer.until(1);
	const late = await QmpPeer.connect(path);
	await late.closed();
	t.is(late.messages.length, 0);
	for (const peer of peers) peer.destroy();
});

/** Says everything at once, ends its side, and returns the lines that came until the other side has ended too. */
async function sayAndEnd(path: string, bytes: string): Promise<string[]> {
	const socket = createConnection({ path, allowHalfOpen: true });
	let text = '';
	socket.on('data', (data) => {
		text += data;
	});
	const over = new Promise((resolve) => socket.once('end', resolve));
	socket.end(bytes);
	await over;
	socket.destroy();
	return text.trim().split('\r\n');
}

test('a client that has ended its side still gets every answer', async (t) => {
	const { path } = await setup(t);
	const dump = JSON.stringify({ execute: 'screendump', arguments: { filename: `${path}.ppm` }, id: 'dump' });
	const lines = await sayAndEnd(path, `{"execute":"qmp_capabilities"}${dump}{"execute":"query-name","id":"name"}`);
	t.deepEqual(
		lines.map((line) => JSON.parse(line).id),
		[undefined, undefined, 'dump', 'name'],
	);
});

test('ids come back as they were said', async (t) => {
	const { path } = await setup(t);
	const ids = ['9007199254740993', '"\\u0000integer 12"', '{"a":[18446744073709551615,"\\u0000"]}', 'null'];
	const said = ['{"execute":"qmp_capabilities"}', ...ids.map((id) => `{"execute":"query-name","id":${id}}`)];
	const [, , ...answers] = await sayAndEnd(path, said.join(''));
	t.deepEqual(
		answers,
		ids.map((id) => `{"return":{"name":"vm1"},"id":${id}}`),
	);
	const refused = await sayAndEnd(path, '{"execute":"stop","id":-9007199254740993}');
	t.regex(refused[1], /^\{"id":-9007199254740993,"error":/);
});

test('the client returns values and says what went wrong', async (t) => {
	const { path } = await setup(t);
	t.deepEqual(JSON.parse(JSON.stringify(await qmpExecute(path, 'query-name', {}))), { name: 'vm1' });
	const failure = async (run: Promise<unknown>) => (await t.throwsAsync(run, { instanceOf: TsvmError }))?.message;
	t.is(await failure(qmpExecute(path, 'eject', { device: 'x' })), "Device 'x' not found");
	t.is(await failure(qmpExecute(`${path}.no`, 'stop', {})), `no machine listens on ${path}.no`);
	const other = createServer((socket) => socket.end('SSH-2.0-OpenSSH\r\n')).listen(`${path}.ssh`);
	t.teardown(() => other.close());
	t.is(await failure(qmpExecute(`${path}.ssh`, 'stop', {})), `${path}.ssh does not speak QMP`);
});
