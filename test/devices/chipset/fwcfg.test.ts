/** fw_cfg by ports and by DMA, alone and beside QEMU's. */
import test from 'ava';
import fc from 'fast-check';
import { FwCfg } from '../../../devices/chipset/fwcfg.ts';
import { type FwCfgContents, fwCfgKey } from '../../../src/core/index.ts';
import { FakeBoard } from '../../helpers/board.ts';
import { type DeviceDriver, Pair } from '../../oracle/driver.ts';

const MEMORY = 1 << 20;
const ITEM = Uint8Array.from({ length: 300 }, (_, i) => i * 7);
const contents: FwCfgContents = {
	items: new Map([[fwCfgKey.kernelData, ITEM]]),
	files: new Map([
		['etc/first', Uint8Array.of(1, 2, 3)],
		['etc/second', Uint8Array.of(4)],
	]),
};
const ERROR = 1;
const READ = 2;
const SKIP = 4;
const SELECT = 8;
const WRITE = 16;

function board(): FakeBoard & { fwCfg: FwCfg } {
	const made = new FakeBoard({ memory: MEMORY });
	return Object.assign(made, { fwCfg: new FwCfg(made.host, made.ports, contents) });
}

/** Puts a FWCfgDmaAccess at 0x1000, starts it, and gives back the control word it ends with. */
async function dma(d: DeviceDriver, control: number, length: number, address: number, high = 0): Promise<number> {
	const words = [control, length, high, address];
	for (const [i, word] of words.entries()) await d.write(0x1000 + 4 * i, 4, swap(word));
	await d.out(0x514, 4, 0);
	await d.out(0x518, 4, swap(0x1000));
	return swap(await d.read(0x1000, 4));
}

function swap(v: number): number {
	return new DataView(Uint32Array.of(v).buffer).getUint32(0);
}

function accessOf(b: FakeBoard, control: number, length: number, address: number): number {
	const descriptor = new Uint8Array(16);
	const view = new DataView(descriptor.buffer);
	view.setUint32(0, control);
	view.setUint32(4, length);
	view.setUint32(12, address);
	b.host.dma.write(0x1000, descriptor);
	b.ports.out32(0x514, 0);
	b.ports.out32(0x518, swap(0x1000));
	return swap(b.host.dma.read32(0x1000));
}

function readFile(b: FakeBoard, key: number, length: number): number[] {
	b.ports.out16(0x510, key);
	return Array.from({ length }, () => b.ports.in8(0x511));
}

test('after reset the signature stands at the data port', (t) => {
	const b = board();
	t.is(String.fromCharCode(...[0, 1, 2, 3].map(() => b.ports.in8(0x511))), 'QEMU');
	t.is(b.ports.in8(0x511), 0, 'zeros behind the end');
	b.fwCfg.reset();
	t.is(b.ports.in8(0x511), 0x51);
});

test('the directory lists each file with size and key, and the keys hold the files', (t) => {
	const b = board();
	const bytes = Uint8Array.from(readFile(b, fwCfgKey.fileDir, 4 + 2 * 64));
	const view = new DataView(bytes.buffer);
	t.is(view.getUint32(0), 2);
	const entries = [0, 1].map((i) => ({
		size: view.getUint32(4 + 64 * i),
		key: view.getUint16(8 + 64 * i),
		name: Buffer.from(bytes.subarray(12 + 64 * i, 68 + 64 * i))
			.toString()
			.replaceAll('\0', ''),
	}));
	t.deepEqual(entries, [
		{ size: 3, key: 0x20, name: 'etc/first' },
		{ size: 1, key: 0x21, name: 'etc/second' },
	]);
	t.deepEqual(readFile(b, 0x20, 4), [1, 2, 3, 0]);
	t.deepEqual(readFile(b, 0x21, 1), [4]);
});

test('DMA copies an item in one step, goes on where it stood, and pads with zeros', (t) => {
	const b = board();
	b.host.dma.write(0x2000, new Uint8Array(600).fill(0xee));
	t.is(accessOf(b, (fwCfgKey.kernelData << 16) | SELECT | READ, 100, 0x2000), 0);
	t.is(accessOf(b, SKIP, 10, 0), 0);
	t.is(accessOf(b, READ, 400, 0x2064), 0);
	const want = new Uint8Array(500);
	want.set(ITEM.subarray(0, 100));
	want.set(ITEM.subarray(110), 100);
	t.deepEqual(Uint8Array.from(b.host.dma.read(0x2000, 500)), want);
	t.is(b.host.dma.read8(0x2000 + 500), 0xee, 'not a byte more');
});

test('DMA outside RAM is refused with the error bit, and nothing is written', (t) => {
	const b = board();
	const before = b.host.dma.read(MEMORY - 64, 64);
	t.is(accessOf(b, (fwCfgKey.kernelData << 16) | SELECT | READ, 128, MEMORY - 64), ERROR);
	t.deepEqual(b.host.dma.read(MEMORY - 64, 64), before);
	t.is(accessOf(b, READ, 0xffffffff, 0x2000), ERROR);
	b.ports.out32(0x514, 0);
	b.ports.out32(0x518, swap(MEMORY - 8));
	t.is(accessOf(b, (fwCfgKey.kernelData << 16) | SELECT | READ, 1, 0x2000), 0, 'works again after a bad descriptor');
});

test('items cannot be written', (t) => {
	const b = board();
	t.is(accessOf(b, (fwCfgKey.kernelData << 16) | SELECT | WRITE, 4, 0x2000), ERROR);
	b.ports.out8(0x511, 0x55);
	t.deepEqual(readFile(b, fwCfgKey.kernelData, 300), [...ITEM]);
});

test('save, restore and save give the same, and reading goes on where it was', (t) => {
	const a = board();
	readFile(a, fwCfgKey.kernelData, 5);
	a.ports.out32(0x514, swap(7));
	const state = a.fwCfg.save();
	const b = board();
	b.fwCfg.restore(state);
	t.deepEqual(b.fwCfg.save(), state);
	t.is(b.ports.in8(0x511), ITEM[5]);
	t.throws(() => b.fwCfg.restore({ version: 9 }), { message: /version 9/ });
});

test('too many files and too long names are refused', (t) => {
	const b = new FakeBoard();
	const files = (entries: [string, Uint8Array][]) => ({ items: new Map(), files: new Map(entries) });
	const one = new Uint8Array(1);
	t.throws(() => new FwCfg(b.host, b.ports, files([['x'.repeat(56), one]])), { instanceOf: RangeError });
	const many = Array.from({ length: 33 }, (_, i): [string, Uint8Array] => [`f${i}`, one]);
	t.throws(() => new FwCfg(b.host, b.ports, files(many)), { instanceOf: RangeError });
});

test('random accesses and descriptors never throw and never write beyond RAM', (t) => {
	const port = fc.integer({ min: 0x510, max: 0x51f });
	const value = fc.oneof(fc.integer({ min: 0, max: 0xffffffff }), fc.constantFrom(0, 0x00100000, 0x11000a, 0xffffffff));
	const step = fc.record({ port, value, width: fc.constantFrom(1, 2, 4), write: fc.boolean() });
	fc.assert(
		fc.property(fc.array(step, { maxLength: 60 }), fc.uint8Array({ minLength: 64, maxLength: 64 }), (steps, noise) => {
			const b = board();
			b.host.dma.write(0x1000, noise);
			for (const s of steps) {
				if (s.write && s.width === 4) b.ports.out32(s.port, s.value);
				else if (s.write && s.width === 2) b.ports.out16(s.port, s.value & 0xffff);
				else if (s.write) b.ports.out8(s.port, s.value & 0xff);
				else if (s.width === 4) b.ports.in32(s.port);
				else if (s.width === 2) b.ports.in16(s.port);
				else b.ports.in8(s.port);
			}
		}),
		{ numRuns: 300 },
	);
	t.pass();
});

test('the ports answer as QEMU answers', async (t) => {
	const both = await Pair.start(board(), { memory: 128 << 20 });
	t.teardown(() => both.close());
	const same = async (what: string, ask: (d: DeviceDriver) => Promise<unknown>) => {
		const [qemu, tsvm] = await both.both(ask);
		t.deepEqual(tsvm, qemu, what);
	};
	const bytes = async (d: DeviceDriver, port: number, n: number) => {
		const out: number[] = [];
		for (let i = 0; i < n; i++) out.push(await d.in8(port));
		return out;
	};
	await same('signature at power-on', (d) => bytes(d, 0x511, 6));
	for (const key of [0, 1, 0x4000, 0x40, 0x4f, 0x1f, 0xffff, 0x3fff]) {
		await both.out(0x510, key, 2);
		await same(`item 0x${key.toString(16)}`, (d) => bytes(d, 0x511, 5));
	}
	await both.out(0x510, 0, 2);
	await same('word at the selector', (d) => d.in16(0x510));
	await same('nothing was taken by it', (d) => d.in8(0x511));
	await same('the selector reads data too', (d) => d.in8(0x510));
	await same('word at the data port', (d) => d.in16(0x511));
	await both.out(0x510, 0, 1);
	await both.out(0x511, 0, 1);
	await both.out(0x511, 0, 2);
	await same('byte writes change nothing', (d) => bytes(d, 0x511, 2));
	for (const offset of [0, 1, 3, 4, 7]) await same(`DMA signature +${offset}`, (d) => d.in8(0x514 + offset));
	await same('DMA signature, words', async (d) => [await d.in32(0x514), await d.in32(0x518), await d.in16(0x516)]);

	await same('select and read', async (d) => [await dma(d, SELECT | READ, 8, 0x2000), await d.read(0x2000, 4)]);
	await same('zeros behind the end', async (d) => [await dma(d, READ, 4, 0x2000), await d.read(0x2000, 4)]);
	await same('neither read nor write nor skip', (d) => dma(d, 0, 4, 0x2000));
	await same('skip', async (d) => [await dma(d, SELECT | SKIP, 2, 0), await d.in8(0x511)]);
	await same('write to what is read-only', (d) => dma(d, SELECT | WRITE, 4, 0x2000));
	await same('a key that does not exist', (d) => dma(d, 0x12340000 | SELECT | READ, 4, 0x2000));
	await same('read into nowhere', (d) => dma(d, SELECT | READ, 4, 0, 0x7fff));
	await same('reset of the address by each transfer', async (d) => {
		await d.out(0x514, 4, swap(0x7fff));
		await d.out(0x518, 4, swap(0x1000));
		return dma(d, SELECT | READ, 4, 0x2000);
	});
});

test('a long DMA read comes in pieces: the control word tells when, and a saved one goes on', (t) => {
	const large = new FakeBoard({ memory: 16 << 20 });
	const make = (board: FakeBoard) => new FwCfg(board.host, board.ports, contents);
	const b = Object.assign(large, { fwCfg: make(large) });
	b.host.dma.bytes.fill(0xff, 1 << 20);
	const control = (fwCfgKey.kernelData << 16) | SELECT | READ;
	t.is(accessOf(b, control, 10 << 20, 1 << 20), control, 'not yet');
	t.deepEqual(b.host.dma.read(1 << 20, ITEM.length), ITEM);
	t.is(b.host.dma.read8((11 << 20) - 1), 0xff, 'one OUT moves a part of it');
	// A second access while one is under way is a mistake and changes nothing.
	t.is(accessOf(b, control, 4, 0x2000), control);
	const restored = new FakeBoard({ memory: 16 << 20 });
	restored.host.dma.bytes.set(b.host.dma.bytes);
	make(restored).restore(b.fwCfg.save());
	for (const board of [b, restored]) {
		board.host.settle();
		t.is(swap(board.host.dma.read32(0x1000)), 0);
		t.deepEqual(board.host.dma.read(1 << 20, ITEM.length), ITEM);
		t.true(board.host.dma.read((1 << 20) + ITEM.length, (10 << 20) - ITEM.length).every((byte) => byte === 0));
		t.is(board.host.dma.read8(11 << 20), 0xff);
	}
});

test('a reset ends a DMA read that is under way', (t) => {
	const b = new FakeBoard({ memory: 16 << 20 });
	const fwCfg = new FwCfg(b.host, b.ports, contents);
	b.host.dma.bytes.fill(0xff, 1 << 20);
	accessOf(Object.assign(b, { fwCfg }), SELECT | READ, 10 << 20, 1 << 20);
	fwCfg.reset();
	b.host.settle();
	t.is(b.host.dma.read8((11 << 20) - 1), 0xff);
});
