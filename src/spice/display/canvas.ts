/**
 * One surface's pixels and SPICE's drawing operations on them, as spice-common's canvas_base.c defines them. All
 * surfaces are kept in 32 bits (pixels.ts), whatever the guest's depth; only readOwn gives the guest's format back.
 * Nothing a drawable says is trusted: coordinates are clipped, sources that do not fit leave the canvas as it was.
 */
import type { Bitmap, Brush, Drawable, Image, Mask, Point, Rect, SurfaceFormat } from '../../core/index.ts';
import { BitmapFormat, SurfaceFormat as Format } from '../../core/index.ts';
import { fromSurfaceBytes, isWhole, rowOffset, surfaceColor, writeRow } from './pixels.ts';
import { intersect, isEmpty, join, region, translate } from './region.ts';
import { copyRop, type Rop, rop, ropBlackness, ropInvers, ropWhiteness } from './rop.ts';
import { blend, Columns, within } from './scale.ts';
import {
	type Bits,
	type Block,
	bitmapBits,
	bitmapSource,
	type Size,
	type Source,
	surfaceBits,
	surfaceSource,
} from './sources.ts';

/** Draws in rectangles that do not overlap, all of them on the canvas. */
type Draw = (rects: readonly Rect[]) => void;
type ImageDrawable = Extract<Drawable, { readonly src: Image }>;

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
	/** The memory that they are in, if it is the canvas's own: another one may have it afterwards. */
	readonly room: Uint32Array | undefined;
	readonly #bytes: Uint8Array;
	readonly #bounds: Rect;
	readonly #line: Uint32Array;

	/**
	 * `content` is in the surface's own format, rows packed; the canvas takes its pixels over where it can. `room` is what
	 * another canvas has left behind.
	 */
	constructor(width: number, height: number, format: SurfaceFormat, content?: Uint8Array, room?: Uint32Array) {
		this.width = width;
		this.height = height;
		this.format = format;
		this.#bounds = { left: 0, top: 0, right: width, bottom: height };
		this.#line = new Uint32Array(width);
		const own = format === Format.xrgb32 || format === Format.argb32;
		if (own && content !== undefined && content.byteOffset % 4 === 0 && content.length >= width * height * 4) {
			this.pixels = new Uint32Array(content.buffer, content.byteOffset, width * height);
		} else {
			const size = width * height;
			this.room = room !== undefined && room.length >= size ? room : new Uint32Array(size);
			this.pixels = this.room.subarray(0, size);
			if (this.room === room) this.pixels.fill(0);
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
				const paint = this.#painter(drawable.brush, surface);
				if (paint === undefined) return false;
				return this.#masked(drawable, rects, surface, (parts) => paint(parts, r));
			}
			case 'copy':
			case 'blend': {
				const r = rop(drawable.rop, 'src', 'dest');
				const copy = this.#copier(drawable, rects, r, surface);
				return copy !== undefined && this.#masked(drawable, rects, surface, copy);
			}
			case 'opaque': {
				const r = rop(drawable.rop, 'brush', 'src');
				const copy = this.#copier(drawable, rects, copyRop, surface);
				const paint = this.#painter(drawable.brush, surface);
				if (copy === undefined || paint === undefined) return false;
				return this.#masked(drawable, rects, surface, (parts) => {
					copy(parts);
					paint(parts, r);
				});
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

	/**
	 * Writes the pixels of `rect` in the surface's own format into `out`, the first row at byte `at` and `stride` bytes
	 * from a row to the next. False, with nothing written, if `rect` leaves the canvas or is empty.
	 */
	readOwn(rect: Rect, out: Uint8Array, at: number, stride: number): boolean {
		if (isEmpty(rect) || rect.left < 0 || rect.top < 0 || rect.right > this.width || rect.bottom > this.height)
			return false;
		const width = rect.right - rect.left;
		for (let y = rect.top; y < rect.bottom; y++)
			writeRow(this.pixels, y * this.width + rect.left, width, this.format, out, at + (y - rect.top) * stride);
		return true;
	}

	/** Draws in `rects`, or where the mask has its bits set. False if the mask is none. */
	#masked(drawable: Drawable, rects: readonly Rect[], surface: Surfaces, draw: Draw): boolean {
		const mask = 'mask' in drawable ? drawable.mask : undefined;
		if (mask === undefined) {
			draw(rects);
			return true;
		}
		const { left, top } = drawable.box;
		const dx = mask.pos.x - left;
		const dy = mask.pos.y - top;
		const set = this.#bits(mask, surface, translate(boundsOf(rects), dx, dy));
		if (set === undefined) return false;
		for (const rect of rects) {
			for (let y = rect.top; y < rect.bottom; y++) {
				const spans: Rect[] = [];
				let from = -1;
				for (let x = rect.left; x <= rect.right; x++) {
					const drawn = x < rect.right && set(x + dx, y + dy);
					if (drawn && from < 0) from = x;
					if (!drawn && from >= 0) {
						spans.push({ left: from, top: y, right: x, bottom: y + 1 });
						from = -1;
					}
				}
				if (spans.length > 0) draw(spans);
			}
		}
		return true;
	}

	#fill(rects: readonly Rect[], color: number, r: Rop): void {
		for (const rect of rects) {
			for (let y = rect.top; y < rect.bottom; y++) {
				const from = y * this.width + rect.left;
				const to = from + rect.right - rect.left;
				if (r === copyRop) this.pixels.fill(color, from, to);
				else for (let i = from; i < to; i++) this.pixels[i] = r(color, this.pixels[i]);
			}
		}
	}

	/** How `brush` is drawn; undefined if its image cannot be. */
	#painter(brush: Brush, surface: Surfaces): ((rects: readonly Rect[], r: Rop) => void) | undefined {
		if (brush.kind === 'none') return (rects, r) => this.#fill(rects, 0, r);
		if (brush.kind === 'solid') {
			const color = surfaceColor(this.format, brush.color);
			return (rects, r) => this.#fill(rects, color, r);
		}
		const tile = this.#source(brush.image, surface);
		return tile && ((rects, r) => this.#tiles(rects, tile, brush.pos, r));
	}

	#tiles(rects: readonly Rect[], tile: Source, pos: Point, r: Rop): void {
		for (const rect of rects) {
			const count = rect.right - rect.left;
			const tileX = modulo(rect.left - pos.x, tile.width);
			const first = Math.min(count, tile.width - tileX);
			const once = Math.min(count, tile.width);
			for (let y = rect.top; y < rect.bottom; y++) {
				const tileY = modulo(y - pos.y, tile.height);
				tile.row(tileX, tileY, first, this.#line, 0);
				if (first < once) tile.row(0, tileY, once - first, this.#line, first);
				// What has been written repeats itself, and each copy of it doubles that.
				for (let done = once; done < count; done *= 2) this.#line.copyWithin(done, 0, Math.min(done, count - done));
				this.#put(rect.left, y, count, r);
			}
		}
	}

	/** How the image of `drawable` is drawn within `rects` or parts of them; undefined if it cannot be. */
	#copier(drawable: ImageDrawable, rects: readonly Rect[], r: Rop, surface: Surfaces): Draw | undefined {
		const { box, src, srcArea: from } = drawable;
		const size = this.#sizeOf(src, surface);
		if (size === undefined || isEmpty(from)) return undefined;
		if (from.left < 0 || from.top < 0 || from.right > size.width || from.bottom > size.height) return undefined;
		const dx = from.left - box.left;
		const dy = from.top - box.top;
		const same = from.right - from.left === box.right - box.left && from.bottom - from.top === box.bottom - box.top;
		if (!same) {
			const source = this.#source(src, surface, from);
			const nearest = drawable.scaleMode === SCALE_NEAREST;
			return source && ((parts) => this.#scaled(box, from, source, parts, r, nearest));
		}
		if (r === copyRop && drawable.mask === undefined && src.kind === 'surface' && surface(src.surfaceId) === this)
			return (parts) => this.#copyBits(box, { x: from.left, y: from.top }, parts);
		const source = this.#source(src, surface, translate(boundsOf(rects), dx, dy));
		if (source === undefined) return undefined;
		if (r === copyRop && src.kind === 'bitmap' && this.#isRaw(src))
			return (parts) => this.#blitBytes(src, parts, dx, dy);
		return (parts) => this.#blit(source, parts, dx, dy, r);
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
		const width = from.right - from.left;
		const height = from.bottom - from.top;
		const scaleX = width / (box.right - box.left);
		const scaleY = height / (box.bottom - box.top);
		const shift = nearest ? 0 : 0.5;
		for (const rect of rects) {
			const columns = new Columns(rect, (x) => (x - box.left + 0.5) * scaleX - shift, width);
			const upper = columns.line();
			const lower = columns.line();
			for (let y = rect.top; y < rect.bottom; y++) {
				const v = (y - box.top + 0.5) * scaleY - shift;
				const y0 = Math.floor(v);
				columns.read(source, from.left, from.top + within(y0, height), upper);
				if (!nearest) columns.read(source, from.left, from.top + within(y0 + 1, height), lower);
				for (let i = 0; i < columns.count; i++) {
					const a = columns.left[i];
					const b = columns.right[i];
					const t = columns.fraction[i];
					this.#line[i] = nearest
						? upper[a]
						: blend(blend(upper[a], upper[b], t), blend(lower[a], lower[b], t), v - y0);
				}
				this.#put(rect.left, y, columns.count, r);
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

	#sizeOf(image: Image, surface: Surfaces): Size | undefined {
		if (image.kind === 'bitmap') return image;
		return image.kind === 'surface' ? surface(image.surfaceId) : undefined;
	}

	/** The pixels of `image`, of which only `area` is read. Undefined if it is missing or broken. */
	#source(image: Image, surface: Surfaces, area = this.#bounds): Source | undefined {
		if (image.kind === 'bitmap') return isWhole(image) ? bitmapSource(image, this.format) : undefined;
		const canvas = image.kind === 'surface' ? surface(image.surfaceId) : undefined;
		return canvas && surfaceSource(canvas, this.#still(canvas, area));
	}

	/** Which pixels `mask` lets through, of which only `area` is asked for. Undefined if it is not a 1-bit image. */
	#bits(mask: Mask, surface: Surfaces, area: Rect): Bits | undefined {
		const { image, inverse } = mask;
		if (image.kind === 'bitmap') return bitmapBits(image, inverse);
		const canvas = image.kind === 'surface' ? surface(image.surfaceId) : undefined;
		if (canvas === undefined || canvas.format !== Format.a1) return undefined;
		return surfaceBits(canvas, this.#still(canvas, area), inverse);
	}

	/** Pixels of `canvas` that stay as they are while this one is drawn on: where it is this one, a copy of `area`. */
	#still(canvas: Canvas, area: Rect): Block {
		if (canvas !== this) return { pixels: canvas.pixels, left: 0, top: 0, stride: canvas.width };
		const part = intersect(area, this.#bounds);
		const pixels = isEmpty(part) ? new Uint32Array(0) : new Uint32Array(this.read(part).buffer);
		return { pixels, left: part.left, top: part.top, stride: part.right - part.left };
	}
}

/** The smallest rectangle around all. */
function boundsOf(rects: readonly Rect[]): Rect {
	return rects.length === 0 ? { left: 0, top: 0, right: 0, bottom: 0 } : rects.reduce(join);
}

function modulo(a: number, n: number): number {
	return ((a % n) + n) % n;
}
