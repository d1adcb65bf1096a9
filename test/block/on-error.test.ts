/** werror= and rerror=: what becomes of operations that fail on the host. */
import test from 'ava';
import { BlockGuard } from '../../devices/block/index.ts';
import { type ErrorPolicy, type IoError, PolicedImage } from '../../src/block/index.ts';
import { MemoryImage } from '../helpers/memory-image.ts';

/** An image on a file system with room or without. */
class FullImage extends MemoryImage {
	code: string | undefined = 'ENOSPC';
	override write(offset: number, from: Uint8Array): Promise<void> | undefined {
		return this.#failure() ?? super.write(offset, from);
	}
	override flush(): Promise<void> | undefined {
		return this.#failure() ?? super.flush();
	}
	#failure(): Promise<void> | undefined {
		if (this.code === undefined) return undefined;
		const text = this.code === 'EIO' ? 'i/o error' : 'no space left on device';
		return Promise.reject(Object.assign(new Error(`${this.code}: ${text}, write`), { code: this.code }));
	}
}

function policed(policy: Partial<ErrorPolicy> = {}) {
	const below = new FullImage(1 << 16);
	const told: IoError[] = [];
	const image = new PolicedImage(below, { werror: 'enospc', rerror: 'report', ...policy }, (e) => told.push(e));
	return { below, told, image };
}

const SECTOR = new Uint8Array(512).fill(7);
const settle = () => new Promise((resolve) => setImmediate(resolve));

test('enospc: without room a write waits until it is tried again, and is then done', async (t) => {
	for (const code of ['ENOSPC', 'EDQUOT']) {
		const { below, told, image } = policed();
		below.code = code;
		let done = 0;
		void image.write(512, SECTOR)?.then(() => done++);
		void image.flush()?.then(() => done++);
		await settle();
		const expected = { operation: 'write', action: 'stop', nospace: true, reason: 'no space left on device' };
		t.deepEqual(told, [expected, expected]);
		image.retry();
		await settle();
		t.deepEqual([told.length, done], [4, 0], 'there still is none');
		below.code = undefined;
		image.retry();
		await settle();
		t.deepEqual([told.length, done], [4, 2]);
		t.deepEqual(below.bytes.subarray(512, 1024), SECTOR);
		t.is(image.write(0, SECTOR), undefined, 'what the image does at once is done at once');
	}
});

test('enospc: any other failure is told to the guest', async (t) => {
	const { below, told, image } = policed();
	below.code = 'EIO';
	await t.throwsAsync(async () => image.write(0, SECTOR), { code: 'EIO' });
	t.deepEqual(told, [{ operation: 'write', action: 'report', nospace: false, reason: 'i/o error' }]);
});

test('report, ignore and stop', async (t) => {
	const report = policed({ werror: 'report' });
	await t.throwsAsync(async () => report.image.flush(), { code: 'ENOSPC' });
	t.is(report.told[0].action, 'report');
	const ignore = policed({ werror: 'ignore', rerror: 'ignore' });
	await ignore.image.write(0, SECTOR);
	t.is(ignore.told[0].action, 'ignore');
	ignore.below.failNext = 'read';
	const into = SECTOR.slice();
	await ignore.image.read(0, into);
	t.deepEqual(into, new Uint8Array(512), 'nothing of what was there before');
	const stop = policed({ rerror: 'stop' });
	stop.below.failNext = 'read';
	let read = 0;
	void stop.image.read(0, into)?.then(() => read++);
	await settle();
	t.deepEqual([stop.told[0].action, stop.told[0].nospace, read], ['stop', false, 0]);
	stop.image.retry();
	await settle();
	t.is(read, 1);
});

test('a reset gives up what waits; the next request does not wait for it', async (t) => {
	const { below, image } = policed();
	const guard = new BlockGuard(image);
	let answers = 0;
	const count = () => answers++;
	guard.write(0, SECTOR)?.then(count, count);
	await settle();
	guard.abandon();
	let read = false;
	const into = new Uint8Array(512);
	void guard.read(0, into)?.then(() => {
		read = true;
	});
	await settle();
	t.true(read);
	below.code = undefined;
	image.retry();
	await settle();
	t.is(answers, 0);
	t.is(below.bytes[0], 0, 'the old write is not done any more');
});

test('closing ends what waits, and its failures are nobody’s news', async (t) => {
	const { told, image } = policed();
	const write = t.throwsAsync(async () => image.write(0, SECTOR), { code: 'ENOSPC' });
	await settle();
	await image.close();
	await write;
	await t.throwsAsync(async () => image.flush());
	t.is(told.length, 1);
});
