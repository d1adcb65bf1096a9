/**
 * Repeated string instructions go in pieces, and the guest cannot tell: each of them, over RAM, registers and ports,
 * interpreted and translated, leaves the memory and the registers that Intel's manual says.
 */
import test from 'ava';
import fc from 'fast-check';
import { createV86 } from '../../src/cpu/v86/index.ts';
import { LONGEST } from '../../src/cpu/v86/strings.ts';
import { code, EAX, EDX, hlt, le32, mov, untilHalt } from '../helpers/asm.ts';

const START = 0x10000;
/** Where a program finds ECX, ESI and EDI, and leaves the flags after the instruction. */
const PARAMETERS = 0xf000;
const PORT = 0x300;
const VALUE = 0x44332211;
const [REPNZ, REPZ, SHORT_ADDRESSES, SHORT_DATA] = [0xf2, 0xf3, 0x67, 0x66];
const [ZERO, DIRECTION] = [0x40, 0x400];
/** Turns of a loop after which it has been translated. */
const WARM = 210_000;

/** Pieces of memory that a string may lie in, and their sizes; the first is where 16-bit addresses lead. */
const pieces = {
	low: { at: 0, size: 0xf000 },
	ram: { at: 0x100000, size: 0x20000 },
	device: { at: 0xfeb00000, size: 0x20000 },
} as const;
type Place = keyof typeof pieces;

async function machine() {
	const cpu = await createV86({ memory: 4 << 20, videoMemory: 1 << 16, time: 'virtual', fastVideo: true });
	cpu.onFailure = ({ reason }) => {
		throw new Error(reason);
	};
	const device = new Uint8Array(pieces.device.size);
	cpu.mmio.map(pieces.device.at, device.length, {
		read8: (at) => device[at],
		write8: (at, value) => {
			device[at] = value;
		},
	});
	const written: number[] = [];
	const counter = { now: 0 };
	const read8 = () => counter.now++ & 0xff;
	cpu.ports.map(PORT, 4, { read8, write8: (_, value) => written.push(value) });
	const bytes = (place: Place) => (place === 'device' ? device : cpu.dma.view(pieces[place].at, pieces[place].size));
	return { cpu, bytes, written, counter };
}
type Machine = Awaited<ReturnType<typeof machine>>;

interface Instruction {
	readonly name: 'movs' | 'lods' | 'stos' | 'ins' | 'outs' | 'scas' | 'cmps';
	readonly opcode: number;
	readonly prefix: number;
	readonly size: 1 | 2 | 4;
}

const instructions: readonly Instruction[] = (
	[
		['movs', 0xa4],
		['lods', 0xac],
		['stos', 0xaa],
		['ins', 0x6c],
		['outs', 0x6e],
		['scas', 0xae],
		['cmps', 0xa6],
	] as const
).flatMap(([name, opcode]) =>
	([1, 2, 4] as const).flatMap((size) =>
		(name === 'scas' || name === 'cmps' ? [REPZ, REPNZ] : [REPZ]).map((prefix) => ({ name, opcode, prefix, size })),
	),
);

interface Case {
	readonly source: Place;
	readonly target: Place;
	/** Where in the pieces the strings begin. */
	readonly from: number;
	readonly to: number;
	readonly count: number;
	readonly backwards: boolean;
	/** The repetition that a comparison ends with. */
	readonly end: number;
}

const counts = fc.oneof(
	fc.constantFrom(0, 1, LONGEST - 1, LONGEST, LONGEST + 1, 2 * LONGEST, 3 * LONGEST),
	fc.nat(3 * LONGEST),
);
const place = fc.constantFrom<Place>('ram', 'device');
const wide = (backwards: boolean): fc.Arbitrary<Case> =>
	fc.record({
		source: place,
		target: place,
		from: fc.integer({ min: 0xc000, max: 0xc010 }),
		to: fc.integer({ min: 0xbff0, max: 0xc010 }),
		count: counts,
		backwards: fc.constant(backwards),
		end: counts,
	});
/** With addresses of 16 bits; strings that do not reach what the program itself needs. */
const narrow = (backwards: boolean): fc.Arbitrary<Case> =>
	wide(backwards).map((it) => ({
		...it,
		source: 'low',
		target: 'low',
		from: backwards ? 0xb000 : 0x100,
		to: backwards ? 0xc000 : 0x2000,
		count: Math.floor(it.count / 2),
		end: Math.floor(it.end / 2),
	}));

function program({ opcode, prefix, size }: Instruction, short: boolean, backwards: boolean): Uint8Array {
	const body = [
		...[0x8b, 0x0d, ...le32(PARAMETERS)],
		...[0x8b, 0x35, ...le32(PARAMETERS + 4)],
		...[0x8b, 0x3d, ...le32(PARAMETERS + 8)],
		...[...mov(EAX, VALUE), ...mov(EDX, PORT), backwards ? 0xfd : 0xfc],
		...[...(short ? [SHORT_ADDRESSES] : []), ...(size === 2 ? [SHORT_DATA] : []), prefix, opcode + (size > 1 ? 1 : 0)],
		...[0x9c, 0x8f, 0x05, ...le32(PARAMETERS + 12)], // pushfd; pop [PARAMETERS + 12]
		0x4b, // dec ebx
	];
	return code(body, [0x0f, 0x85, ...le32(-(body.length + 6))], hlt);
}

/** What the manual says of `count` repetitions: on copies of the pieces, counting what is left in ECX. */
function expected(m: Machine, { name, prefix, size }: Instruction, it: Case, short: boolean) {
	const memory = new Map((Object.keys(pieces) as Place[]).map((key) => [key, m.bytes(key).slice()]));
	const step = it.backwards ? -size : size;
	let [ecx, from, to, eax] = [it.count, it.from, it.to, VALUE];
	const at = (piece: Place, offset: number) => ({ bytes: memory.get(piece) as Uint8Array, offset });
	const get = ({ bytes, offset }: ReturnType<typeof at>) =>
		Array.from({ length: size }, (_, i) => bytes[offset + i] * 2 ** (8 * i)).reduce((a, b) => a + b);
	const put = ({ bytes, offset }: ReturnType<typeof at>, value: number) => {
		for (let i = 0; i < size; i++) bytes[offset + i] = value >>> (8 * i);
	};
	const low = size === 4 ? VALUE : VALUE % 2 ** (8 * size);
	const written: number[] = [];
	let read = m.counter.now;
	let zero: boolean | undefined;
	while (ecx > 0) {
		const [source, target] = [at(it.source, from), at(it.target, to)];
		if (name === 'movs') put(target, get(source));
		else if (name === 'stos') put(target, VALUE);
		else if (name === 'lods') eax = size === 4 ? get(source) : VALUE - low + get(source);
		else if (name === 'ins') for (let i = 0; i < size; i++) target.bytes[target.offset + i] = read++;
		else if (name === 'outs') for (let i = 0; i < size; i++) written.push(source.bytes[source.offset + i]);
		else zero = get(target) === (name === 'cmps' ? get(source) : low);
		if (name !== 'stos' && name !== 'ins' && name !== 'scas') from += step;
		if (name !== 'lods' && name !== 'outs') to += step;
		ecx--;
		if (zero !== undefined && zero !== (prefix === REPZ)) break;
	}
	const base = (piece: Place, offset: number) => (short ? offset : pieces[piece].at + offset) >>> 0;
	return { memory, written, eax, ecx, esi: base(it.source, from), edi: base(it.target, to), zero };
}

/** Fills the strings so that a comparison ends with repetition `end`. */
function prepare(m: Machine, { name, prefix, size }: Instruction, it: Case): void {
	for (const key of Object.keys(pieces) as Place[]) {
		const bytes = m.bytes(key);
		for (let i = 0; i < bytes.length; i++) bytes[i] = (i * 7) ^ (i >> 8);
	}
	if (name !== 'cmps' && name !== 'scas') return;
	const [source, target] = [m.bytes(it.source), m.bytes(it.target)];
	for (let n = 0; n < it.count; n++) {
		const offset = (it.backwards ? -size : size) * n;
		const same = (prefix === REPZ) === n < it.end;
		for (let i = 0; i < size; i++) {
			const byte = VALUE >>> (8 * i);
			source[it.from + offset + i] = byte;
			target[it.to + offset + i] = same ? byte : ~byte;
		}
	}
}

for (const instruction of instructions) {
	const { name, prefix, size } = instruction;
	const word = `${prefix === REPNZ ? 'repnz' : 'rep'} ${name}${{ 1: 'b', 2: 'w', 4: 'd' }[size]}`;
	test(`${word}: pieces of it make the whole`, async (t) => {
		const m = await machine();
		const { cpu } = m;
		const run = (parameters: readonly number[], turns: number) => {
			for (const [i, value] of parameters.entries()) cpu.dma.write32(PARAMETERS + 4 * i, value);
			cpu.startFlat(START, { esp: 0x20000, ebx: turns });
			untilHalt(cpu);
		};
		const check = (short: boolean, it: Case) => {
			prepare(m, instruction, it);
			m.written.length = 0;
			const want = expected(m, instruction, it, short);
			const base = (piece: Place) => (short ? 0 : pieces[piece].at);
			run([it.count, base(it.source) + it.from, base(it.target) + it.to], 1);
			const { ecx, esi, edi, eax } = cpu.registers().general;
			const flags = cpu.dma.read32(PARAMETERS + 12);
			t.deepEqual(
				[ecx, esi, edi, eax].map((value) => value >>> 0),
				[want.ecx, want.esi, want.edi, want.eax],
			);
			if (want.zero !== undefined) t.is((flags & ZERO) !== 0, want.zero);
			t.is((flags & DIRECTION) !== 0, it.backwards);
			t.deepEqual(m.written, want.written);
			for (const key of [it.source, it.target])
				t.true(Buffer.from(m.bytes(key)).equals(want.memory.get(key) ?? Buffer.of()));
		};
		for (const short of [false, true]) {
			for (const backwards of [false, true]) {
				const before = cpu.jit.modules;
				cpu.dma.write(START, program(instruction, short, backwards));
				const property = fc.property((short ? narrow : wide)(backwards), (it) => check(short, it));
				fc.assert(property, { numRuns: 10 });
				if (backwards) continue;
				const ram = short ? 0x4000 : pieces.ram.at;
				run([1, ram, ram + 64], WARM);
				t.true(cpu.jit.modules > before);
				fc.assert(property, { numRuns: 10 });
			}
		}
	});
}
