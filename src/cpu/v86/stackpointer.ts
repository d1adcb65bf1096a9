/**
 * Makes the module's stack pointer visible. When the core panics, V8 unwinds its own stack but not the one that Rust
 * keeps in linear memory: without this, some 6 KiB of 1 MiB are lost each time, and below that stack lies the
 * translation cache, with nothing between. WebAssembly Core Specification 1.0, 5.5 "Modules".
 */

export const STACK_POINTER = '__stack_pointer';
const HEADER = 8;
const SECTION_GLOBAL = 6;
const SECTION_EXPORT = 7;
/** One global: i32 (7Fh), mutable (01h). */
const ONE_MUTABLE_I32 = [1, 0x7f, 1];
const EXPORT_GLOBAL = 3;

/** The module's bytes with its only global exported as STACK_POINTER; unchanged when it is not built that way. */
export function exportStackPointer(module: Uint8Array): Uint8Array<ArrayBuffer> {
	const parts: Uint8Array[] = [module.subarray(0, HEADER)];
	let found = false;
	for (let at = HEADER; at < module.length; ) {
		const id = module[at];
		const size = leb(module, at + 1);
		const end = size.next + size.value;
		const content = module.subarray(size.next, end);
		if (id === SECTION_GLOBAL) found = ONE_MUTABLE_I32.every((byte, i) => content[i] === byte);
		if (id === SECTION_EXPORT && found) {
			const count = leb(content, 0);
			const name = new TextEncoder().encode(STACK_POINTER);
			const entry = [name.length, ...name, EXPORT_GLOBAL, 0];
			const head = toLeb(count.value + 1);
			const rest = content.subarray(count.next);
			parts.push(Uint8Array.of(id, ...toLeb(head.length + rest.length + entry.length), ...head));
			parts.push(rest, Uint8Array.from(entry));
		} else {
			parts.push(module.subarray(at, end));
		}
		at = end;
	}
	const out = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
	let at = 0;
	for (const part of parts) {
		out.set(part, at);
		at += part.length;
	}
	return out;
}

/** Unsigned LEB128 of up to 32 bits. */
function leb(bytes: Uint8Array, at: number): { value: number; next: number } {
	let value = 0;
	for (let shift = 0; ; shift += 7) {
		const byte = bytes[at++];
		value += (byte & 0x7f) * 2 ** shift;
		if ((byte & 0x80) === 0) return { value, next: at };
	}
}

function toLeb(value: number): number[] {
	const out: number[] = [];
	for (let rest = value; ; rest = Math.floor(rest / 128)) {
		if (rest < 128) return [...out, rest];
		out.push((rest % 128) | 0x80);
	}
}
