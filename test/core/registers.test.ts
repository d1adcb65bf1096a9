import test from 'ava';
import fc from 'fast-check';
import { RegisterFile, registers } from '../../src/core/index.ts';

const table = registers({
	id: { at: 0, size: 2, reset: 0x1234, doc: 'read only' },
	control: { at: 2, size: 1, w: 0x0f, doc: 'low nibble writable' },
	status: { at: 4, size: 4, reset: 0x80000001, w1c: 0x80000003, w: 0x00ff0000, doc: 'sticky bits and a field' },
});

test('registers take their reset values and are properties of their own name', (t) => {
	const regs = new RegisterFile(table);
	t.deepEqual([regs.id, regs.control, regs.status], [0x1234, 0, 0x80000001]);
});

test('a write changes writable bits only, clears write-1-to-clear bits, and tells old and new value', (t) => {
	const seen: [number, number][] = [];
	const regs = new RegisterFile(table, { write: { status: (now, was) => seen.push([now, was]) } });
	regs.write(4, 4, 0x80ab0000);
	t.is(regs.status, 0x00ab0001);
	t.deepEqual(seen, [[0x00ab0001, 0x80000001]]);
	regs.write(0, 2, 0xffff);
	t.is(regs.id, 0x1234);
	regs.write(2, 1, 0xff);
	t.is(regs.control, 0x0f);
});

test('an access of another width reaches the byte lanes it covers, across registers and holes', (t) => {
	const regs = new RegisterFile(table);
	t.is(regs.read(1, 1), 0x12);
	t.is(regs.read(0, 4), 0x00001234);
	regs.write(0, 4, 0x00050000);
	t.is(regs.control, 5);
	regs.write(6, 1, 0x77);
	t.is(regs.status, 0x80770001);
	t.is(regs.read(100, 4), 0);
});

test('overlapping registers are refused when they are declared', (t) => {
	t.throws(() => registers({ a: { at: 0, size: 4, doc: '' }, b: { at: 3, size: 1, doc: '' } }), {
		message: /a and b overlap/,
	});
});

test('save and restore are inverse, and no access ever throws or leaves the masks', (t) => {
	const access = fc.record({
		at: fc.nat(16),
		size: fc.constantFrom(1 as const, 2 as const, 4 as const),
		value: fc.nat(0xffffffff),
	});
	fc.assert(
		fc.property(fc.array(access), (accesses) => {
			const regs = new RegisterFile(table);
			for (const a of accesses) {
				regs.write(a.at, a.size, a.value);
				regs.read(a.at, a.size);
			}
			t.is(regs.id, 0x1234);
			t.is(regs.control & ~0x0f, 0);
			t.is((regs.status & ~0x80ff0003) >>> 0, 0);
			const copy = new RegisterFile(table);
			copy.restore(regs.save());
			t.deepEqual(copy.save(), regs.save());
		}),
	);
});
