/**
 * What the module keeps to itself and a failed core needs to be used again, made exports of it.
 *
 * The stack pointer: when the core panics, V8 unwinds its own stack but not the one that Rust keeps in linear memory.
 * Without this, some 6 KiB of 1 MiB are lost each time, and below that stack lies the translation cache, with nothing
 * between. And the functions that raise faults, for instructions that the core panics on instead.
 */
import { functionNamed, putTogether, SECTION_EXPORT, SECTION_GLOBAL, takeApart, toLeb, withEntry } from './module.ts';

export const STACK_POINTER = '__stack_pointer';
/** General protection and segment not present, with their error code. */
export const TRIGGER_GP = 'trigger_gp';
export const TRIGGER_NP = 'trigger_np';

/** Rust's mangling of v86::cpu::cpu::NAME, for a NAME of 10 letters. */
const MANGLED = '_RNvNtNtCslOG1uufA09K_3v863cpu3cpu10';
/** One global: i32 (7Fh), mutable (01h). */
const ONE_MUTABLE_I32 = [1, 0x7f, 1];
const EXPORT_FUNCTION = 0;
const EXPORT_GLOBAL = 3;

/** The module with its only global and those functions exported, each if it is there. */
export function exportHidden(module: Uint8Array): Uint8Array<ArrayBuffer> {
	const sections = takeApart(module);
	const added: number[][] = [];
	const globals = sections.find(({ id }) => id === SECTION_GLOBAL)?.content;
	if (globals && ONE_MUTABLE_I32.every((byte, i) => globals[i] === byte))
		added.push(entry(STACK_POINTER, EXPORT_GLOBAL, 0));
	for (const name of [TRIGGER_GP, TRIGGER_NP]) {
		const index = functionNamed(sections, MANGLED + name);
		if (index !== undefined) added.push(entry(name, EXPORT_FUNCTION, index));
	}
	const extended = sections.map(({ id, content }) => ({
		id,
		content: id === SECTION_EXPORT ? added.reduce<Uint8Array>(withEntry, content) : content,
	}));
	return putTogether(module, extended);
}

function entry(name: string, kind: number, index: number): number[] {
	const bytes = new TextEncoder().encode(name);
	return [bytes.length, ...bytes, kind, ...toLeb(index)];
}
