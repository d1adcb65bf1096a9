/** A BAR reaches its device wherever the guest puts it in the windows that ACPI offers, on the real core. */
import test from 'ava';
import { createV86 } from '../../src/cpu/v86/index.ts';
import { code, hlt, in32, load, out16, out32, run, store } from '../helpers/asm.ts';
import { VIDEO_MEMORY, wholeBoard } from '../helpers/whole-board.ts';

const MIB = 1 << 20;
const MEMORY = 16 * MIB;
/** The windows of the DSDT: memory behind RAM and video memory up to the I/O APIC, ports above PCI's own. */
const MEMORY_WINDOW = [MEMORY + VIDEO_MEMORY, 0xfec00000] as const;
const PORT_WINDOW = [0xd00, 0x10000] as const;
const CONFIG = 0xcf8;
const RESULT = 0x8000;
const WORDS = [0, 4, 8, 12];
const up = (value: number, size: number) => Math.ceil(value / size) * size;

async function machine() {
	const cpu = await createV86({ memory: MEMORY, videoMemory: VIDEO_MEMORY, time: 'virtual', fastVideo: true });
	const board = wholeBoard(cpu, MEMORY);
	board.reset();
	const select = (address: number) => out32(CONFIG, address >>> 0);
	const guest = (...parts: readonly (readonly number[])[]) => run(cpu, code(...parts, hlt));
	return {
		functions: board.pci.list(),
		/** Puts a BAR somewhere and switches the function's memory and ports on. */
		move(bdf: number, bar: number, base: number): void {
			const at = 0x80000000 + bdf * 0x100;
			guest(select(at + 0x10 + 4 * bar), out32(CONFIG + 4, base), select(at + 4), out16(CONFIG + 4, 3));
		},
		/** The first words that the guest reads there. */
		words(kind: 'io' | 'memory', base: number): number[] {
			guest(...WORDS.flatMap((at) => [kind === 'io' ? in32(base + at) : load(base + at), store(RESULT + at)]));
			return WORDS.map((at) => cpu.dma.read32(RESULT + at));
		},
	};
}

test('every BAR of every function at both edges of its window', async (t) => {
	const { functions, move, words } = await machine();
	const nothing = WORDS.map(() => 0xffffffff);
	let moved = 0;
	for (const { slot, function: fn, name, bars } of functions) {
		for (const { bar, kind, size } of bars) {
			if (bar === 'rom' || size < 16) continue;
			const [low, high] = kind === 'io' ? PORT_WINDOW : MEMORY_WINDOW;
			const middle = kind === 'io' ? 0xc000 : 0xe0000000;
			const bdf = slot * 8 + fn;
			move(bdf, bar, middle);
			const expected = words(kind, middle);
			// QXL's ports answer no reads.
			if (name === 'qxl-vga' && kind === 'io') continue;
			t.notDeepEqual(expected, nothing, `BAR ${bar} of ${name}`);
			for (const base of [up(low, size), high - size]) {
				move(bdf, bar, base);
				t.deepEqual(words(kind, base), expected, `BAR ${bar} of ${name} at 0x${base.toString(16)}`);
			}
			t.deepEqual(words(kind, middle), nothing, `nobody is where BAR ${bar} of ${name} was`);
			moved++;
			// Out of the way of the function's other BARs.
			move(bdf, bar, kind === 'io' ? 0x1000 + 0x100 * moved : 0x40000000 + 32 * MIB * moved);
		}
	}
	t.true(moved >= 15, `${moved} BARs`);
});
