/** The block device: what a driver asks for and what the image sees, in which order, and what is refused. Virtio 1.2, 5.2. */
import test from 'ava';
import fc from 'fast-check';
import { type BlkOptions, VirtioBlk } from '../../../devices/virtio/blk.ts';
import { MemoryImage } from '../../helpers/memory-image.ts';
import { type DriverOptions, type Used, VirtioDriver } from '../../helpers/virtio-driver.ts';

const SECTOR = 512;
const SECTORS = 256;
/** Request types, feature bits, places in the configuration: 5.2.3, 5.2.4, 5.2.6. */
const Type = { in: 0, out: 1, flush: 4, getId: 8, discard: 11, writeZeroes: 13 } as const;
const Feature = { readOnly: 5, flush: 9, configWce: 11, discard: 13, writeZeroes: 14 } as const;
const WRITEBACK = 32;
const [OK, IO_ERROR, UNSUPPORTED] = [0, 1, 2];

interface Rig {
	readonly image: MemoryImage;
	readonly driver: VirtioDriver;
}

function rig(options: Partial<BlkOptions> = {}, kind: DriverOptions = {}): Rig {
	const image = (options.image as MemoryImage | undefined) ?? MemoryImage.patterned(SECTORS * SECTOR);
	const driver = new VirtioDriver(new VirtioBlk({ ...options, image }), kind);
	driver.start();
	// The device has looked for a partition table, to guess a geometry.
	image.log.length = 0;
	return { image, driver };
}

function header(type: number, sector = 0): Uint8Array {
	const bytes = new Uint8Array(16);
	const view = new DataView(bytes.buffer);
	view.setUint32(0, type, true);
	view.setBigUint64(8, BigInt(sector), true);
	return bytes;
}

function range(sector: number, count: number, flags = 0): Uint8Array {
	const bytes = new Uint8Array(16);
	const view = new DataView(bytes.buffer);
	view.setBigUint64(0, BigInt(sector), true);
	view.setUint32(8, count, true);
	view.setUint32(12, flags, true);
	return bytes;
}

const statusOf = ({ bytes }: Used) => bytes[bytes.length - 1];
const read = (sector: number, length: number) => ({ out: [header(Type.in, sector)], in: [length, 1] });
const write = (sector: number, data: Uint8Array) => ({ out: [header(Type.out, sector), data], in: [1] });
const flush = { out: [header(Type.flush)], in: [1] };
const ranged = (type: number, ...args: Parameters<typeof range>) => ({ out: [header(type), range(...args)], in: [1] });

/** Lets what the image has to say reach the guest. */
async function turn({ driver }: Rig): Promise<void> {
	await new Promise((resolve) => setImmediate(resolve));
	driver.settle();
}

for (const kind of [{}, { packed: true }, { legacy: true }])
	test(`reads and writes ${JSON.stringify(kind)}`, (t) => {
		const { image, driver } = rig({}, kind);
		const got = driver.request(0, read(3, 4 * SECTOR));
		t.is(statusOf(got), OK);
		t.is(got.written, 4 * SECTOR + 1);
		t.deepEqual(got.bytes.subarray(0, 4 * SECTOR), image.bytes.subarray(3 * SECTOR, 7 * SECTOR));

		const data = Uint8Array.from({ length: 2 * SECTOR }, (_, i) => i * 3);
		const put = driver.request(0, write(9, data));
		t.is(statusOf(put), OK);
		t.is(put.written, 1);
		t.deepEqual(image.bytes.subarray(9 * SECTOR, 11 * SECTOR), data);
		t.true(driver.irq.level);
	});

test('header, data and status may be cut and joined in any way', (t) => {
	const cuts = fc.array(fc.integer({ min: 1, max: 700 }), { maxLength: 12 });
	fc.assert(
		fc.property(cuts, cuts, fc.boolean(), (outCuts, inCuts, indirect) => {
			const { image, driver } = rig();
			const data = Uint8Array.from({ length: SECTOR }, (_, i) => i ^ 0x5a);
			const whole = Buffer.concat([header(Type.out, 1), data]);
			const pieces: Uint8Array[] = [];
			for (let at = 0, n = 0; at < whole.length; n++) {
				const size = Math.min(outCuts[n] ?? whole.length, whole.length - at);
				pieces.push(whole.subarray(at, at + size));
				at += size;
			}
			t.is(statusOf(driver.request(0, { out: pieces, in: [1], indirect })), OK);
			t.deepEqual(image.bytes.subarray(SECTOR, 2 * SECTOR), data);

			const lengths: number[] = [];
			for (let left = SECTOR + 1, n = 0; left > 0; n++) {
				lengths.push(Math.min(inCuts[n] ?? left, left));
				left -= lengths[lengths.length - 1];
			}
			const got = driver.request(0, { out: [header(Type.in, 1)], in: lengths, indirect });
			t.is(statusOf(got), OK);
			t.deepEqual(got.bytes.subarray(0, SECTOR), data);
		}),
		{ numRuns: 60 },
	);
});

test('a flush ends when the image says that it is on stable storage, and not before', async (t) => {
	const it = rig();
	const { image, driver } = it;
	t.is(statusOf(driver.request(0, write(0, new Uint8Array(SECTOR)))), OK);
	image.slow = true;
	t.deepEqual(driver.send(0, flush), []);
	await turn(it);
	t.deepEqual(driver.queue(0).used(), []);
	t.deepEqual(image.log.slice(-2), ['write 0+512', 'flush']);
	await image.release();
	driver.settle();
	const [done] = driver.queue(0).used();
	t.is(statusOf(done), OK);
	t.is(image.log.at(-1), 'flush done');
});

test('a write is told as done only once it is, and a flush that comes then covers it', async (t) => {
	const it = rig();
	const { image, driver } = it;
	image.slow = true;
	t.deepEqual(driver.send(0, write(4, new Uint8Array(SECTOR))), []);
	await image.release();
	driver.settle();
	t.is(statusOf(driver.queue(0).used()[0]), OK);
	driver.send(0, flush);
	await image.release();
	t.deepEqual(image.log, ['write 2048+512', 'write 2048+512 done', 'flush', 'flush done']);
});

test('a discard is told as done once the image has done it', async (t) => {
	const it = rig();
	const { image, driver } = it;
	image.slow = true;
	t.deepEqual(driver.send(0, ranged(Type.discard, 8, 16)), []);
	await turn(it);
	t.deepEqual(driver.queue(0).used(), []);
	await image.release();
	driver.settle();
	t.is(statusOf(driver.queue(0).used()[0]), OK);
	t.deepEqual(image.log, ['discard 4096+8192', 'discard 4096+8192 done']);
});

test('several requests are under way at once and end in any order', async (t) => {
	const it = rig();
	const { image, driver } = it;
	image.slow = true;
	const ids = [0, 8, 16].map((sector) => driver.queue(0).add(read(sector, SECTOR)));
	driver.kick(0);
	t.is(image.waiting, 3);
	for (const id of ids) {
		await image.release();
		driver.settle();
		const [done] = driver.queue(0).used();
		t.is(done.id, id);
		t.is(statusOf(done), OK);
	}
});

test('32 requests are under way at most; the others wait for one of them', async (t) => {
	const it = rig();
	const { image, driver } = it;
	image.slow = true;
	for (let i = 0; i < 40; i++) driver.queue(0).add(read(i, SECTOR));
	driver.kick(0);
	for (let i = 0; i < 5; i++) await turn(it);
	t.is(image.waiting, 32);
	for (let i = 0; i < 40; i++) {
		await image.release();
		await turn(it);
		t.true(image.waiting <= 32);
	}
	t.is(driver.queue(0).used().length, 40);
});

test('without FLUSH, or in write-through mode, each write is on stable storage when it is done', (t) => {
	const through = rig();
	t.is(through.driver.readConfig(WRITEBACK, 1), 1);
	through.driver.writeConfig(WRITEBACK, 1, 0);
	t.is(statusOf(through.driver.request(0, write(0, new Uint8Array(SECTOR)))), OK);
	t.deepEqual(through.image.log, ['write 0+512', 'flush']);
	through.driver.writeConfig(WRITEBACK, 1, 1);
	t.is(statusOf(through.driver.request(0, write(0, new Uint8Array(SECTOR)))), OK);
	t.is(through.image.log.at(-1), 'write 0+512');

	const simple = rig({}, { without: [Feature.flush, Feature.configWce] });
	t.is(statusOf(simple.driver.request(0, write(0, new Uint8Array(SECTOR)))), OK);
	t.deepEqual(simple.image.log, ['write 0+512', 'flush']);
});

test('the serial number, as much of it as there is room for', (t) => {
	const { driver } = rig({ serial: 'WD-1234' });
	const whole = driver.request(0, { out: [header(Type.getId)], in: [20, 1] });
	t.is(statusOf(whole), OK);
	t.is(Buffer.from(whole.bytes.subarray(0, 20)).toString('latin1'), `WD-1234${'\0'.repeat(13)}`);
	const some = driver.request(0, { out: [header(Type.getId)], in: [4, 1] });
	t.is(Buffer.from(some.bytes.subarray(0, 4)).toString('latin1'), 'WD-1');
	const long = rig({ serial: 'x'.repeat(30) }).driver.request(0, { out: [header(Type.getId)], in: [20, 1] });
	t.is(Buffer.from(long.bytes.subarray(0, 20)).toString('latin1'), 'x'.repeat(20));
});

test('a read-only disk says so and takes no writes, discards or zeroes', (t) => {
	const { image, driver } = rig({ readOnly: true });
	t.true(driver.has(Feature.readOnly));
	t.false(rig().driver.has(Feature.readOnly));
	for (const request of [write(0, new Uint8Array(SECTOR)), ranged(Type.discard, 0, 8), ranged(Type.writeZeroes, 0, 8)])
		t.is(statusOf(driver.request(0, request)), IO_ERROR);
	t.is(statusOf(driver.request(0, read(0, SECTOR))), OK);
	t.is(statusOf(driver.request(0, flush)), OK);
	t.deepEqual(
		image.log.filter((line) => /write|discard/.test(line)),
		[],
	);
});

test('discards and zeroes reach the image, and only what they name', (t) => {
	const { image, driver } = rig();
	const before = image.bytes.slice();
	t.true(driver.has(Feature.discard));
	t.true(driver.has(Feature.writeZeroes));
	t.is(statusOf(driver.request(0, ranged(Type.discard, 8, 16))), OK);
	t.deepEqual(image.log, ['discard 4096+8192']);
	t.is(statusOf(driver.request(0, ranged(Type.writeZeroes, 40, 4))), OK);
	t.is(statusOf(driver.request(0, ranged(Type.writeZeroes, 50, 2, 1))), OK, 'with the unmap flag');
	before.fill(0, 8 * SECTOR, 24 * SECTOR);
	before.fill(0, 40 * SECTOR, 44 * SECTOR);
	before.fill(0, 50 * SECTOR, 52 * SECTOR);
	t.deepEqual(image.bytes, before);

	for (const [request, status] of [
		[ranged(Type.discard, 0, 8, 1), UNSUPPORTED],
		[ranged(Type.writeZeroes, 0, 8, 2), UNSUPPORTED],
		[ranged(Type.discard, SECTORS - 1, 2), IO_ERROR],
		[ranged(Type.discard, 0, 0x400000), IO_ERROR],
		[ranged(Type.writeZeroes, SECTORS, 1), IO_ERROR],
		[{ out: [header(Type.discard), range(0, 1).subarray(0, 8)], in: [1] }, UNSUPPORTED],
		[{ out: [header(Type.discard), range(0, 1), range(2, 1)], in: [1] }, UNSUPPORTED],
	] as const)
		t.is(statusOf(driver.request(0, request)), status);
	t.deepEqual(image.bytes, before);
});

test('what lies outside, is misaligned or unknown is refused and changes nothing', (t) => {
	const { image, driver } = rig();
	const before = image.bytes.slice();
	const data = new Uint8Array(2 * SECTOR);
	for (const [request, status] of [
		[read(SECTORS, SECTOR), IO_ERROR],
		[read(SECTORS - 1, 2 * SECTOR), IO_ERROR],
		[read(2 ** 52, SECTOR), IO_ERROR],
		[{ out: [header(Type.in, 0).fill(0xff, 8)], in: [SECTOR, 1] }, IO_ERROR],
		[write(SECTORS - 1, data), IO_ERROR],
		[write(0, data.subarray(0, 100)), IO_ERROR],
		[read(0, 511), IO_ERROR],
		[{ out: [header(2)], in: [1] }, UNSUPPORTED],
		[{ out: [header(0x80000000)], in: [1] }, UNSUPPORTED],
	] as const)
		t.is(statusOf(driver.request(0, request)), status);
	t.deepEqual(image.bytes, before);
	t.is(statusOf(driver.request(0, read(0, SECTOR))), OK, 'the device lives on');
});

test('on a disk of 4 KiB blocks, smaller requests are refused, and the topology says so', (t) => {
	const { driver } = rig({ logicalBlockSize: 4096, physicalBlockSize: 16384, minIoSize: 8192, optIoSize: 65536 });
	t.is(driver.readConfig(0, 4), SECTORS, 'the capacity still counts 512 bytes');
	t.is(driver.readConfig(20, 4), 4096);
	t.is(driver.readConfig(24, 1), 2);
	t.is(driver.readConfig(26, 2), 2);
	t.is(driver.readConfig(28, 4), 16);
	t.is(statusOf(driver.request(0, read(1, 4096))), IO_ERROR);
	t.is(statusOf(driver.request(0, read(8, SECTOR))), IO_ERROR);
	t.is(statusOf(driver.request(0, read(8, 4096))), OK);
});

test('errors of the image become errors of the request, and nothing else suffers', async (t) => {
	const it = rig();
	const { image, driver } = it;
	for (const [kind, request] of [
		['read', read(0, SECTOR)],
		['write', write(0, new Uint8Array(SECTOR))],
		['flush', flush],
		['discard', ranged(Type.discard, 0, 1)],
	] as const) {
		image.failNext = kind;
		t.deepEqual(driver.send(0, request), []);
		await turn(it);
		t.is(statusOf(driver.queue(0).used()[0]), IO_ERROR, kind);
		t.is(statusOf(driver.request(0, request)), OK, `${kind}, the next one`);
	}
});

test('a request without header or without room for its status breaks the queue, not the host', (t) => {
	for (const request of [{ out: [new Uint8Array(8)], in: [1] }, { out: [header(Type.in)] }]) {
		const { driver } = rig();
		t.deepEqual(driver.send(0, request), []);
		t.not(driver.status & 64, 0, 'the device needs a reset');
		driver.start();
		t.is(statusOf(driver.request(0, read(0, SECTOR))), OK);
	}
});

test('a large transfer comes in pieces, so that the guest runs in between, and arrives whole', (t) => {
	const size = 9 << 20;
	const image = MemoryImage.patterned(size);
	const { driver } = rig({ image }, { memory: 32 << 20 });
	const got = driver.request(0, read(0, size));
	t.is(statusOf(got), OK);
	t.is(Buffer.compare(got.bytes.subarray(0, size), image.bytes), 0);
	t.true(image.log.length >= 9);
});

test('after a reset in mid-request its answer is dropped, and new requests wait for the image', async (t) => {
	const it = rig();
	const { image, driver } = it;
	image.slow = true;
	driver.send(0, write(2, new Uint8Array(SECTOR).fill(1)));
	driver.start();
	const id = driver.queue(0).add(write(2, new Uint8Array(SECTOR).fill(2)));
	driver.kick(0);
	t.is(image.waiting, 1, 'the new write does not overtake the old one');
	await image.release();
	driver.settle();
	t.is(image.waiting, 1);
	await image.release();
	driver.settle();
	const used = driver.queue(0).used();
	t.deepEqual(
		used.map((each) => each.id),
		[id],
	);
	t.is(image.bytes[2 * SECTOR], 2);
});

test('requests and resets without end: what the host has is bounded, and old writes do not reach the disk late', async (t) => {
	const it = rig();
	const { image, driver } = it;
	image.slow = true;
	for (let i = 0; i < 50; i++) {
		for (let n = 0; n < 40; n++) driver.queue(0).add(n % 2 ? flush : write(n, new Uint8Array(SECTOR).fill(i)));
		driver.kick(0);
		t.true(image.waiting <= 32, `${image.waiting}`);
		t.is(image.log.filter((entry) => entry === 'flush').length, 1);
		driver.start();
	}
	const id = driver.queue(0).add(write(2, new Uint8Array(SECTOR).fill(0xee)));
	driver.kick(0);
	while (image.waiting > 0) {
		await image.release();
		driver.settle();
	}
	t.deepEqual(
		driver
			.queue(0)
			.used()
			.map((each) => each.id),
		[id],
	);
	t.is(image.bytes[2 * SECTOR], 0xee);
	t.is(image.bytes[4 * SECTOR], 0, 'of the first round, which had begun');
});

test('saved in mid-request, restored: the request is done anew, and the state is the same', async (t) => {
	const it = rig();
	const { image, driver } = it;
	image.slow = true;
	driver.writeConfig(WRITEBACK, 1, 0);
	const data = new Uint8Array(SECTOR).fill(7);
	driver.send(0, write(5, data));
	const saved = driver.device.save();
	const before = driver.board.host.dma.bytes.slice();

	const other = rig();
	other.driver.board.host.dma.bytes.set(before);
	other.driver.device.restore(saved);
	t.deepEqual(other.driver.device.save(), saved);
	other.driver.settle();
	t.deepEqual(other.image.bytes.subarray(5 * SECTOR, 6 * SECTOR), data);
	t.is(other.image.log.at(-1), 'flush', 'write-through is kept');
});
