/**
 * Binary structures, declared once: the TypeScript type, the reader and the writer all come from one declaration.
 * Little-endian and packed, as spice.proto, qxl_dev.h, virtio and vdagent are. Readers trust nothing: each length is
 * checked against the bytes that are there, each pointer against the message, nesting against a limit.
 */
import { WireError } from './errors.ts';

export interface Codec<T> {
	/** Least number of bytes a value takes; lets an array's count be refused before anything is read. */
	readonly min: number;
	read(r: WireReader): T;
	write(w: WireWriter, value: T): void;
}
export type Infer<C> = C extends Codec<infer T> ? T : never;

const MAX_DEPTH = 16;

export class WireReader {
	readonly bytes: Uint8Array;
	readonly view: DataView;
	at: number;
	depth = 0;
	constructor(bytes: Uint8Array, at = 0) {
		this.bytes = bytes;
		this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
		this.at = at;
	}
	get left(): number {
		return this.bytes.length - this.at;
	}
	/** Moves on by `count` bytes and returns where they began; throws WireError if they are not there. */
	take(count: number): number {
		const at = this.at;
		if (count > this.bytes.length - at)
			throw new WireError(`needs ${count} bytes at ${at}, has ${this.bytes.length - at}`);
		this.at = at + count;
		return at;
	}
}

/** Grows as it is written to; foreign bytes become segments of their own and are never copied. */
export class WireWriter {
	#buffer: Uint8Array;
	#view: DataView;
	#used = 0;
	/** Bytes in #done. */
	#before = 0;
	readonly #done: Uint8Array[] = [];
	readonly #patches: { readonly at: number; readonly write: () => void }[] = [];

	constructor(initial = 256) {
		this.#buffer = new Uint8Array(Math.max(1, initial));
		this.#view = new DataView(this.#buffer.buffer);
	}

	/** Bytes written so far, segments included. */
	get length(): number {
		return this.#before + this.#used;
	}

	/** Makes room for `count` bytes and returns where they go in `view`, which is to be taken after this call. */
	room(count: number): number {
		if (this.#used + count > this.#buffer.length) {
			const grown = new Uint8Array(Math.max(this.#buffer.length * 2, this.#used + count));
			grown.set(this.#buffer.subarray(0, this.#used));
			this.#buffer = grown;
			this.#view = new DataView(grown.buffer);
		}
		const at = this.#used;
		this.#used += count;
		return at;
	}

	get view(): DataView {
		return this.#view;
	}

	bytes(bytes: Uint8Array): void {
		const at = this.room(bytes.length);
		this.#buffer.set(bytes, at);
	}

	/** Adds bytes by reference; the caller must not change them until the message is sent. */
	segment(bytes: Uint8Array): void {
		if (bytes.length === 0) return;
		this.#close();
		this.#done.push(bytes);
		this.#before += bytes.length;
	}

	/** A u32 that will hold the offset of what `write` adds once everything written now is behind it. */
	pointer(write: () => void): void {
		this.#patches.push({ at: this.length, write });
		this.room(4);
	}

	/** Everything written, in order. */
	finish(): Uint8Array[] {
		for (let next = this.#patches.shift(); next !== undefined; next = this.#patches.shift()) {
			this.#patch(next.at, this.length);
			next.write();
		}
		this.#close();
		return this.#done;
	}

	#close(): void {
		if (this.#used === 0) return;
		this.#done.push(this.#buffer.subarray(0, this.#used));
		this.#before += this.#used;
		this.#buffer = new Uint8Array(64);
		this.#view = new DataView(this.#buffer.buffer);
		this.#used = 0;
	}

	/** Pointers are written by room(), so the one at `at` lies whole in one closed chunk or in the open one. */
	#patch(at: number, value: number): void {
		let start = 0;
		for (const chunk of this.#done) {
			if (at < start + chunk.length) {
				new DataView(chunk.buffer, chunk.byteOffset).setUint32(at - start, value, true);
				return;
			}
			start += chunk.length;
		}
		this.#view.setUint32(at - start, value, true);
	}
}

function primitive<T>(
	size: number,
	get: (v: DataView, at: number) => T,
	set: (v: DataView, at: number, x: T) => void,
): Codec<T> {
	return {
		min: size,
		read: (r) => get(r.view, r.take(size)),
		write: (w, x) => {
			const at = w.room(size);
			set(w.view, at, x);
		},
	};
}

export const u8 = primitive<number>(
	1,
	(v, at) => v.getUint8(at),
	(v, at, x) => v.setUint8(at, x),
);
export const i8 = primitive<number>(
	1,
	(v, at) => v.getInt8(at),
	(v, at, x) => v.setInt8(at, x),
);
export const u16 = primitive<number>(
	2,
	(v, at) => v.getUint16(at, true),
	(v, at, x) => v.setUint16(at, x, true),
);
export const i16 = primitive<number>(
	2,
	(v, at) => v.getInt16(at, true),
	(v, at, x) => v.setInt16(at, x, true),
);
export const u32 = primitive<number>(
	4,
	(v, at) => v.getUint32(at, true),
	(v, at, x) => v.setUint32(at, x, true),
);
export const i32 = primitive<number>(
	4,
	(v, at) => v.getInt32(at, true),
	(v, at, x) => v.setInt32(at, x, true),
);
export const u64 = primitive<bigint>(
	8,
	(v, at) => v.getBigUint64(at, true),
	(v, at, x) => v.setBigUint64(at, x, true),
);
export const i64 = primitive<bigint>(
	8,
	(v, at) => v.getBigInt64(at, true),
	(v, at, x) => v.setBigInt64(at, x, true),
);

type Fields = Readonly<Record<string, Codec<never> | Codec<unknown>>>;
type StructOf<F> = { [K in keyof F]: Infer<F[K]> };

/** Fields one after another, with no padding. */
export function struct<const F extends Fields>(fields: F): Codec<StructOf<F>> {
	const names = Object.keys(fields);
	const codecs = names.map((n) => fields[n] as Codec<unknown>);
	return {
		min: codecs.reduce((sum, c) => sum + c.min, 0),
		read(r) {
			const out: Record<string, unknown> = {};
			for (let i = 0; i < names.length; i++) out[names[i]] = codecs[i].read(r);
			return out as StructOf<F>;
		},
		write(w, value) {
			const from = value as Record<string, unknown>;
			for (let i = 0; i < names.length; i++) codecs[i].write(w, from[names[i]]);
		},
	};
}

type Arms = Readonly<Record<string, readonly [number, Codec<never> | Codec<unknown>]>>;
type UnionOf<A extends Arms> = { [K in keyof A]: { type: K } & Infer<A[K][1]> }[keyof A];

/** A tag, then the struct that the tag names; in TypeScript `{ type: 'rects', rects: [...] }`. */
export function union<const A extends Arms>(tag: Codec<number>, arms: A): Codec<UnionOf<A>> {
	const byTag = new Map(
		Object.entries(arms).map(([name, [value, codec]]) => [value, { name, codec: codec as Codec<object> }]),
	);
	const min = tag.min + Math.min(...Object.values(arms).map(([, c]) => c.min));
	return {
		min,
		read(r) {
			const value = tag.read(r);
			const arm = byTag.get(value);
			if (!arm) throw new WireError(`tag ${value} is none of ${[...byTag.keys()].join(', ')}`);
			return { type: arm.name, ...arm.codec.read(r) } as UnionOf<A>;
		},
		write(w, value) {
			const [number, codec] = arms[value.type as string];
			tag.write(w, number);
			(codec as Codec<unknown>).write(w, value);
		},
	};
}

/** A count, then that many items; at most `max` of them. */
export function array<T>(count: Codec<number>, item: Codec<T>, max = 65536): Codec<T[]> {
	return {
		min: count.min,
		read(r) {
			const n = count.read(r);
			if (n > max || n * Math.max(1, item.min) > r.left) throw new WireError(`${n} items do not fit`);
			const out: T[] = [];
			for (let i = 0; i < n; i++) out.push(item.read(r));
			return out;
		},
		write(w, value) {
			count.write(w, value.length);
			for (const x of value) item.write(w, x);
		},
	};
}

/** Items up to the end of the message; at most `max` of them. Bytes that make no whole item throw WireError. */
export function many<T>(item: Codec<T>, max = 65536): Codec<T[]> {
	return {
		min: 0,
		read(r) {
			const out: T[] = [];
			while (r.left > 0) {
				if (out.length === max) throw new WireError(`more than ${max} items`);
				out.push(item.read(r));
			}
			return out;
		},
		write(w, value) {
			for (const x of value) item.write(w, x);
		},
	};
}

/** Exactly `n` items. */
export function fixedArray<T>(n: number, item: Codec<T>): Codec<T[]> {
	return {
		min: n * item.min,
		read(r) {
			const out: T[] = [];
			for (let i = 0; i < n; i++) out.push(item.read(r));
			return out;
		},
		write(w, value) {
			if (value.length !== n) throw new WireError(`needs ${n} items, got ${value.length}`);
			for (const x of value) item.write(w, x);
		},
	};
}

/** Exactly `n` bytes, by value. */
export function fixedBytes(n: number): Codec<Uint8Array> {
	return {
		min: n,
		read(r) {
			const at = r.take(n);
			return r.bytes.slice(at, at + n);
		},
		write(w, value) {
			if (value.length !== n) throw new WireError(`needs ${n} bytes, got ${value.length}`);
			w.bytes(value);
		},
	};
}

/** A count, then that many bytes; written by reference. */
export function bytes(count: Codec<number>, max = 0x7fffffff): Codec<Uint8Array> {
	return {
		min: count.min,
		read(r) {
			const n = count.read(r);
			if (n > max) throw new WireError(`${n} bytes are more than ${max}`);
			const at = r.take(n);
			return r.bytes.subarray(at, at + n);
		},
		write(w, value) {
			count.write(w, value.length);
			w.segment(value);
		},
	};
}

/** All bytes up to the end of the message; written by reference. */
export const rest: Codec<Uint8Array> = {
	min: 0,
	read(r) {
		const at = r.take(r.left);
		return r.bytes.subarray(at);
	},
	write: (w, value) => w.segment(value),
};

/** A u32 offset from the start of the message body, 0 for null; what it points at is written behind the fixed part. */
export function ptr<T>(target: Codec<T>): Codec<T | null> {
	return {
		min: 4,
		read(r) {
			const to = r.view.getUint32(r.take(4), true);
			if (to === 0) return null;
			if (to >= r.bytes.length) throw new WireError(`pointer to ${to} leaves a message of ${r.bytes.length} bytes`);
			if (++r.depth > MAX_DEPTH) throw new WireError('pointers nest too deeply');
			const back = r.at;
			r.at = to;
			const value = target.read(r);
			r.at = back;
			r.depth--;
			return value;
		},
		write(w, value) {
			if (value === null) {
				const at = w.room(4);
				w.view.setUint32(at, 0, true);
			} else {
				w.pointer(() => target.write(w, value));
			}
		},
	};
}

/** No bytes at all. */
export const Empty: Codec<Record<never, never>> = { min: 0, read: () => ({}), write: () => {} };

/** The bytes of one value, in one piece. */
export function encode<T>(codec: Codec<T>, value: T): Uint8Array {
	const w = new WireWriter(Math.max(16, codec.min));
	codec.write(w, value);
	const parts = w.finish();
	if (parts.length === 1) return parts[0];
	const out = new Uint8Array(parts.reduce((n, p) => n + p.length, 0));
	let at = 0;
	for (const part of parts) {
		out.set(part, at);
		at += part.length;
	}
	return out;
}

/** One value from the start of `from`; throws WireError. Bytes left over are not an error. */
export function decode<T>(codec: Codec<T>, from: Uint8Array, at = 0): T {
	return codec.read(new WireReader(from, at));
}
