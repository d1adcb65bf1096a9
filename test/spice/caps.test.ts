import test from 'ava';
import { CapSet } from '../../src/spice/caps.ts';

test('a set has what it was made of and nothing else', (t) => {
	const caps = CapSet.of(0, 3, 31, 33);
	t.deepEqual([...caps.words], [0x80000009, 2]);
	t.deepEqual(
		Array.from({ length: 70 }, (_, n) => n).filter((n) => caps.has(n)),
		[0, 3, 31, 33],
	);
});

test('bytes are the bit array, cut or padded', (t) => {
	t.deepEqual([...CapSet.of(0, 9, 33).bytes(6)], [1, 2, 0, 0, 2, 0]);
	t.deepEqual([...CapSet.of(0, 9, 33).bytes(2)], [1, 2]);
	t.deepEqual([...new CapSet([]).bytes(3)], [0, 0, 0]);
});
