import test from 'ava';
import { ManualClock } from '../../src/core/index.ts';

test('timers fire in order of deadline, each at its own time', (t) => {
	const clock = new ManualClock();
	const seen: [string, number][] = [];
	clock.timer(() => seen.push(['late', clock.now()])).arm(300);
	clock.timer(() => seen.push(['early', clock.now()])).arm(100);
	clock.advance(1000);
	t.deepEqual(seen, [
		['early', 100],
		['late', 300],
	]);
});

test('a periodic timer rearmed by its own callback keeps its period', (t) => {
	const clock = new ManualClock();
	let ticks = 0;
	const timer = clock.timer(() => {
		ticks++;
		timer.arm(clock.now() + 10);
	});
	timer.arm(10);
	clock.advance(1000);
	t.is(ticks, 100);
});

test('a cancelled timer does not fire; rearming replaces the deadline', (t) => {
	const clock = new ManualClock();
	let fired = 0;
	const timer = clock.timer(() => fired++);
	timer.arm(10);
	timer.arm(50);
	clock.advance(20);
	t.is(fired, 0);
	timer.cancel();
	clock.advance(100);
	t.is(fired, 0);
	t.is(timer.deadline, Number.POSITIVE_INFINITY);
});

test('a timer that rearms itself in the past cannot hold the host', (t) => {
	const clock = new ManualClock();
	let fired = 0;
	const timer = clock.timer(() => {
		fired++;
		timer.arm(0);
	});
	timer.arm(0);
	clock.run();
	t.true(fired >= 1 && fired < 10);
});
