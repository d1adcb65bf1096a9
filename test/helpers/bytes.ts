/** Comparing memory. `t.deepEqual` looks at each element as a property: a second for a megabyte. */
import type { ExecutionContext } from 'ava';

type Memory = Uint8Array | Uint32Array;

/** Asserts that both are there and hold the same; shows where they begin to differ, and what stands there. */
export function sameBytes(
	t: ExecutionContext,
	actual: Memory | undefined,
	expected: Memory | undefined,
	message?: string,
): void {
	if (actual === undefined || expected === undefined) {
		t.fail(`${message ?? 'memory'} is missing`);
		return;
	}
	let at = 0;
	while (at < actual.length && actual[at] === expected[at]) at++;
	const around = (memory: Memory) => ({ length: memory.length, at, next: [...memory.subarray(at, at + 16)] });
	t.deepEqual(around(actual), around(expected), message);
}
