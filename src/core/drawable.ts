/**
 * What a display adapter tells the host to draw. All of it is immutable and owns its bytes: pixels were copied out of
 * guest memory when the command was checked, so neither the guest nor a reset can change them later.
 * Shapes follow qxl_dev.h and spice.proto; addresses have become values.
 */

/** Half-open: left <= x < right, top <= y < bottom. */
export interface Rect {
	readonly left: number;
	readonly top: number;
	readonly right: number;
	readonly bottom: number;
}
export interface Point {
	readonly x: number;
	readonly y: number;
}

/** spice.proto enum32 surface_fmt. */
export const SurfaceFormat = { a1: 1, a8: 8, rgb555: 16, xrgb32: 32, rgb565: 80, argb32: 96 } as const;
export type SurfaceFormat = (typeof SurfaceFormat)[keyof typeof SurfaceFormat];

/** spice.proto enum8 bitmap_fmt. */
export const BitmapFormat = {
	plt1Le: 1,
	plt1Be: 2,
	plt4Le: 3,
	plt4Be: 4,
	plt8: 5,
	rgb16: 6,
	rgb24: 7,
	xrgb32: 8,
	rgba32: 9,
	a8: 10,
} as const;
export type BitmapFormat = (typeof BitmapFormat)[keyof typeof BitmapFormat];

/** Pixels with an owner. Rows run top down when `topDown`, each `stride` bytes long. */
export interface Bitmap {
	readonly kind: 'bitmap';
	/** The guest's name for these pixels (qxl_dev.h QXLImageDescriptor.id); 0n where it gave none. */
	readonly id: bigint;
	/** The guest wants the image kept in the client's cache under `id`. */
	readonly cache: boolean;
	readonly format: BitmapFormat;
	readonly width: number;
	readonly height: number;
	readonly stride: number;
	readonly topDown: boolean;
	/** 0x00RRGGBB entries of a palette format, with the guest's id for the palette. */
	readonly palette?: { readonly id: bigint; readonly entries: Uint32Array };
	readonly data: Uint8Array;
}
/** Another surface used as a source. */
export interface SurfaceImage {
	readonly kind: 'surface';
	readonly surfaceId: number;
}
/** Already compressed by the guest's driver with QUIC or LZ: carried to the client as it is. */
export interface CompressedImage {
	readonly kind: 'quic' | 'lz-rgb' | 'lz-plt';
	readonly id: bigint;
	readonly cache: boolean;
	readonly width: number;
	readonly height: number;
	readonly palette?: { readonly id: bigint; readonly entries: Uint32Array };
	readonly data: Uint8Array;
}
export type Image = Bitmap | SurfaceImage | CompressedImage;

export type Brush =
	| { readonly kind: 'none' }
	| { readonly kind: 'solid'; readonly color: number }
	| { readonly kind: 'pattern'; readonly image: Image; readonly pos: Point };

/** A 1-bit mask over the box; `inverse` swaps drawn and kept. */
export interface Mask {
	readonly image: Image;
	readonly pos: Point;
	readonly inverse: boolean;
}

/** spice.proto flags16 ropd. */
export const Ropd = {
	inversSrc: 1,
	inversBrush: 2,
	inversDest: 4,
	put: 8,
	or: 16,
	and: 32,
	xor: 64,
	blackness: 128,
	whiteness: 256,
	invers: 512,
	inversRes: 1024,
} as const;

export interface DrawBase {
	readonly surfaceId: number;
	readonly box: Rect;
	/** Rectangles that limit the box; undefined: the whole box. */
	readonly clip?: readonly Rect[];
	/** Drawing is over the primary surface's own data (qxl self_bitmap): result replaces nothing if undefined. */
	readonly effect?: 'opaque' | 'blend' | 'blackness-on-dup' | 'whiteness-on-dup' | 'revert-on-dup' | 'no-effect-on-dup';
	/** Guest's multimedia time, ms; used for streams. */
	readonly mmTime: number;
}

export type Drawable =
	| (DrawBase & { readonly op: 'fill'; readonly brush: Brush; readonly rop: number; readonly mask?: Mask })
	| (DrawBase & {
			readonly op: 'opaque';
			readonly src: Image;
			readonly srcArea: Rect;
			readonly brush: Brush;
			readonly rop: number;
			readonly scaleMode: number;
			readonly mask?: Mask;
	  })
	| (DrawBase & {
			readonly op: 'copy' | 'blend';
			readonly src: Image;
			readonly srcArea: Rect;
			readonly rop: number;
			readonly scaleMode: number;
			readonly mask?: Mask;
	  })
	| (DrawBase & { readonly op: 'copy-bits'; readonly srcPos: Point })
	| (DrawBase & { readonly op: 'blackness' | 'whiteness' | 'invers'; readonly mask?: Mask });

/** Names of QXL's further operations (rop3, stroke, text, transparent, alpha_blend, composite) join the union as they are executed. */
export type DrawOp = Drawable['op'];

/** spice.proto enum16 cursor_type. */
export const CursorType = { alpha: 0, mono: 1, color4: 2, color8: 3, color16: 4, color24: 5, color32: 6 } as const;
export type CursorType = (typeof CursorType)[keyof typeof CursorType];

export interface CursorShape {
	/** The guest's name for the shape; 0n where it gave none. Equal ids have equal shapes. */
	readonly unique: bigint;
	readonly type: CursorType;
	readonly width: number;
	readonly height: number;
	readonly hotSpotX: number;
	readonly hotSpotY: number;
	/** As in qxl_dev.h QXLCursor: AND mask then XOR mask for mono, 4-byte ARGB for alpha. */
	readonly data: Uint8Array;
}

/** One head of a display adapter, in the primary surface. */
export interface Head {
	readonly id: number;
	readonly surfaceId: number;
	readonly width: number;
	readonly height: number;
	readonly x: number;
	readonly y: number;
	readonly flags: number;
}
