/** QXLDrawable into a value that owns everything it shows. qxl_dev.h; checks as every server of these commands makes. */
import type {
	Bitmap,
	Brush,
	Drawable as DrawableValue,
	DrawBase,
	Image,
	Infer,
	Mask,
	Rect as RectValue,
} from '../../../src/core/index.ts';
import { BitmapFormat, decode, SurfaceFormat } from '../../../src/core/index.ts';
import { CommandError, type GuestReader } from './guest-reader.ts';
import { color16, readImage, readMaskImage } from './image.ts';
import {
	Blackness,
	BrushType,
	ClipRects,
	ClipType,
	CompatDrawable,
	Copy,
	CopyBits,
	Drawable,
	DrawType,
	Fill,
	Opaque,
	Rect,
} from './layout.ts';
import type { SurfaceTable } from './surfaces.ts';

/** More clip rectangles than a screen has rows are not a picture any more. */
const MAX_CLIP_RECTS = 16384;
const ROPD_MASK = 0x7ff;
const MASK_INVERS = 1;

/** QXLEffectType by number; the last two are for the server of old drivers and mean nothing here. */
const EFFECTS: readonly DrawBase['effect'][] = [
	'blend',
	'opaque',
	'revert-on-dup',
	'blackness-on-dup',
	'whiteness-on-dup',
	'no-effect-on-dup',
];

type WireRect = Infer<typeof Rect>;
type WireBrush = Infer<typeof Fill>['brush'];
type WireMask = Infer<typeof Fill>['mask'];

/** A drawing, or why there is none: an operation that is not executed, or a box that leaves its surface. */
export type ReadDrawable = DrawableValue | { readonly skipped: 'unsupported' | 'outside'; readonly type: number };

/** How a driver that chose its mode by SET_MODE draws (QXL_COMMAND_FLAG_COMPAT); `narrow`: with 16-bit colours. */
export interface Compat {
	readonly narrow: boolean;
}

type Header = Omit<Infer<typeof Drawable>, 'releaseInfo' | 'surfacesDest' | 'surfacesRects'>;

function readHeader(reader: GuestReader, address: bigint, compat: Compat | undefined): Header {
	if (!compat) return reader.read(Drawable, address);
	const { bitmapOffset, bitmapArea, ...rest } = reader.read(CompatDrawable, address);
	return { ...rest, surfaceId: 0, selfBitmap: bitmapOffset, selfBitmapArea: bitmapArea };
}

/**
 * Reads the QXLDrawable at `address`, or the QXLCompatDrawable. Throws GuestFault, WireError or CommandError: the command
 * is then dropped.
 */
export function readDrawable(
	reader: GuestReader,
	surfaces: SurfaceTable,
	address: bigint,
	compat?: Compat,
): ReadDrawable {
	const header = readHeader(reader, address, compat);
	const { type } = header;
	if (type === DrawType.nop) return { skipped: 'unsupported', type };
	const surface = surfaces.get(header.surfaceId);
	if (!surface) throw new CommandError(`drawing on surface ${header.surfaceId}, which does not exist`);
	const box = rect(header.bbox);
	// Linux draws its first console before it gives the primary surface its size, so this is no mistake worth a line.
	if (!inside(box, surface.width, surface.height)) return { skipped: 'outside', type };
	const base: DrawBase = {
		surfaceId: header.surfaceId,
		box,
		clip: readClip(reader, header.clip),
		effect: EFFECTS[header.effect],
		mmTime: header.mmTime,
	};
	const images = new Images(reader, surfaces, header, compat?.narrow ?? false);
	const body = compat ? CompatDrawable.min : Drawable.min;
	switch (type) {
		case DrawType.fill: {
			const { brush, rop, mask } = reader.read(Fill, address, body);
			return { ...base, op: 'fill', brush: images.brush(brush), rop: rop & ROPD_MASK, mask: images.mask(mask) };
		}
		case DrawType.opaque: {
			const { src, srcArea, brush, rop, scaleMode, mask } = reader.read(Opaque, address, body);
			return {
				...base,
				op: 'opaque',
				...images.source(src, srcArea),
				brush: images.brush(brush),
				rop: rop & ROPD_MASK,
				scaleMode,
				mask: images.mask(mask),
			};
		}
		case DrawType.copy:
		case DrawType.blend: {
			const { src, srcArea, rop, scaleMode, mask } = reader.read(Copy, address, body);
			return {
				...base,
				op: type === DrawType.copy ? 'copy' : 'blend',
				...images.source(src, srcArea),
				rop: rop & ROPD_MASK,
				scaleMode,
				mask: images.mask(mask),
			};
		}
		case DrawType.copyBits: {
			const { srcPos } = reader.read(CopyBits, address, body);
			const { x, y } = srcPos;
			const source = { left: x, top: y, right: x + box.right - box.left, bottom: y + box.bottom - box.top };
			checkInside('source of copy_bits', source, surface.width, surface.height);
			return { ...base, op: 'copy-bits', srcPos };
		}
		case DrawType.blackness:
		case DrawType.whiteness:
		case DrawType.invers: {
			const mask = images.mask(reader.read(Blackness, address, body).mask);
			const op = type === DrawType.blackness ? 'blackness' : type === DrawType.whiteness ? 'whiteness' : 'invers';
			return { ...base, op, mask };
		}
		default:
			return { skipped: 'unsupported', type };
	}
}

/** The images, brushes and masks of one drawable. */
class Images {
	readonly #reader: GuestReader;
	readonly #surfaces: SurfaceTable;
	readonly #header: Header;
	readonly #narrow: boolean;
	constructor(reader: GuestReader, surfaces: SurfaceTable, header: Header, narrow: boolean) {
		this.#narrow = narrow;
		this.#reader = reader;
		this.#surfaces = surfaces;
		this.#header = header;
	}

	source(address: bigint, area: WireRect): { readonly src: Image; readonly srcArea: RectValue } {
		const src = address === 0n ? this.#selfBitmap() : this.#image(address);
		const srcArea = rect(area);
		const size = src.kind === 'surface' ? this.#surfaces.get(src.surfaceId) : src;
		checkInside('source', srcArea, size?.width ?? 0, size?.height ?? 0);
		return { src, srcArea };
	}

	brush({ type, pattern, pos }: WireBrush): Brush {
		switch (type) {
			case BrushType.none:
				return { kind: 'none' };
			case BrushType.solid: {
				const color = Number(pattern & 0xffffffffn);
				return { kind: 'solid', color: this.#narrow ? color16(color) : color };
			}
			case BrushType.pattern:
				return { kind: 'pattern', image: this.#image(pattern), pos };
			default:
				throw new CommandError(`brush of type ${type}`);
		}
	}

	mask({ flags, pos, bitmap }: WireMask): Mask | undefined {
		if (bitmap === 0n) return undefined;
		return { image: readMaskImage(this.#reader, bitmap), pos, inverse: (flags & MASK_INVERS) !== 0 };
	}

	#image(address: bigint): Image {
		const image = readImage(this.#reader, address, this.#narrow);
		if (image.kind === 'surface' && !this.#surfaces.get(image.surfaceId))
			throw new CommandError(`image is surface ${image.surfaceId}, which does not exist`);
		return image;
	}

	/** The source is what is drawn already (qxl_dev.h, self_bitmap). */
	#selfBitmap(): Bitmap {
		const { selfBitmap, selfBitmapArea, surfaceId } = this.#header;
		if (!selfBitmap) throw new CommandError('drawing without its image');
		const surface = this.#surfaces.get(surfaceId);
		const area = rect(selfBitmapArea);
		const data = surface && this.#surfaces.read(surfaceId, area);
		if (!surface || !data) throw new CommandError('self bitmap outside its surface');
		const format = SELF_FORMATS.get(surface.format);
		if (format === undefined) throw new CommandError(`self bitmap of surface format ${surface.format}`);
		const width = area.right - area.left;
		const height = area.bottom - area.top;
		this.#reader.copied += data.length;
		return {
			kind: 'bitmap',
			id: 0n,
			cache: false,
			format,
			width,
			height,
			stride: data.length / height,
			topDown: true,
			data,
		};
	}
}

const SELF_FORMATS = new Map<SurfaceFormat, BitmapFormat>([
	[SurfaceFormat.xrgb32, BitmapFormat.xrgb32],
	[SurfaceFormat.argb32, BitmapFormat.rgba32],
	[SurfaceFormat.rgb555, BitmapFormat.rgb16],
	[SurfaceFormat.a8, BitmapFormat.a8],
]);

function readClip(reader: GuestReader, clip: Header['clip']): readonly RectValue[] | undefined {
	if (clip.type === ClipType.none) return undefined;
	if (clip.type !== ClipType.rects) throw new CommandError(`clip of type ${clip.type}`);
	const { numRects } = reader.read(ClipRects, clip.data);
	if (numRects > MAX_CLIP_RECTS) throw new CommandError(`${numRects} clip rectangles`);
	const bytes = reader.chunks(clip.data, numRects * Rect.min, ClipRects.min);
	return Array.from({ length: numRects }, (_, i) => rect(decode(Rect, bytes, i * Rect.min)));
}

/** Throws unless the rectangle is the right way round. */
export function rect({ left, top, right, bottom }: WireRect): RectValue {
	if (left > right || top > bottom) throw new CommandError(`rectangle ${left},${top}..${right},${bottom}`);
	return { left, top, right, bottom };
}

function inside({ left, top, right, bottom }: RectValue, width: number, height: number): boolean {
	return left >= 0 && top >= 0 && left < right && top < bottom && right <= width && bottom <= height;
}

function checkInside(what: string, area: RectValue, width: number, height: number): void {
	if (inside(area, width, height)) return;
	const { left, top, right, bottom } = area;
	throw new CommandError(`${what} ${left},${top}..${right},${bottom} leaves ${width}x${height}`);
}
