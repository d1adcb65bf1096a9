/**
 * What the module keeps to itself and a failed core needs to be used again, made exports of it.
 *
 * The stack pointer: when the core panics, V8 unwinds its own stack but not the one that Rust keeps in linear memory.
 * Without this, some 6 KiB of 1 MiB are lost each time, and below that stack lies the translation cache, with nothing
 * between. And the function that raises a general protection fault, for instructions that the core panics on instead.
 */
import { functionNamed, putTogether, SECTION_EXPORT, SECTION_GLOBAL, takeApart, toLeb, withEntry } from './module.ts';

export const STACK_POINTER = '__stack_pointer';
export const TRIGGER_GP = 'trigger_gp';

/** By Rust's name mangling: v86::cpu::cpu::trigger_gp. */
const TRIGGER_GP_NAME = '_RNvNtNtCslOG1uufA09K_3v863cpu3cpu10trigger_gp';
/** One global: i32 (7Fh), mutable (01h). */
const ONE_MUTABLE_I32 = [1, 0x7f, 1];
const EXPORT_FUNCTION = 0;
const EXPORT_GLOBAL = 3;

/** The module with its only global and trigger_gp exported, each if it is there. */
export function exportHidden(module: Uint8Array): Uint8Array<ArrayBuffer> {
	const sections = takeApart(module);
	const added: number[][] = [];
	const globals = sections.find(({ id }) => id === SECTION_GLOBAL)?.content;
	if (globals && ONE_MUTABLE_I32.every((byte, i) => globals[i] === byte))
		added.push(entry(STACK_POINTER, EXPORT_GLOBAL, 0));
	const trigger = functionNamed(sections, TRIGGER_GP_NAME);
	if (trigger !== undefined) added.push(entry(TRIGGER_GP, EXPORT_FUNCTION, trigger));
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
