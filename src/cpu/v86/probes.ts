/**
 * Makes the module tell of what it passes over: CPUID, WRMSR, debug registers and the trap flag are all dealt with inside
 * it, and leave nothing behind to look at. A few instructions are put where it deals with them, which call the import for
 * its last words with a number below any address of a text. WebAssembly Core Specification 1.0, 5.4 "Instructions".
 */
import { FLAGS, REG32 } from './layout.ts';
import {
	bodies,
	codeOf,
	contentOf,
	exportedFunction,
	firstInstruction,
	importedFunctions,
	joined,
	putTogether,
	SECTION_CODE,
	takeApart,
	toLeb,
} from './module.ts';

const CALLED = 'console_log_from_wasm';
export const PROBE_CPUID = 1;
export const PROBE_WRMSR = 2;
export const PROBE_TRAP = 3;
/** And the number of the debug register. */
export const PROBE_DEBUG = 8;
/** The module's texts lie above; a number below is a probe. */
export const FIRST_TEXT = 4096;

const I32_CONST = 0x41;
const I32_AND = 0x71;
const LOCAL_GET = 0x20;
const constant = (value: number) => [I32_CONST, value];
/** Numbers below 64 are their own LEB128; i32.load has an alignment of 2^2 and an offset. */
const load = (address: number) => [...constant(0), 0x28, 2, ...toLeb(address)];
const loadIndexed = (local: number, address: number) => [
	LOCAL_GET,
	local,
	...constant(2),
	0x74,
	0x28,
	2,
	...toLeb(address),
];

/**
 * eflags = eflags & ~TF, which the core does wherever POPF, IRET and task switches have set TF: i32.const 0; i32.const 0;
 * i32.load eflags; sometimes local.tee; i32.const -257; i32.and.
 */
const FLAGS_TAKEN = Buffer.from([0x41, 0, 0x41, 0, 0x28, 2, FLAGS]);
const LOCAL_TEE = 0x22;
const TRAP_TAKEN_OUT = Buffer.from([0x41, 0xff, 0x7d, 0x71]);
const TRAP_SITES = 6;

/** A copy of the module with the probes in it. Throws when it is not the known one. */
export function addProbes(module: Uint8Array): Uint8Array<ArrayBuffer> {
	const sections = takeApart(module);
	const imports = importedFunctions(sections);
	const called = imports.indexOf(CALLED);
	if (called < 0) throw new Error(`import ${CALLED} is gone`);
	const call = [0x10, ...toLeb(called)];
	const functions = bodies(contentOf(sections, SECTION_CODE));

	const before = (name: string, ...instructions: readonly number[][]) => {
		const index = exportedFunction(sections, name) - imports.length;
		const at = firstInstruction(functions[index]);
		functions[index] = inserted(functions[index], [at], [...instructions.flat(), ...call]);
	};
	before('instr_0FA2', constant(PROBE_CPUID), load(REG32));
	before('instr_0F30', constant(PROBE_WRMSR), load(REG32 + 4));
	// instr_0F23(general register, debug register)
	before('instr_0F23', [LOCAL_GET, 1, ...constant(PROBE_DEBUG), 0x6a], loadIndexed(0, REG32));

	const ifTrap = [...load(FLAGS), I32_CONST, 0x80, 2, I32_AND, 0x04, 0x40];
	const trap = [...ifTrap, ...constant(PROBE_TRAP), ...constant(0), ...call, 0x0b];
	let sites = 0;
	for (const [i, body] of functions.entries()) {
		const found = trapSites(body);
		sites += found.length;
		if (found.length > 0) functions[i] = inserted(body, found, trap);
	}
	if (sites !== TRAP_SITES) throw new Error('its handling of the trap flag is not the one that is known');
	return putTogether(
		module,
		sections.map((section) => (section.id === SECTION_CODE ? { ...section, content: codeOf(functions) } : section)),
	);
}

function trapSites(body: Uint8Array): number[] {
	const bytes = Buffer.from(body.buffer, body.byteOffset, body.length);
	const found: number[] = [];
	for (let at = bytes.indexOf(FLAGS_TAKEN); at >= 0; at = bytes.indexOf(FLAGS_TAKEN, at + 1)) {
		const end = at + FLAGS_TAKEN.length;
		const next = bytes[end] === LOCAL_TEE ? end + 2 : end;
		if (TRAP_TAKEN_OUT.equals(bytes.subarray(next, next + TRAP_TAKEN_OUT.length))) found.push(at);
	}
	return found;
}

/** `body` with `instructions` before each of the places `at`, which are in order. */
function inserted(body: Uint8Array, at: readonly number[], instructions: readonly number[]): Uint8Array {
	const parts = at.flatMap((to, i) => [body.subarray(at[i - 1] ?? 0, to), Uint8Array.from(instructions)]);
	return joined([...parts, body.subarray(at.at(-1))]);
}
