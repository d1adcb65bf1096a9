/**
 * The whole board under a guest that does anything: random accesses to every port and register, random bytes in RAM and
 * video memory, time passing in between. No exception, no endless work, no access outside guest memory (the fakes throw
 * on one); and what was saved is what is restored.
 */
import test from 'ava';
import fc from 'fast-check';
import type { DeviceState } from '../../src/core/index.ts';
import type { CpuBackend } from '../../src/cpu/backend.ts';
import type { Board } from '../../src/machine/board.ts';
import { FakeBoard, FakeVideoMemory } from '../helpers/board.ts';
import { wholeBoard } from '../helpers/whole-board.ts';

const MEMORY = 4 << 20;
const MS = 1e6;

interface Rig {
	readonly board: Board;
	readonly fake: FakeBoard;
	readonly video: readonly FakeVideoMemory[];
}

function rig(): Rig {
	const fake = new FakeBoard({ memory: MEMORY });
	const video: FakeVideoMemory[] = [];
	const saved: DeviceState = { version: 1 };
	const core = {
		clock: fake.host.clock,
		dma: fake.host.dma,
		defer: (work: () => void) => fake.host.defer(work),
		overdue: false,
		spent: (bytes: number) => fake.host.spent(bytes),
		again: () => fake.host.again(),
		ports: fake.ports,
		mmio: fake.mmio,
		irq: (line: number) => fake.irqs[line],
		allocateVideo: (size: number) => {
			const memory = new FakeVideoMemory(size);
			video.push(memory);
			return memory;
		},
		reset: () => {},
		save: () => saved,
		restore: () => {},
	};
	const board = wholeBoard(core as unknown as CpuBackend, MEMORY);
	return { board, fake, video };
}

const value = fc.oneof(fc.nat(0xff), fc.nat(0xffffffff), fc.constantFrom(0, 0xffff, 0xffffffff));
const width = fc.constantFrom(8, 16, 32);
/** Long enough for the longest count of a timer; not often, because the shortest one then ends 70 000 times. */
const seldom = { weight: 1, arbitrary: fc.nat(60 * MS) };
/** Ports that something answers at, more often than not: most of the rest is empty. */
const step = fc.oneof(
	fc.record({ kind: fc.constant('in' as const), where: fc.nat(), width }),
	fc.record({ kind: fc.constant('out' as const), where: fc.nat(), width, value }),
	fc.record({ kind: fc.constant('load' as const), where: fc.nat(), width }),
	fc.record({ kind: fc.constant('store' as const), where: fc.nat(), width, value }),
	fc.record({ kind: fc.constant('config' as const), where: fc.nat(0xffffff), value }),
	fc.record({ kind: fc.constant('scribble' as const), where: fc.nat(), value }),
	fc.record({ kind: fc.constant('time' as const), value: fc.oneof({ weight: 30, arbitrary: fc.nat(2 * MS) }, seldom) }),
);

/** The address that `where` stands for: spread evenly over what is mapped. */
function place(ranges: readonly { readonly base: number; readonly size: number }[], where: number): number {
	const range = ranges[where % ranges.length];
	return range.base + (Math.floor(where / ranges.length) % Math.min(range.size, 1 << 16));
}

function perform({ fake, video }: Rig, s: typeof step extends fc.Arbitrary<infer T> ? T : never): void {
	const { ports, mmio, host } = fake;
	switch (s.kind) {
		case 'in':
			ports[`in${s.width as 8}`](place(ports.ranges, s.where));
			break;
		case 'out':
			ports[`out${s.width as 8}`](place(ports.ranges, s.where), s.value);
			break;
		case 'load':
			mmio[`read${s.width as 8}`](place(mmio.ranges.slice(1), s.where));
			break;
		case 'store':
			mmio[`write${s.width as 8}`](place(mmio.ranges.slice(1), s.where), s.value);
			break;
		case 'config':
			ports.out32(0xcf8, (0x80000000 | ((s.where % 24) << 8) | (s.where & 0xfc)) >>> 0);
			ports.out32(0xcfc, s.value);
			break;
		case 'scribble': {
			const memory = video[s.where % video.length];
			new DataView(memory.bytes().buffer).setUint32((s.where * 4) % (memory.size - 4), s.value, true);
			host.dma.write32((s.where * 4) % (MEMORY - 4), s.value);
			break;
		}
		case 'time':
			host.advance(s.value);
			break;
	}
}

test('random ports, registers, configuration space and memory: nothing throws, hangs or leaves guest memory', (t) => {
	const result = fc.check(
		fc.property(fc.array(step, { minLength: 50, maxLength: 400 }), (steps) => {
			const it = rig();
			for (const s of steps) perform(it, s);
			it.fake.host.advance(5 * MS);
			it.board.reset();
			it.fake.host.advance(5 * MS);
		}),
		{ numRuns: 60, endOnFailure: true },
	);
	t.false(result.failed, `seed ${result.seed}: ${fc.defaultReportMessage(result)}`);
	t.log(`seed ${result.seed}`);
});

test('whatever a guest did, the state saved is the state restored', (t) => {
	fc.assert(
		fc.property(fc.array(step, { minLength: 20, maxLength: 200 }), (steps) => {
			const first = rig();
			for (const s of steps) perform(first, s);
			first.fake.host.settle();
			const saved = structuredClone(first.board.save());
			const second = rig();
			second.fake.host.clock.advance(first.fake.host.clock.now());
			second.board.restore(saved);
			t.deepEqual(second.board.save(), saved);
		}),
		{ numRuns: 60 },
	);
});
