import * as fs from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import fc from 'fast-check';
import { openImage, type PunchHole } from '../../src/block/index.ts';
import { native } from '../../src/spice/codecs/native.ts';
import { sameBytes } from '../helpers/bytes.ts';

const MIB = 1 << 20;
const root = fs.mkdtempSync(join(tmpdir(), 'tsvm-discard-'));
test.after.always(() => fs.rmSync(root, { recursive: true, force: true }));

let files = 0;
function file(size: number): string {
	const path = join(root, `image${files++}.raw`);
	fs.writeFileSync(path, new Uint8Array(size).fill(0xa5));
	return path;
}

function realPunch(): PunchHole {
	const { punchHole } = native().addon ?? {};
	if (!punchHole) throw new Error('the native addon is missing or old: node native/install.mjs');
	return punchHole;
}

/** Holes as the test wants them: each waits until it is let go, and is then punched or fails. */
class Holes {
	readonly begun: string[] = [];
	readonly #waiting: ((errno: number) => void)[] = [];
	readonly punch: PunchHole = async (fd, offset, length) => {
		this.begun.push(`${offset}+${length}`);
		const errno = await new Promise<number>((resolve) => this.#waiting.push(resolve));
		return errno || realPunch()(fd, offset, length);
	};

	async next(errno = 0): Promise<void> {
		await turn();
		this.#waiting.shift()?.(errno);
		await turn();
	}
}

const turn = () => new Promise((resolve) => setImmediate(resolve));

/** Whether it has settled by now. */
async function settled(work: Promise<void> | undefined): Promise<boolean> {
	await turn();
	let done = false;
	work?.then(
		() => {
			done = true;
		},
		() => {
			done = true;
		},
	);
	await turn();
	return done;
}

const used = (path: string) => fs.statSync(path).blocks * 512;

async function waiting(t: ExecutionContext, size = MIB) {
	const path = file(size);
	const holes = new Holes();
	const warnings: string[] = [];
	const image = await openImage(path, { punchHole: holes.punch, warn: (line) => warnings.push(line) });
	const discard = image.discard?.bind(image);
	if (!discard) throw new Error('no discard');
	t.teardown(() => image.close());
	return { path, holes, warnings, image, discard };
}

test('what is discarded takes no room, reads as zeros, and no more than that', async (t) => {
	const path = file(64 * MIB);
	const image = await openImage(path, { punchHole: realPunch() });
	const before = used(path);
	await image.discard?.(8 * MIB + 512, 40 * MIB);
	t.true(before - used(path) > 39 * MIB, `${before} bytes before, ${used(path)} after`);
	t.is(fs.statSync(path).size, 64 * MIB);
	const expected = new Uint8Array(64 * MIB).fill(0xa5).fill(0, 8 * MIB + 512, 48 * MIB + 512);
	const back = new Uint8Array(64 * MIB);
	image.read(0, back);
	sameBytes(t, back, expected);
	await image.discard?.(0, 64 * MIB);
	t.true(used(path) < MIB);
	t.is(fs.statSync(path).size, 64 * MIB);
	await image.close();
});

test('a file that ends within a sector keeps its length', async (t) => {
	const path = file(100_000);
	const image = await openImage(path, { punchHole: realPunch() });
	await image.discard?.(0, image.size);
	await image.close();
	sameBytes(t, new Uint8Array(fs.readFileSync(path)), new Uint8Array(100_000));
});

test('nothing is discarded unless asked for, nor in what is not to be written', async (t) => {
	for (const options of [{}, { punchHole: realPunch(), readOnly: true }, { punchHole: realPunch(), snapshot: true }]) {
		const path = file(MIB);
		const image = await openImage(path, options);
		await image.discard?.(0, MIB);
		const back = new Uint8Array(MIB);
		await image.read(0, back);
		sameBytes(t, back, new Uint8Array(MIB).fill(0xa5));
		await image.close();
		sameBytes(t, new Uint8Array(fs.readFileSync(path)), new Uint8Array(MIB).fill(0xa5));
	}
});

test('a range outside the image is refused, an empty one is done', async (t) => {
	const { holes, discard } = await waiting(t);
	for (const [offset, length] of [
		[-512, 512],
		[0, -512],
		[MIB, 512],
		[MIB - 512, 1024],
		[Number.NaN, 512],
		[0, Number.NaN],
		[0, Number.POSITIVE_INFINITY],
	])
		await t.throwsAsync(async () => discard(offset, length), { code: 'EINVAL' }, `${offset}+${length}`);
	t.is(discard(512, 0), undefined);
	await turn();
	t.deepEqual(holes.begun, []);
	const punch = realPunch();
	for (const [fd, offset, length] of [
		[-1, 0, 512],
		[2 ** 31, 0, 512],
		[0, -1, 512],
		[0, 0, 0],
		[0, 2 ** 53, 512],
		[0, Number.NaN, 512],
	])
		t.throws(() => punch(fd, offset, length), { instanceOf: RangeError }, `${fd} ${offset}+${length}`);
});

test('a write into a range that is being discarded comes after it; others and reads do not wait', async (t) => {
	const { path, holes, image, discard } = await waiting(t);
	const gone = discard(65536, 65536);
	t.is(image.write(0, new Uint8Array(65536).fill(1)), undefined, 'ends where the range begins');
	t.is(image.write(131072, new Uint8Array(512).fill(1)), undefined, 'begins where it ends');
	t.is(image.read(65536, new Uint8Array(512)), undefined);
	const first = image.write(65024, new Uint8Array(1024).fill(2));
	// Not in the discarded range, but in that of a write that waits.
	const second = image.write(65024, new Uint8Array(512).fill(3));
	t.false(await settled(gone));
	t.false(await settled(first));
	t.false(await settled(second));
	await holes.next();
	await Promise.all([gone, first, second]);
	const content = fs.readFileSync(path);
	t.deepEqual(
		[65023, 65024, 65535, 65536, 66047, 66048, 131071, 131072].map((at) => content[at]),
		[1, 3, 3, 2, 2, 0, 0, 1],
	);
	t.is(image.write(65536, new Uint8Array(512)), undefined, 'at once again');
});

test('discards run one by one, and one after a waiting write leaves nothing of it', async (t) => {
	const { path, holes, image, discard } = await waiting(t);
	const work = [
		discard(0, 65536),
		image.write(0, new Uint8Array(65536).fill(7)),
		discard(0, 4096),
		discard(524288, 4096),
	];
	await turn();
	t.deepEqual(holes.begun, ['0+65536']);
	await holes.next();
	while (holes.begun.length < 2) await turn();
	t.deepEqual(holes.begun, ['0+65536', '0+4096']);
	await holes.next();
	while (holes.begun.length < 3) await turn();
	await holes.next();
	await Promise.all(work);
	const content = fs.readFileSync(path);
	t.deepEqual([content[0], content[4095], content[4096], content[524288], content[528384]], [0, 0, 7, 0, 0xa5]);
});

test('discards beyond what may wait are ignored', async (t) => {
	const { holes, discard } = await waiting(t);
	const work = Array.from({ length: 1000 }, (_, n) => discard(n * 512, 512)).filter((each) => each !== undefined);
	t.is(work.length, 256);
	while (holes.begun.length < 256) await holes.next();
	await holes.next();
	await Promise.all(work);
	const more = discard(0, 512);
	t.truthy(more, 'there is room again');
	await holes.next();
	await more;
});

test('a close waits for discards and for the writes behind them', async (t) => {
	const { path, holes, image, discard } = await waiting(t);
	const gone = discard(0, 4096);
	const write = image.write(0, new Uint8Array(512).fill(9));
	const closed = image.close();
	t.false(await settled(closed));
	await t.throwsAsync(async () => discard(0, 512), { code: 'EBADF' });
	await holes.next();
	await Promise.all([gone, write, closed]);
	const content = fs.readFileSync(path);
	t.deepEqual([content[0], content[512], content[4096]], [9, 0, 0xa5]);
});

test('a file system without holes: one line, and discards are ignored from then on', async (t) => {
	const { path, holes, warnings, image, discard } = await waiting(t);
	const both = [discard(0, 4096), discard(4096, 4096)];
	await holes.next(constants.errno.EOPNOTSUPP);
	await Promise.all(both);
	t.deepEqual(warnings, [`disk ${path}: its file system keeps what is discarded, discard=unmap does nothing`]);
	t.is(discard(0, 4096), undefined);
	t.is(image.write(0, new Uint8Array(512)), undefined);
	t.deepEqual(holes.begun, ['0+4096']);
});

test('a host that fails: the guest is told, and the next one is tried', async (t) => {
	const { holes, warnings, image, discard } = await waiting(t);
	const failed = t.throwsAsync(async () => discard(0, 4096), { code: 'EIO' });
	const write = image.write(0, new Uint8Array(512));
	await holes.next(constants.errno.EIO);
	await failed;
	await write;
	const next = discard(0, 4096);
	await holes.next();
	await next;
	t.deepEqual(warnings, []);
	t.is(holes.begun.length, 2);
});

test('discards and writes in any order leave what they would one after another', async (t) => {
	const size = 256 * 1024;
	const step = fc.record({
		write: fc.boolean(),
		at: fc.nat(size / 512 - 1),
		sectors: fc.integer({ min: 1, max: 200 }),
		turns: fc.nat(2),
	});
	const path = file(size);
	const image = await openImage(path, { punchHole: realPunch() });
	await fc.assert(
		fc.asyncProperty(fc.array(step, { maxLength: 20 }), async (steps) => {
			const model = new Uint8Array(size).fill(0xa5);
			await image.write(0, model.slice());
			const work: (Promise<void> | undefined)[] = [];
			for (const [n, { write, at, sectors, turns }] of steps.entries()) {
				const start = at * 512;
				const length = Math.min(sectors * 512, size - start);
				model.fill(write ? n + 1 : 0, start, start + length);
				work.push(write ? image.write(start, new Uint8Array(length).fill(n + 1)) : image.discard?.(start, length));
				for (let i = 0; i < turns; i++) await turn();
			}
			await Promise.all(work);
			return Buffer.compare(fs.readFileSync(path), model) === 0;
		}),
		{ numRuns: 100 },
	);
	await image.close();
	t.pass();
});
