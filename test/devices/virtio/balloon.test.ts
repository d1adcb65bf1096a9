import test from 'ava';
import fc from 'fast-check';
import { type BalloonOptions, VirtioBalloon } from '../../../devices/virtio/balloon.ts';
import { type DriverOptions, guestErrors, VirtioDriver } from '../../helpers/virtio-driver.ts';

const MIB = 1 << 20;
const PAGE = 4096;
const [INFLATE, DEFLATE, STATS, HINTS] = [0, 1, 2, 3];
/** Queues are numbered without gaps: without hints, reporting is in their place. */
const REPORTS = 3;
const Config = { numPages: 0, actual: 4, hintId: 8, poison: 12 } as const;
const Feature = { statsVq: 1, deflateOnOom: 2, hint: 3, poison: 4, reporting: 5 } as const;

interface Rig {
	readonly driver: VirtioDriver;
	readonly balloon: VirtioBalloon;
	/** What went back to the host, `address+length` in pages. */
	readonly discarded: string[];
}

function rig(options: BalloonOptions = {}, more: DriverOptions = {}): Rig {
	const balloon = new VirtioBalloon(options);
	const driver = new VirtioDriver(balloon, { memory: 4 * MIB, ...more });
	const discarded: string[] = [];
	watch(driver, discarded);
	driver.start();
	return { driver, balloon, discarded };
}

function watch(driver: VirtioDriver, discarded: string[]): void {
	const { dma } = driver.board.host;
	Object.assign(dma, {
		discard: (address: number, length: number) => {
			dma.view(address, length); // throws outside memory, as the core's does
			discarded.push(`${address / PAGE}+${length / PAGE}`);
		},
	});
}

function le32(...values: readonly number[]): Uint8Array {
	return new Uint8Array(Uint32Array.from(values).buffer);
}

/** Pairs of tag and value as the driver sends them. */
function statistics(...pairs: readonly (readonly [tag: number, value: bigint])[]): Uint8Array {
	const bytes = new Uint8Array(pairs.length * 10);
	const view = new DataView(bytes.buffer);
	for (const [i, [tag, value]] of pairs.entries()) {
		view.setUint16(i * 10, tag, true);
		view.setBigUint64(i * 10 + 2, value, true);
	}
	return bytes;
}

for (const kind of [{}, { packed: true }, { legacy: true }])
	test(`what the host wants is in the configuration; pages given up go back to it ${JSON.stringify(kind)}`, (t) => {
		const { driver, balloon, discarded } = rig({}, kind);
		const changes: number[] = [];
		balloon.onChange = (bytes) => changes.push(bytes);
		t.is(balloon.actual, 4 * MIB);
		driver.takeIsr();
		balloon.target = 3 * MIB;
		t.true(driver.irq.level);
		t.is(driver.takeIsr() & 2, 2, 'configuration changed');
		t.is(driver.readConfig(Config.numPages, 4), 256);
		t.is(driver.request(INFLATE, { out: [le32(700, 702, 701, 900)] }).written, 0);
		t.deepEqual(discarded, ['700+3', '900+1'], 'neighbours go together');
		driver.writeConfig(Config.actual, 4, 4);
		t.is(balloon.actual, 4 * MIB - 4 * PAGE);
		t.is(driver.request(DEFLATE, { out: [le32(700, 701)] }).written, 0);
		driver.writeConfig(Config.actual, 4, 2);
		t.deepEqual(changes, [4 * MIB - 4 * PAGE, 4 * MIB - 2 * PAGE]);
		t.is(discarded.length, 2, 'nothing happens to pages that are taken back');
		t.is(driver.readConfig(Config.numPages, 4), 256, 'which only the host changes');
		driver.writeConfig(Config.numPages, 4, 5);
		t.is(driver.readConfig(Config.numPages, 4), 256);
	});

test('a wish beyond what there is means all, or nothing', (t) => {
	const { balloon, driver } = rig();
	balloon.target = 64 * MIB;
	t.is(driver.readConfig(Config.numPages, 4), 0);
	t.is(balloon.target, 4 * MIB);
	balloon.target = -5;
	t.is(driver.readConfig(Config.numPages, 4), 1024);
	driver.writeConfig(Config.actual, 4, 0xffffffff);
	t.is(balloon.actual, 0, 'a guest that says it gave up more than there is');
});

test('page numbers that are nowhere are left alone, with few words', (t) => {
	const { driver, discarded } = rig();
	const lines = guestErrors(() => {
		for (let i = 0; i < 20; i++) driver.request(INFLATE, { out: [le32(1023, 1024, 0xffffffff, 1)] });
	});
	t.deepEqual(discarded.slice(0, 2), ['1+1', '1023+1']);
	t.is(lines.length, 4);
	t.regex(lines[0], /virtio-balloon: page \d+ in the balloon is not in memory/);
	t.deepEqual(driver.request(INFLATE, { out: [Uint8Array.of(1, 2)] }).written, 0, 'half a number');
	t.deepEqual(driver.request(INFLATE, { in: [8] }).written, 0, 'nothing to read');
});

test('the same page a thousand times over is one; a chain is read so far and no further', (t) => {
	const { driver, discarded } = rig();
	driver.request(INFLATE, { out: [le32(...new Array<number>(1000).fill(7))] });
	t.deepEqual(discarded.splice(0), ['7+1']);
	driver.request(INFLATE, { out: [le32(...new Array<number>(1024).fill(7), 9)] });
	t.deepEqual(discarded, ['7+1']);
});

test('any page numbers: nothing outside memory goes back, nothing throws', (t) => {
	const { driver, discarded } = rig();
	fc.assert(
		fc.property(fc.array(fc.oneof(fc.nat(1100), fc.nat(0xffffffff)), { minLength: 1, maxLength: 300 }), (pages) => {
			discarded.length = 0;
			guestErrors(() => driver.request(INFLATE, { out: [le32(...pages)] }));
			const given = new Set<number>();
			for (const range of discarded) {
				const [first, count] = range.split('+').map(Number);
				for (let i = 0; i < count; i++) given.add(first + i);
			}
			t.deepEqual(
				[...given].sort((a, b) => a - b),
				[...new Set(pages.filter((page) => page < 1024))].sort((a, b) => a - b),
			);
		}),
	);
});

test('statistics: one buffer goes to and fro, in the pace that was asked for', (t) => {
	const wall = Date.UTC(2026, 0, 1);
	const { driver, balloon } = rig({}, { wall });
	const { clock } = driver.board.host;
	t.is(balloon.statistics.updated, 0);
	t.deepEqual(driver.send(STATS, { out: [statistics([3, 1n])] }), [], 'the device keeps it');
	t.is(balloon.statistics.updated, wall / 1000);
	driver.board.host.advance(10e9);
	t.deepEqual(driver.queue(STATS).used(), [], 'and does not ask unbidden');
	balloon.pollingInterval = 2;
	t.is(driver.queue(STATS).used().length, 1, 'the first question comes at once');
	driver.send(STATS, { out: [statistics([4, 1000n], [5, 0xffff_ffff_ffff_ffffn], [77, 1n])] });
	t.is(balloon.statistics.values.get('stat-free-memory'), 1000n);
	t.is(balloon.statistics.values.get('stat-total-memory'), 0xffff_ffff_ffff_ffffn);
	t.is(balloon.statistics.values.size, 3, 'a tag that nobody knows is passed over');
	t.is(balloon.statistics.updated, wall / 1000 + 10);
	driver.board.host.advance(1.9e9);
	t.deepEqual(driver.queue(STATS).used(), []);
	driver.board.host.advance(0.2e9);
	t.is(driver.queue(STATS).used().length, 1);
	balloon.pollingInterval = 0;
	driver.send(STATS, { out: [statistics([4, 2000n], [4, 3000n]).subarray(0, 19)] });
	t.is(balloon.statistics.values.get('stat-free-memory'), 2000n, 'half a statistic is none');
	driver.board.host.advance(60e9);
	t.deepEqual(driver.queue(STATS).used(), []);
	t.is(clock.next, Number.POSITIVE_INFINITY);
});

test('two statistics buffers at once: the device keeps the last', (t) => {
	const { driver } = rig();
	const first = driver.queue(STATS).add({ out: [statistics([0, 1n])] });
	const used = driver.send(STATS, { out: [statistics([0, 2n])] });
	t.deepEqual(
		used.map(({ id }) => id),
		[first],
	);
});

test('pages that the guest reports as free go back at once', (t) => {
	const { driver, discarded } = rig({ freePageReporting: true });
	t.true(driver.has(Feature.reporting));
	const { written } = driver.request(REPORTS, { in: [3 * PAGE, 2 * PAGE] });
	t.is(written, 0);
	t.deepEqual(
		discarded.map((range) => range.split('+')[1]),
		['3', '2'],
	);
});

test('more memory than there is, in buffers that overlap or are tiny, does not hold the host', (t) => {
	const { driver, discarded } = rig({ freePageReporting: true });
	const crumbs = { in: new Array<number>(1000).fill(1), indirect: true };
	const errors = guestErrors(() => driver.send(REPORTS, crumbs, crumbs));
	t.is(discarded.length, (4 * MIB) / PAGE);
	t.true(errors.length > 0 && errors.length <= 4, errors.join('; '));
	t.regex(errors[0], /more memory is given up than there is/);
	driver.request(REPORTS, { in: [PAGE] });
	t.is(discarded.length, (4 * MIB) / PAGE + 1, 'the next ones are taken');
});

test('a turn gives back a thousand pieces or so, and the others come when the guest has run', (t) => {
	const { driver, discarded } = rig({ freePageReporting: true });
	const crumbs = { in: new Array<number>(300).fill(1), indirect: true };
	for (let i = 0; i < 10; i++) driver.queue(REPORTS).add(crumbs);
	driver.notify(REPORTS);
	const perTurn: number[] = [];
	for (let done = 0; done < 10; ) {
		const count = driver.queue(REPORTS).used().length;
		perTurn.push(count);
		done += count;
		driver.board.host.turn();
	}
	t.deepEqual(perTurn, [4, 4, 2], 'a buffer that is begun is done');
	t.true(discarded.length <= 3 * 1024);
});

test('with a pattern in free pages, which would be lost, nothing goes back', (t) => {
	const { driver, discarded } = rig({ freePageReporting: true });
	driver.writeConfig(Config.poison, 4, 0xaaaaaaaa);
	driver.request(REPORTS, { in: [PAGE] });
	t.deepEqual(discarded, []);
	driver.writeConfig(Config.poison, 4, 0);
	driver.request(REPORTS, { in: [PAGE] });
	t.is(discarded.length, 1);
});

test('nor does it when the host asks for hints', (t) => {
	const { driver, balloon, discarded } = rig({ freePageHint: true });
	driver.writeConfig(Config.poison, 4, 0xaaaaaaaa);
	t.true(balloon.hintFreePages(() => {}));
	const id = driver.readConfig(Config.hintId, 4);
	driver.send(HINTS, { out: [le32(id)] }, { in: [PAGE] });
	t.deepEqual(discarded, []);
	driver.writeConfig(Config.poison, 4, 0);
	driver.request(HINTS, { in: [PAGE] });
	t.is(discarded.length, 1);
});

test('a round of hints: the id, pages, the end', (t) => {
	const { driver, balloon, discarded } = rig({ freePageHint: true });
	const ends: number[] = [];
	driver.request(HINTS, { in: [PAGE] });
	t.deepEqual(discarded, [], 'nobody has asked');
	t.true(balloon.hintFreePages((bytes) => ends.push(bytes)));
	t.false(
		balloon.hintFreePages(() => {}),
		'one round at a time',
	);
	const id = driver.readConfig(Config.hintId, 4);
	t.true(id >= 0x80000000);
	driver.request(HINTS, { in: [PAGE] });
	t.deepEqual(discarded, [], 'pages of an older round');
	driver.request(HINTS, { out: [le32(id)] });
	driver.send(HINTS, { in: [4 * PAGE] }, { in: [2 * PAGE] });
	t.is(discarded.length, 2);
	t.deepEqual(ends, []);
	driver.request(HINTS, { out: [le32(0)] });
	t.deepEqual(ends, [6 * PAGE]);
	t.is(driver.readConfig(Config.hintId, 4), 1, 'done: the guest may use the pages');
	t.true(balloon.hintFreePages((bytes) => ends.push(bytes)));
	t.is(driver.readConfig(Config.hintId, 4), id + 1);
	driver.status = 0;
	t.deepEqual(ends, [6 * PAGE, 0], 'a reset ends it');
});

test('a driver without a feature does not get what belongs to it', (t) => {
	const { driver, balloon } = rig({ freePageHint: true, deflateOnOom: true }, { without: [Feature.hint] });
	t.false(balloon.hintFreePages(() => {}));
	t.true(driver.has(Feature.deflateOnOom));
	const plain = rig();
	for (const bit of [Feature.deflateOnOom, Feature.hint, Feature.reporting]) t.false(plain.driver.has(bit));
	for (const bit of [Feature.statsVq, Feature.poison]) t.true(plain.driver.has(bit));
});

test('the wish outlives a reset of the guest, what it gave up does not', (t) => {
	const { driver, balloon } = rig();
	const changes: number[] = [];
	balloon.target = 2 * MIB;
	driver.writeConfig(Config.actual, 4, 512);
	balloon.pollingInterval = 5;
	driver.send(STATS, { out: [statistics([4, 1n])] });
	balloon.onChange = (bytes) => changes.push(bytes);
	driver.start();
	t.is(driver.readConfig(Config.numPages, 4), 512);
	t.is(driver.readConfig(Config.actual, 4), 0);
	t.deepEqual(changes, [4 * MIB]);
	t.is(balloon.statistics.values.size, 0);
	t.deepEqual(driver.send(STATS, { out: [statistics([4, 2n])] }), []);
	driver.board.host.advance(5.1e9);
	t.is(driver.queue(STATS).used().length, 1, 'and so does the pace of statistics');
});

test('saved in the middle: the buffer for statistics, the pace and the wish come back', (t) => {
	const options = { freePageReporting: true, freePageHint: true };
	const { driver, balloon } = rig(options);
	balloon.target = MIB;
	driver.writeConfig(Config.actual, 4, 100);
	balloon.pollingInterval = 3;
	driver.send(STATS, { out: [statistics([1, 5n])] });
	const other = new VirtioBalloon(options);
	const saved = driver.migrate(other);
	t.deepEqual(driver.device.save(), saved);
	t.is(other.target, MIB);
	t.is(other.actual, 4 * MIB - 100 * PAGE);
	t.is(other.statistics.values.get('stat-swap-out'), 5n);
	driver.board.host.advance(3.1e9);
	t.is(driver.queue(STATS).used().length, 1);
});
