/** Which encoding an image gets: by what the client reads, by what it asked for, and by the look of the pixels. */
import { BitmapFormat } from '../../core/index.ts';
import { type CodecName, canEncode, type Pixels } from '../codecs/index.ts';

/** spice.proto enum8 image_compression: what a client may wish for. */
export const ImageCompression = {
	off: 1,
	autoGlz: 2,
	autoLz: 3,
	quic: 4,
	glz: 5,
	lz: 6,
	lz4: 7,
} as const;
export type ImageCompression = (typeof ImageCompression)[keyof typeof ImageCompression];

export interface ClientAbilities {
	/** The client reads LZ4 images. */
	readonly lz4: boolean;
	/** Decoding runs in JavaScript, where QUIC's bit by bit costs ten times LZ's copying. */
	readonly slowDecoder: boolean;
	/** The client's wish. */
	readonly preferred: ImageCompression;
}

/** Below this the image header outweighs any gain. libspice-server, MIN_SIZE_TO_COMPRESS. */
const MIN_BYTES = 54;
/** libspice-server, MIN_DIMENSION_TO_QUIC. */
const MIN_QUIC_SIDE = 3;

/** The codec for `pixels`, or undefined: as they are. */
export function select(pixels: Pixels, client: ClientAbilities): CodecName | undefined {
	const { width, height, format, stride } = pixels;
	if (stride * height < MIN_BYTES || width * height * 4 < MIN_BYTES) return undefined;
	const usable = (codec: CodecName) => (canEncode(codec, format) ? codec : undefined);
	switch (client.preferred) {
		case ImageCompression.off:
			return undefined;
		case ImageCompression.quic:
			return usable('quic');
		case ImageCompression.lz:
		case ImageCompression.glz:
			return usable('lz');
		case ImageCompression.lz4:
			return client.lz4 ? usable('lz4') : usable('lz');
	}
	if (client.slowDecoder || width < MIN_QUIC_SIDE || height < MIN_QUIC_SIDE) return usable('lz');
	return usable(isGradual(pixels) ? 'quic' : 'lz');
}

/** Distance between samples, pixels and rows. */
const SAMPLE = 15;
/** Neighbours that differ by more than this are an edge. */
const CONTRAST = 60;

/**
 * Whether neighbours mostly differ, but by little, as in photos and shading: what prediction does better than a
 * dictionary. Looks at a sample of the pixels, each with the one to its right and the one below.
 */
export function isGradual(pixels: Pixels): boolean {
	const { width, height, stride, data, format } = pixels;
	if (format !== BitmapFormat.xrgb32 && format !== BitmapFormat.rgba32) return true;
	let same = 0;
	let near = 0;
	let far = 0;
	for (let y = 0; y + 1 < height; y += Math.min(SAMPLE, Math.max(1, height >> 2))) {
		for (let x = y % 3; x + 1 < width; x += Math.min(SAMPLE, Math.max(1, width >> 2))) {
			const at = y * stride + x * 4;
			for (const other of [at + 4, at + stride]) {
				const difference =
					Math.abs(data[at] - data[other]) +
					Math.abs(data[at + 1] - data[other + 1]) +
					Math.abs(data[at + 2] - data[other + 2]);
				if (difference === 0) same++;
				else if (difference <= CONTRAST) near++;
				else far++;
			}
		}
	}
	return near > same / 2 + far;
}
