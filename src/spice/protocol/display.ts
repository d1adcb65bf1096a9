/** Display channel, number 2. spice.proto 0.14.3, DisplayChannel; only messages that this server sends or reads. */
import { type Codec, type Infer, WireError, wire } from '../../core/index.ts';
import { channel } from './kit.ts';

const { array, bytes, Empty, i32, i64, ptr, struct, u8, u16, u32, u64, union } = wire;

/** protocol.h, SPICE_DISPLAY_CAP_*. */
export const DisplayCap = {
	sizedStream: 0,
	monitorsConfig: 1,
	composite: 2,
	a8Surface: 3,
	streamReport: 4,
	lz4Compression: 5,
	prefCompression: 6,
	glScanout: 7,
	multiCodec: 8,
	codecMjpeg: 9,
	codecVp8: 10,
	codecH264: 11,
	prefVideoCodecType: 12,
	codecVp9: 13,
	codecH265: 14,
} as const;

/** enums.h, SpiceImageType. */
export const ImageType = {
	bitmap: 0,
	quic: 1,
	lzPlt: 100,
	lzRgb: 101,
	glzRgb: 102,
	fromCache: 103,
	surface: 104,
	jpeg: 105,
	fromCacheLossless: 106,
	zlibGlzRgb: 107,
	jpegAlpha: 108,
	lz4: 109,
} as const;
/** enums.h, SpiceBitmapFlags. */
export const BitmapFlag = { palCacheMe: 1, palFromCache: 2, topDown: 4 } as const;
/** enums.h, SpiceSurfaceFlags. */
export const SurfaceFlag = { primary: 1, streamingMode: 2 } as const;
/** enums.h, SpiceImageScaleMode. */
export const ScaleMode = { interpolate: 0, nearest: 1 } as const;

export const Point = struct({ x: i32, y: i32 });
/** Note the order: top before left. */
export const Rect = struct({ top: i32, left: i32, bottom: i32, right: i32 });
export const Clip = union(u8, { none: [0, struct({})], rects: [1, struct({ rects: array(u32, Rect) })] });
export const Base = struct({ surfaceId: u32, box: Rect, clip: Clip });
export const Palette = struct({ unique: u64, ents: array(u16, u32) });

const Descriptor = struct({ id: u64, type: u8, flags: u8, width: u32, height: u32 });
const BitmapHead = struct({ format: u8, flags: u8, x: u32, y: u32, stride: u32, palette: ptr(Palette) });
const Compressed = struct({ data: bytes(u32) });

export type ImageDescriptor = Infer<typeof Descriptor>;
export type WireImage =
	| { readonly descriptor: ImageDescriptor; readonly bitmap: Infer<typeof BitmapHead>; readonly data: Uint8Array }
	| { readonly descriptor: ImageDescriptor; readonly data: Uint8Array };

/** The descriptor, then by its type a bitmap (whose bytes have no length of their own) or counted bytes. */
export const Image: Codec<WireImage> = {
	min: Descriptor.min,
	read(r) {
		const descriptor = Descriptor.read(r);
		switch (descriptor.type) {
			case ImageType.bitmap: {
				const bitmap = BitmapHead.read(r);
				const size = bitmap.stride * bitmap.y;
				const at = r.take(size);
				return { descriptor, bitmap, data: r.bytes.subarray(at, at + size) };
			}
			case ImageType.quic:
			case ImageType.lzRgb:
			case ImageType.lz4:
				return { descriptor, data: Compressed.read(r).data };
			default:
				throw new WireError(`image type ${descriptor.type} is not known`);
		}
	},
	write(w, image) {
		Descriptor.write(w, image.descriptor);
		if ('bitmap' in image) {
			BitmapHead.write(w, image.bitmap);
			w.segment(image.data);
		} else {
			Compressed.write(w, image);
		}
	},
};

export const QMask = struct({ flags: u8, pos: Point, bitmap: ptr(Image) });
export const SolidBrush = union(u8, { none: [0, struct({})], solid: [1, struct({ color: u32 })] });
export const DrawFill = struct({ base: Base, brush: SolidBrush, rop: u16, mask: QMask });
export const DrawCopy = struct({ base: Base, src: ptr(Image), srcArea: Rect, rop: u16, scaleMode: u8, mask: QMask });
export const CopyBits = struct({ base: Base, srcPos: Point });
export const SurfaceCreate = struct({ surfaceId: u32, width: u32, height: u32, format: u32, flags: u32 });
const Head = struct({ id: u32, surfaceId: u32, width: u32, height: u32, x: u32, y: u32, flags: u32 });

/** `count` and `maxAllowed` come before the heads. */
const MonitorsConfig = struct({ count: u16, maxAllowed: u16, heads: wire.many(Head) });

export const display = channel(2, {
	server: {
		mark: [102, Empty],
		copyBits: [104, CopyBits],
		invalAllPalettes: [108, Empty],
		drawFill: [302, DrawFill],
		drawCopy: [304, DrawCopy],
		surfaceCreate: [314, SurfaceCreate],
		surfaceDestroy: [315, struct({ surfaceId: u32 })],
		monitorsConfig: [317, MonitorsConfig],
	},
	client: {
		init: [101, struct({ pixmapCacheId: u8, pixmapCacheSize: i64, glzDictionaryId: u8, glzWindowSize: i32 })],
		streamReport: [
			102,
			struct({
				streamId: u32,
				uniqueId: u32,
				startFrameMmTime: u32,
				endFrameMmTime: u32,
				numFrames: u32,
				numDrops: u32,
				lastFrameDelay: i32,
				audioDelay: u32,
			}),
		],
		preferredCompression: [103, struct({ imageCompression: u8 })],
		glDrawDone: [104, Empty],
		preferredVideoCodecType: [105, struct({ codecs: array(u8, u8) })],
	},
});
