/** pvpanic beside QEMU's: what the guest finds, and what becomes of the machine when it tells of a panic. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { FwCfg } from '../../devices/chipset/fwcfg.ts';
import { IsaPvpanic, PciPvpanic } from '../../devices/misc/index.ts';
import { fwCfgContents } from '../../firmware/index.ts';
import { serveQmp } from '../../src/control/qmp/server.ts';
import { fwCfgKey } from '../../src/core/index.ts';
import type { MachineOptions } from '../../src/machine/config.ts';
import { Machine } from '../../src/machine/machine.ts';
import { ChipsetBoard, MEMORY } from '../helpers/chipset.ts';
import { writePanickingBios } from '../helpers/panicking-bios.ts';
import { startQemu } from '../helpers/qemu-monitor.ts';
import { type QmpMessage, QmpPeer } from '../helpers/qmp-peer.ts';
import { compareConfig, type DeviceDriver, Pair } from './driver.ts';

const SLOT = 5;
const BAR = 0xfe000000;
const FW_CFG = { selector: 0x510, data: 0x511 };

async function pair(t: ExecutionContext, port = 0x505): Promise<Pair> {
	const board = new ChipsetBoard();
	const onPanic = () => {};
	new IsaPvpanic(board.host, board.ports, { port, onPanic });
	board.bus.plug(SLOT, new PciPvpanic({ onPanic }).pci);
	new FwCfg(board.host, board.ports, fwCfgContents({ memory: MEMORY, serialPorts: [1], pvpanic: port }));
	const devices = ['-device', `pvpanic,ioport=${port}`, '-device', `pvpanic-pci,addr=${SLOT}`];
	const both = await Pair.start(board, { memory: MEMORY, args: [...devices, '-action', 'panic=none'] });
	t.teardown(() => both.close());
	return both;
}

test('the function: identity, reset values and writable bits', async (t) => {
	t.deepEqual(await compareConfig(await pair(t), SLOT, 0), []);
});

test('both bytes of BAR 0 and the port read the same whatever is written', async (t) => {
	const both = await pair(t);
	await both.both(async (driver) => {
		await driver.configWrite(SLOT, 0, 0x10, 4, BAR);
		await driver.configWrite(SLOT, 0, 0x04, 2, 2);
	});
	for (const value of [0, 1, 2, 0xff]) {
		await both.out(0x505, value);
		for (const at of [BAR, BAR + 1]) {
			await both.both((driver) => driver.write(at, 1, value));
			const [qemu, tsvm] = await both.both((driver) => driver.read(at, 1));
			t.is(tsvm, qemu);
		}
		const [qemu, tsvm] = await both.in(0x505);
		t.is(tsvm, qemu);
		t.is(tsvm, 3);
	}
});

for (const port of [0x505, 0x1234])
	test(`firmware finds the port ${port} in fw_cfg, and the guest in the DSDT`, async (t) => {
		const both = await pair(t, port);
		const [qemu, tsvm] = await both.both(async (driver) => {
			const tables = await file(driver, 'etc/acpi/tables', 16 << 10);
			// DeviceOp, a length of two bytes, the name.
			const at = tables.indexOf('PEVT') - 4;
			return {
				port: (await file(driver, 'etc/pvpanic-port')).toString('hex'),
				device: tables.subarray(at, at + 4 + (tables[at + 2] & 0xf) + tables[at + 3] * 16 - 2).toString('hex'),
			};
		});
		t.deepEqual(tsvm, qemu);
		t.true(qemu.device.length > 160);
	});

/** At most `most` bytes of a file, byte by byte. */
async function file(driver: DeviceDriver, name: string, most = 1 << 20): Promise<Buffer> {
	const read = async (length: number) => {
		const bytes = Buffer.alloc(length);
		for (let i = 0; i < length; i++) bytes[i] = await driver.in8(FW_CFG.data);
		return bytes;
	};
	await driver.out16(FW_CFG.selector, fwCfgKey.fileDir);
	const count = (await read(4)).readUInt32BE();
	for (let n = 0; n < count; n++) {
		const entry = await read(64);
		if (entry.toString('latin1', 8).replace(/\0.*$/s, '') !== name) continue;
		await driver.out16(FW_CFG.selector, entry.readUInt16BE(4));
		return read(Math.min(most, entry.readUInt32BE(0)));
	}
	throw new Error(`${driver.name} has no ${name}`);
}

/** The same conversation with both about a guest that writes `events` as soon as it runs. */
async function conversation(t: ExecutionContext, panic: MachineOptions['panic'], events: number) {
	const folder = mkdtempSync(join(tmpdir(), 'tsvm-pvpanic-'));
	const image = join(folder, 'bios.bin');
	writePanickingBios(image, events);
	const qemu = await startQemu(['-device', 'pvpanic', '-bios', image, '-action', `panic=${panic}`]);
	const warnings: string[] = [];
	const machine = await Machine.create(
		{ memory: '64M', devices: [{ driver: 'pvpanic' }], panic, firmware: { bios: image } },
		{ warn: (text) => void warnings.push(text) },
	);
	const server = await serveQmp(machine, join(folder, 'ours.sock'));
	t.teardown(async () => {
		await machine.quit();
		await server.close();
		await qemu.stop();
		rmSync(folder, { recursive: true });
	});
	const peers = [qemu.qmp, await QmpPeer.connect(server.path)] as const;
	for (const peer of peers) await peer.ask('qmp_capabilities');
	const said = (peer: QmpPeer, from: number) =>
		peer.messages
			.slice(from)
			.flatMap(({ event, data, return: value }) => (event || value ? [{ event, data, value }] : []));
	/** Says it to both and waits for as many events; the answers and events of ours must be QEMU's. */
	const both = async (execute: string, eventCount: number, args?: unknown): Promise<ReturnType<typeof said>> => {
		const heard: ReturnType<typeof said>[] = [];
		for (const peer of peers) {
			const from = peer.messages.length;
			peer.send(`${JSON.stringify({ execute, arguments: args })}\n`);
			await peer.until(from + 1 + eventCount);
			heard.push(said(peer, from).sort((a, b) => Number(b.value === undefined) - Number(a.value === undefined)));
		}
		t.deepEqual(heard[1], heard[0], execute);
		return heard[1];
	};
	return { both, machine, warnings };
}

function events(messages: readonly QmpMessage[]): unknown[] {
	return messages.flatMap(({ event }) => event ?? []);
}

test.serial('pause: the machine stands still until cont or a reset', async (t) => {
	const { both, warnings } = await conversation(t, 'pause', 1);
	t.deepEqual(events(await both('cont', 3)), ['RESUME', 'GUEST_PANICKED', 'STOP']);
	await both('query-status', 0);
	await both('human-monitor-command', 0, { 'command-line': 'info status' });
	await both('stop', 0);
	await both('query-status', 0);
	t.deepEqual(events(await both('cont', 1)), ['RESUME'], 'the guest halts, as its program goes on');
	await both('query-status', 0);
	await both('stop', 1);
	await both('system_reset', 1);
	await both('query-status', 0);
	await both('human-monitor-command', 0, { 'command-line': 'info status' });
	await both('cont', 3);
	await both('query-status', 0);
	t.deepEqual(warnings, Array(2).fill('the guest has panicked; the machine is paused until cont'));
});

test.serial('none: it goes on, and so it does when a crash kernel takes over', async (t) => {
	for (const [event, panic] of [
		[1, 'none'],
		[2, 'pause'],
	] as const) {
		const { both, warnings } = await conversation(t, panic, event);
		await both('cont', 2);
		await both('query-status', 0);
		t.is(warnings.length, 1);
	}
});

test.serial('shutdown and exit-failure: it ends, and only the latter is a failure', async (t) => {
	for (const panic of ['shutdown', 'exit-failure'] as const) {
		const { both, machine, warnings } = await conversation(t, panic, 1);
		t.deepEqual(events(await both('cont', 3)), ['RESUME', 'GUEST_PANICKED', 'SHUTDOWN']);
		const failure = panic === 'exit-failure' ? 'the guest has panicked' : undefined;
		t.deepEqual(await machine.ended, { cause: 'guest-panic', failure });
		t.deepEqual(warnings, failure ? [] : ['the guest has panicked, which ends its machine']);
	}
});

test.serial('set-action changes it while the machine lives, and refuses other words', async (t) => {
	const { both } = await conversation(t, 'shutdown', 1);
	await both('set-action', 0, { panic: 'no' });
	await both('set-action', 0, {});
	await both('set-action', 0, { panic: 'pause' });
	await both('cont', 3);
	await both('query-status', 0);
});
