import test from 'ava';
import fc from 'fast-check';
import type { CpuFailure } from '../../src/cpu/backend.ts';
import { createV86 } from '../../src/cpu/v86/index.ts';
import { code, forever, hlt, int3, jmp, le16, le32, run, sti, withInterrupts } from '../helpers/asm.ts';

const START = 0x10000;
const options = { memory: 2 << 20, videoMemory: 1 << 16, time: 'virtual', fastVideo: true } as const;

test('a triple fault is reported once, and a reset brings the machine back', async (t) => {
	const cpu = await createV86(options);
	const failures: CpuFailure[] = [];
	cpu.onFailure = (failure) => failures.push(failure);
	cpu.dma.write(0x5000, Uint8Array.from([...le16(0), ...le32(0)]));
	cpu.dma.write(START, code([0x0f, 0x01, 0x1d, ...le32(0x5000)], int3, hlt)); // lidt with no room; int3
	for (let round = 1; round <= 400; round++) {
		cpu.startFlat(START, { ebx: round });
		t.is(cpu.runSlice(), 100);
		t.is(cpu.runSlice(), 100);
		t.is(failures.length, round);
		t.is(failures[round - 1].reason, 'triple fault');
		t.is(failures[round - 1].registers.general.ebx, round);
		cpu.reset();
		run(cpu, code([0xb8, ...le32(round)], hlt), 0x20000);
		t.is(cpu.registers().general.eax, round);
	}
});

/** A guest without an interrupt table that waits for IRQ 0, busy or halted. */
async function unprepared(waiting: readonly number[]) {
	const cpu = await createV86(options);
	const failures: string[] = [];
	cpu.onFailure = (failure) => failures.push(failure.reason);
	const start = () => {
		cpu.dma.write(0x5000, Uint8Array.from([...le16(0), ...le32(0)]));
		const program = withInterrupts(cpu, START, new Map());
		cpu.dma.write(START, code([...program], [0x0f, 0x01, 0x1d, ...le32(0x5000)], sti, waiting)); // lidt with no room
		cpu.startFlat(START, { esp: 0x8000 });
		for (let slice = 0; slice < 3; slice++) cpu.runSlice();
	};
	return { cpu, failures, start };
}

for (const [how, waiting] of [
	['busy', forever],
	['halted', [...hlt, 0xeb, 0xfd]],
] as const) {
	for (const from of ['a timer', 'deferred work', 'a socket'] as const) {
		test(`an interrupt from ${from} that a ${how} guest has no handler for is a triple fault, 20 times`, async (t) => {
			const { cpu, failures, start } = await unprepared(waiting);
			const raise = () => {
				cpu.irq(0).set(true);
				cpu.irq(0).set(false);
			};
			for (let round = 1; round <= 20; round++) {
				start();
				t.is(failures.length, round - 1);
				if (from === 'a timer') cpu.clock.timer(raise).arm(cpu.clock.now());
				else if (from === 'deferred work') cpu.defer(raise);
				else raise();
				for (let slice = 0; slice < 3 && failures.length < round; slice++) cpu.runSlice();
				t.deepEqual(failures.slice(round - 1), ['triple fault']);
				cpu.reset();
				run(cpu, code([0xb8, ...le32(round)], hlt), 0x20000);
				t.is(cpu.registers().general.eax, round);
			}
		});
	}
}

test('a core that an interrupt from outside has ended wakes the machine, which is told in its next slice', async (t) => {
	const { cpu, failures, start } = await unprepared([...hlt, 0xeb, 0xfd]);
	start();
	let woken = 0;
	cpu.onWake = () => woken++;
	cpu.irq(0).set(true);
	t.true(woken > 0);
	t.deepEqual(failures, []);
	// Neither a reset nor more interrupts reach a core that stopped half way through one.
	cpu.irq(1).set(true);
	cpu.reset();
	cpu.runSlice();
	t.deepEqual(failures, ['triple fault']);
});

test('a jump to where no memory is ends the machine with a reason, not the process', async (t) => {
	const cpu = await createV86(options);
	const failures: CpuFailure[] = [];
	cpu.onFailure = (failure) => failures.push(failure);
	cpu.dma.write(START, code(jmp(START, 0xf0000000)));
	cpu.startFlat(START);
	for (let i = 0; i < 5; i++) cpu.runSlice();
	t.is(failures.length, 1);
	t.regex(failures[0].reason, /CPU core stopped: .*memory access out of bounds/);
	t.is(failures[0].registers.eip, 0xf0000000);
	t.truthy(cpu.save());
	// The core may have been in the middle of anything: it stays dead, and nothing throws.
	cpu.reset();
	cpu.dma.write(START, code(hlt));
	t.is(cpu.runSlice(), 100);
	t.is(failures.length, 1);
});

test('too much memory is refused in words', async (t) => {
	await t.throwsAsync(createV86({ ...options, memory: 0x1_0000_0000 - (1 << 20) }), { code: 'cpu-memory' });
});

test('random code never lets an exception out and never hangs', async (t) => {
	t.timeout(300_000);
	const byte = fc.nat(0xff);
	// Bytes alone seldom get far: half of the programs are made of opcodes that do something.
	const pieces = fc.oneof(
		fc.array(byte, { minLength: 1, maxLength: 6 }),
		fc.constantFrom<number[]>(
			...[[0xf4], [0xfb], [0xfa], [0xee], [0xec], [0xef], [0xed], [0x6c], [0xf3, 0x6e], [0xf3, 0xab], [0xf3, 0xa5]],
			...[[0x0f, 0x01, 0x1d], [0x0f, 0x22, 0xc0], [0x0f, 0x22, 0xe0], [0x0f, 0x30], [0x0f, 0x32], [0xcd, 0x10], [0xcf]],
			...[
				[0x8e, 0xd8],
				[0x8e, 0xd0],
				[0x9d],
				[0x0f, 0x00, 0xd8],
				[0x0f, 0xae, 0x00],
				[0xd9, 0x00],
				[0xff, 0xe0],
				[0xea],
			],
		),
		fc.nat(0xffff).map((offset) => [0xc7, 0x05, ...le32(0xe0000000 + offset), ...le32(offset)]),
		fc.integer().map((address) => [0xc7, 0x05, ...le32(address), 1, 2, 3, 4]),
		fc.integer().map((address) => [0xa1, ...le32(address)]),
	);
	let cpu = await createV86(options);
	let dead = false;
	const fresh = async () => {
		cpu = await createV86(options);
		const memory = cpu.allocateVideo(1 << 16);
		cpu.mmio.mapVideo(0xe0000000, memory, 0, memory.size);
		cpu.mmio.map(0xfeb00000, 4096, { read8: (at) => at, write32: () => cpu.irq(3).set(true) });
		cpu.ports.map(0, 0x400, { read8: (at) => at, write8: (at) => cpu.irq(at & 15).set((at & 16) !== 0) });
		const timer = cpu.clock.timer(() => {
			cpu.irq(0).set(true);
			cpu.irq(0).set(false);
			timer.arm(cpu.clock.now() + 1e6);
		});
		timer.arm(cpu.clock.now() + 1e6);
		dead = false;
		cpu.onFailure = (failure) => {
			dead = failure.reason !== 'triple fault';
		};
	};
	await fresh();
	await fc.assert(
		fc.asyncProperty(
			fc.array(pieces, { maxLength: 60 }),
			fc.record({ eax: fc.integer(), ecx: fc.nat(0xffff), edi: fc.integer(), esi: fc.integer(), esp: fc.integer() }),
			fc.boolean(),
			async (parts, general, real) => {
				const bytes = Uint8Array.from(parts.flat());
				cpu.reset();
				if (real) cpu.dma.write(0x100000 - 0x200, bytes.subarray(0, 0x1f0));
				cpu.dma.write(START, bytes);
				if (real) cpu.dma.write(0xffff0, Uint8Array.of(0xe9, 0x0d, 0xfe));
				else cpu.startFlat(START, general);
				const start = performance.now();
				for (let slice = 0; slice < 4; slice++) cpu.runSlice();
				t.true(performance.now() - start < 60_000, 'slices must end');
				cpu.registers();
				cpu.dma.write(0, new Uint8Array(0x1000));
				if (dead) await fresh();
			},
		),
		{ numRuns: 100, endOnFailure: true },
	);
});
