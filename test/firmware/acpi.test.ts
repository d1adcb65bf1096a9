/** The ACPI tables: each through iasl, the linker script executed as SeaBIOS would, values beside QEMU's. */
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import test from 'ava';
import { int, path } from '../../firmware/acpi/aml.ts';
import { acpiFiles } from '../../firmware/index.ts';

const config = { memory: 512 << 20, serialPorts: [1, 2], i8042: true };
const TABLES_AT = 0x1fff0000;
const RSDP_AT = 0xf5a00;

/** What SeaBIOS's romfile_loader_execute does with the three files. */
function link(files: ReadonlyMap<string, Uint8Array>): { tables: Uint8Array; rsdp: Uint8Array } {
	const blobs = new Map<string, { at: number; bytes: Uint8Array }>();
	const script = files.get('etc/table-loader') as Uint8Array;
	const view = new DataView(script.buffer, script.byteOffset, script.length);
	const name = (at: number) =>
		Buffer.from(script.subarray(at, at + 56))
			.toString()
			.replace(/\0.*$/s, '');
	for (let at = 0; at < script.length; at += 128) {
		const command = view.getUint32(at, true);
		const file = name(at + 4);
		if (command === 1) {
			const bytes = (files.get(file) as Uint8Array).slice();
			blobs.set(file, { at: script[at + 64] === 2 ? RSDP_AT : TABLES_AT, bytes });
			continue;
		}
		const { bytes } = blobs.get(file) as { bytes: Uint8Array };
		const target = new DataView(bytes.buffer);
		if (command === 2) {
			const source = blobs.get(name(at + 60)) as { at: number };
			const offset = view.getUint32(at + 116, true);
			if (script[at + 120] !== 4) throw new Error('pointer of another size');
			target.setUint32(offset, target.getUint32(offset, true) + source.at, true);
		} else if (command === 3) {
			const [offset, start, length] = [60, 64, 68].map((o) => view.getUint32(at + o, true));
			if (start + length > bytes.length) throw new Error('checksum range leaves the file');
			bytes[offset] = -bytes.subarray(start, start + length).reduce((a, b) => a + b, 0);
		} else throw new Error(`command ${command}`);
	}
	return {
		tables: (blobs.get('etc/acpi/tables') as { bytes: Uint8Array }).bytes,
		rsdp: (blobs.get('etc/acpi/rsdp') as { bytes: Uint8Array }).bytes,
	};
}

/** The tables that the root pointer leads to, by signature. */
function follow({ tables, rsdp }: { tables: Uint8Array; rsdp: Uint8Array }): Map<string, Uint8Array> {
	const u32 = (bytes: Uint8Array, at: number) => new DataView(bytes.buffer, bytes.byteOffset).getUint32(at, true);
	const tableAt = (address: number) => {
		const at = address - TABLES_AT;
		return tables.subarray(at, at + u32(tables, at + 4));
	};
	const out = new Map<string, Uint8Array>();
	const add = (address: number) => {
		const bytes = tableAt(address);
		out.set(Buffer.from(bytes.subarray(0, 4)).toString(), bytes);
		return bytes;
	};
	const rsdt = add(u32(rsdp, 16));
	for (let at = 36; at < rsdt.length; at += 4) add(u32(rsdt, at));
	const fadt = out.get('FACP') as Uint8Array;
	add(u32(fadt, 36));
	add(u32(fadt, 40));
	return out;
}

const sum = (bytes: Uint8Array) => bytes.reduce((a, b) => (a + b) & 0xff, 0);

test('the linker script leads from the root pointer to every table, and all checksums hold', (t) => {
	const linked = link(acpiFiles(config));
	t.is(Buffer.from(linked.rsdp.subarray(0, 8)).toString(), 'RSD PTR ');
	t.is(sum(linked.rsdp), 0);
	const tables = follow(linked);
	t.deepEqual([...tables.keys()].sort(), ['APIC', 'DSDT', 'FACP', 'FACS', 'RSDT', 'WAET']);
	for (const [name, bytes] of tables) if (name !== 'FACS') t.is(sum(bytes), 0, name);
});

test('iasl reads every table back without a complaint and compiles the DSDT to the same bytes again', async (t) => {
	const folder = await mkdtemp(join(tmpdir(), 'tsvm-acpi-'));
	t.teardown(() => rm(folder, { recursive: true, force: true }));
	const iasl = async (...args: string[]) => {
		try {
			const { stdout, stderr } = await promisify(execFile)('iasl', args, { cwd: folder });
			return stdout + stderr;
		} catch (error) {
			if ((error as NodeJS.ErrnoException).code === 'ENOENT')
				throw new Error("cannot run iasl (install Debian's acpica-tools)");
			throw error;
		}
	};
	for (const [name, bytes] of follow(link(acpiFiles(config)))) {
		await writeFile(join(folder, `${name}.aml`), bytes);
		t.notRegex(await iasl('-d', `${name}.aml`), /warning|error/i, name);
	}
	const compiled = await iasl('-oa', '-p', 'again', 'DSDT.dsl');
	t.regex(compiled, / 0 Errors/);
	const source = await readFile(join(folder, 'DSDT.dsl'), 'utf8');
	for (const part of ['PNP0A03', 'LNKA', 'LNKS', 'COM1', 'COM2', '_PRT', '_S5', '0x20000000, '])
		t.true(source.includes(part), part);
	t.false(source.includes('COM3'));
	// iasl may choose shorter name strings, so the meaning is compared: both disassemble to the same text.
	await iasl('-d', '-p', 'again', 'again.aml');
	const meaning = (text: string) => text.slice(text.indexOf('DefinitionBlock')).replace(/^DefinitionBlock.*$/m, '');
	t.is(meaning(await readFile(join(folder, 'again.dsl'), 'utf8')), meaning(source));
});

test('fixed hardware is where PIIX4 has it', (t) => {
	const fadt = follow(link(acpiFiles(config))).get('FACP') as Uint8Array;
	const view = new DataView(fadt.buffer, fadt.byteOffset, fadt.length);
	t.is(fadt.length, 244);
	t.is(view.getUint16(46, true), 9, 'SCI');
	t.is(view.getUint32(48, true), 0xb2, 'SMI command port');
	t.deepEqual([fadt[52], fadt[53]], [0xf1, 0xf0], 'ACPI enable, disable');
	t.deepEqual(
		[56, 64, 76, 80].map((at) => view.getUint32(at, true)),
		[0x600, 0x604, 0x608, 0xafe0],
	);
	t.is(view.getUint32(112, true) & (1 << 4), 0, 'the power button is a fixed event');
	t.is(view.getUint32(120, true), 0xcf9, 'reset register');
	t.is(fadt[128], 0x0f, 'reset value');
});

test('IRQ 0 is not redirected; the PCI interrupts and the SCI are level, active high', (t) => {
	const madt = follow(link(acpiFiles(config))).get('APIC') as Uint8Array;
	const overrides: [number, number, number][] = [];
	for (let at = 44; at < madt.length; at += madt[at + 1])
		if (madt[at] === 2) overrides.push([madt[at + 3], madt[at + 4], madt[at + 8]]);
	t.deepEqual(
		overrides,
		[5, 9, 10, 11].map((irq) => [irq, irq, 0x0d]),
	);
});

test('serial ports that are not there are not described; unknown ones are refused', (t) => {
	const has = (serialPorts: number[], text: string) =>
		Buffer.from(acpiFiles({ ...config, serialPorts }).get('etc/acpi/tables') as Uint8Array).includes(text);
	t.true(has([1, 4], 'COM4'));
	t.false(has([], 'COM1'));
	t.throws(() => acpiFiles({ ...config, serialPorts: [5] }), { instanceOf: RangeError });
});

test("PCI's memory window begins behind RAM and what is taken there, and ends before the I/O APIC", (t) => {
	const range = (min: number, max: number) => {
		const view = new DataView(new ArrayBuffer(12));
		for (const [i, value] of [min, max, 0].entries()) view.setUint32(4 * i, value, true);
		return Buffer.from(view.buffer);
	};
	const dsdt = (taken?: number) => Buffer.from(link(acpiFiles({ ...config, taken })).tables);
	t.true(dsdt().includes(range(config.memory, 0xfebfffff)));
	t.true(dsdt(0x8000000).includes(range(config.memory + 0x8000000, 0xfebfffff)));
	t.false(dsdt(0x8000000).includes(range(config.memory, 0xfebfffff)));
});

test('AML names and integers are encoded as chapter 20 says', (t) => {
	t.deepEqual([...path('\\_SB.PCI0')], [0x5c, 0x2e, ...Buffer.from('_SB_PCI0')]);
	t.deepEqual([...path('^X')], [0x5e, ...Buffer.from('X___')]);
	t.deepEqual([...path('A.B.C')], [0x2f, 3, ...Buffer.from('A___B___C___')]);
	t.throws(() => path('toolong'), { instanceOf: RangeError });
	t.deepEqual(
		[0, 1, 2, 0x100, 0x10000].map((v) => int(v).length),
		[1, 1, 2, 3, 5],
	);
});
