import test from 'ava';
import fc from 'fast-check';
import { PciBus } from '../../../devices/pci/bus.ts';
import { type IoHandler, type PciBarSpec, PciFunction, type PciIdentity } from '../../../src/core/index.ts';
import { FakeBoard, FakeIrq, FakeVideoMemory } from '../../helpers/board.ts';

const COMMAND = 0x04;

class Bus {
	readonly board = new FakeBoard();
	readonly pirq = [0, 1, 2, 3].map(() => new FakeIrq());
	readonly bus = new PciBus(this.board.ports, this.board.mmio, this.pirq);
	plug(slot: number, identity: Partial<PciIdentity> = {}, fn = 0): PciFunction {
		const plugged = new PciFunction({
			name: `slot ${slot}`,
			vendor: 0x1234,
			device: 0x5678,
			classCode: 0xff0000,
			...identity,
		});
		this.bus.plug(slot, plugged, fn);
		return plugged;
	}
	address(slot: number, offset: number, fn = 0): void {
		this.board.ports.out32(0xcf8, 0x80000000 + (slot << 11) + (fn << 8) + offset);
	}
	read32(slot: number, offset: number, fn = 0): number {
		this.address(slot, offset, fn);
		return this.board.ports.in32(0xcfc);
	}
	write32(slot: number, offset: number, value: number, fn = 0): void {
		this.address(slot, offset, fn);
		this.board.ports.out32(0xcfc, value);
	}
}

function memory(value: number): IoHandler {
	return { read8: (at) => (value + at) & 0xff };
}

test('BARs are sized, mapped, moved and taken away', (t) => {
	const m = new Bus();
	const bars: Record<number, PciBarSpec> = {
		0: { kind: 'io', size: 0x20, handler: memory(0x40) },
		1: { kind: 'mmio', size: 0x1000, handler: memory(0x80) },
	};
	m.plug(4, { bars });
	m.write32(4, 0x10, 0xffffffff);
	m.write32(4, 0x14, 0xffffffff);
	t.is(m.read32(4, 0x10), 0xffffffe1);
	t.is(m.read32(4, 0x14), 0xfffff000);
	t.is(m.read32(4, 0x18), 0, 'a BAR that is not there');

	m.write32(4, 0x10, 0xc000);
	m.write32(4, 0x14, 0xe0000000);
	t.is(m.board.ports.in8(0xc001), 0xff, 'I/O space is off');
	t.is(m.board.mmio.read8(0xe0000001), 0xff, 'memory space is off');
	m.write32(4, COMMAND, 1);
	t.is(m.board.ports.in8(0xc001), 0x41);
	t.is(m.board.mmio.read8(0xe0000001), 0xff);
	m.write32(4, COMMAND, 3);
	t.is(m.board.mmio.read8(0xe0000001), 0x81);
	t.is(m.board.mmio.read32(0xe0000000), 0x83828180);

	m.write32(4, 0x14, 0xe0100000);
	t.is(m.board.mmio.read8(0xe0000001), 0xff, 'moved away');
	t.is(m.board.mmio.read8(0xe0100001), 0x81);
	t.deepEqual(
		m.bus.list()[0].bars.map(({ bar, kind, base, size }) => ({ bar, kind, base, size })),
		[
			{ bar: 0, kind: 'io', base: 0xc000, size: 0x20 },
			{ bar: 1, kind: 'memory', base: 0xe0100000, size: 0x1000 },
		],
	);

	m.bus.reset();
	t.is(m.board.ports.in8(0xc001), 0xff);
	t.is(m.board.mmio.read8(0xe0100001), 0xff);
	t.is(m.read32(4, 0x14), 0);
});

test('a BAR at 0, at the very top, or being sized answers nowhere', (t) => {
	const m = new Bus();
	m.plug(4, { bars: { 0: { kind: 'mmio', size: 0x10000, handler: memory(1) } } });
	m.write32(4, COMMAND, 2);
	const before = m.board.mmio.ranges.length;
	for (const base of [0, 0xffffffff, 0xffff0000]) {
		m.write32(4, 0x10, base);
		t.is(m.board.mmio.ranges.length, before, `0x${base.toString(16)}`);
	}
	m.write32(4, 0x10, 0xfffe0000);
	t.is(m.board.mmio.ranges.length, before + 1);
});

test('a 64-bit BAR answers only below 4 GiB', (t) => {
	const m = new Bus();
	m.plug(4, { bars: { 2: { kind: 'mmio', size: 0x4000, handler: memory(7), is64: true, prefetch: true } } });
	m.write32(4, 0x18, 0xffffffff);
	m.write32(4, 0x1c, 0xffffffff);
	t.is(m.read32(4, 0x18), 0xffffc00c);
	t.is(m.read32(4, 0x1c), 0xffffffff);
	m.write32(4, 0x18, 0xfe000000);
	m.write32(4, COMMAND, 2);
	t.is(m.board.mmio.read8(0xfe000000), 0xff, 'at 2^64 - something');
	m.write32(4, 0x1c, 0);
	t.is(m.board.mmio.read8(0xfe000000), 7);
});

test('video memory appears where its BAR says, from its offset', (t) => {
	const m = new Bus();
	const video = new FakeVideoMemory(0x20000);
	video.bytes()[0x10000] = 0x55;
	m.plug(2, { bars: { 0: { kind: 'video', size: 0x10000, memory: video, offset: 0x10000, prefetch: true } } });
	m.write32(2, 0x10, 0xd0000000);
	m.write32(2, COMMAND, 2);
	t.is(m.board.mmio.read8(0xd0000000), 0x55);
	m.board.mmio.write8(0xd000ffff, 0x66);
	t.is(video.bytes()[0x1ffff], 0x66);
});

test('an expansion ROM can be sized, enabled and read, not written', (t) => {
	const m = new Bus();
	const rom = Uint8Array.from({ length: 0x1200 }, (_, i) => i & 0xff);
	m.plug(2, { rom });
	m.write32(2, 0x30, 0xffffffff);
	t.is(m.read32(2, 0x30), 0xffffe001, 'rounded up to 8 KiB');
	m.write32(2, 0x30, 0xfeb00000);
	m.write32(2, COMMAND, 2);
	t.is(m.board.mmio.read32(0xfeb00004), 0xffffffff, 'enable bit clear');
	m.write32(2, 0x30, 0xfeb00001);
	t.is(m.board.mmio.read32(0xfeb00004), 0x07060504);
	t.is(m.board.mmio.read8(0xfeb01234), 0, 'behind the image');
	m.board.mmio.write8(0xfeb00004, 0x99);
	t.is(m.board.mmio.read8(0xfeb00004), 4);
	t.is(rom[4], 4);
});

test('INTx is swizzled by slot and pin, and shared lines are joined', (t) => {
	const m = new Bus();
	const levels = () => m.pirq.map((p) => (p.level ? 1 : 0)).join('');
	for (const [slot, pin, expected] of [
		[1, 1, '1000'],
		[2, 1, '0100'],
		[3, 1, '0010'],
		[4, 1, '0001'],
		[5, 1, '1000'],
		[6, 2, '0010'],
		[7, 4, '0100'],
		[8, 3, '0100'],
	] as const) {
		const fn = m.plug(slot, { pin });
		fn.irq.set(true);
		t.is(levels(), expected, `slot ${slot} pin ${pin}`);
		fn.irq.set(false);
		t.is(levels(), '0000');
	}
	const a = m.plug(9, { pin: 1 });
	const b = m.plug(13, { pin: 1 });
	a.irq.set(true);
	b.irq.set(true);
	b.irq.set(true);
	a.irq.set(false);
	t.is(levels(), '1000', 'one still asserts');
	b.irq.set(false);
	t.is(levels(), '0000');
});

test('the INTx disable bit holds the line down, the status bit tells', (t) => {
	const m = new Bus();
	const fn = m.plug(1, { pin: 1 });
	m.write32(1, COMMAND, 0x400);
	fn.irq.set(true);
	t.false(m.pirq[0].level);
	t.is(m.read32(1, COMMAND) >>> 16, 0x08);
	m.write32(1, COMMAND, 0);
	t.true(m.pirq[0].level);
	m.bus.reset();
	t.false(m.pirq[0].level, 'a reset takes it down');
});

test('a function without a pin drives nothing', (t) => {
	const m = new Bus();
	m.plug(1).irq.set(true);
	t.deepEqual(
		m.pirq.map((p) => p.level),
		[false, false, false, false],
	);
});

test('places are checked', (t) => {
	const m = new Bus();
	m.plug(3);
	t.true(m.bus.isFree(4));
	t.false(m.bus.isFree(3));
	t.throws(() => m.plug(3), { instanceOf: RangeError });
	t.throws(() => m.plug(32), { instanceOf: RangeError });
	t.throws(() => m.plug(4, {}, 8), { instanceOf: RangeError });
	t.notThrows(() => m.plug(3, {}, 7));
});

test('capabilities are read-only but where said; other device bytes are storage', (t) => {
	const m = new Bus();
	m.plug(1, {
		capabilities: 0x40,
		capabilityRanges: [[0x40, 12]],
		config: { 64: 0x11, 66: 0x01 },
		writable: { 67: 0xc0 },
	});
	t.is(m.read32(1, COMMAND) >>> 16, 0x10);
	t.is(m.read32(1, 0x34), 0x40);
	m.write32(1, 0x40, 0xffffffff);
	t.is(m.read32(1, 0x40), 0xc0010011);
	m.write32(1, 0x4c, 0x12345678);
	t.is(m.read32(1, 0x4c), 0x12345678);
});

test('what is saved comes back with its windows and lines', (t) => {
	const make = () => {
		const m = new Bus();
		const fn = m.plug(5, { pin: 1, bars: { 0: { kind: 'mmio', size: 0x1000, handler: memory(3) } } });
		return { m, fn };
	};
	const { m, fn } = make();
	m.write32(5, 0x10, 0xe0000000);
	m.write32(5, COMMAND, 2);
	fn.irq.set(true);
	const saved = m.bus.save();
	const other = make();
	other.m.bus.restore(saved);
	t.is(other.m.board.mmio.read8(0xe0000000), 3);
	t.true(other.m.pirq[0].level);
	t.deepEqual(other.m.bus.save(), saved);
	t.throws(() => other.m.bus.restore({ ...saved, version: 2 }), { message: /version 2/ });
});

test('random configuration accesses never throw, and windows never pile up', (t) => {
	const width = fc.constantFrom(1, 2, 4);
	const access = fc.record({
		write: fc.boolean(),
		address: fc.oneof(
			fc.nat(0xffffffff),
			fc.nat(0x3fff).map((n) => 0x80000000 + n),
		),
		port: fc.integer({ min: 0xcf8, max: 0xcff }),
		width,
		value: fc.oneof(fc.nat(0xffffffff), fc.constantFrom(0, 1, 2, 3, 7, 0xffffffff, 0xe0000000, 0xc001)),
	});
	fc.assert(
		fc.property(fc.array(access, { maxLength: 200 }), (list) => {
			const m = new Bus();
			const video = new FakeVideoMemory(0x10000);
			m.plug(0, {
				pin: 1,
				rom: new Uint8Array(3000),
				bars: {
					0: { kind: 'io', size: 16, handler: memory(1) },
					1: { kind: 'mmio', size: 4096, handler: memory(2), is64: true },
					3: { kind: 'video', size: 0x10000, memory: video },
				},
			});
			m.plug(1, { pin: 2 }, 3);
			const { ports, mmio } = m.board;
			const fixed = ports.ranges.length + mmio.ranges.length;
			for (const { write, address, port, width, value } of list) {
				ports.out32(0xcf8, address);
				const name = `${write ? 'out' : 'in'}${width * 8}` as 'in8' | 'out8';
				if (write) ports[name](port, value);
				else ports[name](port, 0);
			}
			return ports.ranges.length + mmio.ranges.length - fixed <= 4;
		}),
	);
	t.pass();
});
