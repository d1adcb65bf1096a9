/** Drivers that break the rules of rings: the device stops with one line in the log, and lives again after a reset. */
import test from 'ava';
import { Status } from '../../../devices/virtio/virtio.ts';
import {
	type Descriptor,
	type DriverOptions,
	guestErrors,
	INDIRECT,
	NEXT,
	PackedDriverQueue,
	SplitDriverQueue,
	VirtioDriver,
	WRITE,
} from '../../helpers/virtio-driver.ts';
import { Echo } from '../../helpers/virtio-echo.ts';

const MEMORY = 1 << 20;
const BUFFER = 0x800;
const KINDS: readonly (DriverOptions & { readonly kind: string })[] = [
	{ kind: 'split' },
	{ kind: 'packed', packed: true },
	{ kind: 'legacy', legacy: true },
];

/** Runs `attack` on a device that is ready, kicks queue 0, and returns the lines that were logged. */
function strike(options: DriverOptions, attack: (driver: VirtioDriver) => void): [VirtioDriver, string[]] {
	const driver = new VirtioDriver(new Echo(), { memory: MEMORY, ...options });
	driver.start();
	const log = guestErrors(() => {
		attack(driver);
		driver.kick(0);
		driver.kick(0);
	});
	return [driver, log];
}

/** A table in memory whose entries are these; returns the descriptor that points to it. */
function table(driver: VirtioDriver, entries: readonly Descriptor[], at = 0x1000): Descriptor {
	const { dma } = driver.arena;
	const packed = driver.queue(0) instanceof PackedDriverQueue;
	for (const [i, { address, length, flags, next = i + 1 }] of entries.entries()) {
		const entry = at + i * 16;
		dma.write32(entry, address % 2 ** 32);
		dma.write32(entry + 4, Math.floor(address / 2 ** 32));
		dma.write32(entry + 8, length);
		dma.write16(entry + (packed ? 14 : 12), flags);
		dma.write16(entry + (packed ? 12 : 14), next);
	}
	return { address: at, length: entries.length * 16, flags: INDIRECT };
}

const good: Descriptor = { address: BUFFER, length: 16, flags: 0 };
const room: Descriptor = { address: BUFFER, length: 16, flags: WRITE };

interface Attack {
	readonly what: string;
	readonly says: RegExp;
	readonly chain: (driver: VirtioDriver) => readonly Descriptor[];
}

const CHAINS: readonly Attack[] = [
	{ what: 'a buffer behind the end of memory', says: /not in memory/, chain: () => [{ ...good, address: MEMORY }] },
	{ what: 'a buffer that leaves memory', says: /not in memory/, chain: () => [{ ...good, address: MEMORY - 15 }] },
	{ what: 'a buffer above 4 GiB', says: /not in memory/, chain: () => [{ ...good, address: 2 ** 32 + BUFFER }] },
	{ what: 'an address of 64 bits', says: /not in memory/, chain: () => [{ ...room, address: 2 ** 64 - 2048 }] },
	{ what: 'a length of 4 GiB', says: /not in memory/, chain: () => [{ ...good, length: 0xffffffff }] },
	{ what: 'an empty buffer', says: /is empty/, chain: () => [{ ...good, length: 0 }] },
	{ what: 'something to read after something to write', says: /comes after/, chain: () => [room, good] },
	{ what: 'a table in a table', says: /indirect table/, chain: (d) => [table(d, [table(d, [good], 0x2000)])] },
	{
		what: 'a table that is its own entry',
		says: /indirect table/,
		chain: () => [{ address: 0x1000, length: 16, flags: INDIRECT }],
	},
	{
		what: 'a table that goes on in the ring',
		says: /indirect table/,
		chain: (d) => [{ ...table(d, [good]), flags: INDIRECT | NEXT }, good],
	},
	{ what: 'an empty table', says: /0 bytes/, chain: (d) => [{ ...table(d, [good]), length: 0 }] },
	{ what: 'a table of odd length', says: /17 bytes/, chain: (d) => [{ ...table(d, [good]), length: 17 }] },
	{
		what: 'a table behind the end of memory',
		says: /not in memory/,
		chain: () => [{ address: MEMORY - 16, length: 32, flags: INDIRECT }],
	},
	{ what: 'a huge table', says: /too long/, chain: () => [{ address: 0, length: 0xfffffff0, flags: INDIRECT }] },
];

for (const options of KINDS) {
	for (const { what, says, chain } of CHAINS)
		test(`${what} (${options.kind})`, (t) => {
			const [driver, log] = strike(options, (d) => {
				// An entry that is a table itself.
				table(d, [{ address: 0x1000, length: 16, flags: INDIRECT }]);
				d.queue(0).offer(chain(d));
			});
			t.is(log.length, 1, log.join('\n'));
			t.regex(log[0], says);
			if (!options.legacy) t.is(driver.status & Status.needsReset, Status.needsReset);
			t.deepEqual(driver.queue(0).used(), []);
			driver.start();
			t.is(driver.request(0, { out: [Uint8Array.of(1)], in: [1] }).written, 1, 'a reset heals it');
		});

	test(`without the feature an indirect table is refused (${options.kind})`, (t) => {
		const [, log] = strike({ ...options, without: [28] }, (d) => {
			d.queue(0).offer([table(d, [good])]);
		});
		t.is(log.length, 1);
		t.regex(log[0], /indirect table where none may be/);
	});
}

interface RawAttack {
	readonly what: string;
	readonly says: RegExp;
	readonly attack: (queue: SplitDriverQueue) => void;
}

const SPLIT: readonly RawAttack[] = [
	{
		what: 'a descriptor that is its own successor',
		says: /circle/,
		attack: (q) => {
			q.write(0, { ...good, flags: NEXT, next: 0 });
			q.publish(0);
		},
	},
	{
		what: 'two descriptors in a circle',
		says: /circle/,
		attack: (q) => {
			q.write(3, { ...good, flags: NEXT, next: 5 });
			q.write(5, { ...good, flags: NEXT, next: 3 });
			q.publish(3);
		},
	},
	{ what: 'a head behind the table', says: /16 does not exist/, attack: (q) => q.publish(16) },
	{
		what: 'a successor behind the table',
		says: /65535 does not exist/,
		attack: (q) => {
			q.write(0, { ...good, flags: NEXT, next: 0xffff });
			q.publish(0);
		},
	},
	{ what: 'an available index that jumps', says: /jumped by 17/, attack: (q) => q.setAvailIndex(17) },
	{ what: 'an available index that goes back', says: /jumped by 65535/, attack: (q) => q.setAvailIndex(0xffff) },
];

for (const options of KINDS.filter(({ packed }) => !packed))
	for (const { what, says, attack } of SPLIT)
		test(`${what} (${options.kind})`, (t) => {
			const [driver, log] = strike(options, (d) => {
				const queue = d.queue(0);
				if (queue instanceof SplitDriverQueue) attack(queue);
			});
			t.is(log.length, 1, log.join('\n'));
			t.regex(log[0], says);
			driver.start();
			t.is(driver.request(0, { out: [Uint8Array.of(1)], in: [1] }).written, 1);
		});

test('a chain has no more buffers than the longest queue', (t) => {
	const [, log] = strike({}, (d) => {
		d.queue(0).offer([good, table(d, new Array<Descriptor>(1024).fill({ ...good, flags: NEXT }), 0x2000)]);
	});
	t.is(log.length, 1);
	t.regex(log[0], /a chain is too long/);
});

test('a circle in an indirect table', (t) => {
	const [, log] = strike({}, (d) => {
		d.queue(0).offer([
			table(d, [
				{ ...good, flags: NEXT, next: 1 },
				{ ...good, flags: NEXT, next: 0 },
			]),
		]);
	});
	t.is(log.length, 1);
	t.regex(log[0], /circle/);
});

test('a packed chain that fills the ring and still goes on', (t) => {
	const [, log] = strike({ packed: true }, (d) => {
		const queue = d.queue(0);
		if (queue instanceof PackedDriverQueue)
			for (let i = 0; i < queue.size; i++) queue.write(i, { ...good, flags: NEXT | 0x80 });
	});
	t.is(log.length, 1);
	t.regex(log[0], /circle/);
});

test('a buffer made available again while the device has it', (t) => {
	for (const packed of [false, true]) {
		const model = new Echo();
		model.hold = true;
		const driver = new VirtioDriver(model, { packed });
		driver.start();
		const queue = driver.queue(0);
		for (let i = 0; i < queue.size; i++) queue.add({ out: [Uint8Array.of(i)] });
		driver.kick(0);
		const log = guestErrors(() => {
			if (queue instanceof SplitDriverQueue) queue.publish(0);
			// The next round's flags.
			else if (queue instanceof PackedDriverQueue) queue.write(0, { ...good, flags: 1 << 15 });
			driver.kick(0);
		});
		t.is(log.length, 1);
		t.regex(log[0], /while in use/);
	}
});

test('a ring that the device refills by using it does not hold the host', (t) => {
	const driver = new VirtioDriver(new Echo());
	driver.negotiate();
	const queue = driver.setUp(0) as SplitDriverQueue;
	const [, available] = queue.areas;
	const { dma } = driver.arena;
	// What request i has to read is an available index eight ahead, and where it is to be written is the index itself.
	for (let i = 0; i < queue.size; i++) {
		const from = 0x3000 + 2 * i;
		dma.write16(from, i + 9);
		const entries = [
			{ address: from, length: 2, flags: NEXT },
			{ address: available + 2, length: 2, flags: WRITE },
		];
		queue.write(i, table(driver, entries, 0x4000 + 32 * i));
		dma.write16(available + 4 + 2 * i, i);
	}
	queue.setAvailIndex(8);
	const log = guestErrors(() => {
		driver.status = driver.status | Status.driverOk;
	});
	t.is(log.length, 1, log.join('\n'));
	t.regex(log[0], /more buffers were available than the ring has/);
});

test('rings that are misplaced are refused when they are enabled', (t) => {
	const cases: readonly (readonly [place: number, value: number, says: RegExp])[] = [
		[0x20, 0x1008, /descriptor/],
		[0x20, MEMORY - 16, /descriptor/],
		[0x24, 1, /descriptor/],
		[0x28, 0x1001, /available ring/],
		[0x28, MEMORY - 2, /available ring/],
		[0x30, 0x1002, /used ring/],
		[0x30, MEMORY - 8, /used ring/],
		[0x34, 0xffffffff, /used ring/],
	];
	for (const [at, value, says] of cases) {
		const driver = new VirtioDriver(new Echo());
		driver.negotiate();
		driver.setUp(0);
		const log = guestErrors(() => {
			driver.write(1, at, 4, value);
			driver.write(1, 0x1c, 2, 1);
		});
		t.is(log.length, 1);
		t.regex(log[0], says);
		t.is(driver.status & Status.needsReset, Status.needsReset);
	}
});
