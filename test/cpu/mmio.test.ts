import test from 'ava';
import type { IoHandler } from '../../src/core/index.ts';
import { createV86 } from '../../src/cpu/v86/index.ts';
import {
	code,
	hlt,
	load,
	load8,
	load16,
	loadQ,
	loadXmm,
	run,
	store,
	store8,
	store16,
	store32,
	storeQ,
	storeXmm,
} from '../helpers/asm.ts';

const options = { memory: 1 << 20, videoMemory: 1 << 16, time: 'virtual', fastVideo: true } as const;
const DEVICE = 0xfeb00000;
const RESULT = 0x20000;

/** 64 bytes of registers with the given widths. */
function registers(widths: readonly (8 | 16 | 32)[], log: string[]): IoHandler {
	const handler: Record<string, unknown> = {};
	for (const width of widths) {
		const mask = width === 32 ? 0xffffffff : (1 << width) - 1;
		handler[`read${width}`] = (offset: number) => {
			log.push(`r${width}@${offset}`);
			return ((0x04030201 + offset * 0x01010101) & mask) >>> 0;
		};
		handler[`write${width}`] = (offset: number, value: number) => log.push(`w${width}@${offset}=${value.toString(16)}`);
	}
	return handler as IoHandler;
}

test('all widths reach a device, wide ones as 32-bit accesses, low first', async (t) => {
	const cpu = await createV86(options);
	const log: string[] = [];
	cpu.mmio.map(DEVICE, 64, registers([8, 16, 32], log));
	run(
		cpu,
		code(
			store8(DEVICE + 1, 0x81),
			store16(DEVICE + 2, 0x8182),
			store32(DEVICE + 4, 0x81828384),
			loadQ(DEVICE + 8),
			storeQ(DEVICE + 16),
			loadXmm(DEVICE + 32),
			storeXmm(DEVICE + 48),
			load(DEVICE + 4),
			store(RESULT),
			load8(DEVICE),
			store(RESULT + 4),
			hlt,
		),
	);
	t.deepEqual(log, [
		...['w8@1=81', 'w16@2=8182', 'w32@4=81828384'],
		...['r32@8', 'r32@12', 'w32@16=c0b0a09', 'w32@20=100f0e0d'],
		...['r32@32', 'r32@36', 'r32@40', 'r32@44'],
		...['w32@48=24232221', 'w32@52=28272625', 'w32@56=2c2b2a29', 'w32@60=302f2e2d'],
		...['r32@4', 'r8@0'],
	]);
	t.is(cpu.dma.read32(RESULT), 0x08070605);
	t.is(cpu.dma.read8(RESULT + 4), 0x01);
});

test('a 16-bit read of 16-bit registers gives the register although the core splits it', async (t) => {
	const cpu = await createV86(options);
	cpu.mmio.map(DEVICE, 64, registers([16], []));
	run(cpu, code(load16(DEVICE + 2), store(RESULT), hlt));
	t.is(cpu.dma.read16(RESULT), 0x0403);
});

test('where nothing is mapped reads are ones and writes are gone', async (t) => {
	const cpu = await createV86(options);
	run(
		cpu,
		code(
			store32(DEVICE, 1),
			load(DEVICE),
			store(RESULT),
			load8(DEVICE),
			store(RESULT + 4),
			loadXmm(0xfffffff8),
			storeXmm(RESULT + 16),
			hlt,
		),
	);
	t.is(cpu.dma.read32(RESULT), 0xffffffff);
	t.is(cpu.dma.read32(RESULT + 4), 0xffffffff);
	t.is(cpu.dma.read32(RESULT + 16), 0xffffffff);
});

test('the range mapped last wins, and accesses over an edge are split', async (t) => {
	const cpu = await createV86(options);
	const log: string[] = [];
	const below: string[] = [];
	cpu.mmio.map(DEVICE, 64, registers([8, 32], below));
	const above = cpu.mmio.map(DEVICE + 4, 4, registers([8, 32], log));
	const program = code(load(DEVICE + 4), load(DEVICE + 2), store32(DEVICE + 6, 0x44332211), hlt);
	run(cpu, program);
	t.deepEqual(log, ['r32@0', 'r8@0', 'r8@1', 'w8@2=11', 'w8@3=22']);
	t.deepEqual(below, ['r8@2', 'r8@3', 'w8@8=33', 'w8@9=44']);
	above.unmap();
	log.length = 0;
	run(cpu, program);
	t.deepEqual(log, []);
	t.deepEqual(below.slice(4), ['r32@4', 'r32@2', 'w32@6=44332211']);
	t.throws(() => cpu.mmio.map(0xffffffff, 2, {}), { instanceOf: RangeError });
});

test('the legacy VGA window goes to a device, and to nobody without one', async (t) => {
	const cpu = await createV86(options);
	const program = code(store32(0xa0000, 0x11223344), load(0xa0000), store(RESULT), hlt);
	run(cpu, program);
	t.is(cpu.dma.read32(RESULT), 0xffffffff);
	let kept = 0;
	cpu.mmio.map(0xa0000, 0x20000, {
		read32: () => kept,
		write32: (_offset, value) => {
			kept = value;
		},
	});
	run(cpu, program);
	t.is(cpu.dma.read32(RESULT), 0x11223344);
});

test('a write from a handler reaches code that already ran', async (t) => {
	const cpu = await createV86(options);
	// A subroutine that returns 1, until the device rewrites it to return 2.
	const sub = 0x30000;
	cpu.dma.write(sub, code([0xb8, 1, 0, 0, 0, 0xc3]));
	cpu.mmio.map(DEVICE, 4, {
		write32: () => cpu.dma.write32(sub + 1, 2),
		read32: () => {
			cpu.dma.write32(sub + 1, 3);
			return 0;
		},
	});
	const at = 0x10000;
	const call = (offset: number) => {
		const to = sub - (at + offset + 5);
		return [0xe8, to & 0xff, (to >> 8) & 0xff, (to >> 16) & 0xff, (to >> 24) & 0xff];
	};
	const parts: number[] = [];
	const emit = (bytes: readonly number[]) => parts.push(...bytes);
	emit(call(parts.length));
	emit(store(RESULT));
	emit(store32(DEVICE, 0));
	emit(call(parts.length));
	emit(store(RESULT + 4));
	emit(load(DEVICE));
	emit(call(parts.length));
	emit(store(RESULT + 8));
	emit(hlt);
	run(cpu, Uint8Array.from(parts), at);
	t.deepEqual(
		[0, 4, 8].map((i) => cpu.dma.read32(RESULT + i)),
		[1, 2, 3],
	);
});
