/** The balloon's commands beside QEMU's: the same lines, the same answers. */
import { join } from 'node:path';
import test from 'ava';
import { serveQmp } from '../../src/control/qmp/server.ts';
import type { BalloonControl } from '../../src/machine/control.ts';
import { FakeMachine } from '../helpers/fake-machine.ts';
import { startQemu } from '../helpers/qemu-monitor.ts';
import { QmpPeer } from '../helpers/qmp-peer.ts';

const MIB = 2 ** 20;
const PATHS = ['/machine/peripheral/balloon0', 'balloon0', '/machine/peripheral/other', 'other'];
const PROPERTIES = ['guest-stats', 'guest-stats-polling-interval', 'type', 'nothing'];
const INTERVALS = [1, 0, -1, 2 ** 40, 'x', null];
const TARGETS = [32 * MIB, 0, -5, 2 ** 40, 'x', 1.5];

function fakeBalloon(): BalloonControl {
	return {
		actual: 64 * MIB,
		target: 64 * MIB,
		statistics: { values: new Map(), updated: 0 },
		pollingInterval: 0,
		hintFreePages: () => false,
	};
}

test.serial('with a balloon and without one', async (t) => {
	for (const there of [true, false]) {
		const qemu = await startQemu(there ? ['-device', 'virtio-balloon-pci,id=balloon0'] : []);
		t.teardown(() => qemu.stop());
		const machine = new FakeMachine({ name: 'vm1', memory: '64M' });
		if (there) machine.balloon = fakeBalloon();
		const server = await serveQmp(machine, join(qemu.folder, 'ours.sock'));
		t.teardown(() => server.close());
		const ours = await QmpPeer.connect(server.path);
		for (const peer of [qemu.qmp, ours]) await peer.ask('qmp_capabilities');
		const same = async (execute: string, args?: unknown) => {
			const [theirs, mine] = [await qemu.qmp.ask(execute, args), await ours.ask(execute, args)];
			for (const answer of [theirs, mine]) delete answer.id;
			t.deepEqual(mine, theirs, `${execute} ${JSON.stringify(args)}`);
		};
		await same('query-balloon');
		for (const value of TARGETS) await same('balloon', { value });
		await same('balloon');
		for (const path of PATHS) for (const property of PROPERTIES) await same('qom-get', { path, property });
		for (const property of PROPERTIES)
			for (const value of INTERVALS) await same('qom-set', { path: 'balloon0', property, value });
		for (const line of [
			'info balloon',
			'balloon 48',
			'balloon',
			'balloon x',
			'balloon 0',
			'mouse_button',
			'help balloon',
		])
			await same('human-monitor-command', { 'command-line': line });
	}
});

test('a balloon that the operator has named is found by its name', async (t) => {
	const machine = new FakeMachine({ devices: [{ driver: 'virtio-balloon-pci', id: 'mine' }] });
	machine.balloon = fakeBalloon();
	const server = await serveQmp(machine, `/tmp/tsvm-balloon-${process.pid}.sock`);
	t.teardown(() => server.close());
	const peer = await QmpPeer.connect(server.path);
	await peer.ask('qmp_capabilities');
	const property = 'guest-stats-polling-interval';
	await peer.ask('qom-set', { path: '/machine/peripheral/mine', property, value: 7 });
	t.is(machine.balloon.pollingInterval, 7);
	t.is((await peer.ask('qom-get', { path: 'mine', property })).return, 7);
	t.regex(JSON.stringify(await peer.ask('qom-get', { path: 'balloon0', property })), /DeviceNotFound/);
});
