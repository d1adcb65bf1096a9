/** The image codecs a display channel can use: names, what they can hold, and how to run them. */
import { BitmapFormat } from '../../core/index.ts';
import { NativeCodec, native } from './native.ts';

export type CodecName = keyof typeof NativeCodec;

/** Pixels to encode, rows top down. They must not change until the encoder is done. */
export interface Pixels {
	readonly format: BitmapFormat;
	readonly width: number;
	readonly height: number;
	/** Bytes from one row to the next, at least a row's own. */
	readonly stride: number;
	readonly data: Uint8Array;
}

/** Bytes a pixel takes; 0 for the formats that pack several into a byte. */
export function bytesPerPixel(format: BitmapFormat): number {
	switch (format) {
		case BitmapFormat.xrgb32:
		case BitmapFormat.rgba32:
			return 4;
		case BitmapFormat.rgb24:
			return 3;
		case BitmapFormat.rgb16:
			return 2;
		case BitmapFormat.plt8:
		case BitmapFormat.a8:
			return 1;
		default:
			return 0;
	}
}

/** Whether `codec` is compiled in and can hold pixels of `format`. */
export function canEncode(codec: CodecName, format: BitmapFormat): boolean {
	const { addon } = native();
	if (addon === undefined || (codec === 'lz4' && !addon.lz4)) return false;
	return format >= BitmapFormat.rgb16 && format <= BitmapFormat.rgba32;
}

/** Encodes at once, on this thread: for small images. Throws if canEncode is false or the pixels do not fill the image. */
export function encodeNow(codec: CodecName, pixels: Pixels): Uint8Array {
	const { format, width, height, stride, data } = pixels;
	return addonOf(codec).encode(NativeCodec[codec], format, width, height, stride, data);
}

/** Encodes on a thread of libuv's pool. Rejects where encodeNow throws. */
export async function encodeLater(codec: CodecName, pixels: Pixels): Promise<Uint8Array> {
	const { format, width, height, stride, data } = pixels;
	return addonOf(codec).encodeAsync(NativeCodec[codec], format, width, height, stride, data);
}

function addonOf(codec: CodecName) {
	const found = native();
	if (found.addon === undefined) throw new Error(`${codec} needs the native addon: ${found.reason}`);
	return found.addon;
}
