/** What is drawn from: pixels and masks, of bitmaps that the guest gave and of surfaces. */
import type { Bitmap, SurfaceFormat } from '../../core/index.ts';
import { BitmapFormat } from '../../core/index.ts';
import { bitAt, readRow } from './pixels.ts';

export interface Size {
	readonly width: number;
	readonly height: number;
}

/** Pixels to draw from: rows of 0xAARRGGBB, in the form that the destination surface holds. */
export interface Source extends Size {
	/** Row `y` from pixel `x` on, `count` pixels into `out` at `at`; all inside width and height. */
	row(x: number, y: number, count: number, out: Uint32Array, at: number): void;
}

/** Whether a mask lets a pixel through; outside of its image none. */
export type Bits = (x: number, y: number) => boolean;

/** Pixels of a surface from `left` and `top` on, `stride` to a row. */
export interface Block {
	readonly pixels: Uint32Array;
	readonly left: number;
	readonly top: number;
	readonly stride: number;
}

/** `bitmap` must be whole. */
export function bitmapSource(bitmap: Bitmap, format: SurfaceFormat): Source {
	return {
		width: bitmap.width,
		height: bitmap.height,
		row: (x, y, count, out, at) => readRow(bitmap, format, x, y, count, out, at),
	};
}

export function surfaceSource({ width, height }: Size, { pixels, left, top, stride }: Block): Source {
	return {
		width,
		height,
		row(x, y, count, out, at) {
			const from = (y - top) * stride + x - left;
			out.set(pixels.subarray(from, from + count), at);
		},
	};
}

/** Undefined if the bitmap is not a whole one of 1 bit a pixel. */
export function bitmapBits(image: Bitmap, inverse: boolean): Bits | undefined {
	const { width, height, stride } = image;
	const oneBit = image.format === BitmapFormat.plt1Le || image.format === BitmapFormat.plt1Be;
	if (!oneBit || stride * (height - 1) + ((width + 7) >> 3) > image.data.length) return undefined;
	return (x, y) => x >= 0 && y >= 0 && x < width && y < height && bitAt(image, x, y) !== inverse;
}

export function surfaceBits({ width, height }: Size, { pixels, left, top, stride }: Block, inverse: boolean): Bits {
	return (x, y) =>
		x >= 0 && y >= 0 && x < width && y < height && ((pixels[(y - top) * stride + x - left] & 1) === 1) !== inverse;
}
