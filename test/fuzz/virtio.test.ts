/**
 * Drivers that do anything: random descriptors in random rings of every device, over both interfaces and both kinds of
 * ring, and random accesses to all registers. The device answers, drops, or stops with one line in the log; the host
 * goes on, its work is bounded (the fakes throw on accesses outside memory, and on deferred work that never ends), and a
 * reset makes the device whole.
 */
import test from 'ava';
import fc from 'fast-check';
import { VirtioBalloon } from '../../devices/virtio/balloon.ts';
import { VirtioBlk } from '../../devices/virtio/blk.ts';
import { VirtioKeyboard } from '../../devices/virtio/keyboard.ts';
import { VirtioRng } from '../../devices/virtio/rng.ts';
import { VirtioSerial } from '../../devices/virtio/serial.ts';
import { VirtioTablet } from '../../devices/virtio/tablet.ts';
import type { VirtioModel } from '../../devices/virtio/virtio.ts';
import type { CharBackend, CharDevice } from '../../src/core/index.ts';
import { MemoryImage } from '../helpers/memory-image.ts';
import {
	type DriverOptions,
	guestErrors,
	PackedDriverQueue,
	SplitDriverQueue,
	VirtioDriver,
} from '../helpers/virtio-driver.ts';
import { Echo } from '../helpers/virtio-echo.ts';

const MEMORY = 1 << 20;
const RUNS = 40;

const terminalSize = { cols: 80, rows: 25 };

/** Sends back what it hears, three bytes at a time. */
function parrot(): CharBackend {
	let device: CharDevice | undefined;
	return {
		write: (bytes) => {
			const some = bytes.slice(0, 3);
			device?.receive(some);
			return some.length;
		},
		size: terminalSize,
		attach: (to) => {
			device = to;
		},
		close: () => {},
	};
}

interface Subject {
	readonly name: string;
	readonly model: () => VirtioModel;
	readonly modernOnly?: boolean;
	/** What the host does meanwhile; `what` is any number below 100. */
	readonly host?: (model: VirtioModel, what: number) => void;
}

const SUBJECTS: readonly Subject[] = [
	{ name: 'echo', model: () => new Echo() },
	{ name: 'rng', model: () => new VirtioRng((into) => void into.fill(0x5a)) },
	{ name: 'blk', model: () => new VirtioBlk({ image: new MemoryImage(1 << 18) }) },
	{
		name: 'serial',
		model: () =>
			new VirtioSerial({
				ports: [
					{ backend: parrot(), console: true },
					{ backend: parrot(), name: 'x' },
				],
			}),
		host: (model, what) => {
			if (!(model instanceof VirtioSerial)) return;
			for (const port of model.ports.values()) {
				port.drained();
				port.receive(new Uint8Array(what * 100));
				// Comes and goes; it is there when the machine is saved and when it is restored.
				if (what % 4 === 0) port.hostOpen(false);
				port.hostOpen(true);
			}
			terminalSize.cols = what;
			model.ports.get(0)?.resized();
		},
	},
	{
		name: 'balloon',
		model: () => new VirtioBalloon({ deflateOnOom: true, freePageReporting: true, freePageHint: true }),
		host: (model, what) => {
			if (!(model instanceof VirtioBalloon)) return;
			model.pollingInterval = what % 3;
			model.target = (MEMORY / 100) * what;
			model.hintFreePages(() => {});
		},
	},
	{
		name: 'tablet',
		model: () => new VirtioTablet(),
		modernOnly: true,
		host: (model, what) => {
			if (model instanceof VirtioTablet) model.position(what, 5, 100, 100, what & 1, what & 7);
		},
	},
	{
		name: 'keyboard',
		model: () => new VirtioKeyboard(),
		modernOnly: true,
		host: (model) => {
			if (model instanceof VirtioKeyboard) model.scancodes(Uint8Array.of(0x1e, 0x9e));
		},
	},
];

const KINDS: readonly (DriverOptions & { readonly kind: string })[] = [
	{ kind: 'modern, split' },
	{ kind: 'modern, packed', packed: true },
	{ kind: 'legacy', legacy: true },
];

/** Mostly where something is: rings, tables, small buffers; sometimes anywhere. */
const address = fc.oneof(
	{ weight: 6, arbitrary: fc.nat(0xffff).map((n) => n * 16) },
	{ weight: 2, arbitrary: fc.nat(MEMORY - 1) },
	{ weight: 1, arbitrary: fc.constantFrom(0, MEMORY - 1, MEMORY, 2 ** 32 - 16, 2 ** 32, 2 ** 53, 2 ** 63) },
);
const length = fc.oneof(
	{ weight: 6, arbitrary: fc.constantFrom(1, 4, 8, 16, 17, 32, 512, 4096) },
	{ weight: 1, arbitrary: fc.constantFrom(0, MEMORY, 0x7fffffff, 0xffffffff) },
	{ weight: 1, arbitrary: fc.nat(0xffffffff) },
);
const descriptor = fc.record({
	address,
	length,
	flags: fc.oneof(
		{ weight: 8, arbitrary: fc.constantFrom(0, 1, 2, 3, 4, 5) },
		{ weight: 1, arbitrary: fc.nat(0xffff) },
	),
	next: fc.oneof({ weight: 8, arbitrary: fc.nat(9) }, { weight: 1, arbitrary: fc.nat(0xffff) }),
});
const queueNumber = fc.oneof({ weight: 8, arbitrary: fc.nat(5) }, { weight: 1, arbitrary: fc.nat(70) });
const pciValue = fc.oneof(fc.constantFrom(0, 1, 2, 4, 0x14, 0x1000, 0x2000, 0x3004), fc.nat(0xffffffff));
const step = fc.oneof(
	/** An honest request, which a hostile one may follow. */
	fc.record({ kind: fc.constant('request' as const), n: queueNumber, fill: fc.nat(0xff), indirect: fc.boolean() }),
	/** Any chain, as a chain. */
	fc.record({
		kind: fc.constant('chain' as const),
		n: queueNumber,
		chain: fc.array(descriptor, { minLength: 1, maxLength: 5 }),
	}),
	/** A table somewhere in memory, and entries of the ring as they are. */
	fc.record({ kind: fc.constant('table' as const), at: address, entries: fc.array(descriptor, { maxLength: 6 }) }),
	fc.record({ kind: fc.constant('entry' as const), n: queueNumber, index: fc.nat(9), entry: descriptor }),
	fc.record({ kind: fc.constant('publish' as const), n: queueNumber, head: fc.nat(20) }),
	fc.record({ kind: fc.constant('jump' as const), n: queueNumber, to: fc.nat(0xffff) }),
	fc.record({ kind: fc.constant('scribble' as const), at: address, value: fc.nat(0xffffffff) }),
	fc.record({ kind: fc.constant('kick' as const), n: queueNumber }),
	fc.record({ kind: fc.constant('host' as const), what: fc.nat(99) }),
	fc.record({ kind: fc.constant('time' as const), ms: fc.nat(2000) }),
	fc.record({ kind: fc.constant('config' as const), at: fc.nat(64), width: fc.constantFrom(1, 2, 4), value: fc.nat() }),
	fc.record({
		kind: fc.constant('register' as const),
		at: fc.nat(0x40),
		width: fc.constantFrom(1, 2, 4),
		value: fc.nat(),
	}),
	/** Anywhere in BAR 4, and in configuration space behind the header: the window to BAR 4 lies there. */
	fc.record({
		kind: fc.constant('mmio' as const),
		at: fc.nat(0x3fff),
		width: fc.constantFrom(1, 2, 4),
		value: fc.nat(),
	}),
	fc.record({ kind: fc.constant('pci' as const), at: fc.integer({ min: 0x40, max: 0xff }), value: pciValue }),
	fc.record({ kind: fc.constant('save' as const) }),
	fc.record({ kind: fc.constant('restart' as const) }),
);
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

function writeTable(
	driver: VirtioDriver,
	at: number,
	entries: readonly { address: number; length: number; flags: number; next: number }[],
): void {
	const { dma } = driver.arena;
	for (const [i, entry] of entries.entries()) {
		const to = at + 16 * i;
		if (to + 16 > MEMORY) return;
		dma.write32(to, entry.address % 2 ** 32);
		dma.write32(to + 4, Math.floor(entry.address / 2 ** 32) % 2 ** 32);
		dma.write32(to + 8, entry.length);
		dma.write16(to + (driver.packed ? 14 : 12), entry.flags);
		dma.write16(to + (driver.packed ? 12 : 14), entry.next);
	}
}

function perform(driver: VirtioDriver, subject: Subject, s: Step, model: () => VirtioModel): void {
	const { dma } = driver.arena;
	const queue = 'n' in s && s.n < driver.numQueues ? driver.queue(s.n) : undefined;
	switch (s.kind) {
		case 'request':
			// The test's own ring may be full: nothing comes back from a device that has stopped.
			if (queue && queue.room >= 4)
				queue.add({
					out: [new Uint8Array(16).fill(s.fill & 15), new Uint8Array(8)],
					in: [512, 1],
					indirect: s.indirect,
				});
			if (queue) driver.kick(s.n);
			break;
		case 'chain':
			if (queue && queue.room >= s.chain.length) queue.offer(s.chain);
			if (queue) driver.kick(s.n);
			break;
		case 'table':
			writeTable(driver, s.at, s.entries);
			break;
		case 'entry':
			if (queue instanceof SplitDriverQueue || queue instanceof PackedDriverQueue)
				if (s.index < queue.size)
					queue.write(s.index, { ...s.entry, flags: s.entry.flags | (driver.packed ? 0x80 : 0) });
			break;
		case 'publish':
			if (queue instanceof SplitDriverQueue) queue.publish(s.head);
			break;
		case 'jump':
			if (queue instanceof SplitDriverQueue) queue.setAvailIndex(s.to);
			break;
		case 'scribble':
			if (s.at + 4 <= MEMORY) dma.write32(s.at, s.value);
			break;
		case 'kick':
			if (driver.legacy) driver.legacyWrite(0x10, 2, s.n);
			else driver.write(2, s.n * 4, 2, s.n);
			driver.settle();
			break;
		case 'host':
			subject.host?.(driver.device.model, s.what);
			driver.settle();
			break;
		case 'time':
			driver.board.host.advance(s.ms * 1e6);
			break;
		case 'config':
			driver.writeConfig(s.at, s.width as 1 | 2 | 4, s.value);
			driver.readConfig(s.at, s.width as 1 | 2 | 4);
			break;
		case 'register':
			if (driver.legacy) {
				driver.legacyWrite(s.at % 0x14, s.width as 1 | 2 | 4, s.value);
				driver.legacyRead(s.at % 0x14, s.width as 1 | 2 | 4);
			} else {
				driver.write(1, s.at, s.width as 1 | 2 | 4, s.value);
				driver.read(1, s.at, s.width as 1 | 2 | 4);
			}
			driver.settle();
			break;
		case 'mmio':
			if (driver.legacy) break;
			driver.mmioWrite(s.at, s.width as 1 | 2 | 4, s.value);
			driver.mmioRead(s.at, s.width as 1 | 2 | 4);
			driver.settle();
			break;
		case 'pci':
			driver.configWrite(s.at & ~3, 4, s.value);
			driver.configRead(s.at & ~3, 4);
			driver.settle();
			break;
		case 'save': {
			const saved = driver.migrate(model());
			const again = driver.device.save();
			if (JSON.stringify(again, replacer) !== JSON.stringify(saved, replacer))
				throw new Error(`saved ${JSON.stringify(saved, replacer)}, restored ${JSON.stringify(again, replacer)}`);
			driver.settle();
			break;
		}
		case 'restart':
			driver.configWrite(4, 2, 7);
			driver.start();
			break;
	}
}

/** What may reset the device, so that it can stop once more. */
const RESETS: ReadonlySet<Step['kind']> = new Set(['restart', 'register', 'mmio', 'pci']);
const replacer = (_: string, value: unknown) => (typeof value === 'bigint' ? `${value}n` : value);

for (const subject of SUBJECTS)
	for (const options of KINDS) {
		if (options.legacy && subject.modernOnly) continue;
		test(`${subject.name}, ${options.kind}: whatever its driver does`, (t) => {
			const result = fc.check(
				fc.property(fc.array(step, { minLength: 5, maxLength: 60 }), (steps) => {
					const driver = new VirtioDriver(subject.model(), { memory: MEMORY, ...options });
					driver.start();
					let restarts = 1;
					const log = guestErrors(() => {
						for (const s of steps) {
							if (RESETS.has(s.kind)) restarts++;
							perform(driver, subject, s, subject.model);
						}
					});
					const stops = log.filter((line) => line.includes('waits for a reset')).length;
					if (stops > restarts) throw new Error(`stopped ${stops} times in ${restarts} lives: ${log.join('\n')}`);
					driver.assign();
					driver.start();
					if (driver.status & 64) throw new Error('a reset did not heal the device');
				}),
				{ numRuns: RUNS, endOnFailure: true },
			);
			t.false(result.failed, `seed ${result.seed}: ${result.errorInstance}\n${fc.defaultReportMessage(result)}`);
		});
	}
