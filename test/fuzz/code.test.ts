/**
 * The whole board around the real core under code that breaks the CPU's own tables: descriptor tables, gates, page tables,
 * task registers and return frames of random bytes, in real and protected mode. No exception gets out of a slice; a
 * failure is one line; a triple fault ends with the reset of the board, after which code runs as before.
 */
import test from 'ava';
import fc from 'fast-check';
import { createV86 } from '../../src/cpu/v86/index.ts';
import type { Board } from '../../src/machine/board.ts';
import { code, EAX, hlt, iret, le16, le32, mov, run, withInterrupts } from '../helpers/asm.ts';
import { VIDEO_MEMORY, wholeBoard } from '../helpers/whole-board.ts';

const MEMORY = 4 << 20;
const START = 0x10000;
/** Of random bytes: what tables point to, and where a table register's image stands. */
const TABLES = 0x3000;
const TABLES_SIZE = 0x4000;
/** What follows reset in real mode: a jump to the code below the top of the first MiB. */
const ENTRY = 0xffff0;
const REAL_START = 0xffe00;

/**
 * Without REP: over RAM a string of 4 GiB cannot be interrupted, and holds the process for tens of seconds (docs/cpu.md).
 */
const withoutRep = (bytes: readonly number[]) =>
	bytes.map((value) => (value === 0xf2 || value === 0xf3 ? 0x90 : value));
const byte = fc.nat(0xff);
const address = fc.oneof(
	fc.nat(MEMORY),
	fc.constantFrom(0, 0x500, 0x600, TABLES, 0xf0000000, 0xfffffff0),
	fc.nat(0xffffffff),
);
const selector = fc.oneof(fc.constantFrom(0, 8, 0x10, 3, 4, 0xb, 0x13, 0x80), fc.nat(0xffff));
const push = (value: number) => [0x68, ...le32(value)];
const image = (register: number) => (limit: number) => [
	0x0f,
	0x01,
	0x05 | (register << 3),
	...le32(TABLES + (limit & 0xffc)),
];

/** Instructions, written for 32-bit code; in real mode they are others, as good as any. */
const piece = fc.oneof(
	fc.array(byte, { minLength: 1, maxLength: 5 }),
	fc.nat(0xff).map((vector) => [0xcd, vector]),
	fc.nat(TABLES_SIZE).map(image(2)), // lgdt
	fc.nat(TABLES_SIZE).map(image(3)), // lidt
	fc
		.tuple(
			fc.constantFrom(0, 3, 4),
			fc.oneof(fc.nat(0xffffffff), fc.constantFrom(0x80000011, 0x10, 0x20, 0x30, TABLES)),
		)
		.map(([register, value]) => [...mov(EAX, value), 0x0f, 0x22, 0xc0 | (register << 3)]),
	fc.tuple(selector, fc.nat(5)).map(([value, segment]) => [...mov(EAX, value), 0x8e, 0xc0 | (segment << 3)]),
	fc.tuple(selector, fc.constantFrom(0xd0, 0xd8)).map(([value, which]) => [...mov(EAX, value), 0x0f, 0x00, which]), // lldt, ltr
	fc
		.tuple(fc.nat(0xffffffff), selector, address)
		.map(([flags, cs, eip]) => [...push(flags), ...push(cs), ...push(eip), ...iret]),
	fc.tuple(selector, address).map(([cs, eip]) => [0xea, ...le32(eip), ...le16(cs)]),
	fc.tuple(selector, address).map(([cs, eip]) => [0x9a, ...le32(eip), ...le16(cs)]),
	fc.tuple(selector, address).map(([cs, eip]) => [...push(cs), ...push(eip), 0xcb]),
	fc.nat(0xffffffff).map((flags) => [...push(flags), 0x9d]), // popf
	address.map((to) => [0xbc, ...le32(to)]), // mov esp
	address.map((at) => [0xa1, ...le32(at)]),
	address.map((at) => [0xa3, ...le32(at)]),
	fc.constantFrom([0xfb], [0x0f, 0x30], [0x0f, 0xa2], [0x0f, 0x0b], [0xf4], [0x9b], [0x0f, 0x34], [0x0f, 0x35], [0xf1]),
);
const program = fc.record({
	real: fc.boolean(),
	pieces: fc.array(piece, { minLength: 1, maxLength: 40 }),
	tables: fc
		.infiniteStream(fc.oneof(byte, fc.constantFrom(0, 0x89, 0x8e, 0x85, 0x9b, 0x93, 0xff, 0x87, 0x67)))
		.map((stream) => Uint8Array.from(withoutRep([...stream.take(256)]))),
});

interface Rig {
	readonly cpu: Awaited<ReturnType<typeof createV86>>;
	readonly board: Board;
	readonly failures: string[];
}

async function rig(): Promise<Rig> {
	const cpu = await createV86({ memory: MEMORY, videoMemory: VIDEO_MEMORY, time: 'virtual', fastVideo: true });
	const board = wholeBoard(cpu, MEMORY);
	const failures: string[] = [];
	cpu.onFailure = ({ reason }) => {
		failures.push(reason);
		if (reason === 'triple fault') board.reset();
	};
	return { cpu, board, failures };
}

test('code that breaks the tables of the CPU ends in a line or a reset, never in an exception', async (t) => {
	t.timeout(300_000);
	let machine = await rig();
	let resets = 0;
	await fc.assert(
		fc.asyncProperty(program, async ({ real, pieces, tables }) => {
			const { cpu, board, failures } = machine;
			board.reset();
			cpu.dma.write(0, new Uint8Array(MEMORY));
			for (let at = TABLES; at < TABLES + TABLES_SIZE; at += tables.length) cpu.dma.write(at, tables);
			const bytes = withoutRep(pieces.flat());
			if (real) {
				cpu.dma.write(REAL_START, code(bytes.slice(0, ENTRY - REAL_START)));
				cpu.dma.write(ENTRY, Uint8Array.of(0xe9, ...le16(REAL_START - ENTRY - 3)));
			} else {
				const setUp = withInterrupts(cpu, START, new Map());
				cpu.dma.write(START, code([...setUp], bytes, hlt));
				cpu.startFlat(START, { esp: 0x8000, ecx: 0x100 });
			}
			for (let slice = 0; slice < 4; slice++) cpu.runSlice();
			for (const reason of failures) t.regex(reason, /^[^\r\n]{1,400}$/);
			resets += failures.filter((reason) => reason === 'triple fault').length;
			if (failures.some((reason) => reason !== 'triple fault')) {
				machine = await rig();
				return;
			}
			failures.length = 0;
			board.reset();
			run(cpu, code(mov(EAX, 0x600d), hlt), 0x100000 + START);
			t.is(cpu.registers().general.eax, 0x600d);
			t.deepEqual(failures, []);
		}),
		{ numRuns: 300, endOnFailure: true },
	);
	t.true(resets > 0, 'some of it was a triple fault');
});
