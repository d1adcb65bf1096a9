/** Split and packed rings: buffers arrive whole and in order, notifications are as few as asked for. Virtio 1.2, 2.7, 2.8. */
import test from 'ava';
import { Feature } from '../../../devices/virtio/virtio.ts';
import {
	CapType,
	Common,
	type DriverOptions,
	guestErrors,
	PackedDriverQueue,
	VirtioDriver,
} from '../../helpers/virtio-driver.ts';
import { Echo } from '../../helpers/virtio-echo.ts';

const KINDS: readonly (DriverOptions & { readonly kind: string })[] = [
	{ kind: 'split' },
	{ kind: 'split, no event index', without: [Feature.eventIdx] },
	{ kind: 'packed', packed: true },
	{ kind: 'packed, no event index', packed: true, without: [Feature.eventIdx] },
	{ kind: 'legacy', legacy: true },
];
const EVENTS = KINDS.filter(({ without }) => !without);
const numbered = (n: number, length: number) => Uint8Array.from({ length }, (_, i) => n * 31 + i);

for (const options of KINDS) {
	const { kind } = options;

	test(`a request of many pieces is one range of bytes to the device (${kind})`, (t) => {
		for (const indirect of [false, true]) {
			const driver = new VirtioDriver(new Echo(), options);
			driver.start();
			const data = numbered(1, 60);
			const out = [data.subarray(0, 1), data.subarray(1, 30), data.subarray(30, 60)];
			const { written, bytes } = driver.request(0, { out, in: [7, 1, 40, 12, 30], indirect });
			t.is(written, 60);
			t.deepEqual(bytes.slice(0, 60), data);
			t.deepEqual([...bytes.slice(60)], new Array(30).fill(0), 'nothing is written behind the end');
		}
	});

	test(`an indirect table may be longer than the ring (${kind})`, (t) => {
		const driver = new VirtioDriver(new Echo(), options);
		driver.start();
		const out = Array.from({ length: 100 }, (_, i) => Uint8Array.of(i));
		t.deepEqual(
			[...driver.request(0, { out, in: [100], indirect: true }).bytes],
			out.map(([n]) => n),
		);
	});

	test(`the ring goes round many times, full and empty (${kind})`, (t) => {
		const model = new Echo();
		const driver = new VirtioDriver(model, options);
		driver.start();
		const queue = driver.queue(0);
		let sent = 0;
		let come = 0;
		for (let round = 0; round < 60; round++) {
			for (let n = 0; n < (round % 5) + 1; n++)
				queue.add({ out: [numbered(sent++, 5), numbered(0, 1)], in: [6], indirect: sent % 3 === 0 });
			driver.kick(0);
			for (const { written, bytes } of queue.used()) {
				t.is(written, 6);
				t.deepEqual(bytes.subarray(0, 5), numbered(come++, 5));
			}
			t.is(come, sent);
			t.is(driver.takeIsr(), 1);
		}
	});

	test(`requests come back in the order in which the device finishes them (${kind})`, (t) => {
		const model = new Echo();
		model.hold = true;
		const driver = new VirtioDriver(model, options);
		driver.start();
		const queue = driver.queue(0);
		for (let round = 0; round < 20; round++) {
			const ids = [0, 1, 2, 3, 4].map((n) => queue.add({ out: [numbered(n, n + 1)], in: [5] }));
			driver.kick(0);
			t.is(model.held.length, 5);
			model.release(([a, b, c, d, e]) => [c, a, e, d, b]);
			const used = queue.used();
			t.deepEqual(
				used.map(({ id }) => id),
				[2, 0, 4, 3, 1].map((n) => ids[n]),
			);
			t.deepEqual(
				used.map(({ written }) => written),
				[3, 1, 5, 4, 2],
			);
		}
	});

	test(`a full ring is served to the last entry (${kind})`, (t) => {
		const model = new Echo();
		model.hold = true;
		const driver = new VirtioDriver(model, options);
		driver.start();
		for (let i = 0; i < driver.queue(0).size; i++) driver.queue(0).add({ out: [numbered(i, 3)] });
		driver.kick(0);
		t.is(model.held.length, driver.queue(0).size);
		model.release();
		t.is(driver.queue(0).used().length, driver.queue(0).size);
	});

	test(`no interrupt for a driver that wants none (${kind})`, (t) => {
		const driver = new VirtioDriver(new Echo(), options);
		driver.start();
		driver.queue(0).interrupts('off');
		// With event indices the first one is due in any case: nothing is known of the driver yet.
		driver.request(0, { out: [numbered(0, 1)], in: [1] });
		driver.takeIsr();
		for (let i = 0; i < 40; i++) {
			driver.queue(0).interrupts('off');
			t.is(driver.send(0, { out: [numbered(i, 1)], in: [1] }).length, 1);
			t.false(driver.irq.level);
		}
		driver.queue(0).interrupts('on');
		driver.request(0, { out: [numbered(0, 1)], in: [1] });
		t.true(driver.irq.level);
	});

	test(`one interrupt for all that a kick brought (${kind})`, (t) => {
		const driver = new VirtioDriver(new Echo(), options);
		driver.start();
		const before = driver.irq.edges;
		driver.send(0, ...Array.from({ length: 8 }, (_, i) => ({ out: [numbered(i, 4)], in: [4] })));
		t.is(driver.irq.edges, before + 1);
	});
}

for (const options of EVENTS) {
	const { kind, packed = false } = options;

	test(`event index: the interrupt comes when the driver said, not before (${kind})`, (t) => {
		const driver = new VirtioDriver(new Echo(), options);
		driver.start();
		const queue = driver.queue(0);
		driver.request(0, { out: [numbered(0, 1)] });
		driver.takeIsr();
		for (let round = 0; round < 30; round++) {
			// Out of every four, the third.
			const start = 1 + round * 4;
			const place = (start + 2) % 16;
			const wrap = Math.floor((start + 2) / 16) % 2 === 0;
			queue.interrupts({ after: packed ? place : start + 2, wrap });
			const seen: boolean[] = [];
			for (let i = 0; i < 4; i++) {
				driver.request(0, { out: [numbered(i, 1)] });
				seen.push(driver.takeIsr() === 1);
				// The first one of a round of a packed ring may be one too many.
				if (packed && (start + i) % 16 === 15) seen[i] = i === 2;
			}
			t.deepEqual(seen, [false, false, true, false], `round ${round}`);
		}
	});

	test(`event index: a device that has emptied the ring wants the next kick, and one only (${kind})`, (t) => {
		const model = new Echo();
		const driver = new VirtioDriver(model, options);
		driver.start();
		const queue = driver.queue(0);
		for (let round = 0; round < 40; round++) {
			queue.add({ out: [numbered(round, 1)] });
			t.true(queue.needsKick, `round ${round}`);
			queue.add({ out: [numbered(round, 1)] });
			t.false(queue.needsKick, 'it has not looked since');
			driver.kick(0);
			t.is(queue.used().length, 2);
		}
	});
}

test('NOTIFY_ON_EMPTY: a legacy driver that wants no interrupts gets one when the ring runs dry', (t) => {
	const driver = new VirtioDriver(new Echo(), { legacy: true, without: [Feature.eventIdx] });
	driver.status = 1;
	driver.status = 3;
	driver.accept(driver.offered & ~(1n << BigInt(Feature.bad)) & ~(1n << BigInt(Feature.eventIdx)));
	driver.setUp(0).interrupts('off');
	driver.status = 7;
	driver.request(0, { out: [numbered(0, 1)] });
	t.is(driver.takeIsr(), 1);
});

test('a packed ring need not have a power of two of entries; a split one must', (t) => {
	const packed = new VirtioDriver(new Echo(), { packed: true });
	packed.negotiate();
	const queue = packed.setUp(0, 7);
	packed.status = packed.status | 4;
	t.true(queue instanceof PackedDriverQueue);
	for (let i = 0; i < 50; i++) {
		const { bytes } = packed.request(0, { out: [numbered(i, 2), numbered(i, 2)], in: [4] });
		t.deepEqual(bytes.subarray(2), numbered(i, 2));
	}
	const split = new VirtioDriver(new Echo());
	split.negotiate();
	const log = guestErrors(() => split.setUp(0, 7));
	t.is(log.length, 1);
	t.regex(log[0], /a split ring of 7 entries/);
	t.is(split.read(CapType.common, Common.queueEnable, 2), 0);
	t.is(split.status & 64, 64);
});

test('a ring of one entry works', (t) => {
	for (const packed of [false, true]) {
		const driver = new VirtioDriver(new Echo(), { packed });
		driver.negotiate();
		driver.setUp(0, 1);
		driver.status = driver.status | 4;
		for (let i = 0; i < 9; i++)
			t.deepEqual(driver.request(0, { out: [numbered(i, 3)], in: [3], indirect: true }).bytes, numbered(i, 3));
	}
});
