/** What comes of a guest's panic, beyond what test/oracle/pvpanic.test.ts compares with QEMU. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { Machine } from '../../src/machine/machine.ts';
import { GuestPanics, type PanicAction } from '../../src/machine/panic.ts';
import { RESET_CODE, writePanickingBios } from '../helpers/panicking-bios.ts';
import { waitFor } from '../helpers/x11.ts';

function rig(action: PanicAction) {
	const told: string[] = [];
	const works: (() => void)[] = [];
	const time = { now: 5 };
	const panics = new GuestPanics(action, {
		defer: (work) => void works.push(work),
		tell: (event, what) => void told.push(`${event} ${what}`),
		warn: () => void told.push('warning'),
		stop: () => void told.push('stop'),
		end: (failure) => void told.push(failure ?? 'end'),
		resume: 'cont',
		now: () => time.now,
	});
	const settle = () => {
		for (const work of works.splice(0)) work();
		return told.splice(0);
	};
	return { panics, works, time, settle };
}

test('a guest that goes on is heard once a second with each event, however often it tells', (t) => {
	const { panics, works, time, settle } = rig('none');
	for (let n = 0; n < 1000; n++) {
		panics.happened('panicked');
		panics.happened('crash-loaded');
	}
	t.is(works.length, 1, 'nor does it make work');
	t.deepEqual(settle(), ['GUEST_PANICKED run', 'warning', 'GUEST_CRASHLOADED run', 'warning']);
	time.now += 999;
	panics.happened('panicked');
	t.deepEqual(settle(), []);
	time.now += 1;
	panics.happened('panicked');
	t.deepEqual(settle(), ['GUEST_PANICKED run'], 'and the log has it already');
});

test('a panic that stops the machine always does, and what follows it is not told', (t) => {
	const { panics, settle } = rig('pause');
	for (let n = 0; n < 2; n++) {
		for (const event of ['crash-loaded', 'panicked'] as const) panics.happened(event);
		t.deepEqual(settle().slice(-3), ['GUEST_PANICKED pause', 'warning', 'stop']);
		for (const event of ['panicked', 'crash-loaded'] as const) panics.happened(event);
		t.deepEqual(settle(), ['GUEST_PANICKED pause', 'warning', 'stop']);
	}
});

test.serial('what the guest asks for after its panic waits until it goes on; a reset makes it void', async (t) => {
	const folder = mkdtempSync(join(tmpdir(), 'tsvm-panic-'));
	t.teardown(() => rmSync(folder, { recursive: true }));
	const bios = join(folder, 'bios.bin');
	writePanickingBios(bios, 1, RESET_CODE);
	const machine = await Machine.create({
		memory: '64M',
		devices: [{ driver: 'pvpanic' }],
		panic: 'pause',
		firmware: { bios },
	});
	t.teardown(() => machine.quit());
	const events: string[] = [];
	machine.onEvent((event) => void events.push(event));
	const until = async (last: string) => {
		await waitFor(() => events.at(-1) === last, last);
		// The rest of the slice, and more.
		await new Promise((done) => setTimeout(done, 50));
		return events.splice(0);
	};
	machine.cont();
	t.deepEqual(await until('STOP'), ['RESUME', 'GUEST_PANICKED', 'STOP']);
	t.is(machine.status, 'guest-panicked');
	machine.cont();
	t.deepEqual(await until('STOP'), ['RESUME', 'RESET', 'GUEST_PANICKED', 'STOP']);
	machine.reset();
	t.is(machine.status, 'prelaunch');
	machine.cont();
	t.deepEqual(await until('STOP'), ['RESET', 'RESUME', 'GUEST_PANICKED', 'STOP']);
});
