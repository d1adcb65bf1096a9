import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import type { CpuBackend } from '../../src/cpu/backend.ts';
import { createV86 } from '../../src/cpu/v86/index.ts';
import {
	code,
	countingHandler,
	forever,
	hlt,
	inc,
	iret,
	rdtsc,
	run,
	sti,
	store,
	store32,
	untilHalt,
	VECTOR,
	withInterrupts,
} from '../helpers/asm.ts';

const START = 0x10000;
const HANDLER = 0x9000;
const COUNTER = 0x20000;
const options = { memory: 1 << 20, videoMemory: 0, fastVideo: false } as const;

/** A guest that sleeps and counts the ticks of a timer on IRQ 0. */
async function ticking(time: 'real' | 'virtual', periodMs: number): Promise<CpuBackend> {
	const cpu = await createV86({ ...options, time });
	cpu.dma.write(HANDLER, countingHandler(0, COUNTER));
	const setup = withInterrupts(cpu, START, new Map([[VECTOR, HANDLER]]));
	cpu.dma.write(START, code([...setup], sti, hlt, [0xeb, 0xfd]));
	cpu.startFlat(START);
	const irq = cpu.irq(0);
	const first = cpu.clock.now();
	let n = 1;
	const timer = cpu.clock.timer(() => {
		irq.set(true);
		irq.set(false);
		timer.arm(first + ++n * periodMs * 1e6);
	});
	timer.arm(first + periodMs * 1e6);
	return cpu;
}

/** What the machine's loop does, without its care for the event loop. */
async function runFor(cpu: CpuBackend, ms: number): Promise<{ slices: number; ms: number }> {
	const start = performance.now();
	let slices = 0;
	while (performance.now() - start < ms) {
		const rest = cpu.runSlice();
		slices++;
		if (rest > 0) await sleep(rest);
		else await new Promise((resolve) => setImmediate(resolve));
	}
	return { slices, ms: performance.now() - start };
}

test.serial('real time: a sleeping guest gets its ticks, for one slice each', async (t) => {
	const cpu = await ticking('real', 10);
	const { slices, ms } = await runFor(cpu, 500);
	const ticks = cpu.dma.read32(COUNTER);
	// A busy host may run slices late, and an edge that comes before the last was seen merges with it.
	t.true(ticks >= 10 && ticks <= ms / 10 + 1, `${ticks} ticks in ${ms} ms`);
	t.true(slices <= ticks * 3 + 10, `${slices} slices for ${ticks} ticks`);
});

test.serial('virtual time: halted time is skipped, and ticks keep their distance', async (t) => {
	const cpu = await ticking('virtual', 10);
	const start = cpu.clock.now();
	for (let i = 0; i < 1000; i++) t.is(cpu.runSlice(), 0);
	const ticks = cpu.dma.read32(COUNTER);
	t.true(ticks >= 300, `${ticks}`);
	const passed = (cpu.clock.now() - start) / 1e7;
	t.true(Math.abs(passed - ticks) <= 1, `${passed} periods, ${ticks} ticks`);
	t.is(cpu.clock.wall(), Date.UTC(2000, 0, 1) + cpu.clock.now() / 1e6);
});

test.serial('an idle machine without timers sleeps long in both kinds of time', async (t) => {
	for (const time of ['real', 'virtual'] as const) {
		const cpu = await createV86({ ...options, time });
		cpu.dma.write(START, code(sti, hlt));
		cpu.startFlat(START);
		cpu.runSlice();
		t.is(cpu.runSlice(), 100);
	}
});

test.serial('halted with interrupts off, timers still fire', async (t) => {
	const cpu = await createV86({ ...options, time: 'real' });
	run(cpu, code(hlt));
	let fired = 0;
	const timer = cpu.clock.timer(() => fired++);
	timer.arm(cpu.clock.now() + 90e6);
	const rest = cpu.runSlice();
	t.true(rest > 0 && rest <= 90);
	await sleep(rest + 5);
	cpu.runSlice();
	t.is(fired, 1);
});

test.serial('a timer armed from outside cuts a sleep short', async (t) => {
	const cpu = await createV86({ ...options, time: 'real' });
	run(cpu, code(hlt));
	let woken = 0;
	cpu.onWake = () => woken++;
	t.is(cpu.runSlice(), 100);
	const timer = cpu.clock.timer(() => {});
	timer.arm(cpu.clock.now() + 5e6);
	t.is(woken, 1);
	timer.arm(cpu.clock.now() + 500e6);
	t.is(woken, 1);
});

test.serial('paused, time stands still and nothing runs', async (t) => {
	const cpu = await createV86({ ...options, time: 'real' });
	cpu.dma.write(START, code(forever));
	cpu.startFlat(START);
	cpu.runSlice();
	cpu.pause();
	const [now, instructions] = [cpu.clock.now(), cpu.instructions];
	await sleep(100);
	cpu.runSlice();
	t.is(cpu.clock.now(), now);
	t.is(cpu.instructions, instructions);
	cpu.resume();
	t.true(cpu.clock.now() - now < 90e6);
	cpu.runSlice();
	t.true(cpu.instructions > instructions);
});

test.serial('the time stamp counter runs with machine time at 1 GHz', async (t) => {
	const cpu = await createV86({ ...options, time: 'real' });
	const program = code(rdtsc, store(COUNTER), hlt);
	/** A reading, and machine time before and after it. */
	const read = () => {
		const before = cpu.clock.now();
		run(cpu, program);
		return { count: cpu.dma.read32(COUNTER), before, after: cpu.clock.now() };
	};
	const first = read();
	await sleep(50);
	const last = read();
	const counted = (last.count - first.count) >>> 0;
	t.true(counted >= last.before - first.after && counted <= last.after - first.before, `${counted} counts`);
});

test.serial('a timer that throws is one line, and others go on', async (t) => {
	const cpu = await createV86({ ...options, time: 'virtual' });
	let fired = 0;
	cpu.clock
		.timer(() => {
			throw new Error('of the device');
		})
		.arm(1000);
	cpu.clock.timer(() => fired++).arm(2000);
	cpu.dma.write(START, code(forever));
	cpu.startFlat(START);
	cpu.runSlice();
	cpu.runSlice();
	t.is(fired, 1);
});

test.serial('instructions are counted as executed', async (t) => {
	const cpu = await createV86({ ...options, time: 'virtual' });
	const before = cpu.instructions;
	// mov ecx, 5000; 5000 times (dec ecx; jnz); out 80h, al; hlt
	cpu.ports.map(0x80, 1, { write8: () => cpu.defer(() => {}) });
	cpu.dma.write(START, code([0xb9, 0x88, 0x13, 0, 0, 0x49, 0x75, 0xfd, 0xe6, 0x80, 0xf4]));
	cpu.startFlat(START);
	untilHalt(cpu);
	t.is(cpu.instructions - before, 1 + 2 * 5000 + 2);
});

test.serial('a guest that only keeps its clock is woken less often, until something happens', async (t) => {
	const cpu = await createV86({ ...options, time: 'real' });
	const apic = 0xfee00000;
	const arm = store32(apic + 0x380, 4000); // initial count: 4 ms at 1 MHz
	// The local APIC's timer on its own vector, one-shot, armed anew in each turn.
	cpu.dma.write(HANDLER, code(inc(COUNTER), arm, store32(apic + 0xb0, 0), iret));
	cpu.dma.write(HANDLER + 0x100, countingHandler(5, COUNTER + 4));
	const handlers = new Map([
		[VECTOR + 15, HANDLER],
		[VECTOR + 5, HANDLER + 0x100],
	]);
	const setup = withInterrupts(cpu, START, handlers);
	const on = [
		...store32(apic + 0xf0, 0x1ff), // spurious vector, enabled
		...store32(apic + 0x3e0, 0x0b), // divide by 1
		...store32(apic + 0x320, VECTOR + 15),
		...arm,
	];
	cpu.dma.write(START, code([...setup], on, sti, hlt, [0xeb, 0xfd]));
	cpu.startFlat(START);
	const longest = async (ms: number) => {
		let most = 0;
		const start = performance.now();
		while (performance.now() - start < ms) {
			const rest = cpu.runSlice();
			most = Math.max(most, rest);
			await sleep(Math.max(1, rest));
		}
		return most;
	};
	t.true((await longest(200)) <= 5);
	await longest(1000);
	t.true((await longest(100)) >= 15);
	cpu.irq(5).set(true);
	t.true((await longest(100)) <= 5);
	t.is(cpu.dma.read32(COUNTER + 4), 1);
	t.true(cpu.dma.read32(COUNTER) > 20);
	// A device's timer is never late for that.
	await longest(1100);
	const timer = cpu.clock.timer(() => {});
	timer.arm(cpu.clock.now() + 3e6);
	t.true(cpu.runSlice() <= 3);
});
