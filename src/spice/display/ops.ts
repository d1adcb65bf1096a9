/** What travels to a client, in order: drawing operations reduced to the three that every client gets right. */
import { BitmapFormat, type Drawable, type Head, type Rect, Ropd, SurfaceFormat } from '../../core/index.ts';
import type { Pixels } from '../codecs/index.ts';
import type { Canvas } from './canvas.ts';
import { isWhole } from './pixels.ts';
import { area, covers, intersect, isEmpty, join, overlaps, translate } from './region.ts';

/** A rectangle of one colour (0x00RRGGBB). */
export interface FillOp {
	readonly kind: 'fill';
	readonly rect: Rect;
	readonly color: number;
}
/** Pixels moved within the surface, from `rect` shifted by (dx, dy). */
export interface CopyOp {
	readonly kind: 'copy';
	readonly rect: Rect;
	readonly dx: number;
	readonly dy: number;
}
/** New pixels for a rectangle; `pixels` has its size. */
export interface ImageOp {
	readonly kind: 'image';
	readonly rect: Rect;
	readonly pixels: Pixels;
}
export type ClientOp = FillOp | CopyOp | ImageOp;

/** The primary surface's life, and what is said about it. */
export type ControlOp =
	| { readonly kind: 'create'; readonly width: number; readonly height: number }
	| { readonly kind: 'destroy' }
	| { readonly kind: 'monitors'; readonly maxAllowed: number; readonly heads: readonly Head[] }
	| { readonly kind: 'mark' };

/** Bytes an operation holds on to while it waits. */
export function weight(op: ClientOp): number {
	return op.kind === 'image' ? op.pixels.width * op.pixels.height * 4 : 64;
}

/** `rect` of a canvas as it is now. */
export function snapshot(canvas: Canvas, rect: Rect): ImageOp {
	const width = rect.right - rect.left;
	const height = rect.bottom - rect.top;
	const pixels = { format: BitmapFormat.xrgb32, width, height, stride: width * 4, data: canvas.read(rect) };
	return { kind: 'image', rect, pixels };
}

/** More pieces than this cost more than the pixels between them. */
const MAX_PIECES = 16;

/**
 * What to tell clients about `drawable`, which has just been drawn on `canvas` within `rects`. Clips are resolved
 * here: spice-html5 ignores them, and a piece costs the others little. What is neither a plain fill, copy or bitmap
 * is sent as the pixels that it made.
 */
export function reduce(drawable: Drawable, canvas: Canvas, rects: readonly Rect[]): ClientOp[] {
	if (rects.length === 0) return [];
	const few = rects.length <= MAX_PIECES;
	if (few && drawable.op === 'fill' && drawable.mask === undefined && drawable.brush.kind === 'solid') {
		if (drawable.rop === Ropd.put && canvas.format === SurfaceFormat.xrgb32) {
			const { color } = drawable.brush;
			return rects.map((rect) => ({ kind: 'fill', rect, color: color & 0xffffff }));
		}
	}
	if (rects.length === 1 && drawable.op === 'copy-bits') {
		const dx = drawable.srcPos.x - drawable.box.left;
		const dy = drawable.srcPos.y - drawable.box.top;
		const inside = { left: 0, top: 0, right: canvas.width, bottom: canvas.height };
		const rect = intersect(rects[0], translate(inside, -dx, -dy));
		return isEmpty(rect) ? [] : [{ kind: 'copy', rect, dx, dy }];
	}
	if (few && drawable.op === 'copy' && drawable.mask === undefined && drawable.rop === Ropd.put) {
		const images = plainImages(drawable, rects);
		if (images !== undefined) return images;
	}
	return few ? rects.map((rect) => snapshot(canvas, rect)) : [snapshot(canvas, rects.reduce(join))];
}

/**
 * A 32-bit bitmap drawn in its own size needs no second copy: the pieces are views of its rows. Unless they are few
 * of many, for they keep all of them alive.
 */
function plainImages(
	drawable: Drawable & { readonly op: 'copy' | 'blend' },
	rects: readonly Rect[],
): ImageOp[] | undefined {
	const { src, srcArea, box } = drawable;
	if (src.kind !== 'bitmap' || src.format !== BitmapFormat.xrgb32 || !src.topDown || !isWhole(src)) return undefined;
	if (srcArea.right - srcArea.left !== box.right - box.left || srcArea.bottom - srcArea.top !== box.bottom - box.top)
		return undefined;
	const bytes = rects.reduce((sum, rect) => sum + area(rect) * 4, 0);
	if (bytes * 2 < src.data.buffer.byteLength) return undefined;
	return rects.map((rect) => {
		const x = srcArea.left + rect.left - box.left;
		const y = srcArea.top + rect.top - box.top;
		const data = src.data.subarray(y * src.stride + x * 4);
		const pixels = {
			format: src.format,
			width: rect.right - rect.left,
			height: rect.bottom - rect.top,
			stride: src.stride,
			data,
		};
		return { kind: 'image', rect, pixels };
	});
}

/** Whether `op` reads pixels of `rect` that earlier operations left. */
export function reads(op: ClientOp, rect: Rect): boolean {
	return op.kind === 'copy' && overlaps(translate(op.rect, op.dx, op.dy), rect);
}

/** Whether nothing of `older` can be seen once `op` is drawn. */
export function hides(op: ClientOp, older: ClientOp): boolean {
	return covers(op.rect, older.rect);
}
