/** What the log says of guests that err. */
import test from 'ava';
import { guestErrorLog } from '../../src/cli/trace.ts';

test('a guest that errs all the time has ten lines a second, and one that says so', (t) => {
	const lines: string[] = [];
	const clock = { now: 5000 };
	const log = guestErrorLog(
		(line) => lines.push(line),
		() => clock.now,
	);
	const err = (count: number) => {
		for (let i = 0; i < count; i++) log({ fields: { device: 'qxl', message: `error ${i}` } });
	};
	err(1000);
	t.is(lines.length, 11);
	t.is(lines[0], 'tsvm: guest: qxl: error 0\n');
	t.is(lines[9], 'tsvm: guest: qxl: error 9\n');
	t.is(lines[10], 'tsvm: guest: more of these within a second\n');
	clock.now = 6000;
	err(3);
	t.is(lines.length, 14);
});
