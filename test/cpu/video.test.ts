import test, { type ExecutionContext } from 'ava';
import fc from 'fast-check';
import type { CpuBackend } from '../../src/cpu/backend.ts';
import { createV86 } from '../../src/cpu/v86/index.ts';
import {
	code,
	EAX,
	ECX,
	EDI,
	EDX,
	ESI,
	fillLoop,
	hlt,
	le32,
	load,
	load8,
	loadQ,
	loadXmm,
	mov,
	repMovsd,
	repStosd,
	run,
	store,
	store8,
	store16,
	store32,
	storeQ,
	storeXmm,
	sumLoop,
} from '../helpers/asm.ts';

const PAGE = 4096;
const BAR = 0xe0000000;
const MOVED = 0xd8000000;
const RESULT = 0x20000;

const machine = (fastVideo: boolean) =>
	createV86({ memory: 1 << 20, videoMemory: 1 << 20, time: 'virtual', fastVideo });

/** The pages that the guest wrote since the last call. */
function dirty(memory: ReturnType<CpuBackend['allocateVideo']>): number[] {
	const pages = new Uint8Array(memory.size / PAGE);
	const count = memory.takeDirty(0, pages);
	const list = [...pages.keys()].filter((page) => pages[page] === 1);
	if (list.length !== count) throw new Error(`takeDirty says ${count}, fills in ${list.length}`);
	return list;
}

/** The same test with entries turned and with every access in a callback. */
function both(title: string, body: (cpu: CpuBackend, t: ExecutionContext) => void): void {
	for (const fast of [true, false]) {
		test(`${title}, ${fast ? 'fast' : 'by callback'}`, async (t) => {
			const cpu = await machine(fast);
			t.is(cpu.fastVideo, fast);
			body(cpu, t);
		});
	}
}

both('every width arrives, and only written pages are dirty', (cpu, t) => {
	const memory = cpu.allocateVideo(16 * PAGE);
	cpu.mmio.mapVideo(BAR, memory, 0, memory.size);
	const source = 0x30000;
	cpu.dma.write(
		source,
		Uint8Array.from({ length: 16 }, (_, i) => i + 1),
	);
	run(
		cpu,
		code(
			...[load(BAR + 2 * PAGE), store(RESULT)],
			...[store8(BAR, 0x11), store8(BAR + 1, 0x22), store16(BAR + 2, 0x3344), store32(BAR + 4, 0x55667788)],
			...[loadQ(source), storeQ(BAR + 4 * PAGE + 8), loadXmm(source), storeXmm(BAR + 6 * PAGE + 16)],
			...[load(BAR), store(RESULT + 4), loadXmm(BAR + 6 * PAGE + 16), storeXmm(RESULT + 16)],
			hlt,
		),
	);
	const bytes = memory.bytes();
	t.deepEqual([...bytes.subarray(0, 8)], [0x11, 0x22, 0x44, 0x33, 0x88, 0x77, 0x66, 0x55]);
	t.deepEqual([...bytes.subarray(4 * PAGE + 8, 4 * PAGE + 16)], [1, 2, 3, 4, 5, 6, 7, 8]);
	t.deepEqual(
		[...bytes.subarray(6 * PAGE + 16, 6 * PAGE + 32)],
		Array.from({ length: 16 }, (_, i) => i + 1),
	);
	t.is(cpu.dma.read32(RESULT), 0);
	t.is(cpu.dma.read32(RESULT + 4), 0x33442211);
	t.is(cpu.dma.read32(RESULT + 28), 0x100f0e0d);
	t.deepEqual(dirty(memory), [0, 4, 6]);
	t.deepEqual(dirty(memory), []);
});

/** `takeDirty` is the instruction at which the host looks; what it sees goes to `seen`. */
function looking(cpu: CpuBackend, memory: ReturnType<CpuBackend['allocateVideo']>) {
	const seen: number[][] = [];
	cpu.ports.map(0x90, 1, { write8: () => seen.push(dirty(memory)) });
	return { seen, takeDirty: [0xe6, 0x90] }; // out 90h, al
}

both('writes after takeDirty are seen again, through entries that are already there', (cpu, t) => {
	const memory = cpu.allocateVideo(16 * PAGE);
	cpu.mmio.mapVideo(BAR, memory, 0, memory.size);
	const { seen, takeDirty } = looking(cpu, memory);
	const round = (n: number) => [store32(BAR + n * PAGE, n + 1), store32(BAR + 9 * PAGE + 4 * n, n), takeDirty];
	run(cpu, code(load(BAR), load(BAR + 9 * PAGE), ...round(0), ...round(1), takeDirty, ...round(0), ...round(2), hlt));
	t.deepEqual(seen, [[0, 9], [1, 9], [], [0, 9], [2, 9]]);
	t.is(memory.bytes()[2 * PAGE], 3);
	t.deepEqual([...new Uint32Array(memory.bytes().slice(9 * PAGE, 9 * PAGE + 12).buffer)], [0, 1, 2]);
});

both('a translated loop is caught by takeDirty in every turn', (cpu, t) => {
	const memory = cpu.allocateVideo(16 * PAGE);
	cpu.mmio.mapVideo(BAR, memory, 0, memory.size);
	const { seen, takeDirty } = looking(cpu, memory);
	const loop = [
		...[0x89, 0x0d, ...le32(BAR + 3 * PAGE)], // mov [BAR + 3 pages], ecx
		...[0x01, 0x0d, ...le32(BAR + 4 * PAGE)], // add [BAR + 4 pages], ecx
		...takeDirty,
		0x49, // dec ecx
	];
	const turns = 60000;
	run(cpu, code(mov(ECX, turns), loop, [0x75, 0x100 - loop.length - 2], hlt));
	t.is(seen.length, turns);
	t.true(seen.every((pages) => pages.join() === '3,4'));
	t.is(new DataView(memory.bytes().slice().buffer).getUint32(4 * PAGE, true), (turns * (turns + 1)) / 2);
});

both('takeDirty takes only the pages it is asked for', (cpu, t) => {
	const memory = cpu.allocateVideo(16 * PAGE);
	cpu.mmio.mapVideo(BAR, memory, 0, memory.size);
	const program = code(store32(BAR + PAGE, 1), store32(BAR + 5 * PAGE, 1), hlt);
	run(cpu, program);
	const two = new Uint8Array(2);
	t.is(memory.takeDirty(4, two), 1);
	t.deepEqual([...two], [0, 1]);
	t.deepEqual(dirty(memory), [1]);
	t.throws(() => memory.takeDirty(15, two), { instanceOf: RangeError });
	t.throws(() => memory.takeDirty(-1, two), { instanceOf: RangeError });
});

both('an access across two pages marks both', (cpu, t) => {
	const memory = cpu.allocateVideo(16 * PAGE);
	cpu.mmio.mapVideo(BAR, memory, 0, memory.size);
	run(cpu, code(store32(BAR + 3 * PAGE - 1, 0x44332211), load(BAR + 3 * PAGE - 1), store(RESULT), hlt));
	t.deepEqual([...memory.bytes().subarray(3 * PAGE - 1, 3 * PAGE + 3)], [0x11, 0x22, 0x33, 0x44]);
	t.is(cpu.dma.read32(RESULT), 0x44332211);
	t.deepEqual(dirty(memory), [2, 3]);
});

both('loops and string instructions, translated and not', (cpu, t) => {
	const memory = cpu.allocateVideo(0x40000);
	cpu.mmio.mapVideo(BAR, memory, 0, memory.size);
	const words = memory.size / 4;
	for (let round = 1; round <= 8; round++) {
		run(cpu, code(mov(EAX, round), mov(ECX, words), mov(EDI, BAR), fillLoop, hlt));
		t.is(dirty(memory).length, memory.size / PAGE);
		t.true(new Uint32Array(memory.bytes().slice().buffer).every((word) => word === round));
		run(cpu, code(mov(EDX, 0), mov(ECX, words), mov(ESI, BAR), sumLoop, hlt));
		t.is(cpu.registers().general.edx, (round * words) >>> 0);
		t.deepEqual(dirty(memory), []);
		run(cpu, code(mov(EAX, ~round), mov(ECX, words / 2), mov(EDI, BAR), repStosd, hlt));
		t.is(dirty(memory).length, memory.size / PAGE / 2);
		run(cpu, code(mov(ECX, words / 2), mov(ESI, BAR), mov(EDI, BAR + memory.size / 2), repMovsd, hlt));
		t.is(dirty(memory).length, memory.size / PAGE / 2);
		t.true(new Int32Array(memory.bytes().slice().buffer).every((word) => word === ~round));
	}
});

both('a window that moves is seen at its new place only', (cpu, t) => {
	const memory = cpu.allocateVideo(16 * PAGE);
	const first = cpu.mmio.mapVideo(BAR, memory, 0, memory.size);
	run(cpu, code(store32(BAR + PAGE, 0x1111), load(BAR + 2 * PAGE), hlt));
	first.unmap();
	const second = cpu.mmio.mapVideo(MOVED, memory, PAGE, PAGE);
	run(
		cpu,
		code(
			...[load(BAR + PAGE), store(RESULT), store32(BAR + PAGE, 0x2222), load(MOVED), store(RESULT + 4)],
			...[store32(MOVED + 4, 0x3333), load(MOVED + PAGE), store(RESULT + 8), hlt],
		),
	);
	t.is(cpu.dma.read32(RESULT), 0xffffffff);
	t.is(cpu.dma.read32(RESULT + 4), 0x1111);
	t.is(cpu.dma.read32(RESULT + 8), 0xffffffff);
	t.is(memory.bytes()[PAGE], 0x11);
	t.is(memory.bytes()[PAGE + 4], 0x33);
	t.deepEqual(dirty(memory), [1]);
	second.unmap();
	run(cpu, code(store32(MOVED, 0x4444), hlt));
	t.deepEqual(dirty(memory), []);
});

both('moving it from a port handler works in the middle of a loop', (cpu, t) => {
	const memory = cpu.allocateVideo(PAGE);
	let mapping = cpu.mmio.mapVideo(BAR, memory, 0, PAGE);
	cpu.ports.map(0x80, 1, {
		write8: (_offset, value) => {
			mapping.unmap();
			mapping = cpu.mmio.mapVideo(value & 1 ? MOVED : BAR, memory, 0, PAGE);
		},
	});
	// Each turn writes the counter to both places and sends it to the port: only one of the writes may arrive.
	const turns = 3000;
	const loop = [
		...[0x89, 0x0d, ...le32(BAR)], // mov [BAR], ecx
		...[0xf7, 0xd1], // not ecx
		...[0x89, 0x0d, ...le32(MOVED + 4)], // mov [MOVED + 4], ecx
		...[0xf7, 0xd1], // not ecx
		...[0x89, 0xc8, 0xe6, 0x80], // mov eax, ecx; out 80h, al
		0x49, // dec ecx
	];
	run(cpu, code(mov(ECX, turns), loop, [0x75, 0x100 - loop.length - 2], hlt));
	const words = new DataView(memory.bytes().slice().buffer);
	// The port was last odd at ECX = 1, so the last value at the old place was written while it was mapped there.
	t.is(words.getUint32(0, true), 1);
	t.is(~words.getUint32(4, true), 2);
});

both('two windows on one memory, and a device on top of one', (cpu, t) => {
	const memory = cpu.allocateVideo(4 * PAGE);
	cpu.mmio.mapVideo(BAR, memory, 0, memory.size);
	cpu.mmio.mapVideo(0xa0000, memory, PAGE, PAGE);
	const writes: number[] = [];
	const cover = cpu.mmio.map(BAR + 2 * PAGE + 16, 16, { read32: () => 0x77, write32: (offset) => writes.push(offset) });
	const program = code(
		...[store32(0xa0000, 0x1234), load(BAR + PAGE), store(RESULT)],
		...[store32(BAR + 2 * PAGE, 1), store32(BAR + 2 * PAGE + 20, 2), load(BAR + 2 * PAGE + 16), store(RESULT + 4), hlt],
	);
	run(cpu, program);
	t.is(cpu.dma.read32(RESULT), 0x1234);
	t.is(cpu.dma.read32(RESULT + 4), 0x77);
	t.deepEqual(writes, [4]);
	t.is(memory.bytes()[2 * PAGE + 20], 0);
	t.deepEqual(dirty(memory), [1, 2]);
	cover.unmap();
	run(cpu, program);
	t.is(memory.bytes()[2 * PAGE + 20], 2);
	t.is(cpu.dma.read32(RESULT + 4), 0);
});

both('with paging, two virtual pages on one video page are both tracked', (cpu, t) => {
	const memory = cpu.allocateVideo(4 * PAGE);
	cpu.mmio.mapVideo(BAR, memory, 0, memory.size);
	// 4 MiB pages: the first maps RAM one to one, entries 2 and 3 both lead to the BAR.
	const directory = 0x40000;
	cpu.dma.write(directory, new Uint8Array(PAGE));
	const big = 0x83;
	cpu.dma.write32(directory, big);
	cpu.dma.write32(directory + 8, BAR | big);
	cpu.dma.write32(directory + 12, BAR | big);
	const [one, two] = [2 << 22, 3 << 22];
	const paging = [
		...[0x0f, 0x20, 0xe0, 0x83, 0xc8, 0x10, 0x0f, 0x22, 0xe0], // mov eax, cr4; or eax, PSE; mov cr4, eax
		...mov(EAX, directory),
		...[0x0f, 0x22, 0xd8], // mov cr3, eax
		...[0x0f, 0x20, 0xc0, 0x0d, 0, 0, 0, 0x80, 0x0f, 0x22, 0xc0], // mov eax, cr0; or eax, PG; mov cr0, eax
	];
	const { seen, takeDirty } = looking(cpu, memory);
	run(
		cpu,
		code(
			...[paging, store32(one, 1), load(two), store(RESULT), load(one + PAGE), takeDirty],
			...[store32(two + 4, 2), takeDirty],
			...[store32(one + 8, 3), load(two + 4), store(RESULT + 4), takeDirty, hlt],
		),
	);
	t.is(cpu.dma.read32(RESULT), 1);
	t.deepEqual(seen, [[0], [0], [0]]);
	t.is(cpu.dma.read32(RESULT + 4), 2);
	t.is(memory.bytes()[8], 3);
});

both('pieces are separate, zeroed, and used up at some time', (cpu, t) => {
	const one = cpu.allocateVideo(0x10000);
	const two = cpu.allocateVideo(0x8000);
	t.true(one.bytes().every((byte) => byte === 0));
	cpu.mmio.mapVideo(BAR, two, 0, two.size);
	run(cpu, code(store32(BAR, 1), hlt));
	t.true(one.bytes().every((byte) => byte === 0));
	t.deepEqual(dirty(one), []);
	t.deepEqual(dirty(two), [0]);
	t.throws(() => cpu.allocateVideo(1 << 20), { instanceOf: RangeError });
	t.throws(() => cpu.mmio.mapVideo(BAR, one, PAGE, one.size), { instanceOf: RangeError });
});

test('random programs leave the same bytes and dirty pages in both ways', async (t) => {
	const pair = await Promise.all([machine(true), machine(false)]);
	const memories = pair.map((cpu) => {
		const memory = cpu.allocateVideo(8 * PAGE);
		cpu.mmio.mapVideo(BAR, memory, 0, memory.size);
		return memory;
	});
	const looks = pair.map((cpu, i) => looking(cpu, memories[i]));
	const at = fc.nat(8 * PAGE - 16);
	const instruction = fc.oneof(
		fc.tuple(at, fc.nat(0xff)).map(([offset, value]) => store8(BAR + offset, value)),
		fc.tuple(at, fc.nat(0xffff)).map(([offset, value]) => store16(BAR + offset, value)),
		fc.tuple(at, fc.integer()).map(([offset, value]) => store32(BAR + offset, value)),
		at.map((offset) => load(BAR + offset)),
		at.map((offset) => load8(BAR + offset)),
		at.map((offset) => store(BAR + offset)),
		at.map((offset) => storeXmm(BAR + offset)),
		at.map((offset) => loadXmm(BAR + offset)),
		// add [address], eax: a read and a write in one
		at.map((offset) => [0x01, 0x05, ...le32(BAR + offset)]),
		fc.constant(looks[0].takeDirty),
		// xchg [address], eax
		at.map((offset) => [0x87, 0x05, ...le32(BAR + offset)]),
	);
	fc.assert(
		fc.property(fc.array(instruction, { minLength: 1, maxLength: 30 }), (instructions) => {
			const [fast, slow] = pair.map((cpu, i) => {
				run(cpu, code(...instructions, hlt));
				return {
					dirty: [...looks[i].seen.splice(0), dirty(memories[i])],
					eax: cpu.registers().general.eax,
					bytes: memories[i].bytes().slice(),
				};
			});
			t.deepEqual(fast.dirty, slow.dirty);
			t.is(fast.eax, slow.eax);
			t.deepEqual(Buffer.compare(fast.bytes, slow.bytes), 0);
		}),
		{ numRuns: 200 },
	);
});
