/** Key names and their scan codes, against QEMU's own list and QEMU's own keyboard. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import test from 'ava';
import { isKeyName, KEY_NAMES, keyBytes, numberBytes } from '../../src/control/keys.ts';
import { QmpPeer } from '../helpers/qmp-peer.ts';

/** 64 KiB whose reset vector is `cli; hlt; jmp $-2`: the CPU leaves the keyboard controller to us. */
function haltingBios(): Uint8Array {
	const bios = new Uint8Array(65536);
	bios.set([0xfa, 0xf4, 0xeb, 0xfc], 0xfff0);
	return bios;
}

interface SchemaInfo {
	readonly 'meta-type': string;
	readonly values?: readonly string[];
}

test('every QKeyCode of QEMU is known, and its keyboard sends the same bytes', async (t) => {
	const folder = mkdtempSync(join(tmpdir(), 'tsvm-keys-'));
	writeFileSync(join(folder, 'bios.bin'), haltingBios());
	const socket = join(folder, 'qmp.sock');
	const child = spawn(
		'qemu-system-i386',
		[
			'-machine',
			'pc',
			'-accel',
			'tcg',
			'-bios',
			'bios.bin',
			'-display',
			'none',
			'-nodefaults',
			'-qtest',
			'stdio',
		].concat(['-qtest-log', 'none', '-qmp', `unix:${socket},server=on,wait=off`]),
		{ cwd: folder, stdio: ['pipe', 'pipe', 'ignore'] },
	);
	t.teardown(async () => {
		const gone = once(child, 'exit');
		child.kill('SIGKILL');
		await gone;
		rmSync(folder, { recursive: true });
	});
	const lines = createInterface(child.stdout)[Symbol.asyncIterator]();
	const qtest = async (line: string) => {
		child.stdin.write(`${line}\n`);
		return Number((await lines.next()).value?.split(' ')[1]);
	};
	const drain = async () => {
		const bytes: number[] = [];
		while ((await qtest('inb 0x64')) & 1) bytes.push(await qtest('inb 0x60'));
		return bytes;
	};
	const qmp = await QmpPeer.connect(socket);
	await qmp.ask('qmp_capabilities');
	// Keyboard interrupt and translation to set 1, as firmware switches them on.
	await qtest('outb 0x64 0x60');
	await qtest('outb 0x60 0x45');
	await drain();

	const schema = (await qmp.ask('query-qmp-schema')).return as readonly SchemaInfo[];
	const names = schema.find((info) => info['meta-type'] === 'enum' && info.values?.includes('ctrl_r'))?.values ?? [];
	t.deepEqual([...KEY_NAMES].sort(), [...names].sort());
	for (const name of names) {
		for (const down of [true, false]) {
			const key = { type: 'qcode', data: name };
			t.truthy('return' in (await qmp.ask('input-send-event', { events: [{ type: 'key', data: { key, down } }] })));
			t.deepEqual(await drain(), [...keyBytes(name, down)], `${name} ${down ? 'down' : 'up'}`);
		}
	}
	qmp.destroy();
});

test('numbers are make codes, with bit 7 for the e0 keys', (t) => {
	t.deepEqual(numberBytes(0x1e, true), [0x1e]);
	t.deepEqual(numberBytes(0xc8, false), [0xe0, 0xc8]);
	for (const wrong of [0, 0x80, -1, 256, 1.5, Number.NaN]) t.deepEqual(numberBytes(wrong, true), []);
});

test('names are looked up safely', (t) => {
	t.false(isKeyName('constructor'));
	t.deepEqual(keyBytes('constructor', true), []);
});
