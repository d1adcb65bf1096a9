/** A machine's description: defaults, units, limits, and errors in one line. */
import test from 'ava';
import fc from 'fast-check';
import { TsvmError } from '../../src/core/index.ts';
import {
	configJsonSchema,
	formatSize,
	type MachineOptions,
	maxMemory,
	parseConfig,
	parseSize,
} from '../../src/machine/config.ts';

const MiB = 1 << 20;

test('defaults are a whole machine', (t) => {
	t.like(parseConfig({}), {
		name: '',
		uuid: '00000000-0000-0000-0000-000000000000',
		memory: 512 * MiB,
		disks: [],
		boot: { order: 'cd', menu: false },
		serials: [],
		spice: null,
		qmp: [],
		display: { ram: 64 * MiB, vram: 64 * MiB, vgamem: 16 * MiB, maxOutputs: 0, fastVideo: true },
		clock: 'real',
		firmware: {},
		trace: [],
	});
});

test('sizes', (t) => {
	const sizes = { '512': 512 * MiB, '1G': 2 ** 30, '1.5g': 1.5 * 2 ** 30, '65536K': 64 * MiB, '64 MiB': 64 * MiB };
	for (const [text, bytes] of Object.entries(sizes)) t.is(parseSize(text), bytes, text);
	for (const text of ['', 'x', '-5', '1T', '1e3', '0.3K', '9'.repeat(30)]) t.is(parseSize(text), undefined, text);
	fc.assert(fc.property(fc.integer({ min: 1, max: 4096 }), (n) => t.is(parseSize(`${n}M`), n * MiB)));
	t.is(formatSize(64 * MiB), '64 MiB');
	t.is(formatSize(65 * 1024), '65 KiB');
});

test('back ends are read from their short forms', (t) => {
	const config = parseConfig({
		serials: ['stdio', 'none', 'file:/a:b', 'unix:/s.sock,server=on,wait=off'],
		qmp: ['unix:/q.sock'],
		trace: ['qxl.*', 'ide.*=a=b.log'],
		spice: { port: 'auto', tls: { port: 5941 }, secureChannels: ['main'] },
	});
	t.deepEqual(config.serials, [
		{ kind: 'stdio' },
		{ kind: 'none' },
		{ kind: 'file', path: '/a:b' },
		{ kind: 'unix', path: '/s.sock' },
	]);
	t.deepEqual(config.qmp, [{ path: '/q.sock' }]);
	t.deepEqual(config.trace, [
		{ glob: 'qxl.*', file: undefined },
		{ glob: 'ide.*', file: 'a=b.log' },
	]);
	t.is(config.spice?.addr, '127.0.0.1');
});

const WRONG: readonly (readonly [options: unknown, message: RegExp])[] = [
	[{ memory: '3G' }, /^memory: 3072 MiB is more than a 32-bit machine can have here$/],
	[{ memory: '3M' }, /^memory: 3 MiB is too little$/],
	[{ memory: 5 * MiB + 1 }, /^memory: memory is counted in whole MiB$/],
	[{ memory: 'lots' }, /^memory: 'lots' is not a size$/],
	[{ memory: {} }, /^memory: expected a size/],
	[{ foo: 1 }, /^unrecognized key: "foo"$/],
	[{ disks: [{ file: '' }] }, /^disks\[0\]\.file: expected a file name$/],
	[{ disks: Array.from({ length: 5 }, () => ({ file: 'x' })) }, /^disks: there is room for four IDE drives$/],
	[{ disks: Array.from({ length: 17 }, () => ({ file: 'x', bus: 'virtio' })) }, /^disks: there is room for 16 disks$/],
	[{ disks: Array.from({ length: 4 }, () => ({ file: 'x' })), cdrom: 'y' }, /^cdrom: four disks leave no room/],
	[{ initrd: 'x' }, /^initrd: an initrd needs a kernel$/],
	[{ append: 'x' }, /^append: /],
	[{ kernel: 'x', append: 'x'.repeat(3000) }, /^append: a kernel command line has at most 2047 characters$/],
	[{ boot: { order: 'n' } }, /^boot\.order: expected c/],
	[{ serials: ['tcp:1'] }, /^serials\[0\]: 'tcp:1' is no serial back end$/],
	[{ serials: ['stdio', 'stdio'] }, /^serials: only one serial port can be on stdio$/],
	[{ serials: [`unix:/${'x'.repeat(108)}`] }, /at most 107 characters/],
	[{ qmp: ['tcp:1'] }, /^qmp\[0\]: 'tcp:1' is no place for a QMP socket$/],
	[{ spice: {} }, /^spice: neither a plain nor a TLS port$/],
	[{ spice: { port: 0 } }, /^spice\.port: expected a port/],
	[{ spice: { port: 5900, tls: { port: 5900 } } }, /^spice: port 5900 cannot be both/],
	[{ spice: { tls: { port: 5900, cert: 'x' } } }, /^spice\.tls: a certificate and its key go together$/],
	[{ spice: { port: 5900, secureChannels: ['main'] } }, /^spice\.secureChannels: secure channels need a TLS port$/],
	[{ spice: { port: 5900, password: 'x'.repeat(61) } }, /^spice\.password: a SPICE password has at most 60/],
	[{ display: { ram: '12M' } }, /^display\.ram: 12 MiB is no power of two/],
	[{ display: { maxOutputs: 65536 } }, /^display\.maxOutputs: expected a number of monitors from 0 to 65535/],
	[{ uuid: 'x' }, /^uuid: expected a UUID/],
	[{ trace: ['=x'] }, /^trace\[0\]: '=x' names no trace points$/],
	[null, /expected object/],
];

test('mistakes are told in one line, as wrong usage', (t) => {
	for (const [options, message] of WRONG) {
		const error = t.throws(() => parseConfig(options as MachineOptions), { instanceOf: TsvmError, message });
		t.is(error?.exitCode, 2);
		t.false(`${error?.message}${error?.hint}`.includes('\n'));
	}
});

test('RAM and video memory together stay in what the core can address', (t) => {
	for (const vram of [4096, 64 * MiB, 512 * MiB]) {
		const display = { ram: 64 * MiB, vram };
		const most = maxMemory(display);
		t.is(most % MiB, 0);
		t.true(most + display.ram + display.vram <= 0x7fff0000);
		t.is(parseConfig({ memory: most, display }).memory, most);
		t.throws(() => parseConfig({ memory: most + MiB, display }));
	}
});

test('a JSON Schema of it can be had', (t) => {
	const schema = configJsonSchema() as { type: string; properties: Record<string, unknown> };
	t.is(schema.type, 'object');
	for (const name of ['memory', 'disks', 'spice', 'serials']) t.true(name in schema.properties, name);
	t.notThrows(() => JSON.stringify(schema));
});

test('whatever is thrown at it, it answers or refuses with a TsvmError', (t) => {
	fc.assert(
		fc.property(fc.anything(), fc.constantFrom('memory', 'disks', 'spice', 'serials', 'boot', 'trace'), (junk, key) => {
			try {
				parseConfig({ [key]: junk } as MachineOptions);
			} catch (error) {
				if (!(error instanceof TsvmError)) throw error;
			}
			t.pass();
		}),
	);
});
