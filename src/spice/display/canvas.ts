/**
 * One surface's pixels and SPICE's drawing operations on them, as spice-common's canvas_base.c defines them. All
 * surfaces are kept in 32 bits (pixels.ts), whatever the guest's depth; only readOwn gives the guest's format back.
 * Nothing a drawable says is trusted: coordinates are clipped, sources that do not fit leave the canvas as it was.
 */
import type { Bitmap, Brush, Drawable, Image, Mask, Point, Rect, SurfaceFormat } from '../../core/index.ts';
import { BitmapFormat, SurfaceFormat as Format } from '../../core/index.ts';
import {
	bitAt,
	fromSurfaceBytes,
	isWhole,
	readRow,
	rowOffset,
	surfaceColor,
	surfaceRowBytes,
	writeRow,
} from './pixels.ts';
import { intersect, isEmpty, region, translate } from './region.ts';
import { copyRop, type Rop, rop, ropBlackness, ropInvers, ropWhiteness } from './rop.ts';

/** Pixels to draw from: rows of 0xAARRGGBB, in the form that the destination surface holds. */
interface Source {
	readonly width: number;
	readonly height: number;
	/** Row `y` from pixel `x` on, `count` pixels into `out` at `at`; all inside width and height. */
	row(x: number, y: number, count: number, out: Uint32Array, at: number): void;
}

/** Finds a surface by its id. */
export type Surfaces = (id: number) => Canvas | undefined;

/** spice.proto image_scale_mode. */
const SCALE_NEAREST = 1;

export class Canvas {
	readonly width: number;
	readonly height: number;
	readonly format: SurfaceFormat;
	/** width * height pixels, rows top down. */
	readonly pixels: Uint32Array;
	readonly #bytes: Uint8Array;
	readonly #bounds: Rect;
	readonly #line: Uint32Array;

	/** `content` is in the surface's own format, rows packed; the canvas takes its pixels over where it can. */
	constructor(width: number, height: number, format: SurfaceFormat, content?: Uint8Array) {
		this.width = width;
		this.height = height;
		this.format = format;
		this.#bounds = { left: 0, top: 0, right: width, bottom: height };
		this.#line = new Uint32Array(width);
		const own = format === Format.xrgb32 || format === Format.argb32;
		if (own && content !== undefined && content.byteOffset % 4 === 0 && content.length >= width * height * 4) {
			this.pixels = new Uint32Array(content.buffer, content.byteOffset, width * height);
		} else {
			this.pixels = new Uint32Array(width * height);
			if (content !== undefined) fromSurfaceBytes(content, format, width, height, this.pixels);
		}
		this.#bytes = new Uint8Array(this.pixels.buffer, this.pixels.byteOffset, this.pixels.byteLength);
	}

	/**
	 * The parts of the canvas that `drawable` may change, none of them twice; masks are not looked at. Undefined if its
	 * clip is in more pieces than anybody draws.
	 */
	affected(drawable: Drawable): Rect[] | undefined {
		const box = intersect(drawable.box, this.#bounds);
		if (isEmpty(box)) return [];
		return drawable.clip === undefined ? [box] : region(drawable.clip.map((rect) => intersect(box, rect)));
	}

	/**
	 * Draws within `rects` (as `affected` gave them). `surface` finds other surfaces used as sources.
	 * False if a source is missing, broken, or of a kind that cannot be drawn; then nothing was drawn.
	 */
	draw(drawable: Drawable, rects: readonly Rect[], surface: Surfaces): boolean {
		switch (drawable.op) {
			case 'fill': {
				const r = rop(drawable.rop, 'brush', 'dest');
				return this.#masked(drawable, rects, surface, (parts, from) => this.#brush(parts, drawable.brush, r, from));
			}
			case 'copy':
			case 'blend': {
				const r = rop(drawable.rop, 'src', 'dest');
				return this.#masked(drawable, rects, surface, (parts, from) => this.#image(drawable, parts, r, from));
			}
			case 'opaque': {
				const r = rop(drawable.rop, 'brush', 'src');
				return this.#masked(
					drawable,
					rects,
					surface,
					(parts, from) => this.#image(drawable, parts, copyRop, from) && this.#brush(parts, drawable.brush, r, from),
				);
			}
			case 'copy-bits':
				this.#copyBits(drawable.box, drawable.srcPos, rects);
				return true;
			case 'blackness':
				return this.#masked(drawable, rects, surface, (parts) => this.#fill(parts, 0, ropBlackness));
			case 'whiteness':
				return this.#masked(drawable, rects, surface, (parts) => this.#fill(parts, 0, ropWhiteness));
			case 'invers':
				return this.#masked(drawable, rects, surface, (parts) => this.#fill(parts, 0, ropInvers));
		}
	}

	/** A copy of `rect` (inside the canvas) as 4-byte pixels, rows packed. */
	read(rect: Rect): Uint8Array {
		const row = (rect.right - rect.left) * 4;
		const height = rect.bottom - rect.top;
		const from = (rect.top * this.width + rect.left) * 4;
		if (row === this.width * 4) return this.#bytes.slice(from, from + row * height);
		const out = new Uint8Array(row * height);
		for (let y = 0, at = from; y < height; y++, at += this.width * 4)
			out.set(this.#bytes.subarray(at, at + row), y * row);
		return out;
	}

	/** A copy of `rect` in the surface's own format, rows packed; undefined if it leaves the canvas or is empty. */
	readOwn(rect: Rect): Uint8Array | undefined {
		if (isEmpty(rect) || rect.left < 0 || rect.top < 0 || rect.right > this.width || rect.bottom > this.height)
			return undefined;
		const width = rect.right - rect.left;
		const stride = surfaceRowBytes(this.format, width);
		const out = new Uint8Array(stride * (rect.bottom - rect.top));
		for (let y = rect.top; y < rect.bottom; y++)
			writeRow(this.pixels, y * this.width + rect.left, width, this.format, out, (y - rect.top) * stride);
		return out;
	}

	/** Draws in `rects`, or where the mask has its bits set. */
	#masked(
		drawable: Drawable,
		rects: readonly Rect[],
		surface: Surfaces,
		draw: (parts: readonly Rect[], surface: Surfaces) => boolean,
	): boolean {
		const mask = 'mask' in drawable ? drawable.mask : undefined;
		if (mask === undefined) return draw(rects, surface);
		const set = maskBits(mask, surface);
		if (set === undefined) return false;
		// Row by row, so what a row draws must not be what a later one reads.
		let copy: Canvas | undefined;
		const frozen: Surfaces = (id) => {
			const found = surface(id);
			if (found !== this) return found;
			copy ??= new Canvas(this.width, this.height, Format.argb32, this.#bytes.slice());
			return copy;
		};
		const { left, top } = drawable.box;
		for (const rect of rects) {
			for (let y = rect.top; y < rect.bottom; y++) {
				const spans: Rect[] = [];
				let from = -1;
				for (let x = rect.left; x <= rect.right; x++) {
					const drawn = x < rect.right && set(x - left + mask.pos.x, y - top + mask.pos.y);
					if (drawn && from < 0) from = x;
					if (!drawn && from >= 0) {
						spans.push({ left: from, top: y, right: x, bottom: y + 1 });
						from = -1;
					}
				}
				if (spans.length > 0 && !draw(spans, frozen)) return false;
			}
		}
		return true;
	}

	#fill(rects: readonly Rect[], color: number, r: Rop): boolean {
		for (const rect of rects) {
			for (let y = rect.top; y < rect.bottom; y++) {
				const from = y * this.width + rect.left;
				const to = from + rect.right - rect.left;
				if (r === copyRop) this.pixels.fill(color, from, to);
				else for (let i = from; i < to; i++) this.pixels[i] = r(color, this.pixels[i]);
			}
		}
		return true;
	}

	#brush(rects: readonly Rect[], brush: Brush, r: Rop, surface: Surfaces): boolean {
		if (brush.kind === 'none') return this.#fill(rects, 0, r);
		if (brush.kind === 'solid') return this.#fill(rects, surfaceColor(this.format, brush.color), r);
		const tile = this.#source(brush.image, surface);
		if (tile === undefined) return false;
		for (const rect of rects) {
			for (let y = rect.top; y < rect.bottom; y++) {
				const tileY = modulo(y - brush.pos.y, tile.height);
				for (let x = rect.left; x < rect.right; ) {
					const tileX = modulo(x - brush.pos.x, tile.width);
					const count = Math.min(rect.right - x, tile.width - tileX);
					tile.row(tileX, tileY, count, this.#line, 0);
					this.#put(x, y, count, r);
					x += count;
				}
			}
		}
		return true;
	}

	#image(
		drawable: Drawable & { readonly src: Image; readonly srcArea: Rect; readonly scaleMode: number },
		rects: readonly Rect[],
		r: Rop,
		surface: Surfaces,
	): boolean {
		const source = this.#source(drawable.src, surface);
		const from = drawable.srcArea;
		const { box } = drawable;
		if (source === undefined || isEmpty(from)) return false;
		if (from.left < 0 || from.top < 0 || from.right > source.width || from.bottom > source.height) return false;
		const same = from.right - from.left === box.right - box.left && from.bottom - from.top === box.bottom - box.top;
		if (!same) {
			this.#scaled(box, from, source, rects, r, drawable.scaleMode === SCALE_NEAREST);
			return true;
		}
		const dx = from.left - box.left;
		const dy = from.top - box.top;
		// A surface drawn on itself: what is read must not have been written.
		if (drawable.src.kind === 'surface' && surface(drawable.src.surfaceId) === this) {
			if (r === copyRop) this.#copyBits(box, { x: from.left, y: from.top }, rects);
			else this.#blit(copyOf(source), rects, dx, dy, r);
		} else if (r === copyRop && drawable.src.kind === 'bitmap' && this.#isRaw(drawable.src)) {
			this.#blitBytes(drawable.src, rects, dx, dy);
		} else {
			this.#blit(source, rects, dx, dy, r);
		}
		return true;
	}

	#isRaw(bitmap: Bitmap): boolean {
		const deep = this.format === Format.xrgb32 || this.format === Format.argb32;
		return deep && (bitmap.format === BitmapFormat.xrgb32 || bitmap.format === BitmapFormat.rgba32);
	}

	#blitBytes(bitmap: Bitmap, rects: readonly Rect[], dx: number, dy: number): void {
		for (const rect of rects) {
			const bytes = (rect.right - rect.left) * 4;
			for (let y = rect.top; y < rect.bottom; y++) {
				const at = rowOffset(bitmap, y + dy) + (rect.left + dx) * 4;
				this.#bytes.set(bitmap.data.subarray(at, at + bytes), (y * this.width + rect.left) * 4);
			}
		}
	}

	#blit(source: Source, rects: readonly Rect[], dx: number, dy: number, r: Rop): void {
		for (const rect of rects) {
			const count = rect.right - rect.left;
			for (let y = rect.top; y < rect.bottom; y++) {
				source.row(rect.left + dx, y + dy, count, this.#line, 0);
				this.#put(rect.left, y, count, r);
			}
		}
	}

	/** Pixels of #line onto the canvas. */
	#put(x: number, y: number, count: number, r: Rop): void {
		const at = y * this.width + x;
		const line = this.#line;
		if (r === copyRop) this.pixels.set(line.subarray(0, count), at);
		else for (let i = 0; i < count; i++) this.pixels[at + i] = r(line[i], this.pixels[at + i]);
	}

	/** Nearest or bilinear, sampled at pixel centres, edges repeated: as pixman scales for SPICE. */
	#scaled(box: Rect, from: Rect, source: Source, rects: readonly Rect[], r: Rop, nearest: boolean): void {
		const scaleX = (from.right - from.left) / (box.right - box.left);
		const scaleY = (from.bottom - from.top) / (box.bottom - box.top);
		const width = from.right - from.left;
		const upper = new Uint32Array(width);
		const lower = new Uint32Array(width);
		const at = (i: number, size: number) => Math.min(size - 1, Math.max(0, i));
		for (const rect of rects) {
			for (let y = rect.top; y < rect.bottom; y++) {
				const v = (y - box.top + 0.5) * scaleY - (nearest ? 0 : 0.5);
				const y0 = Math.floor(v);
				source.row(from.left, from.top + at(y0, from.bottom - from.top), width, upper, 0);
				if (!nearest) source.row(from.left, from.top + at(y0 + 1, from.bottom - from.top), width, lower, 0);
				for (let x = rect.left; x < rect.right; x++) {
					const u = (x - box.left + 0.5) * scaleX - (nearest ? 0 : 0.5);
					const x0 = Math.floor(u);
					const a = at(x0, width);
					const b = at(x0 + 1, width);
					this.#line[x - rect.left] = nearest
						? upper[a]
						: blend(blend(upper[a], upper[b], u - x0), blend(lower[a], lower[b], u - x0), v - y0);
				}
				this.#put(rect.left, y, rect.right - rect.left, r);
			}
		}
	}

	#copyBits(box: Rect, srcPos: Point, rects: readonly Rect[]): void {
		const dx = srcPos.x - box.left;
		const dy = srcPos.y - box.top;
		const parts = rects.map((r) => intersect(r, translate(this.#bounds, -dx, -dy))).filter((r) => !isEmpty(r));
		if (parts.length === 1) {
			const [part] = parts;
			const count = part.right - part.left;
			const rows = part.bottom - part.top;
			for (let i = 0; i < rows; i++) {
				// Rows that are still to be read must not be written: from the bottom up when pixels move down.
				const y = dy < 0 ? part.bottom - 1 - i : part.top + i;
				const from = (y + dy) * this.width + part.left + dx;
				this.pixels.copyWithin(y * this.width + part.left, from, from + count);
			}
			return;
		}
		const copies = parts.map((part) => this.read(translate(part, dx, dy)));
		for (const [i, part] of parts.entries()) {
			const row = (part.right - part.left) * 4;
			for (let y = part.top; y < part.bottom; y++) {
				const at = (y - part.top) * row;
				this.#bytes.set(copies[i].subarray(at, at + row), (y * this.width + part.left) * 4);
			}
		}
	}

	#source(image: Image, surface: Surfaces): Source | undefined {
		if (image.kind === 'bitmap') {
			if (!isWhole(image)) return undefined;
			const { format } = this;
			return {
				width: image.width,
				height: image.height,
				row: (x, y, count, out, at) => readRow(image, format, x, y, count, out, at),
			};
		}
		if (image.kind === 'surface') {
			const canvas = surface(image.surfaceId);
			if (canvas === undefined) return undefined;
			return {
				width: canvas.width,
				height: canvas.height,
				row: (x, y, count, out, at) => {
					const from = y * canvas.width + x;
					out.set(canvas.pixels.subarray(from, from + count), at);
				},
			};
		}
		return undefined;
	}
}

function modulo(a: number, n: number): number {
	return ((a % n) + n) % n;
}

/** Between `a` and `b`, byte by byte; `t` from 0 to 1. */
function blend(a: number, b: number, t: number): number {
	if (a === b) return a;
	const f = Math.round(t * 256);
	const even = ((a & 0xff00ff) * (256 - f) + (b & 0xff00ff) * f) / 256;
	const odd = (((a >>> 8) & 0xff00ff) * (256 - f) + ((b >>> 8) & 0xff00ff) * f) / 256;
	return ((even & 0xff00ff) | ((odd & 0xff00ff) << 8)) >>> 0;
}

/** All of a source at once, so that drawing cannot change what is still to be read. */
function copyOf(source: Source): Source {
	const { width, height } = source;
	const pixels = new Uint32Array(width * height);
	for (let y = 0; y < height; y++) source.row(0, y, width, pixels, y * width);
	return {
		width,
		height,
		row: (x, y, count, out, at) => out.set(pixels.subarray(y * width + x, y * width + x + count), at),
	};
}

/** Which pixels a mask lets through; outside of its image none. Undefined if it is not a 1-bit image. */
function maskBits(mask: Mask, surface: Surfaces): ((x: number, y: number) => boolean) | undefined {
	const { image, inverse } = mask;
	if (image.kind === 'bitmap') {
		const oneBit = image.format === BitmapFormat.plt1Le || image.format === BitmapFormat.plt1Be;
		if (!oneBit || image.stride * (image.height - 1) + ((image.width + 7) >> 3) > image.data.length) return undefined;
		return (x, y) => x >= 0 && y >= 0 && x < image.width && y < image.height && bitAt(image, x, y) !== inverse;
	}
	const canvas = image.kind === 'surface' ? surface(image.surfaceId) : undefined;
	if (canvas === undefined || canvas.format !== Format.a1) return undefined;
	const { width, height, pixels } = canvas;
	return (x, y) => x >= 0 && y >= 0 && x < width && y < height && ((pixels[y * width + x] & 1) === 1) !== inverse;
}
