/**
 * ACPI Machine Language, written down as nested function calls. ACPI 6.4, chapter 20 (AML encoding) and 6.4
 * (resource data types). Each function returns finished bytes, so that a package length is known when it is needed.
 */

/** Bytes of one or more complete AML terms. */
export type Aml = Uint8Array;

export function concat(...parts: readonly Uint8Array[]): Uint8Array {
	const out = new Uint8Array(parts.reduce((n, p) => n + p.length, 0));
	let at = 0;
	for (const part of parts) {
		out.set(part, at);
		at += part.length;
	}
	return out;
}

const bytes = (...values: readonly number[]) => Uint8Array.from(values);
const le16 = (v: number) => bytes(v & 0xff, (v >>> 8) & 0xff);
const le32 = (v: number) => concat(le16(v & 0xffff), le16(v >>> 16));
const ascii = (text: string) => new TextEncoder().encode(text);

/** PkgLength (20.2.4): counts itself and everything behind it. */
function pkgLength(body: number): Aml {
	if (body + 1 < 0x40) return bytes(body + 1);
	for (let extra = 1; extra <= 3; extra++) {
		const total = body + 1 + extra;
		if (total < 2 ** (4 + 8 * extra)) {
			const out = [(extra << 6) | (total & 0xf)];
			for (let i = 0; i < extra; i++) out.push((total >>> (4 + 8 * i)) & 0xff);
			return Uint8Array.from(out);
		}
	}
	throw new RangeError('AML package is too long');
}

function pkg(op: readonly number[], ...parts: readonly Aml[]): Aml {
	const body = concat(...parts);
	return concat(Uint8Array.from(op), pkgLength(body.length), body);
}

/** A name string: `\_SB.PCI0`, `^X`, `FOO`; segments are padded with underscores. */
export function path(name: string): Aml {
	const prefix = /^[\\^]*/.exec(name)?.[0] ?? '';
	const segments = name.slice(prefix.length).split('.').filter(Boolean);
	for (const s of segments) if (!/^[A-Z_][A-Z0-9_]{0,3}$/.test(s)) throw new RangeError(`bad AML name ${name}`);
	const text = segments.map((s) => s.padEnd(4, '_')).join('');
	const lead =
		segments.length === 0
			? bytes(0)
			: segments.length === 1
				? bytes()
				: segments.length === 2
					? bytes(0x2e)
					: bytes(0x2f, segments.length);
	return concat(ascii(prefix), lead, ascii(text));
}

export function int(value: number): Aml {
	if (value === 0) return bytes(0x00);
	if (value === 1) return bytes(0x01);
	if (value <= 0xff) return bytes(0x0a, value);
	if (value <= 0xffff) return concat(bytes(0x0b), le16(value));
	return concat(bytes(0x0c), le32(value));
}

export const string = (text: string): Aml => concat(bytes(0x0d), ascii(text), bytes(0));

/** EISAID("PNP0A03"): three 5-bit letters and four hex digits, big-endian (19.6.37). */
export function eisaId(id: string): Aml {
	const letter = (i: number) => id.charCodeAt(i) - 0x40;
	const high = (letter(0) << 10) | (letter(1) << 5) | letter(2);
	const low = Number.parseInt(id.slice(3), 16);
	return concat(bytes(0x0c, high >>> 8, high & 0xff, low >>> 8, low & 0xff));
}

export const name = (id: string, value: Aml): Aml => concat(bytes(0x08), path(id), value);
export const scope = (id: string, ...body: readonly Aml[]): Aml => pkg([0x10], path(id), ...body);
export const device = (id: string, ...body: readonly Aml[]): Aml => pkg([0x5b, 0x82], path(id), ...body);
export const buffer = (content: Uint8Array): Aml => pkg([0x11], int(content.length), content);
export const pack = (...items: readonly Aml[]): Aml => pkg([0x12], bytes(items.length), ...items);

export function method(id: string, args: number, serialized: boolean, ...body: readonly Aml[]): Aml {
	return pkg([0x14], path(id), bytes(args | (serialized ? 8 : 0)), ...body);
}
export const ret = (value: Aml): Aml => concat(bytes(0xa4), value);
export const local = (n: number): Aml => bytes(0x60 + n);
export const arg = (n: number): Aml => bytes(0x68 + n);
export const store = (value: Aml, target: Aml): Aml => concat(bytes(0x70), value, target);
export const or = (a: Aml, b: Aml, target: Aml): Aml => concat(bytes(0x7d), a, b, target);
export const and = (a: Aml, b: Aml, target: Aml = bytes(0)): Aml => concat(bytes(0x7b), a, b, target);
export const less = (a: Aml, b: Aml): Aml => concat(bytes(0x95), a, b);
export const when = (condition: Aml, ...body: readonly Aml[]): Aml => pkg([0xa0], condition, ...body);
export const createDWordField = (source: Aml, offset: number, id: string): Aml =>
	concat(bytes(0x8a), source, int(offset), path(id));

export type RegionSpace = 'memory' | 'io' | 'pci';
const spaces: Record<RegionSpace, number> = { memory: 0, io: 1, pci: 2 };
export const operationRegion = (id: string, space: RegionSpace, offset: number, length: number): Aml =>
	concat(bytes(0x5b, 0x80), path(id), bytes(spaces[space]), int(offset), int(length));

/** Byte-wide access, no lock, preserve; fields of `bits` each, one after another. */
export function field(region: string, fields: readonly (readonly [id: string, bits: number])[]): Aml {
	const list = fields.map(([id, bits]) => concat(ascii(id.padEnd(4, '_')), pkgLengthValue(bits)));
	return pkg([0x5b, 0x81], path(region), bytes(0x01), ...list);
}

/** A field's width uses PkgLength's encoding, but counts bits and not itself. */
function pkgLengthValue(value: number): Aml {
	if (value < 0x40) return bytes(value);
	return bytes(0x40 | (value & 0xf), value >>> 4);
}

/** ResourceTemplate: descriptors and the end tag, in a buffer. */
export const resources = (...descriptors: readonly Uint8Array[]): Aml => buffer(concat(...descriptors, bytes(0x79, 0)));

/** I/O port descriptor, 16-bit decode (6.4.2.5). */
export const io = (base: number, length: number): Uint8Array =>
	concat(bytes(0x47, 1), le16(base), le16(base), bytes(1, length));

/** IRQ descriptor without flags: edge, active high, exclusive (6.4.2.1). */
export const irqNoFlags = (line: number): Uint8Array => concat(bytes(0x22), le16(1 << line));

/** Extended interrupt descriptor: consumer, level, active high, shared (6.4.3.6). */
export const interrupts = (...lines: readonly number[]): Uint8Array =>
	concat(bytes(0x89), le16(2 + 4 * lines.length), bytes(0x09, lines.length), ...lines.map(le32));

/** Where the first interrupt number lies in a template that `interrupts` begins. */
export const INTERRUPT_OFFSET = 5;

/** 6.4.3.5.3; `min`..`max` of bus numbers, produced. */
export const busNumbers = (min: number, max: number): Uint8Array => word(2, 0, min, max);
/** 6.4.3.5.3; a produced range of I/O ports, whole range (ISA and non-ISA). */
export const ioWindow = (min: number, max: number): Uint8Array => word(1, 3, min, max);

function word(type: number, specific: number, min: number, max: number): Uint8Array {
	return concat(
		bytes(0x88),
		le16(13),
		bytes(type, 0x0c, specific),
		le16(0),
		le16(min),
		le16(max),
		le16(0),
		le16(max - min + 1),
	);
}

/** 6.4.3.5.2; a produced range of memory, read-write. */
export function memoryWindow(min: number, max: number, cacheable: boolean): Uint8Array {
	const specific = cacheable ? 0x03 : 0x01;
	return concat(
		bytes(0x87),
		le16(23),
		bytes(0, 0x0c, specific),
		le32(0),
		le32(min),
		le32(max),
		le32(0),
		le32(max - min + 1),
	);
}
