/**
 * What the CPU core does a second: plain code, port and register accesses, and video memory in its three ways beside
 * RAM. Usage: node dist/bench/cpu.js
 */
import type { CpuBackend } from '../src/cpu/backend.ts';
import { createV86 } from '../src/cpu/v86/index.ts';

const MIB = 1 << 20;
const CODE = 0x10000;
const RAM = 16 * MIB;
const BAR = 0xe0000000;
const REGISTERS = 0xfeb00000;
const SIZE = 16 * MIB;
/** Rounds before counting, for the core to translate the loop, and rounds counted. */
const WARM = 6;
const ROUNDS = 7;

const le32 = (value: number): number[] => [value, value >> 8, value >> 16, value >> 24].map((byte) => byte & 0xff);
const mov = (reg: number, value: number): number[] => [0xb8 + reg, ...le32(value)];
const [EAX, ECX, EDX, ESI, EDI] = [0, 1, 2, 6, 7];
/** body; dec ecx; jnz body */
const loop = (turns: number, body: readonly number[]): number[] => [
	...mov(ECX, turns),
	...body,
	...[0x49, 0x0f, 0x85, ...le32(-(body.length + 7))],
];

/** Seconds that one run of `code` takes, the median of ROUNDS. */
function seconds(cpu: CpuBackend, code: readonly number[], before: () => void = () => {}): number {
	const times: number[] = [];
	cpu.dma.write(CODE, Uint8Array.from([...code, 0xf4]));
	for (let round = 0; round < WARM + ROUNDS; round++) {
		cpu.startFlat(CODE, { esp: CODE });
		before();
		const start = performance.now();
		do cpu.runSlice();
		while (!cpu.registers().halted);
		if (round >= WARM) times.push((performance.now() - start) / 1000);
	}
	return times.sort((a, b) => a - b)[ROUNDS >> 1];
}

/** Loops over SIZE bytes at `at`. */
const passes: Record<string, (at: number) => number[]> = {
	mov32: (at) => [...mov(EDI, at), ...loop(SIZE / 4, [0x89, 0x07, 0x83, 0xc7, 4])],
	'rep stosd': (at) => [...mov(EDI, at), ...mov(ECX, SIZE / 4), 0xf3, 0xab],
	'rep movsd': (at) => [...mov(ESI, RAM + SIZE), ...mov(EDI, at), ...mov(ECX, SIZE / 4), 0xf3, 0xa5],
	movdqa: (at) => [...mov(EDI, at), ...loop(SIZE / 16, [0x66, 0x0f, 0x7f, 0x07, 0x83, 0xc7, 16])],
	read32: (at) => [...mov(ESI, at), ...loop(SIZE / 4, [0x8b, 0x06, 0x83, 0xc6, 4])],
};

async function machine(fastVideo: boolean) {
	const cpu = await createV86({ memory: 64 * MIB, videoMemory: SIZE, time: 'real', fastVideo });
	const video = cpu.allocateVideo(SIZE);
	cpu.mmio.mapVideo(BAR, video, 0, SIZE);
	return { cpu, video };
}

const { cpu, video } = await machine(true);
const turns = 10_000_000;
console.log(`plain loop: ${((3 * turns) / seconds(cpu, loop(turns, [0x40])) / 1e6).toFixed(0)} million instructions/s`);
cpu.ports.map(0x300, 4, { read8: () => 0, write8: () => {} });
cpu.mmio.map(REGISTERS, 4096, { read32: () => 0, write32: () => {} });
const accesses = 200_000;
const rate = (body: readonly number[]) =>
	((seconds(cpu, [...mov(EDX, 0x300), ...loop(accesses, body)]) / accesses) * 1e9).toFixed(0);
console.log(`port write: ${rate([0xee])} ns, port read: ${rate([0xec])} ns`);
console.log(
	`register write: ${rate([0xa3, ...le32(REGISTERS)])} ns, register read: ${rate([0xa1, ...le32(REGISTERS)])} ns`,
);

const rows: Record<string, Record<string, string>> = {};
const pages = new Uint8Array(SIZE / 4096);
const row = (name: string, on: CpuBackend, at: number, before?: () => void) => {
	rows[name] = Object.fromEntries(
		Object.entries(passes).map(([pass, code]) => [
			pass,
			(SIZE / MIB / seconds(on, [...mov(EAX, 1), ...code(at)], before)).toFixed(0),
		]),
	);
};
row('RAM', cpu, RAM);
row('video memory', cpu, BAR);
const slow = await machine(false);
row('video memory by callback', slow.cpu, BAR);
console.log('MiB/s over 16 MiB; each pass begins with an empty translation cache');
console.table(rows);

// A frame as a display sees it: every page dirty, asked for, written again through the entries that are there.
video.takeDirty(0, pages);
let taken = 0;
const look = () => {
	taken += video.takeDirty(0, pages);
};
cpu.ports.map(0x310, 1, { write8: look });
const frames = 20;
const touch = [...mov(EDI, BAR), 0x51, ...loop(SIZE / 4096, [0x89, 0x07, 0x81, 0xc7, ...le32(4096)]), 0x59];
const frame = seconds(cpu, [...mov(EDX, 0x310), ...loop(frames, [...touch, 0xee])]) / frames;
if (taken === 0) throw new Error('no page was seen');
console.log(`dirty tracking: ${((frame / (SIZE / 4096)) * 1e9).toFixed(0)} ns a page, write and takeDirty together`);
