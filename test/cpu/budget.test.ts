/** A slice ends soon, whatever the guest's accesses cost and however many one instruction makes. Counted, not timed. */
import test from 'ava';
import { Deferred } from '../../src/cpu/v86/deferred.ts';
import { createV86 } from '../../src/cpu/v86/index.ts';
import { code, EAX, EBX, ECX, EDI, EDX, ESI, inc, incReg, jmp, mov } from '../helpers/asm.ts';

const START = 0x10000;
const PORT = 0x300;
const MMIO = 0xe000_0000;
const RAM = 0x20000;
/** A millisecond of virtual time is three rounds, and eight repetitions take as long as an instruction. */
const MOST_REPETITIONS = 8 * 3 * 110_000;
const options = { memory: 2 << 20, videoMemory: 1 << 16, fastVideo: true } as const;

/** A guest that runs `program` for ever; `cost` is what each access to port 300h takes, ms. */
async function machine(time: 'real' | 'virtual', program: readonly number[], cost: number) {
	const cpu = await createV86({ ...options, time });
	let accesses = 0;
	const access = () => {
		accesses++;
		for (const end = performance.now() + cost; performance.now() < end; );
		return 0;
	};
	cpu.ports.map(PORT, 4, { read8: access, write8: access, read32: access, write32: access });
	cpu.dma.write(START, code(program, [0xeb, (-program.length - 2) & 0xff]));
	cpu.startFlat(START, { edx: PORT });
	return {
		cpu,
		slice: () => {
			const before = accesses;
			cpu.runSlice();
			return accesses - before;
		},
	};
}

for (const [name, program] of [
	['in al, dx', [0xec]],
	['out dx, eax', [0xef]],
] as const) {
	test(`${name} with accesses of 2 ms each: a slice has some tens of them`, async (t) => {
		const { slice } = await machine('real', program, 2);
		slice();
		const counts = Array.from({ length: 3 }, slice);
		t.true(
			counts.every((count) => count > 0 && count <= 100),
			String(counts),
		);
	});
}

test('an access that says what it moved ends the round by itself', async (t) => {
	for (const time of ['real', 'virtual'] as const) {
		const { cpu, slice } = await machine(time, [0xef], 0);
		cpu.ports.map(PORT, 4, {
			write32: () => {
				for (const end = performance.now() + 2; performance.now() < end; );
				cpu.spent(3 << 20);
			},
		});
		slice();
		const before = cpu.instructions;
		cpu.runSlice();
		t.true(cpu.instructions - before <= 4, `${cpu.instructions - before} instructions, ${time} time`);
	}
});

test('a write to a port is made again as often as the device asks, and once for each time that it does not', async (t) => {
	for (const time of ['real', 'virtual'] as const) {
		const body = [0xee, 0x66, 0xef, ...inc(0x20000), 0x49];
		const program = [...mov(ECX, 300_000), ...body, 0x75, -(body.length + 2) & 0xff];
		const { cpu } = await machine(time, program, 0);
		let bytes = 0;
		let words = 0;
		cpu.ports.map(PORT, 4, {
			write8: () => {
				if (++bytes % 3 !== 0) cpu.again();
			},
			write16: () => {
				if (++words % 2 !== 0) cpu.again();
			},
		});
		while (cpu.dma.read32(0x20000) < 600_000) cpu.runSlice();
		t.true(cpu.dma.read32(0x20000) <= bytes / 3 && bytes / 3 <= cpu.dma.read32(0x20000) + 1);
		t.true(Math.abs(words / 2 - bytes / 3) <= 1);
	}
});

for (const [name, opcode] of [
	['rep insb', 0x6c],
	['rep outsb', 0x6e],
] as const) {
	test(`${name} of 4 GiB goes on over many slices`, async (t) => {
		const program = [...mov(ECX, 0xffff_ffff), ...mov(EDI, 0x20000), ...mov(ESI, 0), ...mov(EDX, PORT), 0xf3, opcode];
		const { cpu, slice } = await machine('real', program, 0);
		cpu.onFailure = ({ reason }) => t.fail(reason);
		slice();
		const counts = Array.from({ length: 20 }, slice);
		t.true(
			counts.every((count) => count > 0 && count < 4_000_000),
			String(counts),
		);
	});
}

for (const [name, opcode, registers] of [
	['rep stosb over registers', [0xf3, 0xaa], { edi: MMIO }],
	['rep movsd over registers', [0xf3, 0xa5], { edi: MMIO, esi: MMIO }],
	['rep lodsb over registers', [0xf3, 0xac], { esi: MMIO }],
	['repnz scasb over registers', [0xf2, 0xae], { eax: 1, edi: MMIO }],
	['rep cmpsb over registers', [0xf3, 0xa6], { edi: MMIO, esi: MMIO }],
] as const) {
	test(`${name}, of 4 GiB, goes on over many slices`, async (t) => {
		const { cpu } = await machine('real', opcode, 0);
		cpu.onFailure = ({ reason }) => t.fail(reason);
		let accesses = 0;
		const read = () => {
			accesses++;
			return 0;
		};
		cpu.mmio.map(MMIO, 0x1000_0000, { read8: read, read32: read, write8: read, write32: read });
		cpu.startFlat(START, { ecx: 0xffff_ffff, ...registers });
		for (let i = 0; i < 20; i++) {
			const before = accesses;
			cpu.runSlice();
			t.true(accesses > before && accesses - before < 1_000_000, `${accesses - before} accesses`);
		}
	});
}

for (const [name, opcode, registers] of [
	['rep stosd', [0xf3, 0xab], { edi: RAM }],
	['rep movsb', [0xf3, 0xa4], { esi: RAM, edi: RAM + 0x10_0000 }],
	['rep movsb where each byte is the one before', [0xf3, 0xa4], { esi: RAM, edi: RAM + 1 }],
	['rep stosd across pages', [0xf3, 0xab], { edi: RAM + 1 }],
	['rep lodsw', [0xf3, 0x66, 0xad], { esi: RAM }],
] as const) {
	test(`${name}: a round moves no more than some megabytes`, async (t) => {
		const { cpu } = await machine('virtual', opcode, 0);
		const ecx = 0x4_0000;
		const { esi, edi } = { esi: 0, edi: 0, ...registers };
		const program = [...mov(ECX, ecx), ...mov(ESI, esi), ...mov(EDI, edi), ...opcode, ...incReg(EBX)];
		cpu.dma.write(START, code(program, jmp(START + program.length, START)));
		cpu.startFlat(START);
		let before = 0;
		for (let i = 0; i < 8; i++) {
			cpu.runSlice();
			const { general } = cpu.registers();
			const done = general.ebx * ecx + (ecx - general.ecx);
			t.true(done > before && done - before <= MOST_REPETITIONS, `${done - before} repetitions`);
			before = done;
		}
	});
}

test('deferred work is done for a millisecond at each safe place, in its order, and none is lost', (t) => {
	const deferred = new Deferred({ caught: (_, error) => t.fail(String(error)) }, true);
	const done: number[] = [];
	const busy = (n: number) => () => {
		for (const end = performance.now() + 0.4; performance.now() < end; );
		done.push(n);
		if (n < 10) deferred.add(() => done.push(100 + n));
	};
	for (let n = 0; n < 20; n++) deferred.add(busy(n));
	let runs = 0;
	for (; deferred.waiting; runs++) {
		const before = done.length;
		deferred.run();
		t.true(done.length > before);
		if (done.length < 20) t.true(done.length - before <= 3, String(done));
	}
	t.true(runs >= 7, String(runs));
	t.deepEqual(done, [...Array.from({ length: 20 }, (_, n) => n), ...Array.from({ length: 10 }, (_, n) => 100 + n)]);
});

test('deferred work of virtual time is counted, not timed', (t) => {
	const deferred = new Deferred({ caught: (_, error) => t.fail(String(error)) }, false);
	let done = 0;
	const slow = () => {
		for (const end = performance.now() + 0.1; performance.now() < end; );
		done++;
	};
	for (let n = 0; n < 130; n++) deferred.add(slow);
	for (const total of [64, 128, 130]) {
		deferred.run();
		t.is(done, total);
	}
	t.false(deferred.waiting);
});

test('in virtual time the host has no say: the same accesses in every slice', async (t) => {
	const program = [...mov(EAX, 1), 0xef, 0xed];
	const run = async (cost: number) => {
		const { cpu, slice } = await machine('virtual', program, cost);
		return [...Array.from({ length: 5 }, slice), cpu.instructions];
	};
	t.deepEqual(await run(0), await run(0.001));
});
