/** Devices, drives and byte streams in QEMU's words: what they make of a machine, and what is said to wrong ones. */
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import fc from 'fast-check';
import { parseWords, wordHelp, wordOptions } from '../../src/cli/words.ts';
import { TsvmError } from '../../src/core/index.ts';
import { type MachineOptions, parseConfig } from '../../src/machine/config.ts';
import { CHARDEV_BACKENDS, DRIVERS } from '../../src/machine/devices.ts';
import type { Plan } from '../../src/machine/plan.ts';
import { planDevices } from '../../src/machine/planner.ts';
import { tsvm } from '../helpers/guest.ts';

const MIB = 1 << 20;

/** `--device a`, `--drive b` ... as a machine. */
function plan(flags: readonly string[], more: MachineOptions = {}): Plan {
	const of = (name: string) =>
		flags.filter((flag) => flag.startsWith(`${name} `)).map((flag) => flag.slice(name.length + 1));
	const words = wordOptions({ device: of('device'), drive: of('drive'), chardev: of('chardev') });
	return planDevices(parseConfig({ ...words, ...more }));
}

function complaint(flags: readonly string[], more: MachineOptions = {}): string {
	try {
		plan(flags, more);
	} catch (error) {
		if (error instanceof TsvmError) return `${error.message}; ${error.hint}`;
		throw error;
	}
	return 'fine';
}

const SPICE = { spice: { port: 5930 } };
const DRIVE = 'drive file=x,if=none,id=d0';

test('words: a value alone first, names alone, commas in values', (t) => {
	t.deepEqual(parseWords('--device', 'virtio-rng-pci,addr=5,packed,nofoo', 'driver'), {
		driver: 'virtio-rng-pci',
		addr: '5',
		packed: 'on',
		foo: 'off',
	});
	t.deepEqual(parseWords('--drive', 'file=/a,,b=c,id=d'), { file: '/a,b=c', id: 'd' });
	t.deepEqual(parseWords('--device', 'driver=AC97', 'driver'), { driver: 'AC97' });
	for (const wrong of ['a=1,a=2', 'a=1,,,', '=1', 'x,,=2,'])
		t.throws(() => parseWords('--drive', wrong), { instanceOf: TsvmError }, wrong);
});

test('whatever stands in a value comes out of it again', (t) => {
	fc.assert(
		fc.property(fc.string({ minLength: 1 }), (value) => {
			const { file } = parseWords('--drive', `if=none,file=${value.replaceAll(',', ',,')},id=x`);
			t.is(file, value);
		}),
	);
});

test('every machine has a console device, a balloon and sound where they always are', (t) => {
	const { serials, balloon, soundSlot, disks, rngs, tablet } = plan([]);
	t.is(serials.length, 1);
	t.is(serials[0].slot, 3);
	t.is(balloon?.slot, 4);
	t.is(soundSlot, 6);
	t.deepEqual([disks, rngs, tablet], [[], [], undefined]);
});

test('devices take free slots in order, or the one that addr says, and push none of the others away', (t) => {
	const { rngs, disks, serials, balloon } = plan([
		DRIVE,
		'device virtio-rng-pci',
		'device virtio-rng-pci,addr=0x3',
		'device virtio-rng-pci,addr=1f.0',
		'device virtio-blk-pci,drive=d0',
	]);
	t.deepEqual(
		rngs.map(({ slot }) => slot),
		[8, 3, 31],
	);
	t.is(serials[0].slot, 5, 'its own place was taken');
	t.is(disks[0].virtio?.slot, 7, '6 is kept for sound');
	t.is(balloon?.slot, 4);
	t.regex(
		complaint(['device virtio-rng-pci,addr=5', 'device virtio-rng-pci,addr=5']),
		/slot 05 is taken by virtio-rng-pci/,
	);
	t.regex(complaint(['device virtio-rng-pci,addr=2']), /slot 02 is taken by the display/);
	t.regex(
		complaint(Array.from({ length: 30 }, () => 'device virtio-rng-pci')),
		/no PCI slot is left for virtio-rng-pci/,
	);
});

test('properties of the transport', (t) => {
	const transport = (words: string) => plan([`device virtio-rng-pci${words}`]).rngs[0].transport;
	t.deepEqual(transport(''), { packed: false, disableModern: false, disableLegacy: undefined, vectors: undefined });
	t.is(transport(',vectors=0').vectors, 0);
	t.regex(complaint(['device virtio-rng-pci,vectors=129']), /129 vectors are more than the 128 that fit/);
	t.deepEqual(transport(',packed=on,disable-modern=yes'), {
		packed: true,
		disableModern: true,
		disableLegacy: undefined,
		vectors: undefined,
	});
	t.is(transport(',disable-legacy=on').disableLegacy, true);
	t.is(transport(',disable-legacy=auto').disableLegacy, undefined);
	t.is(plan(['device virtio-rng-pci,packed=off'], { packedRings: true }).rngs[0].transport.packed, false);
	t.regex(complaint(['device virtio-rng-pci,disable-modern=on,disable-legacy=on']), /neither interface/);
	t.regex(complaint(['device virtio-tablet-pci,disable-modern=on']), /only the modern interface/);
});

test('pvpanic: one on each bus, and neither name stands for the other', (t) => {
	const { pvpanic, pvpanicPci } = plan(['device pvpanic', 'device pvpanic-pci,addr=9,events=1']);
	t.deepEqual(pvpanic, { port: 0x505, events: undefined });
	t.deepEqual(pvpanicPci, { slot: 9, events: 1 });
	const other = plan(['device pvpanic,ioport=0x600,events=2']);
	t.deepEqual(other.pvpanic, { port: 0x600, events: 2 });
	t.is(other.pvpanicPci, undefined);
	t.is(plan(['device pvpanic-pci']).pvpanicPci?.slot, 5);
	t.is(plan([]).pvpanic, undefined);
});

test('drives: on IDE, on virtio, for a device; a CD-ROM', (t) => {
	const { disks, cdrom } = plan([
		'drive file=a',
		'drive file=b,if=virtio,readonly=on,serial=S1',
		'drive file=c,if=none,id=c,snapshot=on,serial=S2',
		'drive file=d,media=cdrom',
		'device virtio-blk-pci,drive=c,serial=S3,bootindex=2,logical_block_size=4K',
	]);
	t.like(disks, [
		{ file: 'a', virtio: undefined, readonly: false },
		{ file: 'b', serial: 'S1', readonly: true },
		{ file: 'c', device: 'c', serial: 'S3', snapshot: true, bootindex: 2 },
	]);
	t.truthy(disks[1].virtio);
	t.is(disks[2].virtio?.logicalBlockSize, 4096);
	t.is(cdrom.file, 'd');
	t.is(plan([DRIVE, 'device ide-cd,drive=d0,bootindex=0']).cdrom.bootindex, 0);
	t.is(plan([DRIVE, 'device ide-hd,drive=d0']).disks[0].virtio, undefined);
	t.is(plan(['device virtio-blk,drive=d0', DRIVE]).disks.length, 1, 'its short name, and in any order');
});

test('werror and rerror: QEMU’s words and defaults', (t) => {
	const policy = (words: string) => plan([`drive file=a${words}`]).disks[0];
	t.like(policy(''), { werror: 'enospc', rerror: 'report' });
	t.like(policy(',werror=stop,rerror=ignore'), { werror: 'stop', rerror: 'ignore' });
	t.like(plan([], { disks: [{ file: 'a', rerror: 'stop' }] }).disks[0], { werror: 'enospc', rerror: 'stop' });
});

test('discard: ignored unless it says unmap or on', (t) => {
	const discard = (words: string) => plan([`drive file=a${words}`]).disks[0].discard;
	t.deepEqual(['', ',discard=ignore', ',discard=off', ',nodiscard'].map(discard), Array(4).fill('ignore'));
	t.deepEqual([',discard=unmap', ',discard=on', ',discard'].map(discard), Array(3).fill('unmap'));
	const named = plan(['drive file=c,if=none,id=c,discard=unmap', 'device virtio-blk-pci,drive=c']);
	t.is(named.disks[0].discard, 'unmap');
});

test('ports: to a back end, to SPICE, to nobody; names and numbers', (t) => {
	const flags = [
		'chardev socket,id=c0,path=/s,server=on,wait=off',
		'chardev spiceport,id=c1,name=org.spice-space.webdav.0',
		'device virtserialport,chardev=c0,name=a,nr=7',
		'device virtserialport,chardev=c1,name=b',
		'device virtconsole',
	];
	const agent = { name: 'com.redhat.spice.0', console: false, end: { kind: 'agent' } };
	const named = (name: string, end: object, number?: number) => ({ name, console: false, number, end });
	const own = [named('b', { kind: 'nobody' }), { name: '', console: true, number: undefined, end: { kind: 'nobody' } }];
	t.deepEqual(plan(flags).serials[0].ports as unknown[], [named('a', { kind: 'chardev', id: 'c0' }, 7), ...own]);
	t.like(plan(flags, SPICE).serials[0].ports[1], agent);
	t.deepEqual(plan(flags, SPICE).serials[0].ports[2].end, { kind: 'spice', name: 'org.spice-space.webdav.0' });
	t.deepEqual(
		plan(flags).chardevs.map(({ id }) => id),
		['c0'],
		'only what has to be opened',
	);
	const explicit = [
		'chardev spicevmc,id=v,name=vdagent',
		'device virtserialport,chardev=v,name=com.redhat.spice.0,nr=3',
	];
	t.like(plan(explicit, SPICE).serials[0].ports, [{ ...agent, number: 3 }]);
	t.is(plan(explicit, SPICE).serials[0].ports.length, 1, 'it takes the place of the usual one');
	t.is(plan([], { ...SPICE, agent: null }).serials[0].ports.length, 0);

	const two = plan([
		'device virtio-serial-pci,id=s0',
		'device virtio-serial-pci,id=s1,packed=on',
		'device virtserialport,name=on-second,bus=s1.0',
	]);
	t.deepEqual(
		two.serials.map(({ slot, ports }) => [slot, ports.length]),
		[
			[3, 0],
			[5, 1],
		],
	);
});

test("what a description has words of its own for is the same in QEMU's", (t) => {
	const config = parseConfig(
		wordsOf([
			'device qxl-vga,ram_size_mb=32,vram_size=33554432,vgamem_mb=8,max_outputs=2',
			'device virtio-balloon-pci,free-page-reporting=on',
		]),
	);
	t.like(config.display, { ram: 32 * MIB, vram: 32 * MIB, vgamem: 8 * MIB, maxOutputs: 2 });
	const large = parseConfig(wordsOf(['device qxl-vga,ram_size_mb=64,vgamem_mb=64']));
	t.like(large.display, { ram: 128 * MIB, vram: 64 * MIB, vgamem: 64 * MIB }, 'ram holds twice vgamem at least');
	t.like(config.balloon, { freePageReporting: true, deflateOnOom: false });
	t.true(parseConfig({ sound: false, ...wordsOf(['device AC97']) }).sound);
	t.is(planDevices(parseConfig(wordsOf(['device AC97,addr=9']))).soundSlot, 9);
	t.truthy(planDevices(parseConfig({ balloon: null, ...wordsOf(['device virtio-balloon-pci']) })).balloon);
	t.is(planDevices(parseConfig({ balloon: null })).balloon, undefined);
});

function wordsOf(flags: readonly string[]): MachineOptions {
	return wordOptions({ device: flags.map((flag) => flag.replace(/^device /, '')) });
}

test('wrong words are told with those that are known', (t) => {
	const wrong: readonly (readonly [flags: readonly string[], message: RegExp])[] = [
		[['device foo'], /there is no driver 'foo'; there are virtio-blk-pci, .*qxl-vga/],
		[['device virtio-rng-pci,foo=1'], /virtio-rng-pci has no property 'foo'; it has addr, disable-legacy, /],
		[['device virtio-rng-pci,packed=maybe'], /packed: 'maybe' is neither on nor off/],
		[['device virtio-rng-pci,addr=20'], /'20' is no PCI slot; write 01 to 1f/],
		[['device virtio-rng-pci,addr=5.1'], /devices sit in function 0/],
		[['device virtio-blk-pci'], /virtio-blk-pci needs a drive; write drive=ID/],
		[['device virtio-blk-pci,drive=nix', DRIVE], /there is no drive 'nix'; there are d0/],
		[
			[DRIVE, 'device virtio-blk-pci,drive=d0', 'device ide-hd,drive=d0'],
			/drive 'd0' is used by virtio-blk-pci already/,
		],
		[[DRIVE, 'device virtio-blk-pci,drive=d0,logical_block_size=1000'], /1000 is no power of two/],
		[[DRIVE, 'device virtio-blk-pci,drive=d0,min_io_size=1000'], /min_io_size is no multiple/],
		[[DRIVE, 'device virtio-blk-pci,drive=d0,min_io_size=64M'], /min_io_size or opt_io_size is too large/],
		[[DRIVE, 'device virtio-blk-pci,drive=d0,logical_block_size=4K,physical_block_size=512'], /is less than/],
		[[DRIVE, DRIVE], /id 'd0' is there twice/],
		[['drive file=x,format=qcow2'], /only raw images are known/],
		[['drive file=x,discard=maybe'], /discard: expected unmap \(on\) or ignore \(off\)/],
		[['drive file=x,werror=maybe'], /werror: expected report, ignore, enospc or stop/],
		[['drive file=x,rerror=enospc'], /rerror: expected report, ignore or stop/],
		[['drive file=x,if=scsi'], /expected ide, virtio or none/],
		[['drive file=x,foo=1'], /a drive has no property 'foo'; it has discard, file, format, /],
		[['drive if=virtio'], /a disk needs a file/],
		[['drive file=x,if=none'], /a drive with if=none needs an id/],
		[['drive file=x,if=virtio,media=cdrom'], /a CD-ROM drive is on IDE/],
		[['drive file=x,media=cdrom', 'drive file=y,media=cdrom'], /there is one CD-ROM drive/],
		[['device virtserialport,chardev=c'], /there is no chardev 'c'; there are none/],
		[['device virtserialport,nr=31'], /ports are 0 to 30/],
		[['device virtserialport,nr=0'], /port 0 is for a virtconsole/],
		[['device virtserialport,nr=2', 'device virtserialport,nr=2'], /port 2 is taken/],
		[['device virtserialport,bus=vs.0'], /there is no bus 'vs.0'/],
		[['chardev foo,id=c'], /there is no back end 'foo'; there are socket, file, stdio, null, spicevmc, spiceport/],
		[['chardev null'], /a chardev needs an id/],
		[['chardev socket,id=c'], /socket needs a path/],
		[['chardev socket,id=c,path=/s,server=off'], /tsvm listens on its sockets/],
		[['chardev spicevmc,id=c,name=usbredir'], /only name=vdagent/],
		[['chardev spicevmc,id=c', 'chardev spicevmc,id=d'], /there is one agent/],
		[
			['chardev spiceport,id=c,name=x.0', 'chardev spiceport,id=d,name=x.1', 'chardev spiceport,id=e,name=x.0'],
			/^chardevs\[2\]: there are two SPICE ports named 'x\.0'/,
		],
		[['chardev stdio,id=c', 'chardev stdio,id=d'], /stdio is taken already/],
		[['device virtio-balloon-pci', 'device virtio-balloon-pci'], /a machine has one virtio-balloon-pci/],
		[['device pvpanic', 'device pvpanic'], /a machine has one pvpanic;/],
		[['device pvpanic,addr=5'], /pvpanic has no property 'addr'; it has events, id, ioport/],
		[['device pvpanic,ioport=0x10000'], /65536 is more than 65535/],
		[['device pvpanic-pci,events=256'], /256 is more than 255/],
		[['device qxl-vga,ram_size=5'], /qxl-vga's ram: 5 bytes is no power of two .*; give 2 MiB$/],
		[['device qxl-vga,ram_size_mb=48'], /qxl-vga's ram: 48 MiB is no power of two .*; give 64 MiB$/],
		[['device qxl-vga,vgamem_mb=12'], /qxl-vga's vgamem: 12 MiB is no power of two .*; give 16 MiB$/],
		[['device qxl-vga,vgamem_mb=512'], /qxl-vga's vgamem: 512 MiB is no power of two .*; give 256 MiB$/],
		[['device qxl-vga,max_outputs=-1'], /max_outputs: '-1' is no whole number/],
		[['device qxl-vga,max_outputs=65536'], /max_outputs: 65536 monitors are too many; give 0 to 65535$/],
	];
	for (const [flags, message] of wrong) t.regex(complaint(flags), message, flags.join(' '));
	t.regex(complaint(['chardev null,id=c', 'device virtserialport,chardev=c'], { serials: ['chardev:c'] }), /used by/);
	t.regex(complaint([], { serials: ['chardev:c'] }), /^serials\[0\]: there is no chardev 'c'/);
	t.regex(complaint([], { balloon: { target: '1G' } }), /^balloon\.target: the guest has only 512 MiB/);
});

test('any words at all are a machine or a TsvmError', (t) => {
	const name = fc.constantFrom(...Object.keys(DRIVERS), ...Object.keys(CHARDEV_BACKENDS), 'x');
	const property = fc.constantFrom(
		'id',
		'drive',
		'chardev',
		'addr',
		'nr',
		'bus',
		'name',
		'path',
		'packed',
		'file',
		'if',
		'bootindex',
	);
	const value = fc.constantFrom('a', 'b', '1', '0', '5', 'on', 'none', 'virtio', '', '0x1f', '-1', '9'.repeat(30));
	const words = fc.tuple(name, fc.uniqueArray(fc.tuple(property, value), { selector: ([key]) => key, maxLength: 4 }));
	const flag = fc
		.tuple(fc.constantFrom('device', 'chardev', 'drive'), words)
		.map(
			([kind, [first, rest]]) =>
				`${kind} ${[...(kind === 'drive' ? [] : [first]), ...rest.map((pair) => pair.join('='))].join(',')}`,
		);
	fc.assert(
		fc.property(fc.array(flag, { maxLength: 5 }), (flags) => {
			t.is(typeof complaint(flags, SPICE), 'string');
		}),
		{ numRuns: 300 },
	);
});

test('help lists drivers, back ends and their properties', (t) => {
	const lists = [wordHelp({ device: ['help'] }), wordHelp({ chardev: ['help'] })];
	for (const name of Object.keys(DRIVERS)) {
		t.regex(lists[0] ?? '', new RegExp(`^${name} `, 'm'));
		t.regex(
			wordHelp({ device: [`${name},help`] }) ?? '',
			new RegExp(`^${name} options:\\n(  \\S.* - \\S.*\\n)+$`),
			name,
		);
	}
	for (const name of Object.keys(CHARDEV_BACKENDS)) {
		t.regex(lists[1] ?? '', new RegExp(`^${name} `, 'm'));
		t.regex(wordHelp({ chardev: [`${name},help`] }) ?? '', /\bid=<str>/);
	}
	t.regex(wordHelp({ drive: ['help'] }) ?? '', /\bif=<str>/);
	t.is(wordHelp({ device: ['virtio-rng-pci'] }), undefined);
});

test('on the command line: help, and a complaint that names the flag', async (t) => {
	const help = await tsvm(['run', '--device', 'virtio-blk,help']);
	t.is(help.code, 0);
	t.regex(help.stdout, /^virtio-blk-pci options:$/m);
	const wrong = await tsvm(['run', '--device', 'virtio-rng-pci,packed=x']);
	t.is(wrong.code, 2);
	t.is(wrong.stderr, "tsvm: --device packed: 'x' is neither on nor off\n");

	const folder = mkdtempSync(join(tmpdir(), 'tsvm-devices-'));
	t.teardown(() => rmSync(folder, { recursive: true, force: true }));
	const disk = join(folder, 'disk.img');
	writeFileSync(disk, '');
	truncateSync(disk, MIB);
	const missing = await tsvm(['run', '--drive', `file=${disk},if=none,id=d`, '--device', 'virtio-blk-pci,drive=e']);
	t.is(missing.code, 2);
	t.is(missing.stderr, "tsvm: --device: there is no drive 'e'; there are d\n");
});
