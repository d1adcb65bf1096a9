import test from 'ava';
import { Repose } from '../../src/cpu/v86/repose.ts';

const MS = 1e6;

/** A guest that halts every `period` ms after `work` instructions. */
class Guest {
	readonly repose = new Repose();
	now = 0;
	instructions = 0;

	/** The lateness, ms, that the last halt of `ms` was given. */
	run(ms: number, period: number, work: number): number {
		let lateness = 0;
		for (const end = this.now + ms * MS; this.now < end; ) {
			this.now += period * MS;
			this.instructions += work;
			lateness = this.repose.look(this.now, this.instructions);
		}
		return lateness / MS;
	}
}

test('the longer nothing but ticks happens, the later they may be', (t) => {
	const guest = new Guest();
	t.is(guest.run(990, 4, 5000), 0);
	t.is(guest.run(20, 4, 5000), 20);
	t.is(guest.run(1000, 20, 5000), 40);
	t.is(guest.run(3000, 40, 5000), 100);
	t.is(guest.run(10_000, 100, 5000), 100, 'and no later');
});

test('what comes from outside ends it at once', (t) => {
	const guest = new Guest();
	t.is(guest.run(2000, 4, 5000), 40);
	guest.repose.disturb(guest.now, guest.instructions);
	t.is(guest.run(990, 4, 5000), 0);
	t.is(guest.run(20, 4, 5000), 20);
});

test('work ends it: a long turn at once, many short ones with the second', (t) => {
	const guest = new Guest();
	t.is(guest.run(2000, 4, 5000), 40);
	t.is(guest.run(4, 4, 1_000_001), 0);
	t.is(guest.run(2000, 4, 5000), 40);
	t.is(guest.run(1000, 4, 50_000), 0);
	t.is(guest.run(5000, 4, 50_000), 0);
});
