/** The loop between slices and the event loop. */
import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import type { CpuBackend } from '../../src/cpu/backend.ts';
import { RunLoop } from '../../src/machine/runloop.ts';

function rig(slice: (loop: RunLoop) => number) {
	const log: string[] = [];
	const cpu = {
		onWake: undefined,
		runSlice() {
			log.push('slice');
			const ms = slice(loop);
			log.push('over');
			return ms;
		},
		pause: () => void log.push('pause'),
		resume: () => void log.push('resume'),
	};
	const loop: RunLoop = new RunLoop(cpu as unknown as CpuBackend);
	return { log, loop, wake: () => (cpu.onWake as (() => void) | undefined)?.() };
}

test('time stands still only once the slice that stops the machine is over: a slice ends by the clock', async (t) => {
	const { log, loop } = rig((self) => {
		self.stop();
		return 0;
	});
	loop.start();
	await sleep(20);
	t.deepEqual(log, ['resume', 'slice', 'over', 'pause']);
});

test('stopped and started within a slice, it goes on', async (t) => {
	let slices = 0;
	const { log, loop } = rig((self) => {
		if (++slices === 1) {
			self.stop();
			self.start();
		} else self.stop();
		return 0;
	});
	loop.start();
	await sleep(20);
	t.deepEqual(log, ['resume', 'slice', 'resume', 'over', 'slice', 'over', 'pause']);
});

test('it sleeps as long as a slice says, or until it is woken', async (t) => {
	const { log, loop, wake } = rig(() => 10_000);
	loop.start();
	await sleep(20);
	t.deepEqual(log, ['resume', 'slice', 'over']);
	wake();
	await sleep(20);
	t.is(log.length, 5);
	loop.stop();
	loop.stop();
	t.is(log.at(-1), 'pause');
	wake();
	await sleep(20);
	t.is(log.length, 6);
});
