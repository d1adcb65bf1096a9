/** Pictures of a screen as files. */
import { PNG } from 'pngjs';

/** Pixels as R, G, B bytes, rows packed, top down. */
export interface Screenshot {
	readonly width: number;
	readonly height: number;
	readonly rgb: Uint8Array;
}

export function encodePng(picture: Screenshot): Uint8Array {
	const png = new PNG({
		width: picture.width,
		height: picture.height,
		colorType: 2,
		inputColorType: 2,
		inputHasAlpha: false,
	});
	png.data = Buffer.from(picture.rgb.buffer, picture.rgb.byteOffset, picture.rgb.byteLength);
	return PNG.sync.write(png, { colorType: 2, inputColorType: 2, inputHasAlpha: false });
}

/** Portable pixmap, binary (P6). */
export function encodePpm(picture: Screenshot): Uint8Array {
	const header = Buffer.from(`P6\n${picture.width} ${picture.height}\n255\n`, 'latin1');
	return Buffer.concat([header, picture.rgb]);
}
