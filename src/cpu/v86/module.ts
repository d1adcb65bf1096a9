/** A WebAssembly module taken apart and put together again. WebAssembly Core Specification 1.0, 5.5 "Modules". */

export const SECTION_CUSTOM = 0;
export const SECTION_IMPORT = 2;
export const SECTION_FUNCTION = 3;
export const SECTION_GLOBAL = 6;
export const SECTION_EXPORT = 7;
export const SECTION_CODE = 10;
/** What an import or export is. */
const KIND_FUNCTION = 0;
const KIND_TABLE = 1;
/** Magic and version. */
const HEADER = 8;
/** In the custom section "name", the names of functions (appendix, 7.4.1). */
const FUNCTION_NAMES = 1;

export interface Section {
	readonly id: number;
	readonly content: Uint8Array;
}

export function takeApart(module: Uint8Array): Section[] {
	const sections: Section[] = [];
	for (let at = HEADER; at < module.length; ) {
		const size = leb(module, at + 1);
		sections.push({ id: module[at], content: module.subarray(size.next, size.next + size.value) });
		at = size.next + size.value;
	}
	return sections;
}

export function putTogether(module: Uint8Array, sections: readonly Section[]): Uint8Array<ArrayBuffer> {
	const parts = sections.flatMap(({ id, content }) => [Uint8Array.of(id, ...toLeb(content.length)), content]);
	return joined([module.subarray(0, HEADER), ...parts]);
}

export function joined(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
	const out = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
	let at = 0;
	for (const part of parts) {
		out.set(part, at);
		at += part.length;
	}
	return out;
}

/** The section with one more entry in its vector. */
export function withEntry(content: Uint8Array, entry: readonly number[]): Uint8Array<ArrayBuffer> {
	const count = leb(content, 0);
	return joined([Uint8Array.from(toLeb(count.value + 1)), content.subarray(count.next), Uint8Array.from(entry)]);
}

/** Index of the function that the module's name section calls `name`; undefined if none. */
export function functionNamed(sections: readonly Section[], name: string): number | undefined {
	const wanted = Buffer.from(name);
	for (const { id, content } of sections) {
		if (id !== SECTION_CUSTOM || text(content, 0).value !== 'name') continue;
		for (let at = leb(content, 0).next + 'name'.length; at < content.length; ) {
			const size = leb(content, at + 1);
			if (content[at] === FUNCTION_NAMES) return lookUp(content.subarray(size.next, size.next + size.value), wanted);
			at = size.next + size.value;
		}
	}
	return undefined;
}

/** Names of the imported functions, which have the first indices. Throws if anything but functions and tables is imported. */
export function importedFunctions(sections: readonly Section[]): string[] {
	const content = contentOf(sections, SECTION_IMPORT);
	const names: string[] = [];
	for (let at = leb(content, 0).next; at < content.length; ) {
		const name = text(content, text(content, at).next);
		const kind = content[name.next];
		at = name.next + 1;
		if (kind === KIND_FUNCTION) {
			names.push(name.value);
			at = leb(content, at).next;
		} else if (kind === KIND_TABLE) {
			// A type, flags, and one or two limits.
			const limits = content[at + 1] === 0 ? 1 : 2;
			at += 2;
			for (let i = 0; i < limits; i++) at = leb(content, at).next;
		} else throw new Error(`${name.value} is imported, which is no function`);
	}
	return names;
}

/** Index of the function exported as `name`. Throws if none is. */
export function exportedFunction(sections: readonly Section[], name: string): number {
	const content = contentOf(sections, SECTION_EXPORT);
	for (let at = leb(content, 0).next; at < content.length; ) {
		const found = text(content, at);
		const index = leb(content, found.next + 1);
		if (found.value === name && content[found.next] === KIND_FUNCTION) return index.value;
		at = index.next;
	}
	throw new Error(`function ${name} is gone`);
}

/** The functions' bodies, in order, without the imported ones. */
export function bodies(code: Uint8Array): Uint8Array[] {
	const found: Uint8Array[] = [];
	for (let at = leb(code, 0).next; at < code.length; ) {
		const size = leb(code, at);
		at = size.next + size.value;
		found.push(code.subarray(size.next, at));
	}
	return found;
}

export function codeOf(functions: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
	const parts = functions.flatMap((body) => [Uint8Array.from(toLeb(body.length)), body]);
	return joined([Uint8Array.from(toLeb(functions.length)), ...parts]);
}

/** Where the first instruction of a function's body is, behind its local variables. */
export function firstInstruction(body: Uint8Array): number {
	const groups = leb(body, 0);
	let at = groups.next;
	for (let i = 0; i < groups.value; i++) at = leb(body, at).next + 1;
	return at;
}

export function contentOf(sections: readonly Section[], id: number): Uint8Array {
	const section = sections.find((candidate) => candidate.id === id);
	if (section === undefined) throw new Error(`section ${id} is gone`);
	return section.content;
}

function text(bytes: Uint8Array, at: number): { value: string; next: number } {
	const length = leb(bytes, at);
	const next = length.next + length.value;
	return { value: Buffer.from(bytes.subarray(length.next, next)).toString(), next };
}

function lookUp(names: Uint8Array, wanted: Buffer): number | undefined {
	for (let at = leb(names, 0).next; at < names.length; ) {
		const index = leb(names, at);
		const length = leb(names, index.next);
		at = length.next + length.value;
		if (wanted.equals(names.subarray(length.next, at))) return index.value;
	}
	return undefined;
}

/** Unsigned LEB128 of up to 32 bits. */
export function leb(bytes: Uint8Array, at: number): { value: number; next: number } {
	let value = 0;
	for (let shift = 0; ; shift += 7) {
		const byte = bytes[at++];
		value += (byte & 0x7f) * 2 ** shift;
		if ((byte & 0x80) === 0) return { value, next: at };
	}
}

export function toLeb(value: number): number[] {
	const out: number[] = [];
	for (let rest = value; ; rest = Math.floor(rest / 128)) {
		if (rest < 128) return [...out, rest];
		out.push((rest % 128) | 0x80);
	}
}

/** Signed LEB128 of a 32-bit integer. */
export function toSignedLeb(value: number): number[] {
	const out: number[] = [];
	for (let rest = value | 0; ; rest >>= 7) {
		if (rest >= -64 && rest < 64) return [...out, rest & 0x7f];
		out.push((rest & 0x7f) | 0x80);
	}
}
