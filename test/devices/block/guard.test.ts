/** What drives have the host do stays within bounds, whatever the guest does and however slow the disk is. */
import test from 'ava';
import { BlockGuard } from '../../../devices/block/index.ts';
import { MemoryImage } from '../../helpers/memory-image.ts';

function slowGuard() {
	const image = new MemoryImage(1 << 16);
	image.slow = true;
	return { image, guard: new BlockGuard(image) };
}

/** Notes how each request ended, in order. */
function follow(log: string[], name: string, work: Promise<void> | undefined): void {
	if (work)
		work.then(
			() => log.push(name),
			(error: Error) => log.push(`${name}: ${error.message}`),
		);
	else log.push(`${name} at once`);
}

test('an image that answers at once is not waited for', (t) => {
	const image = new MemoryImage(1 << 16);
	const guard = new BlockGuard(image);
	t.is(guard.write(512, new Uint8Array(512).fill(7)), undefined);
	const back = new Uint8Array(512);
	t.is(guard.read(512, back), undefined);
	t.is(back[511], 7);
	t.is(guard.flush(), undefined);
	t.is(guard.discard(0, 512), undefined);
	t.deepEqual(image.log, ['write 512+512', 'read 512+512', 'flush', 'discard 0+512']);
	t.false(guard.abandon(), 'nothing is lent to the host');
});

test('one flush is under way; all that come meanwhile share the next, which begins after they came', async (t) => {
	const { image, guard } = slowGuard();
	const log: string[] = [];
	follow(log, 'first', guard.flush());
	for (let i = 0; i < 1000; i++) follow(log, `${i}`, guard.flush());
	t.is(image.waiting, 1);
	await image.release();
	t.deepEqual(log, ['first']);
	t.is(image.waiting, 1);
	await image.release();
	t.is(log.length, 1001);
	t.is(image.waiting, 0);
	t.deepEqual(image.log, ['flush', 'flush done', 'flush', 'flush done']);
});

test('requests and resets without end: the host has one at a time, and only the last is begun after it', async (t) => {
	const { image, guard } = slowGuard();
	const log: string[] = [];
	for (let i = 0; i < 1000; i++) {
		follow(log, `flush ${i}`, guard.flush());
		guard.abandon();
		follow(log, `write ${i}`, guard.write(i * 16, new Uint8Array(16)));
		guard.abandon();
		t.is(image.waiting, 1);
	}
	const last = guard.write(4096, new Uint8Array(512).fill(1));
	follow(log, 'last', last);
	t.is(image.waiting, 1);
	await image.release();
	t.deepEqual(log, [], 'what was asked before a reset is not answered');
	t.is(image.waiting, 1);
	await image.release();
	t.deepEqual(log, ['last']);
	t.deepEqual(image.log, ['flush', 'flush done', 'write 4096+512', 'write 4096+512 done']);
});

test('after a reset nothing begins before all that was under way has ended, well or not', async (t) => {
	const { image, guard } = slowGuard();
	const log: string[] = [];
	for (const at of [0, 1024]) void guard.write(at, new Uint8Array(512).fill(1));
	image.failNext = 'read';
	follow(log, 'failed', guard.read(0, new Uint8Array(512)));
	t.true(guard.abandon(), 'the host has bytes of the guest’s');
	follow(log, 'new', guard.write(0, new Uint8Array(512).fill(2)));
	t.false(guard.abandon(), 'what has not begun has lent nothing');
	follow(log, 'newest', guard.write(0, new Uint8Array(512).fill(3)));
	await image.release();
	t.is(image.log.filter((entry) => entry === 'write 0+512').length, 1);
	await image.release();
	await image.release();
	t.deepEqual(log, ['newest']);
	t.is(image.bytes[0], 3);
});

test('another medium is not asked while the old one is at work, and never for the old one’s requests', async (t) => {
	const { image, guard } = slowGuard();
	const next = new MemoryImage(1 << 15);
	const log: string[] = [];
	follow(log, 'old', guard.read(0, new Uint8Array(512)));
	guard.abandon();
	follow(log, 'old too', guard.read(512, new Uint8Array(512)));
	guard.insert(next);
	t.is(guard.size, next.size);
	follow(log, 'new', guard.read(1024, new Uint8Array(512)));
	t.deepEqual(next.log, []);
	await image.release();
	t.deepEqual(next.log, ['read 1024+512']);
	t.deepEqual(log, ['new']);
	guard.insert(undefined);
	follow(log, 'none', guard.read(0, new Uint8Array(512)));
	await image.release();
	t.deepEqual(log, ['new', 'none: no medium']);
});
