import test from 'ava';
import fc from 'fast-check';
import { GuestFault, type IoHandler, listenTrace } from '../../src/core/index.ts';
import { createV86 } from '../../src/cpu/v86/index.ts';
import { Ports } from '../../src/cpu/v86/ports.ts';
import { code, hlt, in8, in16, in32, out8, out16, out32, run, store } from '../helpers/asm.ts';

const quiet = { caught: () => {} };

/** A handler of the given widths that notes what it is asked. */
function noting(widths: readonly (8 | 16 | 32)[], log: string[]): IoHandler {
	const handler: Record<string, unknown> = {};
	for (const width of widths) {
		handler[`read${width}`] = (offset: number) => {
			log.push(`r${width}@${offset}`);
			return 0x44332211 + offset;
		};
		handler[`write${width}`] = (offset: number, value: number) => {
			log.push(`w${width}@${offset}=${value.toString(16)}`);
		};
	}
	return handler as IoHandler;
}

test('a width that a handler lacks is made of narrower ones, low byte first', (t) => {
	const ports = new Ports(quiet);
	const log: string[] = [];
	ports.map(0x100, 8, noting([8], log));
	t.is(ports.read32(0x100) >>> 0, 0x14131211);
	ports.write32(0x104, 0xa1b2c3d4 | 0);
	ports.write16(0x100, 0xffff);
	t.deepEqual(log.splice(0), [
		...['r8@0', 'r8@1', 'r8@2', 'r8@3'],
		...['w8@4=d4', 'w8@5=c3', 'w8@6=b2', 'w8@7=a1'],
		...['w8@0=ff', 'w8@1=ff'],
	]);
	ports.map(0x200, 8, noting([16], log));
	t.is(ports.read32(0x200) >>> 0, 0x22132211);
	ports.write32(0x200, 0x12345678);
	t.deepEqual(log.splice(0), ['r16@0', 'r16@2', 'w16@0=5678', 'w16@2=1234']);
	ports.map(0x300, 4, noting([32], log));
	t.is(ports.read32(0x300), 0x44332211);
	ports.write32(0x300, -1);
	t.deepEqual(log.splice(0), ['r32@0', 'w32@0=ffffffff']);
});

test('a narrow read of a wide register is cut out of it', (t) => {
	const ports = new Ports(quiet);
	const log: string[] = [];
	ports.map(0x300, 4, noting([32], log));
	t.is(ports.read8(0x301), 0x22);
	t.is(ports.read16(0x302), 0x4433);
	ports.write8(0x300, 1);
	t.deepEqual(log, ['r32@0', 'r32@0', 'r32@0']);
});

test('an access over the edge of a range is split', (t) => {
	const ports = new Ports(quiet);
	const log: string[] = [];
	ports.map(0x100, 2, noting([8, 16, 32], log));
	t.is(ports.read32(0x101) >>> 0, 0xffffff12);
	ports.write16(0x0ff, 0xbbaa);
	t.deepEqual(log, ['r8@1', 'w8@0=bb']);
	t.is(ports.read32(0xffff) >>> 0, 0xffffffff);
	ports.write32(0xfffe, 0);
});

test('the range mapped last wins, and gives back what it covered', (t) => {
	const ports = new Ports(quiet);
	const constant = (value: number): IoHandler => ({ read8: () => value });
	ports.map(0x100, 16, constant(1));
	const middle = ports.map(0x104, 4, constant(2));
	const top = ports.map(0x106, 4, constant(3));
	const seen = () => Array.from({ length: 12 }, (_, i) => ports.read8(0x100 + i)).join('');
	t.is(seen(), '111122333311');
	middle.unmap();
	middle.unmap();
	t.is(seen(), '111111333311');
	top.unmap();
	t.is(seen(), '111111111111');
	t.is(ports.read8(0x110), 0xff);
	t.throws(() => ports.map(0xffff, 2, {}), { instanceOf: RangeError });
	t.throws(() => ports.map(-1, 2, {}), { instanceOf: RangeError });
});

test('no access throws, whatever is mapped', (t) => {
	const widths = fc.subarray([8, 16, 32] as const);
	const range = fc.record({ base: fc.nat(0x3f), size: fc.integer({ min: 1, max: 0x40 }), widths });
	const access = fc.record({
		port: fc.nat(0xffff),
		near: fc.nat(0x80),
		width: fc.constantFrom(8, 16, 32),
		value: fc.integer(),
	});
	fc.assert(
		fc.property(fc.array(range, { maxLength: 8 }), fc.array(access, { maxLength: 50 }), (ranges, accesses) => {
			const ports = new Ports(quiet);
			for (const { base, size, widths } of ranges) ports.map(base, size, noting(widths, []));
			for (const { port, near, width, value } of accesses) {
				for (const at of [port, near]) {
					const read = width === 8 ? ports.read8(at) : width === 16 ? ports.read16(at) : ports.read32(at);
					t.true(Number.isInteger(read));
					if (width === 8) ports.write8(at, value);
					else if (width === 16) ports.write16(at, value);
					else ports.write32(at, value);
				}
			}
		}),
	);
});

test('the guest reaches ports in all widths, and reads ones where nothing is', async (t) => {
	const cpu = await createV86({ memory: 1 << 20, videoMemory: 0, time: 'virtual', fastVideo: false });
	const log: string[] = [];
	cpu.ports.map(0x500, 8, noting([8, 16, 32], log));
	const at = 0x20000;
	const reads = [in8(0x501), in16(0x502), in32(0x504), in8(0x600), in16(0x600), in32(0x600)];
	run(
		cpu,
		code(
			out8(0x500, 0x81),
			out16(0x502, 0x8182),
			out32(0x504, 0x81828384),
			...reads.flatMap((read, i) => [read, store(at + i * 4)]),
			hlt,
		),
	);
	t.deepEqual(log, ['w8@0=81', 'w16@2=8182', 'w32@4=81828384', 'r8@1', 'r16@2', 'r32@4']);
	t.deepEqual(
		reads.map((_, i) => cpu.dma.read32(at + i * 4)),
		[0x12, 0x2213, 0x44332215, 0xff, 0xffff, 0xffffffff],
	);
});

test('an exception in a handler becomes ones and one line in the log', async (t) => {
	const cpu = await createV86({ memory: 1 << 20, videoMemory: 0, time: 'virtual', fastVideo: false });
	const lines: string[] = [];
	t.teardown(
		listenTrace(
			(name) => name === 'guest.error',
			(event) => lines.push(`${event.fields.device}: ${event.fields.message}`),
		),
	);
	const fault = () => {
		throw new GuestFault(0x1234, 4);
	};
	cpu.ports.map(0x500, 4, { read8: fault, write8: fault, read32: fault }, 'card');
	run(cpu, code(...Array.from({ length: 30 }, () => out8(0x500, 1)), in32(0x500), store(0x20000), hlt));
	t.is(cpu.dma.read32(0x20000), 0xffffffff);
	t.is(lines.length, 8);
	t.is(lines[0], 'card: guest memory: 4 bytes at 0x1234 are out of range');
	t.true(lines[7].endsWith('(not said again)'));
});
