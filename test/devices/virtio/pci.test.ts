/** The PCI transport as a driver meets it: negotiation, notifications, interrupts, reset. Virtio 1.2, chapters 2 to 4. */
import test from 'ava';
import { VirtioPci } from '../../../devices/virtio/pci.ts';
import { VirtioTablet } from '../../../devices/virtio/tablet.ts';
import { Feature, Status } from '../../../devices/virtio/virtio.ts';
import { FakeHost } from '../../helpers/board.ts';
import { CapType, Common, guestErrors, Legacy, VirtioDriver } from '../../helpers/virtio-driver.ts';
import { Echo } from '../../helpers/virtio-echo.ts';

const { acknowledge, driver: driverBit, driverOk, featuresOk, needsReset } = Status;
const bytes = (text: string) => new TextEncoder().encode(text);
const text = (from: Uint8Array) => new TextDecoder().decode(from);

test('a driver that follows the rules gets what it asked for', (t) => {
	const model = new Echo();
	const driver = new VirtioDriver(model);
	t.is(driver.status, 0);
	driver.start();
	t.is(driver.status, acknowledge | driverBit | featuresOk | driverOk);
	t.deepEqual(model.log, ['reset', 'started', 'kicked 0', 'kicked 1']);
	const { written, bytes: answer } = driver.request(0, { out: [bytes('hello '), bytes('world')], in: [4, 20] });
	t.is(written, 11);
	t.is(text(answer.subarray(0, written)), 'hello world');
});

test('a guest that kicks without end waits for the rest of the machine', (t) => {
	const model = new Echo();
	const driver = new VirtioDriver(model);
	driver.start();
	model.log.length = 0;
	driver.board.host.overdue = true;
	for (let kick = 0; kick < 5; kick++) for (const queue of [0, 1]) driver.notify(queue);
	t.deepEqual(model.log, []);
	driver.board.host.settle();
	t.deepEqual(model.log, ['kicked 0', 'kicked 1'], 'once for all of them');
	driver.notify(0);
	driver.device.reset();
	driver.start();
	model.log.length = 0;
	driver.board.host.settle();
	t.deepEqual(model.log, [], 'a kick from before a reset is gone');
});

for (const kind of [{}, { packed: true }, { legacy: true }])
	test(`a turn looks at some thousand descriptors, the next one at the rest ${JSON.stringify(kind)}`, (t) => {
		const driver = new VirtioDriver(new Echo(), { memory: 4 << 20, ...kind });
		driver.start();
		for (let i = 0; i < 16; i++)
			driver.queue(0).add({ out: new Array<Uint8Array>(1000).fill(bytes('.')), indirect: true });
		const counts: number[] = [];
		for (let sum = 0; sum < 16 && counts.length < 16; sum += counts.at(-1) ?? 0) {
			if (counts.length === 0) driver.notify(0);
			else driver.board.host.turn();
			counts.push(driver.queue(0).used().length);
		}
		t.deepEqual(counts, [3, 3, 3, 3, 3, 1]);
	});

test('features that were not offered: FEATURES_OK is refused, with one line in the log', (t) => {
	const driver = new VirtioDriver(new Echo());
	driver.status = acknowledge | driverBit;
	driver.accept(driver.offered | (1n << 50n));
	const log = guestErrors(() => {
		driver.status = acknowledge | driverBit | featuresOk;
	});
	t.is(driver.status, acknowledge | driverBit);
	t.is(log.length, 1);
	t.regex(log[0], /^echo: .*not offered/);
	driver.accept(driver.offered & ~(1n << BigInt(Feature.ringPacked)));
	driver.status = acknowledge | driverBit | featuresOk;
	t.is(driver.status, acknowledge | driverBit | featuresOk, 'it may think again');
});

test('a driver of the modern interface has to know VERSION_1', (t) => {
	const driver = new VirtioDriver(new Echo(), { without: [Feature.version1] });
	const log = guestErrors(() => t.throws(() => driver.negotiate(), { message: /does not accept/ }));
	t.is(log.length, 1);
	t.regex(log[0], /VERSION_1/);
});

test('features are settled once FEATURES_OK is set', (t) => {
	const driver = new VirtioDriver(new Echo());
	driver.negotiate();
	driver.write(CapType.common, Common.driverFeatureSelect, 4, 0);
	const before = driver.read(CapType.common, Common.driverFeature, 4);
	driver.write(CapType.common, Common.driverFeature, 4, 0);
	t.is(driver.read(CapType.common, Common.driverFeature, 4), before);
	t.true(driver.device.has(Feature.version1));
});

test('only half of 64 feature bits are seen at a time, and none beyond', (t) => {
	const driver = new VirtioDriver(new Echo(), { packed: true });
	const half = (select: number) => {
		driver.write(CapType.common, Common.deviceFeatureSelect, 4, select);
		return driver.read(CapType.common, Common.deviceFeature, 4);
	};
	t.is(half(0), 0x30000005);
	t.is(half(1), (1 << (Feature.version1 - 32)) | (1 << (Feature.ringPacked - 32)) | (1 << (Feature.ringReset - 32)));
	t.is(half(2), 0);
	t.is(half(0xffffffff), 0);
});

test('nothing is served before DRIVER_OK; what waits is served then', (t) => {
	const model = new Echo();
	const driver = new VirtioDriver(model);
	driver.negotiate();
	const queue = driver.setUp(0);
	queue.add({ out: [bytes('early')], in: [5] });
	driver.kick(0);
	t.deepEqual(model.log, ['reset']);
	t.false(driver.irq.level);
	driver.status = driver.status | driverOk;
	t.is(text(queue.used()[0].bytes), 'early');
	t.true(driver.irq.level);
});

test('a legacy driver may use its queues while it sets the device up', (t) => {
	const driver = new VirtioDriver(new Echo(), { legacy: true });
	driver.negotiate();
	const queue = driver.setUp(0);
	queue.add({ out: [bytes('early')], in: [5] });
	driver.kick(0);
	t.is(text(queue.used()[0].bytes), 'early');
});

test('a legacy driver that forgets bus mastering gets it', (t) => {
	const driver = new VirtioDriver(new Echo(), { legacy: true });
	driver.configWrite(0x04, 2, 3);
	driver.start();
	t.is(driver.configRead(0x04, 2) & 4, 4);
	t.is(driver.request(0, { out: [bytes('x')], in: [1] }).written, 1);
});

test('without bus mastering the device leaves memory alone', (t) => {
	const driver = new VirtioDriver(new Echo());
	driver.start();
	driver.configWrite(0x04, 2, 3);
	t.is(driver.status & driverOk, 0);
	driver.queue(0).add({ out: [bytes('x')], in: [1] });
	driver.kick(0);
	t.deepEqual(driver.queue(0).used(), []);
});

for (const legacy of [false, true]) {
	const kind = legacy ? 'legacy' : 'modern';

	test(`the ISR status tells the cause, and reading it lowers the line (${kind})`, (t) => {
		const model = new Echo();
		const driver = new VirtioDriver(model, { legacy });
		driver.start();
		t.is(driver.takeIsr(), 0);
		driver.request(0, { out: [bytes('x')], in: [1] });
		t.true(driver.irq.level);
		t.is(driver.takeIsr(), 1);
		t.false(driver.irq.level);
		t.is(driver.takeIsr(), 0);
		driver.device.configChanged();
		t.true(driver.irq.level);
		t.is(driver.takeIsr(), 3);
		t.false(driver.irq.level);
	});

	test(`status 0 resets everything (${kind})`, (t) => {
		const model = new Echo();
		model.hold = true;
		const driver = new VirtioDriver(model, { legacy });
		driver.start();
		driver.device.configChanged();
		driver.queue(0).add({ out: [bytes('x')], in: [1] });
		driver.kick(0);
		const [chain] = model.held;
		driver.writeConfig(0, 4, 7);
		driver.status = 0;
		t.is(driver.status, 0);
		t.is(driver.readConfig(0, 4), 0x12345678);
		t.false(driver.irq.level);
		t.is(driver.takeIsr(), 0);
		driver.device.run(() => driver.device.queue(0).push(chain, 0));
		t.deepEqual(driver.queue(0).used(), [], 'what was taken before the reset is not given back');
		model.hold = false;
		driver.start();
		t.is(driver.request(0, { out: [bytes('y')], in: [1] }).written, 1);
	});
}

test('work put off for a former life of the device is not done', (t) => {
	const driver = new VirtioDriver(new Echo());
	driver.start();
	let done = 0;
	driver.device.later(() => done++);
	driver.write(CapType.common, Common.deviceStatus, 1, 0);
	driver.settle();
	t.is(done, 0);
});

test('a legacy driver also resets by page 0', (t) => {
	const driver = new VirtioDriver(new Echo(), { legacy: true });
	driver.start();
	driver.legacyWrite(Legacy.queueAddress, 4, 0);
	t.is(driver.status, 0);
	t.is(driver.legacyRead(Legacy.queueAddress, 4), 0);
});

test('INTx can be switched off in the command register', (t) => {
	const driver = new VirtioDriver(new Echo());
	driver.start();
	driver.configWrite(0x04, 2, 0x407);
	driver.request(0, { out: [bytes('x')], in: [1] });
	t.false(driver.irq.level);
	t.is(driver.configRead(0x06, 2) & 8, 8, 'the status register shows it');
	driver.configWrite(0x04, 2, 7);
	t.true(driver.irq.level);
});

test('a change of the configuration counts its generation, and interrupts a driver that is ready', (t) => {
	const driver = new VirtioDriver(new Echo());
	const generation = () => driver.read(CapType.common, Common.configGeneration, 1);
	t.is(generation(), 0);
	driver.device.configChanged();
	t.is(generation(), 1);
	t.false(driver.irq.level);
	driver.start();
	t.is(generation(), 0);
	for (let i = 0; i < 255; i++) driver.device.configChanged();
	t.is(generation(), 255);
	t.true(driver.irq.level);
	driver.device.configChanged();
	t.is(generation(), 0);
});

test('the configuration ends where the device says', (t) => {
	for (const legacy of [false, true]) {
		const driver = new VirtioDriver(new Echo(), { legacy });
		driver.start();
		t.is(driver.readConfig(0, 4), 0x12345678);
		t.is(driver.readConfig(2, 2), 0x1234);
		t.is(driver.readConfig(4, 1), 0xff);
		t.is(driver.readConfig(2, 4), 0xffffffff);
		driver.writeConfig(0, 1, 0xaa);
		t.is(driver.readConfig(0, 4), 0x123456aa);
		driver.writeConfig(3, 2, 0);
		t.is(driver.readConfig(0, 4), 0x123456aa, 'a write beyond the end does nothing');
	}
});

test('a driver that breaks a ring: one line in the log, NEEDS_RESET, silence until the reset', (t) => {
	const driver = new VirtioDriver(new Echo());
	driver.start();
	const { dma } = driver.arena;
	const log = guestErrors(() => {
		dma.write16(driver.queue(0).areas[1] + 2, 999);
		driver.kick(0);
		driver.kick(0);
		driver.kick(1);
	});
	t.is(log.length, 1);
	t.regex(log[0], /^echo: the available index jumped by 999; the device waits for a reset$/);
	t.is(driver.status & needsReset, needsReset);
	t.is(driver.takeIsr(), 3, 'the driver is told');
	driver.status = driver.status & ~needsReset;
	t.is(driver.status & needsReset, needsReset, 'only a reset clears it');
	driver.start();
	t.is(driver.status & needsReset, 0);
	t.is(driver.request(0, { out: [bytes('x')], in: [1] }).written, 1);
});

test('a legacy driver that breaks a ring knows no NEEDS_RESET: the device falls silent', (t) => {
	const driver = new VirtioDriver(new Echo(), { legacy: true });
	driver.start();
	const log = guestErrors(() => {
		driver.arena.dma.write16(driver.queue(0).areas[1] + 2, 999);
		driver.kick(0);
	});
	t.is(log.length, 1);
	t.is(driver.status, acknowledge | driverBit | driverOk);
	t.false(driver.irq.level);
	driver.start();
	t.is(driver.request(0, { out: [bytes('x')], in: [1] }).written, 1);
});

test('one queue is reset alone', (t) => {
	const model = new Echo();
	const driver = new VirtioDriver(model);
	driver.start();
	model.hold = true;
	driver.queue(0).add({ out: [bytes('x')], in: [1] });
	driver.kick(0);
	driver.write(CapType.common, Common.queueSelect, 2, 0);
	driver.write(CapType.common, Common.queueReset, 2, 1);
	t.is(driver.read(CapType.common, Common.queueReset, 2), 0, 'done at once');
	t.is(driver.read(CapType.common, Common.queueEnable, 2), 0);
	t.is(model.log.at(-1), 'queue reset 0');
	t.true(driver.device.queue(1).enabled);
	driver.arena.clear();
	model.hold = false;
	driver.setUp(0, 4);
	t.is(driver.request(0, { out: [bytes('y')], in: [1] }).written, 1);
});

test('a queue that does not exist has no size and takes nothing', (t) => {
	const driver = new VirtioDriver(new Echo());
	driver.negotiate();
	driver.write(CapType.common, Common.queueSelect, 2, 2);
	t.is(driver.read(CapType.common, Common.queueSize, 2), 0);
	for (const at of [Common.queueSize, Common.queueEnable, Common.queueReset]) driver.write(CapType.common, at, 2, 1);
	driver.write(CapType.common, Common.queueDesc, 4, 0x1000);
	t.is(driver.read(CapType.common, Common.queueDesc, 4), 0);
	t.is(driver.read(CapType.common, Common.queueEnable, 2), 0);
	driver.write(CapType.notify, 4 * 900, 2, 900);
	t.notThrows(() => driver.settle());
});

test('a queue can be made smaller, not larger', (t) => {
	const driver = new VirtioDriver(new Echo());
	driver.negotiate();
	const size = (value: number) => {
		driver.write(CapType.common, Common.queueSize, 2, value);
		return driver.read(CapType.common, Common.queueSize, 2);
	};
	t.deepEqual([16, 8, 0, 17, 0xffff, 1].map(size), [16, 8, 8, 8, 8, 1]);
});

test('firmware reaches the structures through configuration space alone', (t) => {
	const driver = new VirtioDriver(new Echo());
	const { at } = driver.capability(CapType.pci);
	const window = (bar: number, offset: number, length: number) => {
		driver.configWrite(at + 4, 1, bar);
		driver.configWrite(at + 8, 4, offset);
		driver.configWrite(at + 12, 4, length);
	};
	const { offset, bar } = driver.capability(CapType.device);
	window(bar, offset, 4);
	t.is(driver.configRead(at + 16, 4), 0x12345678);
	window(bar, offset + 2, 2);
	t.is(driver.configRead(at + 16, 2), 0x1234);
	const status = driver.capability(CapType.common).offset + Common.deviceStatus;
	window(bar, status, 1);
	driver.configWrite(at + 16, 1, 3);
	t.is(driver.status, 3);
	t.is(driver.configRead(at + 16, 1), 3);
	for (const [wrongBar, wrongOffset, wrongLength] of [
		[0, status, 1],
		[bar, status, 3],
		[bar, status + 1, 2],
		[bar, 0x4000, 1],
		[bar, 0xffffffff, 4],
	]) {
		window(wrongBar, wrongOffset, wrongLength);
		driver.configWrite(at + 16, 4, 0);
		t.is(driver.status, 3, `bar ${wrongBar} +0x${wrongOffset.toString(16)} of ${wrongLength}`);
	}
});

test('each interface can be left out, but not both', (t) => {
	const old = new VirtioDriver(new Echo(), { legacy: true, device: { disableModern: true, vectors: 0 } });
	t.deepEqual(old.capabilities, []);
	t.is(old.configRead(0x20, 4), 0, 'no BAR 4');
	t.is(old.configRead(0x06, 2) & 0x10, 0, 'no capability list');
	old.start();
	t.is(old.request(0, { out: [bytes('x')], in: [1] }).written, 1);

	const modern = new VirtioDriver(new Echo(), { device: { disableLegacy: true } });
	t.is(modern.configRead(0x10, 4), 0, 'no BAR 0');
	t.is(modern.configRead(0x02, 2), 0x1044);
	t.is(modern.configRead(0x08, 1), 1, 'the revision of a device without a past');
	modern.start();
	t.is(modern.request(0, { out: [bytes('x')], in: [1] }).written, 1);

	const host = new FakeHost();
	t.throws(() => new VirtioPci(host, new Echo(), { disableModern: true, disableLegacy: true }), {
		instanceOf: RangeError,
		message: /cannot be disabled/,
	});
	t.throws(() => new VirtioPci(host, new VirtioTablet(), { disableModern: true }), { instanceOf: RangeError });
});

for (const kind of [{}, { packed: true }, { legacy: true }])
	test(`saved in the middle of everything, it goes on after the restore ${JSON.stringify(kind)}`, (t) => {
		const model = new Echo();
		const driver = new VirtioDriver(model, kind);
		driver.start();
		// Indices that are not where they were at the start.
		for (let i = 0; i < 21; i++) driver.request(0, { out: [bytes('past')], in: [4] });
		driver.takeIsr();
		driver.writeConfig(0, 4, 99);
		model.hold = true;
		for (const word of ['one', 'two', 'three']) driver.queue(0).add({ out: [bytes(word)], in: [8] });
		driver.kick(0);
		driver.queue(0).add({ out: [bytes('not yet seen')], in: [12] });
		driver.device.configChanged();

		const next = new Echo();
		next.hold = true;
		const saved = driver.migrate(next);
		t.deepEqual(driver.device.save(), saved);
		t.true(driver.irq.level);
		t.is(driver.takeIsr(), 3);
		t.is(driver.readConfig(0, 4), 99);
		t.is(next.held.length, 3);
		driver.settle();
		t.is(next.held.length, 4, 'what was available is found without another kick');
		next.release((held) => held.reverse());
		t.deepEqual(
			driver
				.queue(0)
				.used()
				.map((used) => text(used.bytes.subarray(0, used.written))),
			['not yet seen', 'three', 'two', 'one'],
		);
		t.is(driver.takeIsr(), 1);
		next.hold = false;
		for (let i = 0; i < 21; i++) t.is(driver.request(0, { out: [bytes('future')], in: [6] }).written, 6);
	});

test('a state of another version, or of another device, is refused', (t) => {
	const driver = new VirtioDriver(new Echo());
	const state = driver.device.save();
	t.throws(() => driver.device.restore({ ...state, version: 3 }), { message: /version 3/ });
	t.throws(() => driver.device.restore(new VirtioDriver(new Echo([16])).device.save()), { message: /1 queues/ });
});

test('after a reset of the machine the device is as new', (t) => {
	const driver = new VirtioDriver(new Echo());
	const fresh = structuredClone(driver.device.save());
	driver.start();
	driver.request(0, { out: [bytes('x')], in: [1] });
	driver.device.reset();
	t.deepEqual(driver.device.save(), fresh);
	t.false(driver.irq.level);
});
