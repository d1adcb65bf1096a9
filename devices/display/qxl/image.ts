/** QXLImage: pixels, another surface, or what a driver has compressed itself. qxl_dev.h, QXLImageDescriptor and on. */
import { BitmapFormat, type Bitmap as BitmapImage, type Image, SurfaceFormat } from '../../../src/core/index.ts';
import { CommandError, type GuestReader } from './guest-reader.ts';
import { Bitmap, BitmapFlags, IMAGE_CACHE, ImageDescriptor, ImageType, Palette } from './layout.ts';

/** Largest side of an image or surface, and most pixels. */
export const MAX_SIDE = 8192;
export const MAX_PIXELS = 64 << 20;

const BITS: { readonly [format: number]: number } = {
	[BitmapFormat.plt1Le]: 1,
	[BitmapFormat.plt1Be]: 1,
	[BitmapFormat.plt4Le]: 4,
	[BitmapFormat.plt4Be]: 4,
	[BitmapFormat.plt8]: 8,
	[BitmapFormat.rgb16]: 16,
	[BitmapFormat.rgb24]: 24,
	[BitmapFormat.xrgb32]: 32,
	[BitmapFormat.rgba32]: 32,
	[BitmapFormat.a8]: 8,
};
/** Formats whose pixels are indices, and how many colours they can name. */
const PALETTE_ENTRIES: { readonly [format: number]: number } = {
	[BitmapFormat.plt1Le]: 2,
	[BitmapFormat.plt1Be]: 2,
	[BitmapFormat.plt4Le]: 16,
	[BitmapFormat.plt4Be]: 16,
	[BitmapFormat.plt8]: 256,
};
const SURFACE_BITS: { readonly [format: number]: number } = {
	[SurfaceFormat.a1]: 1,
	[SurfaceFormat.a8]: 8,
	[SurfaceFormat.rgb555]: 16,
	[SurfaceFormat.rgb565]: 16,
	[SurfaceFormat.xrgb32]: 32,
	[SurfaceFormat.argb32]: 32,
};

/** Bits a pixel of a surface; undefined if there is no such format. */
export function surfaceBits(format: number): number | undefined {
	return SURFACE_BITS[format];
}

/** Sides within what a client can be asked to take; throws CommandError. */
export function checkSize(what: string, width: number, height: number): void {
	if (width === 0 || height === 0 || width > MAX_SIDE || height > MAX_SIDE || width * height > MAX_PIXELS)
		throw new CommandError(`${what} of ${width}x${height}`);
}

/** A colour of a guest that draws in 16 bits: five each, repeated to eight. */
export function color16(color: number): number {
	const wide = (five: number) => ((five & 31) << 3) | ((five & 31) >> 2);
	return (wide(color >> 10) << 16) | (wide(color >> 5) << 8) | wide(color);
}

/**
 * The image at `address`, which is not null. `narrow`: colours of palettes have 16 bits. Throws GuestFault or
 * CommandError.
 */
export function readImage(reader: GuestReader, address: bigint, narrow = false): Image {
	const { id, type, flags, width, height } = reader.read(ImageDescriptor, address);
	const body = ImageDescriptor.min;
	const cache = (flags & IMAGE_CACHE) !== 0;
	switch (type) {
		case ImageType.bitmap:
			return readBitmap(reader, address, { body, id, cache, narrow });
		case ImageType.surface:
			return { kind: 'surface', surfaceId: uint32(reader, address, body) };
		case ImageType.quic:
		case ImageType.lzRgb: {
			checkSize('image', width, height);
			const size = uint32(reader, address, body);
			const data = reader.chunks(address, size, body + 4);
			return { kind: type === ImageType.quic ? 'quic' : 'lz-rgb', id, cache, width, height, data };
		}
		default:
			throw new CommandError(`image of type ${type}`);
	}
}

/** A 1-bit bitmap that masks a drawing. */
export function readMaskImage(reader: GuestReader, address: bigint): Image {
	const image = readImage(reader, address);
	const oneBit =
		image.kind === 'bitmap' && (image.format === BitmapFormat.plt1Le || image.format === BitmapFormat.plt1Be);
	if (!oneBit) throw new CommandError('mask that is not a 1-bit bitmap');
	return image;
}

interface BitmapContext {
	/** Where the QXLBitmap lies behind the descriptor. */
	readonly body: number;
	readonly id: bigint;
	readonly cache: boolean;
	readonly narrow: boolean;
}

function readBitmap(reader: GuestReader, address: bigint, context: BitmapContext): BitmapImage {
	const { body, id, cache, narrow } = context;
	const bitmap = reader.read(Bitmap, address, body);
	const { x: width, y: height, stride } = bitmap;
	const bits = BITS[bitmap.format];
	if (bits === undefined) throw new CommandError(`bitmap of format ${bitmap.format}`);
	checkSize('bitmap', width, height);
	if (stride < Math.ceil((width * bits) / 8)) throw new CommandError(`stride ${stride} of ${width} pixels`);
	const entries = PALETTE_ENTRIES[bitmap.format];
	// A 1-bit bitmap may come without: a mask has no colours.
	const colorless = entries === undefined || (bits === 1 && bitmap.palette === 0n);
	const palette = colorless ? undefined : readPalette(reader, bitmap.palette, entries, narrow);
	const size = stride * height;
	const data = bitmap.flags & BitmapFlags.direct ? reader.bytes(bitmap.data, size) : reader.chunks(bitmap.data, size);
	return {
		kind: 'bitmap',
		id,
		cache,
		format: bitmap.format as BitmapFormat,
		width,
		height,
		stride,
		topDown: (bitmap.flags & BitmapFlags.topDown) !== 0,
		palette,
		data,
	};
}

function readPalette(reader: GuestReader, address: bigint, most: number, narrow: boolean): BitmapImage['palette'] {
	if (address === 0n) throw new CommandError('bitmap without its palette');
	const { unique, numEnts } = reader.read(Palette, address);
	if (numEnts > most) throw new CommandError(`palette of ${numEnts} colours`);
	const bytes = reader.bytes(address + BigInt(Palette.min), numEnts * 4);
	const entries = new Uint32Array(bytes.buffer, 0, numEnts);
	return { id: unique, entries: narrow ? entries.map(color16) : entries };
}

function uint32(reader: GuestReader, address: bigint, skip: number): number {
	const b = reader.slots.resolve(address + BigInt(skip), 4);
	return (b[0] | (b[1] << 8) | (b[2] << 16) | (b[3] << 24)) >>> 0;
}
