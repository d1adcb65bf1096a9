/** The AC97 function beside QEMU's: identity, reset values, and a driver's walk through mixer and bus masters. */
import test, { type ExecutionContext } from 'ava';
import { Ac97 } from '../../devices/audio/index.ts';
import { CountingSource, MemorySink } from '../devices/audio/machine.ts';
import { ChipsetBoard, MEMORY } from '../helpers/chipset.ts';
import { compareConfig, Pair, type Width } from './driver.ts';

const SLOT = 6;
const MIXER = 0xc000;
const MASTER = 0xc400;
const BOXES = [0x00, 0x10, 0x20];
const LIST = 0x1000;
const BUFFER = 0x8000;

async function pair(t: ExecutionContext): Promise<Pair> {
	const board = new ChipsetBoard();
	const ac97 = new Ac97({
		host: board.host,
		out: new MemorySink(),
		in: new CountingSource(),
		mic: new CountingSource(),
	});
	board.bus.plug(SLOT, ac97.pci);
	const both = await Pair.start(board, {
		memory: MEMORY,
		args: ['-audiodev', 'none,id=snd', '-device', `AC97,addr=${SLOT},audiodev=snd`],
	});
	t.teardown(() => both.close());
	return both;
}

async function enable(both: Pair): Promise<void> {
	await both.both(async (d) => {
		await d.configWrite(SLOT, 0, 0x10, 4, MIXER);
		await d.configWrite(SLOT, 0, 0x14, 4, MASTER);
		await d.configWrite(SLOT, 0, 0x04, 2, 0x0005);
		// PIIX3: all four PIRQs go to line 11, as no firmware does it here.
		await d.configWrite(1, 0, 0x60, 4, 0x0b0b0b0b);
	});
}

test('configuration space: identity, BARs, reset values and writable bits are the same', async (t) => {
	const both = await pair(t);
	t.deepEqual(await compareConfig(both, SLOT, 0), []);
});

test('every register after reset', async (t) => {
	const both = await pair(t);
	await enable(both);
	const same = async (port: number, width: Width) => {
		const [qemu, tsvm] = await both.in(port, width);
		t.is(tsvm, qemu, `0x${port.toString(16)}, ${width} bytes`);
	};
	for (let at = 0; at < 0x84; at += 2) await same(MIXER + at, 2);
	await same(MIXER, 1);
	await same(MIXER, 4);
	await same(MIXER + 3, 2);
	await same(MIXER + 0x100, 2);
	for (const box of BOXES) {
		await same(MASTER + box, 4);
		for (const at of [4, 5, 0xa, 0xb]) await same(MASTER + box + at, 1);
		for (const at of [6, 8]) await same(MASTER + box + at, 2);
		for (const at of [4, 8]) await same(MASTER + box + at, 4);
	}
	for (const at of [0x2c, 0x30]) await same(MASTER + at, 4);
	await same(MASTER + 0x34, 1);
	await same(MASTER + 0x34, 1);
	await same(MIXER + 2, 2);
	await same(MASTER + 0x34, 1);
});

/** What is not as in QEMU when ones or zeros are written, by register of the mixer, and why. */
const RESERVED = 'AC97 2.1, 5.9: registers that are not there read 0';
const KNOWN: ReadonlyMap<number, string> = new Map([
	[0x24, RESERVED],
	[0x26, '5.8: a section that is powered down is not ready'],
	[0x2a, 'A.2.1: only what the extended audio ID offers can be switched on'],
	[0x2c, 'A.2.3: the closest rate that is supported reads back'],
	[0x2e, 'A.2.3: there is no surround DAC'],
	[0x30, 'A.2.3: there is no LFE DAC'],
	[0x32, 'A.2.3: the closest rate that is supported reads back'],
	[0x34, 'A.2.3: the closest rate that is supported reads back'],
	...Array.from({ length: 27 }, (_, i) => [0x36 + i * 2, RESERVED] as const),
	...Array.from({ length: 6 }, (_, i) => [0x70 + i * 2, RESERVED] as const),
]);

test('ones and zeros in every register of the mixer', async (t) => {
	const both = await pair(t);
	await enable(both);
	const found = new Set<number>();
	for (const value of [0xffff, 0]) {
		for (let at = 2; at < 0x80; at += 2) {
			await both.out(MIXER + at, value, 2);
			const [qemu, tsvm] = await both.in(MIXER + at, 2);
			if (qemu === tsvm) continue;
			found.add(at);
			t.true(KNOWN.has(at), `0x${at.toString(16)} after 0x${value.toString(16)}: QEMU ${qemu}, tsvm ${tsvm}`);
		}
	}
	for (const [at, reason] of KNOWN)
		t.true(found.has(at), `no difference at 0x${at.toString(16)}, but listed: ${reason}`);
	await both.out(MIXER, 0, 2);
	for (let at = 0; at < 0x80; at += 2) {
		const [qemu, tsvm] = await both.in(MIXER + at, 2);
		t.is(tsvm, qemu, `0x${at.toString(16)} after the codec's reset`);
	}
});

/** What is not as in QEMU when bus masters' and global registers are written, by bits, and why. */
const NARROWER: readonly (readonly [at: number, width: Width, bits: number, reason: string])[] = [
	[0x00, 4, 0x4, 'ICH x_BDBAR: bits 2:0 are 0, descriptors are 8 bytes long'],
	[0x06, 2, 0xffe0, 'ICH x_SR: bits 15:5 are reserved and 0'],
	[0x2c, 4, 0x3b, 'ICH GLOB_CNT: writing 1 to the cold reset bit is no reason to keep the other bits as they were'],
	[0x30, 4, 0x30000, 'ICH GLOB_STA: MD3 and AD3 can be written, 0 as well'],
];

test('ones and zeros in every register of the bus masters and the global ones', async (t) => {
	const both = await pair(t);
	await enable(both);
	const found = new Set<string>();
	const compare = async (what: string, base: number, at: number, width: Width) => {
		const [qemu, tsvm] = await both.in(MASTER + base + at, width);
		const known = NARROWER.find((each) => each[0] === at && each[1] === width);
		if (known && qemu !== tsvm) found.add(known[3]);
		const mask = ~(known?.[2] ?? 0);
		t.is((tsvm & mask) >>> 0, (qemu & mask) >>> 0, `${what}: +0x${(base + at).toString(16)}`);
	};
	const REGISTERS: readonly (readonly [at: number, width: Width])[] = [
		...([
			[0, 4],
			[4, 1],
			[5, 1],
			[6, 2],
			[8, 2],
			[0xa, 1],
			[0xb, 1],
		] as const),
	];
	for (const box of BOXES)
		for (const [at, width] of REGISTERS)
			for (const value of [0xffffffff, 0, 0x12345678]) {
				// A bus master that starts with no list is another test's.
				const written = (at === 0xb ? value & 0xfc : value) & (2 ** (width * 8) - 1);
				const what = `0x${(written >>> 0).toString(16)} in +0x${(box + at).toString(16)}`;
				await both.out(MASTER + box + at, written >>> 0, width);
				for (const [each, size] of REGISTERS) await compare(what, box, each, size);
			}
	for (const at of [0x2c, 0x30])
		for (const value of [0xffffffff, 0, 0x12345678, 2]) {
			await both.out(MASTER + at, value, 4);
			for (const each of [0x2c, 0x30]) await compare(`0x${value.toString(16)} in +0x${at.toString(16)}`, 0, each, 4);
		}
	for (const [, , , reason] of NARROWER) t.true(found.has(reason), `no difference, but listed: ${reason}`);
});

test('recording around the end of the list: index, prefetch and status after pause, wrap, end and reset', async (t) => {
	const both = await pair(t);
	await enable(both);
	const box = MASTER;
	const state = async (what: string, registers = [4, 5, 0xa, 0xb]) => {
		for (const at of registers) {
			const [qemu, tsvm] = await both.in(box + at, 1);
			t.is(tsvm, qemu, `${what}: +0x${at.toString(16)}`);
		}
		const [qemu, tsvm] = await both.in(box + 6, 2);
		t.is(tsvm, qemu, `${what}: status`);
	};
	await both.both(async (d) => {
		for (let i = 0; i < 32; i++) {
			await d.write(LIST + i * 8, 4, BUFFER);
			await d.write(LIST + i * 8 + 4, 4, i === 31 ? 0x80000000 + 96 : 96);
		}
	});
	await both.out(box, LIST, 4);
	await both.out(box + 5, 30);
	await both.out(box + 0xb, 0x1d);
	await state('started');
	await both.step(300e6);
	await state('at index 30');
	await both.out(box + 6, 0x1c, 2);
	await both.out(box + 0xb, 0x1c);
	await state('paused at the end');
	await both.out(box + 5, 3);
	await both.out(box + 0xb, 0x1d);
	await both.step(300e6);
	await state('around the end of the list');
	const [qemu, tsvm] = await both.in(MASTER + 0x30, 4);
	t.is(tsvm, qemu, 'global status');
	await both.out(box + 6, 0x1c, 2);
	await state('acknowledged');
	await both.out(box + 0xb, 0x00);
	await both.out(box + 0xb, 0x02);
	await state('reset');
});

test("a driver's walk: volumes, rates, lists, playing to the last valid buffer, interrupts, reset", async (t) => {
	const both = await pair(t);
	await enable(both);
	const same = async (what: string, port: number, width: Width) => {
		const [qemu, tsvm] = await both.in(port, width);
		t.is(tsvm.toString(16), qemu.toString(16), what);
	};
	const box = MASTER + 0x10;
	const state = async (what: string) => {
		for (const [name, at, width] of [
			['civ', 4, 1],
			['lvi', 5, 1],
			['sr', 6, 2],
			['piv', 0xa, 1],
			['cr', 0xb, 1],
		] as const)
			await same(`${what}: ${name}`, box + at, width);
		await same(`${what}: global status`, MASTER + 0x30, 4);
	};
	for (const [register, value] of [
		[0x02, 0x0a05],
		[0x18, 0x8103],
		[0x1a, 0x0404],
		[0x1c, 0x050a],
		[0x2c, 22050],
		[0x32, 11025],
	]) {
		await both.out(MIXER + register, value, 2);
		await same(`mixer 0x${register.toString(16)}`, MIXER + register, 2);
	}
	await both.out(MIXER + 0x2c, 48000, 2);
	// Two buffers of 5 ms, the first with an interrupt.
	await both.both(async (d) => {
		await d.write(LIST, 4, BUFFER);
		await d.write(LIST + 4, 4, 0x80000000 + 480);
		await d.write(LIST + 8, 4, BUFFER);
		await d.write(LIST + 12, 4, 480);
	});
	await both.out(box, LIST, 4);
	await same('bdbar', box, 4);
	await both.out(box + 5, 0x21);
	await state('list given');
	await both.out(box + 0xb, 0x1c);
	await state('interrupts on');
	await both.out(box + 0xb, 0x1d);
	await same('started: picb', box + 8, 2);
	await both.step(400e6);
	await state('played to the end');
	await same('played to the end: picb', box + 8, 2);
	t.deepEqual([both.qemu.level(11), both.tsvm.level(11)], [true, true], 'both pull the line');
	await both.out(box + 6, 0x08, 2);
	await state('completion acknowledged');
	await both.out(box + 6, 0x1c, 2);
	await state('all acknowledged');
	t.deepEqual([both.qemu.level(11), both.tsvm.level(11)], [false, false], 'both let it go');
	await both.out(box + 5, 2);
	await same('the list made longer: civ', box + 4, 1);
	await same('the list made longer: piv', box + 0xa, 1);
	await both.out(box + 0xb, 0x00);
	await both.step(10e6);
	await both.out(box + 0xb, 0x02);
	await both.out(box + 6, 0x1c, 2);
	await state('reset');
	await same('reset: bdbar', box, 4);
});
