/** Interrupts as messages: which cause sends which, what masks hold back, and what a driver may write. PCI 3.0, 6.8.2. */
import test from 'ava';
import fc from 'fast-check';
import { CapType, Common, Legacy, MSIX_BASE, VirtioDriver } from '../../helpers/virtio-driver.ts';
import { Echo } from '../../helpers/virtio-echo.ts';

const CAP_MSIX = 0x11;
const ENABLE = 0x8000;
const MASK_ALL = 0x4000;
const PENDING = 0x800;
const ADDRESS = 0xfee00000;
const CONFIG = 0;
const QUEUE = 1;
const bytes = (text: string) => new TextEncoder().encode(text);

function capability(driver: VirtioDriver): number {
	let at = driver.configRead(0x34, 1);
	while (at !== 0 && driver.configRead(at, 1) !== CAP_MSIX) at = driver.configRead(at + 1, 1);
	return at;
}

function control(driver: VirtioDriver, value: number): void {
	driver.configWrite(capability(driver) + 2, 2, value);
}

/** Vector `n` sends `data`, or waits if `masked`. */
function entry(driver: VirtioDriver, n: number, data: number, masked = false): void {
	for (const [word, value] of [ADDRESS, 0, data, masked ? 1 : 0].entries())
		driver.board.mmio.write32(MSIX_BASE + n * 16 + word * 4, value);
}

function vectors(driver: VirtioDriver): void {
	driver.write(CapType.common, Common.configMsixVector, 2, CONFIG);
	for (let n = 0; n < driver.numQueues; n++) {
		driver.write(CapType.common, Common.queueSelect, 2, n);
		driver.write(CapType.common, Common.queueMsixVector, 2, QUEUE);
	}
}

/** A driver that has enabled messages 40h for the configuration and 41h for the queues. */
function ready(model = new Echo()): VirtioDriver {
	const driver = new VirtioDriver(model);
	entry(driver, CONFIG, 0x40);
	entry(driver, QUEUE, 0x41);
	control(driver, ENABLE);
	driver.negotiate();
	vectors(driver);
	for (let n = 0; n < driver.numQueues; n++) driver.setUp(n);
	driver.status = driver.status | 4;
	return driver;
}

const request = (driver: VirtioDriver) => driver.request(0, { out: [bytes('x')], in: [1] });
const sent = (driver: VirtioDriver) => driver.messages.splice(0).map(({ data }) => data);

test('each cause sends its message, and the line stays down', (t) => {
	const driver = ready();
	request(driver);
	t.deepEqual(driver.messages, [{ address: ADDRESS, data: 0x41 }]);
	sent(driver);
	driver.device.configChanged();
	t.deepEqual(sent(driver), [0x40]);
	t.is(driver.irq.edges, 0);
});

test('a driver that does not enable messages gets the line', (t) => {
	const driver = ready();
	control(driver, 0);
	request(driver);
	t.deepEqual(sent(driver), []);
	t.true(driver.irq.level);
	t.is(driver.takeIsr(), 1);
	t.false(driver.irq.level);
});

test('a cause without a vector sends nothing', (t) => {
	const driver = ready();
	driver.write(CapType.common, Common.queueSelect, 2, 0);
	driver.write(CapType.common, Common.queueMsixVector, 2, 0xffff);
	driver.write(CapType.common, Common.configMsixVector, 2, 2);
	t.is(driver.read(CapType.common, Common.configMsixVector, 2), 0xffff, 'vector 2 does not exist');
	request(driver);
	driver.device.configChanged();
	t.deepEqual(sent(driver), []);
	t.is(driver.irq.edges, 0);
});

for (const [what, mask, unmask] of [
	['its entry', (d: VirtioDriver) => entry(d, QUEUE, 0x41, true), (d: VirtioDriver) => entry(d, QUEUE, 0x41)],
	['the function', (d: VirtioDriver) => control(d, ENABLE | MASK_ALL), (d: VirtioDriver) => control(d, ENABLE)],
] as const)
	test(`a message that ${what} masks is pending and sent once when that ends`, (t) => {
		const driver = ready();
		mask(driver);
		request(driver);
		request(driver);
		t.deepEqual(sent(driver), []);
		t.is(driver.board.mmio.read32(MSIX_BASE + PENDING), 1 << QUEUE);
		unmask(driver);
		t.deepEqual(sent(driver), [0x41]);
		t.is(driver.board.mmio.read32(MSIX_BASE + PENDING), 0);
		unmask(driver);
		t.deepEqual(sent(driver), []);
	});

test('a message to where there is no memory, or without bus mastering, is not sent', (t) => {
	const driver = ready();
	driver.board.mmio.write32(MSIX_BASE + QUEUE * 16 + 4, 1);
	request(driver);
	driver.configWrite(4, 2, 3);
	driver.device.configChanged();
	t.deepEqual(sent(driver), []);
});

test('what was pending is not sent by a function that may not reach memory', (t) => {
	const driver = ready();
	entry(driver, QUEUE, 0x41, true);
	request(driver);
	driver.configWrite(4, 2, 3);
	entry(driver, QUEUE, 0x41);
	t.deepEqual(sent(driver), []);
});

test('the reset of the device takes the vectors back, that of the machine the table as well', (t) => {
	const driver = ready();
	const fresh = new VirtioDriver(new Echo());
	driver.status = 0;
	t.is(driver.read(CapType.common, Common.configMsixVector, 2), 0xffff);
	t.is(driver.board.mmio.read32(MSIX_BASE + QUEUE * 16 + 8), 0x41);
	driver.device.reset();
	driver.bus.reset();
	driver.assign();
	for (let at = 0; at < 4096; at += 4)
		t.is(driver.board.mmio.read32(MSIX_BASE + at), fresh.board.mmio.read32(MSIX_BASE + at), `+0x${at.toString(16)}`);
	t.is(driver.configRead(capability(driver) + 2, 2), 1, 'two vectors, not enabled');
});

test('saved and restored, what was pending is sent', (t) => {
	const driver = ready();
	entry(driver, QUEUE, 0x41, true);
	request(driver);
	const saved = driver.migrate(new Echo());
	t.deepEqual(driver.device.save(), saved);
	t.deepEqual(sent(driver), []);
	t.false(driver.irq.level, 'the ISR status alone raises no line');
	entry(driver, QUEUE, 0x51);
	t.deepEqual(sent(driver), [0x51]);
	request(driver);
	t.deepEqual(sent(driver), [0x51]);
});

test('a legacy driver finds two vectors in front of the configuration once messages are enabled', (t) => {
	const driver = new VirtioDriver(new Echo(), { legacy: true });
	driver.legacyWrite(Legacy.config, 4, 0x12345678);
	entry(driver, QUEUE, 0x61);
	control(driver, ENABLE);
	t.is(driver.legacyRead(Legacy.config, 4), 0xffffffff, 'no vectors yet');
	t.is(driver.legacyRead(Legacy.config + 4, 4), 0x12345678);
	driver.negotiate();
	for (let n = 0; n < driver.numQueues; n++) {
		driver.setUp(n);
		driver.legacyWrite(Legacy.config + 2, 2, QUEUE);
		t.is(driver.legacyRead(Legacy.config + 2, 2), QUEUE);
	}
	driver.status = driver.status | 4;
	request(driver);
	t.deepEqual(sent(driver), [0x61]);
	t.false(driver.irq.level);
});

test('no access to the table or the capability harms', (t) => {
	const access = fc.record({
		where: fc.constantFrom('table', 'config', 'common'),
		at: fc.nat(4095),
		width: fc.constantFrom(1, 2, 4),
		value: fc.nat(0xffffffff),
	});
	fc.assert(
		fc.property(fc.array(access, { maxLength: 60 }), (accesses) => {
			const driver = ready();
			const cap = capability(driver);
			for (const { where, at, width, value } of accesses) {
				const { mmio } = driver.board;
				if (where === 'config') driver.configWrite(cap + (at % 3) * 4, width as 1 | 2 | 4, value);
				else if (where === 'common') driver.write(CapType.common, at % 2 ? 0x10 : 0x1a, 2, value);
				else if (width === 1) mmio.write8(MSIX_BASE + at, value);
				else if (width === 2) mmio.write16(MSIX_BASE + at, value);
				else mmio.write32(MSIX_BASE + (at & ~3), value);
				driver.device.configChanged();
			}
			request(driver);
			for (let at = 0; at < 4096; at += 4) mmio32(driver, at);
			t.deepEqual(driver.migrate(new Echo()), driver.device.save());
		}),
		{ numRuns: 60 },
	);
});

function mmio32(driver: VirtioDriver, at: number): number {
	return driver.board.mmio.read32(MSIX_BASE + at);
}
