/** What a drawing costs the host, counted as bytes, so that it can be weighed against what is copied from the guest. */
import { BitmapFormat, type Drawable, type Image, Ropd, SurfaceFormat } from '../../../src/core/index.ts';

/**
 * What drawing a pixel counts as: as it stands; read in another format or combined with what is there; sampled or cut
 * out by a mask. In JavaScript these are about 1, 10 and 30 ns.
 */
const PLAIN_PIXEL = 4;
const WORKED_PIXEL = 16;
const PICKED_PIXEL = 64;
/** A rectangle of a clip, which is sorted among the others. */
export const CLIP_RECT = 4096;

interface Shape {
	readonly width: number;
	readonly height: number;
	readonly format: SurfaceFormat;
}

/** `surface` is what `drawable` is drawn on. */
export function costOf(drawable: Drawable, surface: Shape | undefined): number {
	const { left, top, right, bottom } = drawable.box;
	const pixel = isPicked(drawable) ? PICKED_PIXEL : isPlain(drawable, surface) ? PLAIN_PIXEL : WORKED_PIXEL;
	const own = surface ? ownPixels(drawable, surface) * PLAIN_PIXEL : 0;
	return (right - left) * (bottom - top) * pixel + own + (drawable.clip?.length ?? 0) * CLIP_RECT;
}

/** Whether what is drawn depends on what is there elsewhere on the same surface: such a drawing cannot be cut. */
export function readsItself(drawable: Drawable): boolean {
	const isOwn = (image: Image) => image.kind === 'surface' && image.surfaceId === drawable.surfaceId;
	return (
		drawable.op === 'copy-bits' ||
		('src' in drawable && isOwn(drawable.src)) ||
		('brush' in drawable && drawable.brush.kind === 'pattern' && isOwn(drawable.brush.image)) ||
		('mask' in drawable && drawable.mask !== undefined && isOwn(drawable.mask.image))
	);
}

/** Whether each pixel is decided on or computed by itself. */
function isPicked(drawable: Drawable): boolean {
	return ('mask' in drawable && drawable.mask !== undefined) || ('src' in drawable && isScaled(drawable));
}

/** Whether the new pixels are written as they stand. */
function isPlain(drawable: Drawable, surface: Shape | undefined): boolean {
	switch (drawable.op) {
		case 'fill':
			return drawable.rop === Ropd.put && drawable.brush.kind === 'solid';
		case 'copy':
		case 'blend':
			return drawable.rop === Ropd.put && isDeep(drawable.src, surface);
		case 'opaque':
		case 'invers':
			return false;
		default:
			return true;
	}
}

/** Whether the image has the form that a surface is kept in. */
function isDeep(image: Image, surface: Shape | undefined): boolean {
	if (image.kind === 'surface') return true;
	const { xrgb32, argb32 } = SurfaceFormat;
	const deep = surface === undefined || surface.format === xrgb32 || surface.format === argb32;
	return (
		deep && image.kind === 'bitmap' && (image.format === BitmapFormat.xrgb32 || image.format === BitmapFormat.rgba32)
	);
}

/** Pixels of the surface that are kept aside while it is drawn on itself, beyond as many as it is drawn on. */
function ownPixels(drawable: Drawable, { width, height }: Shape): number {
	const isOwn = (image: Image) => image.kind === 'surface' && image.surfaceId === drawable.surfaceId;
	const tiled = 'brush' in drawable && drawable.brush.kind === 'pattern' && isOwn(drawable.brush.image);
	const scaled = 'src' in drawable && isOwn(drawable.src) && isScaled(drawable);
	return (tiled ? width * height : 0) + (scaled ? width * height : 0);
}

function isScaled({ box, srcArea }: Extract<Drawable, { readonly src: Image }>): boolean {
	return box.right - box.left !== srcArea.right - srcArea.left || box.bottom - box.top !== srcArea.bottom - srcArea.top;
}
