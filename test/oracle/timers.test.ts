/**
 * PIT, port 61h, RTC and PM timer beside QEMU's. Where ours differ on purpose, the tests do not look:
 * - PIT modes 1, 2, 4 and 5: OUT is low for the pulse as the 8254 data sheet draws it; QEMU has it high.
 * - PIT modes 2 and 3: a new count waits for the end of the (half) cycle; QEMU takes it at once. NULL COUNT tells.
 * - PIT mode 3 counts even numbers as the data sheet says; QEMU's odd counts run through odd numbers.
 * - PIT BCD counts in decimal; QEMU counts in binary.
 * - RTC: PF rises whether or not its interrupt is enabled, as the data sheet says; in QEMU only while it is.
 * - RTC register A's UIP shows only where the clock is finer than a millisecond.
 */
import test, { type ExecutionContext } from 'ava';
import { ChipsetBoard, MEMORY } from '../helpers/chipset.ts';
import { type DeviceDriver, Pair } from './driver.ts';

const MS = 1e6;
const WALL = Date.UTC(2024, 1, 28, 23, 59, 58);
/** Input clocks of the PIT that measuring QEMU's time may cost. */
const TOLERANCE = 4;

async function pair(t: ExecutionContext, smm = false): Promise<Pair> {
	const both = await Pair.start(new ChipsetBoard({ wall: WALL }), {
		memory: MEMORY,
		smm,
		args: ['-rtc', 'base=2024-02-28T23:59:58,clock=vm', '-serial', 'null'],
	});
	t.teardown(() => both.close());
	return both;
}

async function program(both: Pair, channel: number, mode: number, count: number): Promise<void> {
	await both.out(0x43, (channel << 6) | 0x30 | (mode << 1));
	await both.out(0x40 + channel, count & 0xff);
	await both.out(0x40 + channel, count >> 8);
}

/** Status and count latched together with the read-back command. */
async function readBack(driver: DeviceDriver, channel: number): Promise<{ status: number; count: number }> {
	await driver.out8(0x43, 0xc0 | (2 << channel));
	const status = await driver.in8(0x40 + channel);
	const low = await driver.in8(0x40 + channel);
	return { status, count: low | ((await driver.in8(0x40 + channel)) << 8) };
}

function near(a: number, b: number, modulus: number, tolerance = TOLERANCE): boolean {
	const distance = Math.abs(a - b) % modulus;
	return Math.min(distance, modulus - distance) <= tolerance;
}

for (const channel of [0, 2])
	for (const mode of [0, 2, 3, 4])
		test(`PIT channel ${channel} mode ${mode}: count and output over time`, async (t) => {
			const both = await pair(t);
			await both.out(0x61, 1);
			const count = 40000;
			await program(both, channel, mode, count);
			for (let i = 0; i < 6; i++) {
				const [qemu, tsvm] = await both.both((d) => readBack(d, channel));
				t.true(near(qemu.count, tsvm.count, 65536), `step ${i}: count ${tsvm.count}, QEMU ${qemu.count}`);
				const atEdge = qemu.count <= 2 * TOLERANCE || qemu.count >= count - 2 * TOLERANCE;
				if (mode === 2 || mode === 4) t.is(tsvm.status & 0x7f, qemu.status & 0x7f);
				else if (i === 0 || !atEdge) t.is(tsvm.status, qemu.status, `step ${i} at ${qemu.count}`);
				await both.step(9 * MS);
			}
			t.true(near((await readBack(both.tsvm, channel)).count, (await readBack(both.qemu, channel)).count, 65536));
		});

test('PIT channel 2 modes 1 and 5 start with the gate', async (t) => {
	for (const mode of [1, 5]) {
		const both = await pair(t);
		await both.out(0x61, 0);
		await program(both, 2, mode, 30000);
		await both.out(0x61, 1);
		let passed = 0;
		for (let i = 0; i < 4; i++) {
			passed += await both.step(9 * MS);
			const [qemu, tsvm] = await both.both((d) => readBack(d, 2));
			t.true(near(qemu.count, tsvm.count, 65536), `mode ${mode}: count ${tsvm.count}, QEMU ${qemu.count}`);
			t.is(tsvm.status & 0x7f, qemu.status & 0x7f);
			if (mode === 1)
				t.is(tsvm.status & 0x80, passed < (30000 / 1193182) * 1e9 ? 0 : 0x80, `output after ${passed} ns`);
		}
	}
});

test('PIT reads: latch, single bytes, toggling bytes', async (t) => {
	const both = await pair(t);
	const same = async (what: string) => {
		const [qemu, tsvm] = await both.in(0x40);
		t.is(tsvm, qemu, what);
	};
	// Time stands still, so a running counter reads the same twice.
	await program(both, 0, 2, 0x1234);
	for (const what of ['low', 'high', 'low again', 'high again']) await same(what);
	await both.out(0x43, 0x00);
	for (const what of ['latched low', 'latched high', 'then running']) await same(what);
	await both.out(0x43, 0x14);
	await both.out(0x40, 0x80);
	for (const what of ['low byte only', 'again']) await same(what);
	await both.out(0x43, 0x24);
	await both.out(0x40, 0x40);
	for (const what of ['high byte only', 'again']) await same(what);
	// Mode 3: mode 2's output differs.
	await both.out(0x43, 0x16);
	await both.out(0x40, 0x80);
	await both.out(0x43, 0xe2);
	await same('read-back of status alone');
	await same('then the count');
	const [qemu, tsvm] = await both.in(0x43);
	t.is(tsvm, qemu, 'the control word cannot be read');
});

test('PIT channel 0 interrupts as often as QEMU', async (t) => {
	const both = await pair(t);
	await program(both, 0, 2, 11932);
	const before = both.qemu.rises(0);
	const ours = both.tsvm.rises(0);
	const passed = await both.step(205 * MS);
	const expected = passed / ((11932 / 1193182) * 1e9);
	t.true(Math.abs(both.tsvm.rises(0) - ours - expected) <= 1, `${both.tsvm.rises(0) - ours} for ${expected}`);
	t.true(Math.abs(both.qemu.rises(0) - before - expected) <= 2);
	// One shot: mode 0 interrupts once.
	await program(both, 0, 0, 5000);
	const [q, o] = [both.qemu.rises(0), both.tsvm.rises(0)];
	await both.step(20 * MS);
	t.is(both.qemu.rises(0) - q, 1);
	t.is(both.tsvm.rises(0) - o, 1);
});

test('port 61h: gate, speaker bit, refresh toggle and the output of channel 2', async (t) => {
	const both = await pair(t);
	for (const value of [0x00, 0x01, 0x02, 0x03, 0xff, 0x00]) {
		await both.out(0x61, value);
		for (let i = 0; i < 3; i++) {
			const [qemu, tsvm] = await both.in(0x61);
			t.is(tsvm, qemu, `wrote ${value}, read ${i}`);
		}
	}
	await both.out(0x61, 1);
	await program(both, 2, 0, 20000);
	t.is((await both.in(0x61))[1] & 0x20, 0);
	await both.step(40 * MS);
	const [qemu, tsvm] = await both.in(0x61);
	t.is(tsvm, qemu);
	t.is(tsvm & 0x20, 0x20);
});

async function cmos(driver: DeviceDriver, index: number): Promise<number> {
	await driver.out8(0x70, index);
	return driver.in8(0x71);
}
async function setCmos(both: Pair, index: number, value: number): Promise<void> {
	await both.out(0x70, index);
	await both.out(0x71, value);
}
async function sameCmos(t: ExecutionContext, both: Pair, indexes: Iterable<number>, what: string): Promise<void> {
	for (const index of indexes) {
		const [qemu, tsvm] = await both.both((d) => cmos(d, index));
		t.is(tsvm, qemu, `${what}: CMOS 0x${index.toString(16)}`);
	}
}
const TIME = [0, 2, 4, 6, 7, 8, 9, 0x32, 0x37];

test('RTC and CMOS memory after reset, all 128 bytes', async (t) => {
	const both = await pair(t);
	await sameCmos(t, both, Array(128).keys(), 'reset');
	const [qemu, tsvm] = await both.in(0x70);
	t.is(tsvm, qemu, 'the index cannot be read');
});

test('RTC runs over midnight into 29 February, in all four formats', async (t) => {
	const both = await pair(t);
	await both.step(500 * MS);
	await both.step(1900 * MS);
	await sameCmos(t, both, TIME, 'BCD, 24 hours');
	for (const b of [0x06, 0x04, 0x00, 0x02]) {
		await setCmos(both, 0x0b, b);
		await both.step(1000 * MS);
		await sameCmos(t, both, TIME, `register B = ${b}`);
	}
	t.is(await cmos(both.tsvm, 7), 0x29);
});

test('RTC keeps what is set while SET holds it, and goes on from there', async (t) => {
	const both = await pair(t);
	await both.step(300 * MS);
	await setCmos(both, 0x0b, 0x82);
	const values: [number, number][] = [
		[0, 0x58],
		[2, 0x59],
		[4, 0x23],
		[6, 0x05],
		[7, 0x31],
		[8, 0x12],
		[9, 0x99],
		[0x32, 0x19],
	];
	for (const [index, value] of values) await setCmos(both, index, value);
	await both.step(1200 * MS);
	await sameCmos(t, both, TIME, 'held');
	await setCmos(both, 0x0b, 0x02);
	await sameCmos(t, both, TIME, 'released');
	await both.step(1800 * MS);
	await both.step(600 * MS);
	await sameCmos(t, both, TIME, 'a new century');
});

test('RTC flags and interrupts: update ended, alarm, periodic', async (t) => {
	const both = await pair(t);
	await both.step(300 * MS);
	const atRest = await both.both((d) => cmos(d, 0x0c));
	t.is(atRest[1] & ~0x40, atRest[0], 'nothing enabled');
	await setCmos(both, 0x0b, 0x12);
	await both.step(1000 * MS);
	t.deepEqual([both.qemu.level(8), both.tsvm.level(8)], [true, true]);
	const [qemu, tsvm] = await both.both((d) => cmos(d, 0x0c));
	t.is(tsvm & ~0x40, qemu & ~0x40);
	t.deepEqual([both.qemu.level(8), both.tsvm.level(8)], [false, false]);

	await setCmos(both, 0x0b, 0x22);
	await setCmos(both, 1, 0x01);
	await setCmos(both, 3, 0xff);
	await setCmos(both, 5, 0xc0);
	await both.both((d) => cmos(d, 0x0c));
	await both.step(1000 * MS);
	t.deepEqual([both.qemu.level(8), both.tsvm.level(8)], [false, false], 'before the alarm');
	await both.step(1000 * MS);
	t.deepEqual([both.qemu.level(8), both.tsvm.level(8)], [true, true], 'at the alarm');
	const [alarmQemu, alarm] = await both.both((d) => cmos(d, 0x0c));
	t.is(alarm & 0xa0, alarmQemu & 0xa0);

	await setCmos(both, 0x0a, 0x2d);
	await setCmos(both, 0x0b, 0x42);
	await both.both((d) => cmos(d, 0x0c));
	await both.step(200 * MS);
	t.deepEqual([both.qemu.level(8), both.tsvm.level(8)], [true, true]);
	const [flagsQemu, flags] = await both.both((d) => cmos(d, 0x0c));
	t.is(flags & 0xc0, flagsQemu & 0xc0);
});

const PM_BASE = 0x600;
async function enablePm(both: Pair): Promise<void> {
	await both.both(async (d) => {
		await d.configWrite(1, 3, 0x40, 4, PM_BASE | 1);
		await d.configWrite(1, 3, 0x80, 1, 1);
	});
}

test('PM block: registers at rest and what sticks', async (t) => {
	// Without SMM QEMU is always in ACPI mode; ours switches by APMC, as QEMU's firmware-assisted machine does.
	const both = await pair(t, true);
	await enablePm(both);
	const same = async (what: string) => {
		for (const [port, width] of [
			[PM_BASE, 2],
			[PM_BASE + 2, 2],
			[PM_BASE + 4, 2],
			[PM_BASE + 0x20, 4],
			[0xafe0, 1],
			[0xafe1, 1],
			[0xafe2, 1],
			[0xafe3, 1],
			[0xb2, 1],
			[0xb3, 1],
		] as const) {
			const [qemu, tsvm] = await both.in(port, width);
			t.is(tsvm, qemu, `${what}: port 0x${port.toString(16)}`);
		}
	};
	await same('reset');
	await both.out(PM_BASE + 2, 0x0721, 2);
	await both.out(PM_BASE + 4, 0x1c02, 2);
	await both.out(0xafe2, 0xff);
	await both.out(0xafe3, 0x55);
	await same('written');
	await both.out(0xb3, 0x77);
	await both.out(0xb2, 0xf1);
	await same('ACPI enabled');
	await both.out(0xb2, 0xf0);
	await same('ACPI disabled');
	await both.out(0xb2, 0x12);
	await same('another APM command');
});

test('PM timer: rate, status and interrupt', async (t) => {
	const both = await pair(t);
	await enablePm(both);
	const start = await both.both((d) => d.in32(PM_BASE + 8));
	await both.step(100 * MS);
	const end = await both.both((d) => d.in32(PM_BASE + 8));
	t.true(near(end[0] - start[0], end[1] - start[1], 1 << 24, 2), `${end} from ${start}`);
	await both.out(PM_BASE, 1, 2);
	await both.out(PM_BASE + 2, 0x0001, 2);
	await both.step(1900 * MS);
	t.deepEqual([both.qemu.level(9), both.tsvm.level(9)], [false, false]);
	await both.step(700 * MS);
	t.deepEqual([both.qemu.level(9), both.tsvm.level(9)], [true, true], 'the highest bit has changed');
	t.deepEqual(await both.both((d) => d.in16(PM_BASE)), [1, 1]);
	await both.out(PM_BASE, 1, 2);
	t.deepEqual(await both.both((d) => d.in16(PM_BASE)), [0, 0]);
	t.deepEqual([both.qemu.level(9), both.tsvm.level(9)], [false, false]);
});

test('power button reaches the guest that listens, and only that one', async (t) => {
	const both = await pair(t);
	await enablePm(both);
	const press = async () => {
		await both.qemu.qtest.qmp('system_powerdown');
		both.tsvm.board instanceof ChipsetBoard && both.tsvm.board.pm.powerButton();
	};
	await press();
	t.deepEqual(await both.both((d) => d.in16(PM_BASE)), [1, 1], 'the timer alone');
	await both.out(PM_BASE + 2, 0x0100, 2);
	await press();
	t.deepEqual(await both.both((d) => d.in16(PM_BASE)), [0x101, 0x101]);
	t.deepEqual([both.qemu.level(9), both.tsvm.level(9)], [true, true]);
	await both.out(PM_BASE, 0x0100, 2);
	t.deepEqual([both.qemu.level(9), both.tsvm.level(9)], [false, false]);
});
