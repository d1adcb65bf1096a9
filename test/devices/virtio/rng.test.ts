import test from 'ava';
import { VirtioRng } from '../../../devices/virtio/rng.ts';
import { VirtioDriver } from '../../helpers/virtio-driver.ts';

/** Random numbers that a test can foresee: 1, 2, 3 ... */
function counting(): (into: Uint8Array) => void {
	let next = 1;
	return (into) => {
		for (let i = 0; i < into.length; i++) into[i] = next++;
	};
}

for (const kind of [{}, { packed: true }, { legacy: true }])
	test(`a buffer comes back full of random bytes ${JSON.stringify(kind)}`, (t) => {
		const driver = new VirtioDriver(new VirtioRng(counting()), kind);
		driver.start();
		const { written, bytes } = driver.request(0, { in: [3, 5] });
		t.is(written, 8);
		t.deepEqual([...bytes], [1, 2, 3, 4, 5, 6, 7, 8]);
		t.true(driver.irq.level);
		t.is(driver.takeIsr(), 1);
		t.false(driver.irq.level);
	});

test('a huge buffer gets as much as is worth one turn', (t) => {
	const driver = new VirtioDriver(new VirtioRng(counting()));
	driver.start();
	const { written, bytes } = driver.request(0, { in: [100_000] });
	t.is(written, 4096);
	t.is(bytes[4096], 0);
});

test('a buffer that cannot be written comes back empty', (t) => {
	const driver = new VirtioDriver(new VirtioRng(counting()));
	driver.start();
	t.is(driver.request(0, { out: [Uint8Array.of(9)] }).written, 0);
});
