/** The human monitor: the same lines to QEMU's and to ours, and what each command does. */
import { readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { executeHmp } from '../../src/control/hmp/monitor.ts';
import { InputQueue } from '../../src/control/input.ts';
import type { PciInfo } from '../../src/machine/control.ts';
import { FakeMachine } from '../helpers/fake-machine.ts';
import { startQemu } from '../helpers/qemu-monitor.ts';

/** Lines whose answers are the same, word for word. */
const SAME = [
	'',
	'foo',
	'info foo',
	'help foo',
	'info status',
	'info status x',
	'info name',
	'info uuid',
	'info kvm',
	'info mice',
	'info pci',
	'info block',
	'info block ide1-cd0',
	'info block nothing',
	'info spice',
	'help stop',
	'help cont',
	'help quit',
	'help eject',
	'help change',
	'help sendkey',
	'help mouse_move',
	'help mouse_button',
	'help system_reset',
	'help system_powerdown',
	'help info pci',
	'stop x',
	'stop',
	'cont',
	'c',
	's',
	'sendkey',
	'sendkey foo',
	'sendkey a-',
	'sendkey a x',
	'sendkey ctrl-alt-f1',
	'sendkey 0x1e-b 10',
	'screendump',
	'screendump /nonexist/x',
	'screendump /tmp/x foo',
	'eject',
	'eject foo',
	'eject ide0-hd0',
	'eject -x ide1-cd0',
	'change ide1-cd0',
	'change ide1-cd0 /nonexist',
	'change ide1-cd0 ISO',
	'info block ide1-cd0',
	'eject -f ide1-cd0',
	'info block ide1-cd0',
	'set_password spice x',
	'set_password spice x foo',
	'expire_password spice',
	'expire_password spice now',
	'mouse_move 5 5',
	'mouse_move 5',
	'mouse_button 1',
	'system_powerdown',
	'system_reset',
];

function monitor(machine: FakeMachine) {
	const context = { machine, input: new InputQueue(machine.inputs), version: '0.1.0' };
	return (line: string) => executeHmp(context, line);
}

interface QapiPci {
	readonly slot: number;
	readonly function: number;
	readonly irq?: number;
	readonly irq_pin: number;
	readonly class_info: { readonly class: number };
	readonly id: Readonly<Record<'vendor' | 'device' | 'subsystem-vendor' | 'subsystem', number>>;
	readonly regions: readonly {
		readonly bar: number;
		readonly type: 'io' | 'memory';
		readonly address: number;
		readonly size: number;
		readonly prefetch?: boolean;
		readonly mem_type_64?: boolean;
	}[];
}

/** QEMU's own functions, so that only the printing is compared. */
function pciInfo(fn: QapiPci): PciInfo {
	return {
		bus: 0,
		slot: fn.slot,
		function: fn.function,
		vendor: fn.id.vendor,
		device: fn.id.device,
		subsystemVendor: fn.id['subsystem-vendor'],
		subsystem: fn.id.subsystem,
		class: fn.class_info.class,
		irqPin: fn.irq_pin,
		irqLine: fn.irq ?? 0,
		id: '',
		regions: fn.regions.map(({ mem_type_64, ...region }) => ({ ...region, mem64: mem_type_64 })),
	};
}

test.serial('the same lines to QEMU and to us', async (t) => {
	const qemu = await startQemu();
	t.teardown(() => qemu.stop());
	await qemu.qmp.ask('qmp_capabilities');
	const machine = new FakeMachine({ name: 'vm1' });
	machine.spiceInfo = { ...machine.spiceInfo, port: qemu.spicePort };
	machine.drives = [
		{
			device: 'ide0-hd0',
			qdev: '/machine/unattached/device[1]',
			removable: false,
			locked: false,
			inserted: { file: qemu.disk, driver: 'raw', readOnly: false, snapshot: false, size: 10 << 20 },
		},
		{ device: 'ide1-cd0', qdev: '/machine/unattached/device[2]', removable: true, locked: false, trayOpen: false },
	];
	const buses = (await qemu.qmp.ask('query-pci')).return as readonly { readonly devices: readonly QapiPci[] }[];
	machine.pci = buses[0].devices.map(pciInfo);
	t.true(machine.pci.length >= 5);

	const ours = monitor(machine);
	for (const text of SAME) {
		const line = text.replace('ISO', qemu.iso);
		const answer = (await qemu.qmp.ask('human-monitor-command', { 'command-line': line })).return as string;
		const plain = (s: string) =>
			s
				.replaceAll('\r', '')
				.replace(/\(#[\w-]+\)/g, '(#node)')
				.replace(/device\[\d+\]/g, 'device[*]');
		t.is(plain(await ours(line)), plain(answer).replace(/^\n(?=ide1-cd0)/, ''), line);
	}
});

test('help lists every command and every topic of info', async (t) => {
	const run = monitor(new FakeMachine());
	const commands = await run('help');
	for (const name of ['change', 'cont|c', 'eject', 'help|?', 'info', 'quit|q', 'screendump', 'sendkey', 'stop|s'])
		t.true(
			commands.split('\n').some((line) => line.startsWith(`${name} `)),
			name,
		);
	t.is(await run('info'), await run('help info'));
	t.regex(await run('help info'), /^info block \[-v\] \[device\] -- /m);
	t.is(await run('?'), commands);
});

test('info qtree draws buses and devices as QEMU indents them', async (t) => {
	const machine = new FakeMachine();
	const disk = { type: 'ide-hd', id: '', properties: [['drive', '"ide0-hd0"'] as const] };
	const ide = {
		type: 'piix3-ide',
		id: 'storage',
		properties: [['addr', '01.1'] as const],
		lines: ['class IDE controller, addr 00:01.1'],
		buses: [{ name: 'ide.0', type: 'IDE', devices: [disk] }],
	};
	machine.tree = { name: 'main-system-bus', type: 'System', devices: [ide] };
	t.is(
		await monitor(machine)('info qtree'),
		[
			'bus: main-system-bus',
			'  type System',
			'  dev: piix3-ide, id "storage"',
			'    addr = 01.1',
			'    class IDE controller, addr 00:01.1',
			'    bus: ide.0',
			'      type IDE',
			'      dev: ide-hd, id ""',
			'        drive = "ide0-hd0"',
			'',
		].join('\n'),
	);
});

test('info registers begins as QEMU does', async (t) => {
	const text = await monitor(new FakeMachine())('info registers');
	t.true(
		text.startsWith(
			[
				'',
				'CPU#0',
				'EAX=00000000 EBX=00000000 ECX=0000b79d EDX=00000000',
				'ESI=0000b79d EDI=00000000 EBP=0000b79d ESP=00006f94',
				'EIP=0000b7b9 EFL=00000246 [---Z-P-] CPL=0 II=0 A20=1 SMM=0 HLT=1',
				'ES =d980',
			].join('\n'),
		),
		text,
	);
});

test('info block -v gives the size, info version names tsvm', async (t) => {
	const machine = new FakeMachine();
	const inserted = { file: 'a.img', driver: 'raw', readOnly: true, snapshot: true, size: 1536 * 1024 };
	machine.drives = [{ device: 'ide0-hd0', removable: false, locked: false, inserted }];
	const run = monitor(machine);
	t.regex(await run('info block -v'), /a\.img \(raw, read-only\).*virtual size: 1\.5 MiB \(1572864 bytes\)/s);
	t.is(await run('info version'), '7.2.0 (tsvm 0.1.0)\n');
});

test('screendump writes what is shown, and says so when nothing is', async (t) => {
	const machine = new FakeMachine();
	const run = monitor(machine);
	const file = join(tmpdir(), `tsvm-hmp-${process.pid} with space.ppm`);
	t.teardown(() => rmSync(file, { force: true }));
	t.is(await run(`screendump "${file}"`), '');
	t.deepEqual(readFileSync(file), Buffer.from('P6\n2 1\n255\n\x01\x02\x03\x04\x05\x06', 'latin1'));
	t.is(await run(`screendump "${file}" -f png`), '');
	t.is(readFileSync(file).toString('latin1', 1, 4), 'PNG');
	t.is(await run(`screendump "${file}" -f gif`), 'Error: invalid parameter value: gif\n');
	machine.picture = undefined;
	t.is(await run(`screendump "${file}"`), 'Error: no surface\n');
});

test('mouse and password commands reach the machine', async (t) => {
	const machine = new FakeMachine();
	machine.spiceInfo = { ...machine.spiceInfo, auth: 'spice' };
	const run = monitor(machine);
	await run('mouse_button 5');
	await run('mouse_move 3 -4 1');
	t.deepEqual(machine.pointer, ['motion 0 0 0 5', 'motion 3 -4 -1 5']);
	t.is(await run('set_password spice "a b" disconnect'), '');
	t.is(await run('expire_password spice +60'), '');
	t.regex(await run('expire_password spice soon'), /^Error: 'soon' is no time/);
	t.deepEqual(machine.calls, ['setPassword a b disconnect', 'expirePassword +60']);
});

test('a locked drive is ejected by force only', async (t) => {
	const machine = new FakeMachine();
	machine.drives = [{ device: 'ide1-cd0', removable: true, locked: true, trayOpen: false }];
	const run = monitor(machine);
	t.regex(await run('eject ide1-cd0'), /is locked and force was not specified, wait for tray to open and try again/);
	t.is(await run('eject -f ide1-cd0'), '');
});
