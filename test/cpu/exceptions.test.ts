/** Exceptions that the core has no code for: raised where a CPU raises them, or a triple fault, which a reset ends. */
import test from 'ava';
import type { CpuBackend } from '../../src/cpu/backend.ts';
import { createV86 } from '../../src/cpu/v86/index.ts';
import {
	code,
	countDown,
	EAX,
	EBX,
	ECX,
	ESI,
	hlt,
	inc,
	int3,
	iret,
	le16,
	le32,
	load,
	mov,
	run,
	withInterrupts,
} from '../helpers/asm.ts';

const START = 0x10000;
const HANDLERS = 0x20000;
const COUNTER = 0x9000;
/** The IDT that withInterrupts() makes. */
const IDT = 0x600;
const BREAKPOINT = 3;
const PROTECTION = 13;
const PAGE_FAULT = 14;
const options = { memory: 4 << 20, videoMemory: 1 << 16, time: 'virtual', fastVideo: true } as const;

/** A guest's code, after it has put into memory what the code needs. */
type Program = (cpu: CpuBackend) => readonly number[];

/** `start` sets up flat protected mode with handlers that halt with their vector in EBX, and runs `program`. */
async function guest() {
	const cpu = await createV86(options);
	const failures: string[] = [];
	cpu.onFailure = ({ reason }) => failures.push(reason);
	const start = (program: Program, vectors: readonly number[] = [], slices = 4) => {
		const handlers = new Map(vectors.map((vector) => [vector, HANDLERS + vector * 0x100]));
		const setUp = withInterrupts(cpu, START, handlers);
		for (const [vector, at] of handlers) cpu.dma.write(at, code(mov(EBX, vector), hlt, [0xeb, 0xfd]));
		cpu.dma.write(START, code([...setUp], program(cpu), hlt));
		cpu.startFlat(START, { esp: 0x8000 });
		for (let slice = 0; slice < slices && !cpu.registers().halted; slice++) cpu.runSlice();
	};
	return { cpu, failures, start };
}

const push = (value: number) => [0x68, ...le32(value)];
const lidt = [0x0f, 0x01, 0x1d, ...le32(0x7000)];
/** An IDT register or GDT register image at 7000h. */
const table = (cpu: CpuBackend, limit: number, base: number) =>
	cpu.dma.write(0x7000, Uint8Array.from([...le16(limit), ...le32(base)]));
const returnTo = (selector: number) => [...push(2), ...push(selector), ...push(START), ...iret];

/** A gate to HANDLERS with that selector, of that type. */
const gate = (cpu: CpuBackend, vector: number, selector: number, type: number) =>
	cpu.dma.write(
		IDT + vector * 8,
		Uint8Array.of(...le16(HANDLERS & 0xffff), ...le16(selector), 0, type, HANDLERS >>> 16, 0),
	);

/** Turns paging on: 4 MiB mapped where they are, except for the 64 KiB at UNMAPPED. */
const UNMAPPED = 0x300000;
function paging(cpu: CpuBackend): number[] {
	const tables = new Uint32Array(2048);
	tables[0] = 0x4007;
	for (let page = 0; page < 1024; page++) tables[1024 + page] = page >> 4 === UNMAPPED >> 16 ? 0 : (page << 12) | 7;
	cpu.dma.write(0x3000, new Uint8Array(tables.buffer));
	return [...mov(EAX, 0x3000), 0x0f, 0x22, 0xd8, 0x0f, 0x20, 0xc0, 0x0d, ...le32(0x80000000), 0x0f, 0x22, 0xc0];
}

/** In the GDT behind the segments of withInterrupts(): selectors 18h, 20h and 28h. */
const EXTRA = 0x518;
const descriptors = [
	0x00cf1b000000ffffn, // code, not present
	0x00cfff000000ffffn, // code for ring 3, conforming
	0x000002000000ffffn, // LDT, not present
];
const NOT_PRESENT = 11;

const faults: Record<string, readonly number[]> = {
	'IRET to a null segment': returnTo(0),
	'IRET past the end of the GDT': returnTo(0x80),
	'IRET to a data segment': returnTo(0x10),
	'IRET into an LDT that is not there': returnTo(0x0c),
	'LTR of a null selector': [...mov(EAX, 0), 0x0f, 0, 0xd8],
	'LTR of a code segment': [...mov(EAX, 8), 0x0f, 0, 0xd8],
	'LTR past the end of the GDT': [...mov(EAX, 0x80), 0x0f, 0, 0xd8],
	'LLDT of a code segment': [...mov(EAX, 8), 0x0f, 0, 0xd0],
	'LLDT past the end of the GDT': [...mov(EAX, 0x80), 0x0f, 0, 0xd0],
	'IRET to a code segment that is not present': returnTo(0x18),
	'IRET to a conforming segment of an outer ring': returnTo(0x20),
	'LLDT of a segment that is not present': [...mov(EAX, 0x28), 0x0f, 0, 0xd0],
	'paging without protection': [...mov(EAX, 0x80000000), 0x0f, 0x22, 0xc0],
};
for (const [name, program] of Object.entries(faults)) {
	const vector = /not present/.test(name) ? NOT_PRESENT : PROTECTION;
	const prepared: Program = (cpu) => {
		const table = new BigUint64Array(descriptors);
		cpu.dma.write(EXTRA, new Uint8Array(table.buffer));
		cpu.dma.write(0x540, Uint8Array.from([...le16(EXTRA - 0x500 + table.byteLength - 1)]));
		return program;
	};

	test(`${name} is a fault (vector ${vector}), at that instruction`, async (t) => {
		const { cpu, failures, start } = await guest();
		start(prepared, [PROTECTION, NOT_PRESENT]);
		t.deepEqual(failures, []);
		const { general, segments, halted } = cpu.registers();
		t.true(halted);
		t.is(general.ebx, vector);
		t.is(segments.cs, 8);
		const frame = new DataView(cpu.dma.view(general.esp, 8).slice().buffer);
		t.is(frame.getUint32(0, true), 0, 'the error code');
		const fault = frame.getUint32(4, true);
		const length = program.at(-1) === iret[0] ? 1 : 3;
		t.deepEqual([...cpu.dma.view(fault, length + 1)], [...program.slice(-length), ...hlt]);
	});

	test(`${name} without a handler is a triple fault`, async (t) => {
		const { failures, start } = await guest();
		start(prepared);
		t.deepEqual(failures, ['triple fault']);
	});
}

/** A handler for general protection faults that counts at COUNTER and steps over an instruction of one byte. */
function stepOver(cpu: CpuBackend): void {
	cpu.dma.write(COUNTER, new Uint8Array(4));
	// add esp, 4; inc dword [esp]; iret
	cpu.dma.write(HANDLERS, code(inc(COUNTER), [0x83, 0xc4, 4, 0xff, 0x04, 0x24], iret));
	gate(cpu, PROTECTION, 8, 0x8e);
}
const count = (cpu: CpuBackend) => new DataView(cpu.dma.view(COUNTER, 4).slice().buffer).getUint32(0, true);
/** IRET to a null segment, and past it: add esp, 12 */
const badReturn = [...returnTo(0), 0x83, 0xc4, 12];

test('a handler steps over an IRET that cannot be, in code that has been translated too', async (t) => {
	const { cpu, failures, start } = await guest();
	const round = [...mov(ECX, 300_000), ...countDown, ...badReturn];
	start(
		(cpu) => {
			stepOver(cpu);
			return [...mov(ESI, 20), ...round, 0x4e, 0x75, -(round.length + 3) & 0xff]; // dec esi; jnz round
		},
		[],
		200,
	);
	t.deepEqual(failures, []);
	t.true(cpu.registers().halted);
	t.is(count(cpu), 20);
	t.true(cpu.jit.modules > 0, 'something was translated');
});

test('the core gives up 10 000 times; after that it is at its end, and says why', async (t) => {
	const { cpu, failures, start } = await guest();
	start(
		(cpu) => {
			stepOver(cpu);
			return [...badReturn, 0xeb, -(badReturn.length + 2) & 0xff]; // jmp back
		},
		[],
		11_000,
	);
	t.is(count(cpu), 9_999);
	t.is(failures.length, 1);
	t.regex(failures[0], /^the CPU core stopped: .*CS selector is null/);
	cpu.reset();
	t.is(cpu.runSlice(), 100);
	t.is(count(cpu), 9_999);
});

const undeliverable: Record<string, Program> = {
	'an IDT without room': (cpu) => {
		table(cpu, 0, 0);
		return [...lidt, ...int3];
	},
	'an IDT where no memory is': (cpu) => {
		table(cpu, 0x7ff, 0xf0000000);
		return [...lidt, ...int3];
	},
	'an IDT that is not mapped': (cpu) => {
		table(cpu, 0x7ff, UNMAPPED);
		return [...paging(cpu), ...lidt, ...int3];
	},
	'a page fault with an IDT that is not mapped': (cpu) => {
		table(cpu, 0x7ff, UNMAPPED);
		return [...paging(cpu), ...lidt, ...load(UNMAPPED + 0x1000)];
	},
	'a GDT that is not mapped': (cpu) => {
		table(cpu, 0x7ff, UNMAPPED);
		return [...paging(cpu), 0x0f, 0x01, 0x15, ...le32(0x7000), ...int3];
	},
	'a stack that is not mapped': (cpu) => {
		for (const vector of [BREAKPOINT, PROTECTION, PAGE_FAULT]) gate(cpu, vector, 8, 0x8e);
		return [...paging(cpu), 0xbc, ...le32(UNMAPPED + 0x800), ...int3];
	},
	'no page mapped at all': (cpu) => {
		const turnOn = paging(cpu);
		cpu.dma.write(0x3000, new Uint8Array(4096));
		return turnOn;
	},
	'a gate into a data segment': (cpu) => {
		gate(cpu, BREAKPOINT, 0x10, 0x8e);
		return int3;
	},
	'a gate that is not present': (cpu) => {
		gate(cpu, BREAKPOINT, 8, 0x0e);
		return int3;
	},
};
for (const [name, program] of Object.entries(undeliverable)) {
	test(`${name}: what cannot be delivered is a triple fault, and a reset helps, 20 times`, async (t) => {
		const { cpu, failures, start } = await guest();
		for (let round = 1; round <= 20; round++) {
			start(program);
			t.deepEqual(failures.splice(0), ['triple fault']);
			cpu.reset();
			run(cpu, code(mov(EAX, round), hlt), START + 0x1000);
			t.is(cpu.registers().general.eax, round);
		}
	});
}
