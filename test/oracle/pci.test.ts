import test from 'ava';
import { ChipsetBoard, MEMORY } from '../helpers/chipset.ts';
import { type ConfigDifference, compareConfig, Pair } from './driver.ts';

const PAM0: ConfigDifference = {
	offset: 0x59,
	reason: 'PAM0 says after reset that F0000-FFFFF is RAM: the core cannot run code from the ROM window below 4 GiB',
};

const FUNCTIONS: readonly { name: string; slot: number; fn: number; known: readonly ConfigDifference[] }[] = [
	{ name: 'i440FX host bridge', slot: 0, fn: 0, known: [PAM0] },
	{ name: 'PIIX3 ISA bridge', slot: 1, fn: 0, known: [] },
	{ name: 'PIIX4 power management', slot: 1, fn: 3, known: [] },
];

async function pair(): Promise<Pair> {
	return Pair.start(new ChipsetBoard(), { memory: MEMORY, args: ['-serial', 'null'] });
}

for (const { name, slot, fn, known } of FUNCTIONS)
	test(`${name}: identity, reset values and writable bits are QEMU's`, async (t) => {
		const both = await pair();
		t.teardown(() => both.close());
		t.deepEqual(await compareConfig(both, slot, fn, known), []);
	});

test('configuration mechanism 1 answers as in QEMU', async (t) => {
	const both = await pair();
	t.teardown(() => both.close());
	const same = async (what: string, port: number, width: 1 | 2 | 4) => {
		const [qemu, tsvm] = await both.in(port, width);
		t.is(tsvm, qemu, what);
	};
	await same('address after reset', 0xcf8, 4);
	await same('data with the enable bit clear', 0xcfc, 4);
	await both.out(0xcf8, 0x80000802, 4);
	await same('low address bits are kept', 0xcf8, 4);
	for (const width of [1, 2, 4] as const) await same(`${8 * width} bits of data at an odd offset`, 0xcfc, width);
	await same('byte lane 1', 0xcfd, 1);
	await same('byte lane 3', 0xcff, 1);
	await same('upper word', 0xcfe, 2);
	await both.out(0xcf8, 0x55, 1);
	await both.out(0xcfa, 0x1234, 2);
	await same('the address takes dwords only', 0xcf8, 4);
	for (const address of [0x80010000, 0x8000f800, 0x00000000, 0x80000000]) {
		await both.out(0xcf8, address, 4);
		await same(`dword at 0x${address.toString(16)}`, 0xcfc, 4);
		await same(`byte at 0x${address.toString(16)}`, 0xcfc, 1);
	}
});

test('the reset control register is a byte inside the configuration address', async (t) => {
	const both = await pair();
	t.teardown(() => both.close());
	await both.out(0xcf8, 0x80000000, 4);
	for (const value of [0x00, 0x02, 0xff & ~0x04, 0x00]) {
		await both.out(0xcf9, value);
		const [qemu, tsvm] = await both.in(0xcf9);
		t.is(tsvm, qemu, `after 0x${value.toString(16)}`);
	}
	const [qemu, tsvm] = await both.in(0xcf8, 4);
	t.is(tsvm, qemu);
});
