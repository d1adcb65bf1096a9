/** The same lines to QEMU and to us: the same answers. */
import { join } from 'node:path';
import test from 'ava';
import { serveQmp } from '../../src/control/qmp/server.ts';
import type { BlockInfo } from '../../src/machine/control.ts';
import { FakeMachine } from '../helpers/fake-machine.ts';
import { type QemuPeer, startQemu } from '../helpers/qemu-monitor.ts';
import { type QmpMessage, QmpPeer } from '../helpers/qmp-peer.ts';

function key(value: unknown): string {
	return line('send-key', { keys: [value] });
}
function line(execute: string, args?: unknown): string {
	return JSON.stringify(args === undefined ? { execute } : { execute, arguments: args });
}

const NEGOTIATION = [
	line('query-status'),
	'{"execute":"foo","id":1}',
	line('qmp_capabilities', { enable: 5 }),
	line('qmp_capabilities', { foo: 1 }),
	line('qmp_capabilities'),
	line('qmp_capabilities'),
];

const SYNTAX = [
	'{"execute":"foo","id":{"a":[1,2]}}',
	'{"execute":"query-status","id":"x"}',
	'{"execute":"query-status","id":null}',
	'{"execute":"query-status","extra":1}',
	'{"execute":"query-status","control":{}}',
	'{"execute":5}',
	'{"foo":1}',
	'{}',
	'[1]',
	'"x"',
	'5',
	'{"execute":"query-status","arguments":[]}',
	'{"execute":"query-status","arguments":null}',
	'{"execute":"query-status","arguments":{"a":1}}',
	'{"execute":"query-status"\n}',
	'{"execute":"query-status"]}',
	"{'execute':'query-status'}",
	'{"execute" "query-status"}',
	'{"execute":"query-status","id":1,"id":2}',
	'{5:1}',
	'{"a"}',
	'{"a":}',
	'{"a":1,}',
	'[1 2]',
	'[1,]',
	',',
	'}',
	'foo',
	'nul',
	'"\\x"',
	'"\\u12"',
	'@',
	'01',
	'-',
	'1.2.3',
	'"a\tb"',
	'"unterminated',
	'{"execute":"query-status" @ , "id":5} {"execute":"query-name"}',
	'{"execute":"query-status"}{"execute":"query-name"}',
];

const ARGUMENTS = [
	line('screendump'),
	line('screendump', { filename: 5 }),
	line('screendump', { filename: null }),
	line('screendump', { filename: '/tmp/x', head: 1.5, foo: 1 }),
	line('screendump', { filename: '/nonexist/x' }),
	line('screendump', { filename: '/tmp/x', format: 'gif' }),
	line('screendump', { filename: '/tmp/x', device: 'nope' }),
	line('screendump', { filename: '/tmp/x', head: 1 }),
	key({ type: 'qcode', data: 'foo' }),
	key({ type: 'number', data: 'a' }),
	key({ type: 'zzz', data: 'a' }),
	key({ data: 'a' }),
	key({ type: 'qcode' }),
	key({ type: 'qcode', data: 5 }),
	key({ type: 'qcode', data: 'a', x: 1 }),
	key({ type: 5, data: 'a' }),
	key(5),
	line('send-key', { keys: 'a' }),
	line('send-key', { keys: [{ type: 'qcode', data: 'a' }], 'hold-time': '5' }),
	line('send-key', { keys: [{ type: 'qcode', data: 'a' }], 'hold-time': 1 }),
	line('input-send-event', { events: [{ type: 'rel', data: { axis: 'x', value: 5 } }] }),
	line('input-send-event', { events: [{ type: 'btn', data: { button: 'foo', down: true } }] }),
	line('input-send-event', { events: [{ type: 'btn', data: { button: 'left' } }] }),
	line('input-send-event', { device: 'foo', events: [] }),
	line('input-send-event', { head: 'foo', events: [] }),
	line('set_password', { protocol: 'spice', password: 'x' }),
	line('set_password', { protocol: 'spice', password: 'x', connected: 'foo' }),
	line('set_password', { protocol: 'spice', password: 'x'.repeat(70) }),
	line('set_password', { protocol: 'vnc', password: 'x' }),
	line('set_password', { protocol: 'foo', password: 'x' }),
	line('expire_password', { protocol: 'spice' }),
	line('expire_password', { protocol: 'spice', time: 'now' }),
	line('eject'),
	line('eject', { device: 'a', id: 'b' }),
	line('eject', { device: 'foo' }),
	line('eject', { id: 'foo' }),
	line('eject', { device: 'ide0-hd0' }),
	line('blockdev-change-medium', { device: 'ide1-cd0', filename: '/nonexist' }),
	line('blockdev-change-medium', { device: 'foo', filename: 'ISO' }),
	line('blockdev-change-medium', { device: 'ide1-cd0', filename: 'ISO', format: 'zip' }),
	line('blockdev-change-medium', { device: 'ide1-cd0', filename: 'ISO', 'read-only-mode': 'x' }),
	line('human-monitor-command'),
	line('human-monitor-command', { 'command-line': 'foo' }),
	line('human-monitor-command', { 'command-line': 'info foo' }),
	line('human-monitor-command', { 'command-line': '' }),
];

const LIFE = [
	line('query-name'),
	line('query-uuid'),
	line('query-status'),
	line('query-spice'),
	line('query-block'),
	line('query-cpus-fast'),
	line('query-mice'),
	line('query-target'),
	line('query-memory-size-summary'),
	line('eject', { device: 'ide1-cd0' }),
	line('blockdev-change-medium', { device: 'ide1-cd0', filename: 'ISO' }),
	line('query-block'),
	line('eject', { device: 'ide1-cd0', force: true }),
	line('query-block'),
	line('system_powerdown'),
	line('system_reset'),
	line('cont'),
	line('stop'),
	line('stop'),
	line('query-status'),
];

/** What differs by nature: times, versions, paths in QEMU's object tree, names of its own for nodes and threads. */
function normalised(value: unknown): unknown {
	if (Array.isArray(value)) return value.map(normalised);
	if (typeof value === 'string') return value.replace(/device\[\d+\]$/, 'device[*]');
	if (typeof value !== 'object' || value === null) return value;
	const members = Object.entries(value).map(([name, member]) => {
		const volatile = ['timestamp', 'version', 'thread-id', 'node-name', 'capabilities'].includes(name);
		return [name, volatile ? '*' : normalised(member)];
	});
	return Object.fromEntries(members);
}

/** QEMU's answer without the members that we leave out: they may be left out by qapi's word. */
function withoutOptional(value: unknown): unknown {
	if (Array.isArray(value)) return value.map(withoutOptional);
	if (typeof value !== 'object' || value === null) return value;
	const members = Object.entries(value).filter(([name]) => name !== 'actual-size' && name !== 'plugged-memory');
	return Object.fromEntries(members.map(([name, member]) => [name, withoutOptional(member)]));
}

function twin(qemu: QemuPeer): FakeMachine {
	const machine = new FakeMachine({ name: 'vm1', memory: '64M' });
	const medium = { file: qemu.disk, driver: 'raw', readOnly: false, snapshot: false, size: 10 << 20 };
	const at = (n: number) => `/machine/unattached/device[${n}]`;
	const drives: BlockInfo[] = [
		{ device: 'ide0-hd0', qdev: at(1), removable: false, locked: false, inserted: medium },
		{ device: 'ide1-cd0', qdev: at(2), removable: true, locked: false, trayOpen: false },
	];
	machine.drives = drives;
	machine.spiceInfo = { ...machine.spiceInfo, port: qemu.spicePort };
	return machine;
}

test.serial('a whole conversation', async (t) => {
	const qemu = await startQemu();
	t.teardown(() => qemu.stop());
	const server = await serveQmp(twin(qemu), join(qemu.folder, 'ours.sock'));
	t.teardown(() => server.close());
	const ours = await QmpPeer.connect(server.path);
	const [greeting] = await ours.until(1);
	const [theirs] = await qemu.qmp.until(1);
	t.deepEqual(normalised(greeting), normalised(theirs));

	const both = async (request: string, ask: (peer: QmpPeer, text: string) => Promise<QmpMessage[]>) => {
		const text = request.replaceAll('ISO', qemu.iso);
		const expected = eventsFirst(await ask(qemu.qmp, text));
		const actual = eventsFirst(await ask(ours, text));
		t.deepEqual(normalised(actual), withoutOptional(normalised(expected)), request);
	};
	for (const request of [...NEGOTIATION, ...SYNTAX, ...ARGUMENTS, ...LIFE])
		await both(request, (peer, text) => peer.say(text));
	await both(line('quit'), (peer, text) => peer.sayLast(text, 2));
});

/** QEMU sends events before or after the answer as its threads happen to run. */
function eventsFirst(messages: QmpMessage[]): QmpMessage[] {
	return messages.sort((a, b) => Number('event' in b) - Number('event' in a));
}
