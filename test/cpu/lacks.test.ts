/** What the core does not have: what the guest sees of it, and the one line that says so. */
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import test, { type ExecutionContext } from 'ava';
import { listenTrace } from '../../src/core/index.ts';
import { createV86 } from '../../src/cpu/v86/index.ts';
import { addProbes } from '../../src/cpu/v86/probes.ts';
import {
	cli,
	code,
	countDown,
	EAX,
	ECX,
	EDX,
	hlt,
	inc,
	iret,
	le16,
	le32,
	mov,
	sti,
	untilHalt,
	withInterrupts,
} from '../helpers/asm.ts';

const START = 0x10000;
const HANDLERS = 0x20000;
const COUNTERS = 0x9000;
const LONG_MODE = /needs a 64-bit CPU \(long mode\).* use a 32-bit image/;
const TRAP = /single-steps by the trap flag/;
const BREAKPOINT = /hardware breakpoint/;
const FLOATING_POINT = /unmasks floating point exceptions/;

const push = (value: number) => [0x68, ...le32(value)];
const popf = (flags: number) => [...push(flags), 0x9d];
const cpuid = (leaf: number) => [...mov(EAX, leaf), 0x0f, 0xa2];
const wrmsr = (register: number, value: number) => [
	...mov(ECX, register),
	...mov(EAX, value),
	...mov(EDX, 0),
	0x0f,
	0x30,
];
const setDebug = (register: number, value: number) => [...mov(EAX, value), 0x0f, 0x23, 0xc0 | (register << 3)];

/**
 * Runs `program` in flat protected mode to its halt. Handlers count the exceptions 0 to 19, and step over an instruction
 * of `length` bytes where the exception is a fault. Returns what was said, and the counts.
 */
async function run(t: ExecutionContext, program: readonly number[], length = 0) {
	const said: string[] = [];
	// Tests of this file take their turns, as trace points are the process's.
	const stop = listenTrace(
		(name) => name === 'guest.error',
		({ fields }) => said.push(`${fields.device}: ${fields.message}`),
	);
	t.teardown(stop);
	const cpu = await createV86({ memory: 2 << 20, videoMemory: 1 << 16, time: 'virtual', fastVideo: true });
	const vectors = Array.from({ length: 20 }, (_, vector) => vector);
	const setUp = withInterrupts(cpu, START, new Map(vectors.map((vector) => [vector, HANDLERS + vector * 0x40])));
	for (const vector of vectors) {
		const drop = [8, 10, 11, 12, 13, 14, 17].includes(vector) ? [0x83, 0xc4, 4] : []; // add esp, 4
		const past = [0x83, 0x04, 0x24, length]; // add dword [esp], length
		cpu.dma.write(HANDLERS + vector * 0x40, code(inc(COUNTERS + vector), drop, past, iret));
	}
	cpu.dma.write(START, code([...setUp], program, hlt));
	cpu.startFlat(START, { esp: 0x8000 });
	untilHalt(cpu);
	cpu.runSlice();
	const counts = cpu.dma.read(COUNTERS, vectors.length + 3);
	const raised = vectors.filter((vector) => counts[vector] > 0).map((vector) => [vector, counts[vector]]);
	return { cpu, said, raised };
}

const serial = test.serial;

for (const [name, program] of [
	['POPF', [...popf(0x102), ...popf(0x102), 0x90, 0x90]],
	['16-bit POPF', [0x66, 0x68, ...le16(0x102), 0x66, 0x9d, 0x90]],
	['IRET', [...push(0x102), ...push(8), 0xe8, ...le32(0), 0x83, 0x04, 0x24, 5, ...iret, 0x90]],
] as const) {
	serial(`the trap flag set by ${name} is gone at once and nothing stops, which is said once`, async (t) => {
		const { cpu, said, raised } = await run(t, [...program, 0x9c, 0x5b]); // pushf; pop ebx
		t.deepEqual(raised, []);
		t.is(cpu.registers().general.ebx & 0x100, 0);
		t.is(said.length, 1);
		t.regex(said[0], TRAP);
	});
}

serial('the trap flag is noticed in translated code', async (t) => {
	const loop = [...popf(2), 0x49, 0x75, -9 & 0xff]; // dec ecx; jnz
	const { cpu, said } = await run(t, [
		...mov(ECX, 400_000),
		...loop,
		...mov(ECX, 400_000),
		...popf(0x102),
		0x49,
		0x75,
		-9 & 0xff,
	]);
	t.true(cpu.jit.modules > 0);
	t.is(said.length, 1);
	t.regex(said[0], TRAP);
});

serial('hardware breakpoints do not stop, DR7 reads as written, and it is said once', async (t) => {
	const breakpoint = [...setDebug(0, START), ...setDebug(7, 3), 0x0f, 0x21, 0xfb]; // mov ebx, dr7
	const { cpu, said, raised } = await run(t, [...breakpoint, ...setDebug(7, 0), ...setDebug(7, 0x403)]);
	t.deepEqual(raised, []);
	t.is(cpu.registers().general.ebx & 0xff, 3);
	t.is(said.length, 1);
	t.regex(said[0], BREAKPOINT);
});

serial('a debug register other than DR7, and a DR7 that enables nothing, are nothing to speak of', async (t) => {
	const { said } = await run(t, [...setDebug(0, 3), ...setDebug(6, 0xff), ...setDebug(7, 0x400)]);
	t.deepEqual(said, []);
});

/** Long enough for a slice to end meanwhile. */
const pause = [...mov(ECX, 3_000_000), ...countDown];

for (const [name, program] of [
	[
		'x87 1 / 0 with ZE unmasked',
		[0xdb, 0xe3, ...push(0x37b), 0xd9, 0x2c, 0x24, 0xd9, 0xe8, 0xd9, 0xee, 0xde, 0xf9, 0x9b],
	],
	[
		'x87 0 / 0 with IE unmasked',
		[0xdb, 0xe3, ...push(0x37e), 0xd9, 0x2c, 0x24, 0xd9, 0xee, 0xd9, 0xee, 0xde, 0xf9, 0xd9, 0xe8, 0x9b],
	],
	[
		'SSE 1 / 0 with ZM unmasked', // cvtsi2ss xmm0, eax; xorps xmm1, xmm1; divss xmm0, xmm1
		[...push(0x1d80), 0x0f, 0xae, 0x14, 0x24, 0xf3, 0x0f, 0x2a, 0xc0, 0x0f, 0x57, 0xc9, 0xf3, 0x0f, 0x5e, 0xc1],
	],
] as const) {
	serial(`${name} gives a number and no exception, which is said once`, async (t) => {
		// CR0.NE and CR4.OSXMMEXCPT: exceptions 16 and 19, if there were any.
		const enabled = [...mov(EAX, 0x600), 0x0f, 0x22, 0xe0, 0x0f, 0x20, 0xc0, 0x83, 0xc8, 0x20, 0x0f, 0x22, 0xc0];
		const { said, raised } = await run(t, [...enabled, ...mov(EAX, 1), ...program, ...pause]);
		t.deepEqual(raised, []);
		t.is(said.length, 1);
		t.regex(said[0], FLOATING_POINT);
	});
}

for (const [name, program, length, expected] of [
	['a misaligned MOVAPS moves', [0x0f, 0x28, 0x44, 0x24, 0x01], 0, []],
	['ICEBP does nothing', [0xf1], 0, []],
	['a misaligned access with EFLAGS.AC is done', [...popf(0x40002), 0x8b, 0x44, 0x24, 0x01], 0, []],
	['UD2 is exception 6', [0x0f, 0x0b], 2, [[6, 1]]],
	['INT3 is exception 3', [0xcc], 0, [[3, 1]]],
	['a division by zero is exception 0', [0x31, 0xc9, 0xf7, 0xf1], 2, [[0, 1]]],
	[
		'the quotient of 80000000h and -1 is exception 0',
		[...mov(EAX, 0x80000000), 0x99, ...mov(ECX, 0xffffffff), 0xf7, 0xf9],
		2,
		[[0, 1]],
	],
	['INTO after an overflow is exception 4', [0xb0, 0x7f, 0x04, 0x01, 0xce], 0, [[4, 1]]],
	['SSSE3 is exception 6', [0x66, 0x0f, 0x38, 0x00, 0xc1], 5, [[6, 1]]],
	['SSE3 is there', [0xf2, 0x0f, 0x7c, 0xc0], 0, []],
] as const) {
	serial(`${name}, and nothing is said`, async (t) => {
		const { said, raised } = await run(t, program, length);
		t.deepEqual(
			raised,
			expected.map((pair) => [...pair]),
		);
		t.deepEqual(said, []);
	});
}

const giveUp = [...cli, ...hlt];
for (const [name, program] of [
	['sets EFER.LME', [...cpuid(0x80000001), ...wrmsr(0xc0000080, 0x100), ...wrmsr(0xc0000080, 0x901)]],
	['asks CPUID for the extended leaves and halts', [...cpuid(0x80000000), ...giveUp]],
	[
		'asks CPUID for long mode, is told that there is none, and halts for ever',
		[...cpuid(0x80000001), ...sti, 0xf4, 0xeb, 0xfd],
	],
] as const) {
	serial(`a guest that ${name}: it needs another CPU, which is said once`, async (t) => {
		const { said } = await run(t, program);
		t.is(said.length, 1);
		t.regex(said[0], LONG_MODE);
	});
}

serial('CPUID says that there is no long mode', async (t) => {
	const { cpu } = await run(t, [...cpuid(0x80000001), ...mov(ECX, 0)]);
	t.is(cpu.registers().general.edx & (1 << 29), 0);
});

/** mov cr3 with nothing in it; the code's own page is what the core has translated already. */
const tables = 0x40000;
for (const [name, program] of [
	['halts for good without asking', giveUp],
	['asks and waits for an interrupt', [...cpuid(0x80000001), ...sti, ...hlt]],
	['asks for another leaf and halts for good', [...cpuid(1), ...giveUp]],
	[
		'asks, works for long, and halts for good',
		[...cpuid(0x80000001), ...mov(ECX, 30_000_000), ...countDown, ...giveUp],
	],
	['sets EFER.NXE', wrmsr(0xc0000080, 0x800)],
	[
		'asks once it has turned on paging, and halts for good',
		[
			...[...mov(EAX, tables), 0x0f, 0x22, 0xd8, ...mov(EAX, 0x10), 0x0f, 0x22, 0xe0],
			...[0x0f, 0x20, 0xc0, 0x0d, ...le32(0x80000000), 0x0f, 0x22, 0xc0, ...cpuid(0x80000001), ...giveUp],
		],
	],
] as const) {
	serial(`of a guest that ${name}, nothing is said`, async (t) => {
		// A page directory of 4 MiB pages at `tables`, for the one that turns on paging.
		const map = [0xc7, 0x05, ...le32(tables), ...le32(0x87)];
		const { said } = await run(t, [...map, ...program]);
		t.deepEqual(said, []);
	});
}

serial('a core that is not the known one gets no probes', async (t) => {
	const module = await readFile(createRequire(import.meta.url).resolve('v86/build/v86.wasm'));
	t.true(WebAssembly.validate(addProbes(module)));
	const other = Buffer.from(module);
	const site = other.indexOf(Buffer.from([0x41, 0, 0x41, 0, 0x28, 2, 120, 0x41, 0xff, 0x7d, 0x71]));
	other[site + 9] = 0x7c;
	t.throws(() => addProbes(other), { message: /trap flag/ });
	t.throws(() => addProbes(module.subarray(0, 8)), { message: /section 2 is gone/ });
});
