/** What a drawing costs the host, counted as bytes, so that it can be weighed against what is copied from the guest. */
import { type Drawable, type Image, Ropd } from '../../../src/core/index.ts';

/** What drawing a pixel counts as: as it stands, or combined with what is there, masked or scaled. */
const PLAIN_PIXEL = 4;
const WORKED_PIXEL = 16;

interface Size {
	readonly width: number;
	readonly height: number;
}

/** `surface` is what `drawable` is drawn on. */
export function costOf(drawable: Drawable, surface: Size | undefined): number {
	const { left, top, right, bottom } = drawable.box;
	const pixel = isPlain(drawable) ? PLAIN_PIXEL : WORKED_PIXEL;
	return (right - left) * (bottom - top) * pixel + (surface ? ownPixels(drawable, surface) * PLAIN_PIXEL : 0);
}

/** Whether the new pixels are written as they stand. */
function isPlain(drawable: Drawable): boolean {
	if ('mask' in drawable && drawable.mask !== undefined) return false;
	switch (drawable.op) {
		case 'fill':
			return drawable.rop === Ropd.put && drawable.brush.kind === 'solid';
		case 'copy':
		case 'blend':
			return drawable.rop === Ropd.put && !isScaled(drawable);
		case 'opaque':
		case 'invers':
			return false;
		default:
			return true;
	}
}

/** Pixels of the surface that are kept aside while it is drawn on itself, beyond as many as it is drawn on. */
function ownPixels(drawable: Drawable, { width, height }: Size): number {
	const isOwn = (image: Image) => image.kind === 'surface' && image.surfaceId === drawable.surfaceId;
	const tiled = 'brush' in drawable && drawable.brush.kind === 'pattern' && isOwn(drawable.brush.image);
	const scaled = 'src' in drawable && isOwn(drawable.src) && isScaled(drawable);
	return (tiled ? width * height : 0) + (scaled ? width * height : 0);
}

function isScaled({ box, srcArea }: Extract<Drawable, { readonly src: Image }>): boolean {
	return box.right - box.left !== srcArea.right - srcArea.left || box.bottom - box.top !== srcArea.bottom - srcArea.top;
}
