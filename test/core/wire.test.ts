/** Structures on the wire: what is written is read again, and readers believe nothing. */
import test from 'ava';
import fc from 'fast-check';
import { decode, encode, type Infer, WireReader, WireWriter, wire } from '../../src/core/index.ts';

const { array, bytes, fixedArray, fixedBytes, i16, i32, i64, many, ptr, rest, struct, u8, u16, u32, u64, union } = wire;

const Inner = struct({ id: u64, tag: i16, list: array(u16, u32) });
const Node = struct({ first: u8, inner: ptr(Inner), other: ptr(Inner), data: bytes(u32), last: i32 });
const Choice = union(u8, { none: [0, struct({})], two: [2, struct({ a: u16, b: i64 })] });
const All = struct({ node: Node, choice: Choice, pair: fixedArray(2, Choice), raw: fixedBytes(3), tail: rest });
type All = Infer<typeof All>;

const inner = fc.record({
	id: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
	tag: fc.integer({ min: -32768, max: 32767 }),
	list: fc.array(fc.nat({ max: 0xffffffff }), { maxLength: 5 }),
});
const raw = fc.uint8Array({ maxLength: 300 });
const choice = fc.oneof(
	fc.constant({ type: 'none' as const }),
	fc.record({
		type: fc.constant('two' as const),
		a: fc.nat({ max: 0xffff }),
		b: fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
	}),
);
/** No pointers here: what they point at lies behind the tail, which would take it in. */
const values: fc.Arbitrary<All> = fc.record({
	node: fc.record({
		first: fc.nat({ max: 255 }),
		inner: fc.constant(null),
		other: fc.constant(null),
		data: raw,
		last: fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }),
	}),
	choice,
	pair: fc.array(choice, { minLength: 2, maxLength: 2 }),
	raw: fc.uint8Array({ minLength: 3, maxLength: 3 }),
	tail: raw,
});

function joined(parts: readonly Uint8Array[]): Uint8Array {
	return Uint8Array.from(parts.flatMap((part) => [...part]));
}

test('values come back, whatever the size of the first buffer', (t) => {
	fc.assert(
		fc.property(values, fc.integer({ min: 1, max: 64 }), (value, size) => {
			const w = new WireWriter(size);
			All.write(w, value);
			const length = w.length;
			const out = joined(w.finish());
			t.is(out.length, length);
			t.deepEqual(decode(All, out), value);
			t.deepEqual(encode(All, value), out);
		}),
	);
});

test('pointers lead to what was written, from a first buffer of one byte', (t) => {
	fc.assert(
		fc.property(inner, fc.option(inner), raw, fc.integer({ min: 1, max: 40 }), (a, b, data, size) => {
			const value = { first: 7, inner: a, other: b, data, last: -5 };
			const w = new WireWriter(size);
			Node.write(w, value);
			t.deepEqual(decode(Node, joined(w.finish())), value);
		}),
	);
});

test('the layout is little-endian and packed; pointers count from the start', (t) => {
	const out = encode(struct({ a: u8, p: ptr(u16), b: u32 }), { a: 1, p: 0x1234, b: 0x01020304 });
	t.deepEqual([...out], [1, 9, 0, 0, 0, 4, 3, 2, 1, 0x34, 0x12]);
});

test('bytes are written by reference', (t) => {
	const data = new Uint8Array(100_000);
	const w = new WireWriter();
	bytes(u32).write(w, data);
	u8.write(w, 9);
	const parts = w.finish();
	t.is(parts[1], data);
	t.is(joined(parts).length, 4 + 100_000 + 1);
});

test('items up to the end of the message', (t) => {
	const list = many(u16, 3);
	t.deepEqual(decode(list, encode(list, [1, 2, 3])), [1, 2, 3]);
	t.deepEqual(decode(list, new Uint8Array(0)), []);
	t.throws(() => decode(list, new Uint8Array(3)), { name: 'WireError' });
	t.throws(() => decode(list, new Uint8Array(8)), { name: 'WireError' });
});

test('random bytes either decode or throw WireError', (t) => {
	fc.assert(
		fc.property(fc.uint8Array({ maxLength: 80 }), (from) => {
			for (const codec of [All, Node, Choice, array(u32, Inner), many(Choice)] as const) {
				try {
					decode(codec as wire.Codec<unknown>, from);
				} catch (error) {
					t.is((error as Error).name, 'WireError');
				}
			}
		}),
		{ numRuns: 2000 },
	);
});

test('counts, pointers and depth are limited before anything is read', (t) => {
	const huge = Uint8Array.of(0xff, 0xff, 0xff, 0xff, 0);
	t.throws(() => decode(array(u32, u8), huge), { name: 'WireError', message: /4294967295 items/ });
	t.throws(() => decode(array(u32, struct({}), 10), huge), { name: 'WireError' });
	t.throws(() => decode(bytes(u32), huge), { name: 'WireError' });
	t.throws(() => decode(ptr(u8), huge), { name: 'WireError', message: /pointer to 4294967295/ });
	type List = { next: List | null };
	const list: wire.Codec<List> = {
		min: 4,
		read: (r) => ({ next: ptr(list).read(r) }),
		write: () => {},
	};
	const loop = Uint8Array.of(0, 0, 0, 0, 4, 0, 0, 0);
	t.throws(() => list.read(new WireReader(loop, 4)), { name: 'WireError', message: /too deeply/ });
});
