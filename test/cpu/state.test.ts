import { createHash } from 'node:crypto';
import test from 'ava';
import type { DeviceState } from '../../src/core/index.ts';
import type { CpuBackend } from '../../src/cpu/backend.ts';
import { createV86 } from '../../src/cpu/v86/index.ts';
import {
	code,
	countingHandler,
	EAX,
	ECX,
	le32,
	mov,
	rdtsc,
	sti,
	store32,
	VECTOR,
	withInterrupts,
} from '../helpers/asm.ts';

const START = 0x10000;
const HANDLER = 0x9000;
const COUNTER = 0x20000;
const BAR = 0xe0000000;
const options = { memory: 1 << 20, videoMemory: 1 << 16, time: 'virtual', fastVideo: true } as const;

/** A guest that never stops: mixes TSC, RDRAND and a counter into memory and video memory, with a timer interrupting. */
async function busy(): Promise<CpuBackend> {
	const cpu = await createV86(options);
	wire(cpu);
	cpu.dma.write(HANDLER, countingHandler(0, COUNTER));
	const setup = withInterrupts(cpu, START, new Map([[VECTOR, HANDLER]]));
	const loop = [
		0x41, // inc ecx
		...rdtsc,
		...[0x31, 0xc3], // xor ebx, eax
		...[0x0f, 0xc7, 0xf0], // rdrand eax
		...[0x01, 0xc3], // add ebx, eax
		...[0x0f, 0xb7, 0xf9], // movzx edi, cx
		...[0x89, 0x9f, ...le32(0x40000)], // mov [0x40000 + edi], ebx
		...[0x81, 0xe7, ...le32(0x7fff)], // and edi, 7fffh
		...[0x01, 0x9f, ...le32(BAR)], // add [BAR + edi], ebx
	];
	cpu.dma.write(START, code([...setup], sti, mov(ECX, 0), loop, [0xe9, ...le32(-loop.length - 5)]));
	cpu.startFlat(START);
	return cpu;
}

/** What the board around the CPU consists of: a window, and a timer on IRQ 0. */
function wire(cpu: CpuBackend): void {
	const memory = cpu.allocateVideo(1 << 16);
	cpu.mmio.mapVideo(BAR, memory, 0, memory.size);
	const irq = cpu.irq(0);
	const timer = cpu.clock.timer(() => {
		irq.set(true);
		irq.set(false);
		timer.arm((Math.floor(cpu.clock.now() / 1e6) + 1) * 1e6);
	});
	timer.arm((Math.floor(cpu.clock.now() / 1e6) + 1) * 1e6);
}

/** Runs whole slices until `instructions` are past. */
function runTo(cpu: CpuBackend, instructions: number): void {
	while (cpu.instructions < instructions) cpu.runSlice();
}

/** A state with digests in place of long byte strings, to compare and to print. */
function flat(state: DeviceState): unknown {
	return JSON.parse(
		JSON.stringify(state, (_key, value) => {
			if (typeof value === 'bigint') return value.toString();
			if (!(value instanceof Uint8Array)) return value;
			return value.length > 256 ? createHash('sha256').update(value).digest('hex') : Buffer.from(value).toString('hex');
		}),
	);
}

test('virtual time: two runs are the same to the last bit', async (t) => {
	const [one, two] = [await busy(), await busy()];
	runTo(one, 8e6);
	for (let i = 0; i < 3; i++) await new Promise((resolve) => setTimeout(resolve, 5));
	runTo(two, 8e6);
	t.is(one.instructions, two.instructions);
	t.is(one.clock.now(), two.clock.now());
	t.true(one.dma.read32(COUNTER) > 10);
	t.deepEqual(one.registers(), two.registers());
	t.deepEqual(flat(one.save()), flat(two.save()));
});

test('save, restore, save gives the same', async (t) => {
	const one = await busy();
	runTo(one, 3e6);
	const saved = one.save();
	const two = await createV86(options);
	wire(two);
	two.restore(saved);
	t.deepEqual(flat(two.save()), flat(saved));
});

test('a restored machine goes on as the saved one does', async (t) => {
	const one = await busy();
	runTo(one, 3e6);
	const saved = structuredClone(one.save());
	const two = await createV86(options);
	two.restore(saved);
	wire(two);
	const end = one.instructions + 5e6;
	runTo(one, end);
	runTo(two, end);
	t.is(two.instructions, one.instructions);
	t.deepEqual(two.registers(), one.registers());
	t.deepEqual(flat(two.save()), flat(one.save()));
});

test('a machine restored over its own later self goes back', async (t) => {
	const one = await busy();
	runTo(one, 3e6);
	const saved = structuredClone(one.save());
	const counter = one.dma.read32(COUNTER);
	runTo(one, 6e6);
	t.true(one.dma.read32(COUNTER) > counter);
	one.restore(saved);
	t.is(one.dma.read32(COUNTER), counter);
	t.is(one.instructions, saved.instructions as number);
	t.deepEqual(flat(one.save()), flat(saved));
});

test('a state that does not fit is refused and changes nothing', async (t) => {
	const one = await busy();
	runTo(one, 1e6);
	const saved = one.save();
	const before = flat(saved);
	const other = await createV86({ ...options, memory: 2 << 20 });
	t.throws(() => other.restore(saved), { message: /another memory size/ });
	for (const broken of [
		{ ...saved, version: 99 },
		{ ...saved, cpu: new Uint8Array(3) },
		{ ...saved, controllers: {} },
		{ ...saved, memory: null },
		{ ...saved, time: 'now' },
		{ ...saved, tscOffset: 1 },
		{
			...saved,
			memory: { ...(saved.memory as object), index: Uint8Array.of(0xff, 0xff, 0xff, 0), data: new Uint8Array(4096) },
		},
	] as DeviceState[]) {
		t.throws(() => one.restore(broken));
		t.deepEqual(flat(one.save()), before);
	}
});

test('reset: registers, controllers and translations as at power-on, memory kept', async (t) => {
	const cpu = await createV86(options);
	const fresh = cpu.save();
	cpu.dma.write32(0x4000, 0xfeedface);
	cpu.dma.write(START, code([0xb0, 0x11, 0xe6, 0x20, 0xb0, 0x55, 0xe6, 0x21, 0xf4])); // ICW1, ICW2, hlt
	cpu.startFlat(START, { esi: 7 });
	cpu.runSlice();
	t.notDeepEqual(cpu.save().controllers, fresh.controllers);
	cpu.irq(7).set(true);
	cpu.reset();
	t.is(cpu.dma.read32(0x4000), 0xfeedface);
	const { general, segments, eip, cr0, halted } = cpu.registers();
	t.deepEqual(
		{ eip, cs: segments.cs, esi: general.esi, pe: cr0 & 1, halted },
		{ eip: 0xfff0, cs: 0xf000, esi: 0, pe: 0, halted: false },
	);
	t.deepEqual(cpu.save().controllers, fresh.controllers);
	t.true(cpu.instructions > 0);
	// The line that a device still holds up is seen by the controller after the reset.
	cpu.dma.write(START, code([0xf4]));
	cpu.startFlat(START);
	cpu.runSlice();
	t.notDeepEqual(cpu.save().controllers, fresh.controllers);
});

test('reset asked for by a port write runs what firmware put in place', async (t) => {
	const cpu = await createV86(options);
	// Real mode, at the reset vector: out 80h, al; hlt
	cpu.dma.write(0xffff0, Uint8Array.of(0xe6, 0x80, 0xf4));
	let resets = 0;
	const log: string[] = [];
	cpu.ports.map(0x80, 1, { write8: () => log.push('vector') });
	cpu.ports.map(0xcf9, 1, {
		write8: () =>
			cpu.defer(() => {
				resets++;
				cpu.reset();
			}),
	});
	cpu.dma.write(START, code(mov(2, 0xcf9), mov(EAX, 6), [0xee], store32(0x5000, 1), [0xeb, 0xfe]));
	cpu.startFlat(START);
	for (let i = 0; i < 5; i++) cpu.runSlice();
	t.is(resets, 1);
	t.deepEqual(log, ['vector']);
	t.true(cpu.registers().halted);
});
