/**
 * Repeated string instructions in pieces. The core runs one page by page over plain RAM, and can be interrupted there;
 * over anything else (registers, planar video memory, overlapping or unaligned RAM, 16-bit addresses) it goes on to the
 * end, for minutes if the guest likes. It keeps its place in locals then, so nothing that it calls can stop it.
 *
 * So it gets at most LONGEST repetitions at a time. Each of its string functions is replaced by one that takes the rest
 * off ECX, calls the function that was there, puts the rest back, and lets the instruction begin anew, which is what the
 * core itself does at the end of a page (v86 src/rust/cpu/string.rs). Registers are in memory while it runs, in
 * translated code as well.
 */
import { INSTRUCTION_COUNTER, INSTRUCTION_POINTER, PREVIOUS_IP, REG32 } from './layout.ts';
import {
	bodies,
	codeOf,
	exportedFunction,
	importedFunctions,
	joined,
	leb,
	putTogether,
	SECTION_CODE,
	SECTION_FUNCTION,
	takeApart,
	toLeb,
	toSignedLeb,
} from './module.ts';

/** Repetitions at a time: a page of bytes, so that what the core does page by page it does as before. */
export const LONGEST = 4096;
/**
 * The core counts such an instruction as one, as it does each page of a long one, and looks at the time after 100 000.
 * So that they are over in time, repetitions count: one takes 4 ns at worst in RAM, other instructions a tenth of that.
 */
const REPETITIONS_AN_INSTRUCTION_LOG2 = 3;

const ECX = REG32 + 4;
const ZERO_FLAG = 0x40;

interface StringFunction {
	readonly name: string;
	/** Whether addresses have 32 bits; where the instruction reads through DS or what overrides it, a segment too. */
	readonly parameters: number;
	/** For a comparison, whether it goes on while the two are the same. */
	readonly whileSame?: boolean;
}

/** What the module calls them. */
const functions: readonly StringFunction[] = ['b', 'w', 'd'].flatMap((size) => [
	...['ins', 'stos'].map((name) => ({ name: `${name}${size}_rep`, parameters: 1 })),
	...['movs', 'lods', 'outs'].map((name) => ({ name: `${name}${size}_rep`, parameters: 2 })),
	...(['z', 'nz'] as const).flatMap((end) => [
		{ name: `scas${size}_rep${end}`, parameters: 1, whileSame: end === 'z' },
		{ name: `cmps${size}_rep${end}`, parameters: 2, whileSame: end === 'z' },
	]),
]);
export const STRING_FUNCTIONS: readonly string[] = functions.map(({ name }) => name);

/** An instruction; parameters and locals by number. WebAssembly Core Specification 1.0, 5.4. */
const get = (local: number) => [0x20, ...toLeb(local)];
const set = (local: number) => [0x21, ...toLeb(local)];
const tee = (local: number) => [0x22, ...toLeb(local)];
const constant = (value: number) => [0x41, ...toSignedLeb(value)];
const call = (index: number) => [0x10, ...toLeb(index)];
/** i32.load and i32.store at a fixed address, which the store wants below its value on the stack. */
const loadFrom = (address: number) => [...constant(0), 0x28, 2, ...toLeb(address)];
const storeTo = (address: number, value: readonly number[]) => [...constant(0), ...value, 0x36, 2, ...toLeb(address)];
const [SELECT, EQZ, GT_U, ADD, SUB, AND, SHR_U, END] = [0x1b, 0x45, 0x4b, 0x6a, 0x6b, 0x71, 0x76, 0x0b];
const whenever = (condition: readonly number[], then: readonly number[]) => [...condition, 0x04, 0x40, ...then, END];
/** Locals of a body: one group, of three i32. */
const THREE_I32 = [1, 3, 0x7f];

/** The body that stands for a function whose own has gone to the index `original`. */
function bounded({ parameters, whileSame }: StringFunction, original: number, getEflags: number): Uint8Array {
	const [mask, given, rest] = [parameters, parameters + 1, parameters + 2];
	const run = [...Array.from({ length: parameters }, (_, n) => get(n)).flat(), ...call(original)];
	const left = [...loadFrom(ECX), ...get(mask), AND];
	const done = [...get(given), ...left, SUB];
	// A fault leaves a count, and a comparison that has come to its end with the last repetition is over as well.
	const same = [...call(getEflags), ...constant(ZERO_FLAG), AND, EQZ, ...(whileSame ? [EQZ] : [])];
	const more = whileSame === undefined ? [...left, EQZ] : [...left, EQZ, ...same, AND];
	const code = [
		...[...constant(-1), ...constant(0xffff), ...get(0), SELECT, ...set(mask)],
		...whenever(
			[...left, ...tee(given), ...constant(LONGEST), GT_U],
			[
				...[...get(given), ...constant(LONGEST), SUB, ...set(rest)],
				...storeTo(ECX, [...loadFrom(ECX), ...get(rest), SUB]),
				...[...constant(LONGEST), ...set(given)],
			],
		),
		...run,
		...storeTo(INSTRUCTION_COUNTER, [
			...[...loadFrom(INSTRUCTION_COUNTER), ...done],
			...[...constant(REPETITIONS_AN_INSTRUCTION_LOG2), SHR_U, ADD],
		]),
		...whenever(get(rest), [
			...whenever(more, storeTo(INSTRUCTION_POINTER, loadFrom(PREVIOUS_IP))),
			...storeTo(ECX, [...loadFrom(ECX), ...get(rest), ADD]),
		]),
		END,
	];
	return Uint8Array.from([...THREE_I32, ...code]);
}

/** A copy of the module with string functions that stop. Throws when it does not have them all. */
export function boundStrings(module: Uint8Array): Uint8Array<ArrayBuffer> {
	const sections = takeApart(module);
	const first = importedFunctions(sections).length;
	const getEflags = exportedFunction(sections, 'get_eflags');
	const own = functions.map((each) => ({ ...each, at: exportedFunction(sections, each.name) - first }));
	const changed = sections.map(({ id, content }) => {
		if (id === SECTION_FUNCTION) {
			const types = numbers(content);
			return { id, content: toNumbers([...types, ...own.map(({ at }) => types[at])]) };
		}
		if (id !== SECTION_CODE) return { id, content };
		const code = bodies(content);
		const moved = own.map(({ at }) => code[at]);
		const count = code.length;
		for (const [n, each] of own.entries()) code[each.at] = bounded(each, first + count + n, getEflags);
		return { id, content: codeOf([...code, ...moved]) };
	});
	return putTogether(module, changed);
}

/** A vector of numbers, 5.1.3. */
function numbers(content: Uint8Array): number[] {
	const count = leb(content, 0);
	let at = count.next;
	return Array.from({ length: count.value }, () => {
		const { value, next } = leb(content, at);
		at = next;
		return value;
	});
}

function toNumbers(values: readonly number[]): Uint8Array {
	return joined([toLeb(values.length), ...values.map(toLeb)].map((bytes) => Uint8Array.from(bytes)));
}
