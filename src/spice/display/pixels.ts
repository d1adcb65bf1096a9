/**
 * Pixel formats to and from the canvas's own: 32 bits, 0xAARRGGBB. 16-bit colours are widened by repeating their top
 * bits, so they come back unchanged; alpha-only pixels are repeated in all four bytes.
 */
import { type Bitmap, BitmapFormat, SurfaceFormat } from '../../core/index.ts';

export function widen555(v: number): number {
	const r = (v >> 10) & 31;
	const g = (v >> 5) & 31;
	const b = v & 31;
	return (((r << 3) | (r >> 2)) << 16) | (((g << 3) | (g >> 2)) << 8) | (b << 3) | (b >> 2);
}
export function widen565(v: number): number {
	const r = (v >> 11) & 31;
	const g = (v >> 5) & 63;
	const b = v & 31;
	return (((r << 3) | (r >> 2)) << 16) | (((g << 2) | (g >> 4)) << 8) | (b << 3) | (b >> 2);
}
export function narrow555(v: number): number {
	return ((v >> 9) & 0x7c00) | ((v >> 6) & 0x3e0) | ((v >> 3) & 31);
}
export function narrow565(v: number): number {
	return ((v >> 8) & 0xf800) | ((v >> 5) & 0x7e0) | ((v >> 3) & 31);
}

/** A colour in the surface's own format (a brush, a palette entry) as a canvas pixel. */
export function surfaceColor(format: SurfaceFormat, color: number): number {
	switch (format) {
		case SurfaceFormat.rgb555:
			return widen555(color);
		case SurfaceFormat.rgb565:
			return widen565(color);
		case SurfaceFormat.a8:
			return Math.imul(color & 0xff, 0x01010101);
		case SurfaceFormat.a1:
			return color & 1 ? -1 : 0;
		default:
			return color;
	}
}

/** A 32-bit colour as a pixel that a surface of `format` can hold. */
function quantize(format: SurfaceFormat, v: number): number {
	switch (format) {
		case SurfaceFormat.rgb555:
			return widen555(narrow555(v));
		case SurfaceFormat.rgb565:
			return widen565(narrow565(v));
		case SurfaceFormat.a8:
			return Math.imul(v >>> 24, 0x01010101);
		case SurfaceFormat.a1:
			return v < 0 ? -1 : 0;
		default:
			return v;
	}
}

/** Bytes a row of `width` pixels takes at least. */
export function bitmapRowBytes(format: BitmapFormat, width: number): number {
	switch (format) {
		case BitmapFormat.plt1Le:
		case BitmapFormat.plt1Be:
			return (width + 7) >> 3;
		case BitmapFormat.plt4Le:
		case BitmapFormat.plt4Be:
			return (width + 1) >> 1;
		case BitmapFormat.plt8:
		case BitmapFormat.a8:
			return width;
		case BitmapFormat.rgb16:
			return width * 2;
		case BitmapFormat.rgb24:
			return width * 3;
		default:
			return width * 4;
	}
}

/** Whether the bitmap's bytes are all there; what a device hands on should be, but a canvas must not trust it. */
export function isWhole(b: Bitmap): boolean {
	const row = bitmapRowBytes(b.format, b.width);
	const indexed = b.format <= BitmapFormat.plt8;
	return (
		b.width > 0 &&
		b.height > 0 &&
		b.stride >= row &&
		b.stride * (b.height - 1) + row <= b.data.length &&
		(!indexed || b.palette !== undefined)
	);
}

/** Where row `y` (from the top) begins in the bitmap's data. */
export function rowOffset(b: Bitmap, y: number): number {
	return (b.topDown ? y : b.height - 1 - y) * b.stride;
}

/** The bit of a 1-bit bitmap, as masks use it. */
export function bitAt(b: Bitmap, x: number, y: number): boolean {
	const byte = b.data[rowOffset(b, y) + (x >> 3)];
	return ((b.format === BitmapFormat.plt1Be ? byte >> (7 - (x & 7)) : byte >> (x & 7)) & 1) === 1;
}

/** Row `y` of `b` from pixel `x` on, `count` pixels into `out` at `at`, as a surface of `format` holds them. */
export function readRow(
	b: Bitmap,
	format: SurfaceFormat,
	x: number,
	y: number,
	count: number,
	out: Uint32Array,
	at: number,
): void {
	const { data } = b;
	const row = rowOffset(b, y);
	const palette = b.palette?.entries;
	const indexed = (i: number) => (palette !== undefined && i < palette.length ? surfaceColor(format, palette[i]) : 0);
	switch (b.format) {
		case BitmapFormat.plt1Le:
		case BitmapFormat.plt1Be:
			for (let i = 0; i < count; i++) out[at + i] = indexed(bitAt(b, x + i, y) ? 1 : 0);
			return;
		case BitmapFormat.plt4Le:
		case BitmapFormat.plt4Be: {
			const highFirst = b.format === BitmapFormat.plt4Be ? 0 : 1;
			for (let i = 0; i < count; i++) {
				const byte = data[row + ((x + i) >> 1)];
				out[at + i] = indexed(((x + i) & 1) === highFirst ? byte >> 4 : byte & 15);
			}
			return;
		}
		case BitmapFormat.plt8:
			for (let i = 0; i < count; i++) out[at + i] = indexed(data[row + x + i]);
			return;
		case BitmapFormat.a8:
			for (let i = 0; i < count; i++) {
				const v = data[row + x + i];
				out[at + i] = format === SurfaceFormat.a8 ? Math.imul(v, 0x01010101) : quantize(format, v << 24);
			}
			return;
		case BitmapFormat.rgb16: {
			const widen = format === SurfaceFormat.rgb565 ? widen565 : widen555;
			for (let i = 0, from = row + x * 2; i < count; i++, from += 2)
				out[at + i] = widen(data[from] | (data[from + 1] << 8));
			return;
		}
		case BitmapFormat.rgb24:
			for (let i = 0, from = row + x * 3; i < count; i++, from += 3)
				out[at + i] = quantize(format, data[from] | (data[from + 1] << 8) | (data[from + 2] << 16));
			return;
		default:
			for (let i = 0, from = row + x * 4; i < count; i++, from += 4)
				out[at + i] = quantize(
					format,
					data[from] | (data[from + 1] << 8) | (data[from + 2] << 16) | (data[from + 3] << 24),
				);
	}
}

/** Bytes per row of a surface's own format, packed. */
export function surfaceRowBytes(format: SurfaceFormat, width: number): number {
	switch (format) {
		case SurfaceFormat.a1:
			return (width + 7) >> 3;
		case SurfaceFormat.a8:
			return width;
		case SurfaceFormat.rgb555:
		case SurfaceFormat.rgb565:
			return width * 2;
		default:
			return width * 4;
	}
}

/** `count` canvas pixels from `at` on into `out` at byte `to`, in the surface's own format. */
export function writeRow(
	from: Uint32Array,
	at: number,
	count: number,
	format: SurfaceFormat,
	out: Uint8Array,
	to: number,
): void {
	switch (format) {
		case SurfaceFormat.a1:
			for (let i = 0; i < count; i++) {
				if ((i & 7) === 0) out[to + (i >> 3)] = 0;
				if (from[at + i] & 1) out[to + (i >> 3)] |= 1 << (i & 7);
			}
			return;
		case SurfaceFormat.a8:
			for (let i = 0; i < count; i++) out[to + i] = from[at + i];
			return;
		case SurfaceFormat.rgb555:
		case SurfaceFormat.rgb565: {
			const narrow = format === SurfaceFormat.rgb555 ? narrow555 : narrow565;
			for (let i = 0; i < count; i++) {
				const v = narrow(from[at + i]);
				out[to + i * 2] = v;
				out[to + i * 2 + 1] = v >> 8;
			}
			return;
		}
		default:
			out.set(new Uint8Array(from.buffer, from.byteOffset + at * 4, count * 4), to);
	}
}

/** Packed rows in a surface's own format into canvas pixels. Missing bytes leave pixels 0. */
export function fromSurfaceBytes(
	bytes: Uint8Array,
	format: SurfaceFormat,
	width: number,
	height: number,
	out: Uint32Array,
): void {
	const stride = surfaceRowBytes(format, width);
	if (format === SurfaceFormat.xrgb32 || format === SurfaceFormat.argb32) {
		new Uint8Array(out.buffer, out.byteOffset, out.byteLength).set(bytes.subarray(0, out.byteLength));
		return;
	}
	const widen = format === SurfaceFormat.rgb565 ? widen565 : widen555;
	for (let y = 0; y < height && (y + 1) * stride <= bytes.length; y++) {
		const row = y * stride;
		const to = y * width;
		if (format === SurfaceFormat.a1)
			for (let x = 0; x < width; x++) out[to + x] = -((bytes[row + (x >> 3)] >> (x & 7)) & 1);
		else if (format === SurfaceFormat.a8)
			for (let x = 0; x < width; x++) out[to + x] = Math.imul(bytes[row + x], 0x01010101);
		else for (let x = 0; x < width; x++) out[to + x] = widen(bytes[row + x * 2] | (bytes[row + x * 2 + 1] << 8));
	}
}
