/**
 * What QXL keeps in memory: names, order and numbers as in spice-protocol 0.14.3, spice/qxl_dev.h.
 * All of it is little-endian and packed. A `QXLPHYSICAL` is a u64: slot, generation, offset (see memslots.ts).
 */
import { wire } from '../../../src/core/index.ts';

const { i16, i32, struct, u16, u32, u64, u8, fixedArray } = wire;
const physical = u64;

/** I/O ports, by offset in BAR 3. */
export const Io = {
	notifyCmd: 0,
	notifyCursor: 1,
	updateArea: 2,
	updateIrq: 3,
	notifyOom: 4,
	reset: 5,
	setMode: 6,
	log: 7,
	memslotAdd: 8,
	memslotDel: 9,
	detachPrimary: 10,
	attachPrimary: 11,
	createPrimary: 12,
	destroyPrimary: 13,
	destroySurfaceWait: 14,
	destroyAllSurfaces: 15,
	updateAreaAsync: 16,
	memslotAddAsync: 17,
	createPrimaryAsync: 18,
	destroyPrimaryAsync: 19,
	destroySurfaceAsync: 20,
	destroyAllSurfacesAsync: 21,
	flushSurfacesAsync: 22,
	flushRelease: 23,
	monitorsConfigAsync: 24,
} as const;
/** Ports 0..31, of which 25 and up do nothing. */
export const IO_SIZE = 32;

export const Interrupt = {
	display: 1,
	cursor: 2,
	ioCmd: 4,
	error: 8,
	client: 16,
	clientMonitorsConfig: 32,
} as const;

export const Cmd = { nop: 0, draw: 1, update: 2, cursor: 3, message: 4, surface: 5 } as const;
export const SurfaceCmdType = { create: 0, destroy: 1 } as const;
export const CursorCmdType = { set: 0, move: 1, hide: 2, trail: 3 } as const;
export const DrawType = {
	nop: 0,
	fill: 1,
	opaque: 2,
	copy: 3,
	copyBits: 4,
	blend: 5,
	blackness: 6,
	whiteness: 7,
	invers: 8,
	rop3: 9,
	stroke: 10,
	text: 11,
	transparent: 12,
	alphaBlend: 13,
	composite: 14,
} as const;
/** spice/enums.h SpiceImageType, as far as a guest may use it. */
export const ImageType = { bitmap: 0, quic: 1, lzRgb: 101, surface: 104 } as const;
export const IMAGE_CACHE = 1;
export const BitmapFlags = { direct: 1, unstable: 2, topDown: 4 } as const;
export const ClipType = { none: 0, rects: 1 } as const;
export const BrushType = { none: 0, solid: 1, pattern: 2 } as const;
export const SURF_FLAG_KEEP_DATA = 1;

/** QXLRam, by offset from the start of the header; the header is the last 8 KiB of BAR 0. */
export const RAM_HEADER_SIZE = 8192;
export const RAM_MAGIC = 0x41525851;
export const Ram = {
	magic: 0,
	intPending: 4,
	intMask: 8,
	logBuf: 12,
	cmdRing: 0x100c,
	cursorRing: 0x1220,
	releaseRing: 0x1434,
	updateArea: 0x1488,
	updateSurface: 0x1498,
	memSlot: 0x149c,
	createSurface: 0x14ac,
	flags: 0x14d4,
	monitorsConfig: 0x14dc,
} as const;
export const LOG_BUF_SIZE = 4096;
/** SPICE_RING_DECLARE: five words, then the items. */
export const Ring = { numItems: 0, prod: 4, notifyOnProd: 8, cons: 12, notifyOnCons: 16, items: 20 } as const;
export const COMMAND_RING_SIZE = 32;
export const RELEASE_RING_SIZE = 8;
/** Sizes of QXLCommand and of a release ring item. */
export const COMMAND_SIZE = 16;
export const RELEASE_ITEM_SIZE = 8;

export const Point = struct({ x: i32, y: i32 });
/** Top before left. */
export const Rect = struct({ top: i32, left: i32, bottom: i32, right: i32 });
export const MemSlot = struct({ memStart: u64, memEnd: u64 });
export const SurfaceCreate = struct({
	width: u32,
	height: u32,
	stride: i32,
	format: u32,
	position: u32,
	mouseMode: u32,
	flags: u32,
	type: u32,
	mem: physical,
});

export const DataChunk = struct({ dataSize: u32, prevChunk: physical, nextChunk: physical });
export const CompatUpdateCmd = struct({ releaseInfo: u64, area: Rect, updateId: u32 });
export const UpdateCmd = struct({ releaseInfo: u64, area: Rect, updateId: u32, surfaceId: u32 });
/** surface_create follows, for a create command. */
export const SurfaceCmd = struct({ releaseInfo: u64, surfaceId: u32, type: u8, flags: u32 });
export const Surface = struct({ format: u32, width: u32, height: u32, stride: i32, data: physical });

const Point16 = struct({ x: i16, y: i16 });
/** One of the bodies below follows. */
export const CursorCmd = struct({ releaseInfo: u64, type: u8 });
export const CursorSet = struct({ position: Point16, visible: u8, shape: physical });
export const CursorMove = Point16;
export const CursorTrail = struct({ length: u16, frequency: u16 });
/** QXLCursorHeader and data_size; the first chunk follows in place. */
export const Cursor = struct({
	unique: u64,
	type: u16,
	width: u16,
	height: u16,
	hotSpotX: u16,
	hotSpotY: u16,
	dataSize: u32,
});

/** QXLDrawable up to its union. */
export const Drawable = struct({
	releaseInfo: u64,
	surfaceId: u32,
	effect: u8,
	type: u8,
	selfBitmap: u8,
	selfBitmapArea: Rect,
	bbox: Rect,
	clip: struct({ type: u32, data: physical }),
	mmTime: u32,
	surfacesDest: fixedArray(3, i32),
	surfacesRects: fixedArray(3, Rect),
});
/** QXLCompatDrawable up to its union: drivers that chose a mode by SET_MODE draw on surface 0 only. */
export const CompatDrawable = struct({
	releaseInfo: u64,
	effect: u8,
	type: u8,
	bitmapOffset: u16,
	bitmapArea: Rect,
	bbox: Rect,
	clip: struct({ type: u32, data: physical }),
	mmTime: u32,
});
/** `color` is the lower half of `pattern` in the union that C declares. */
const Brush = struct({ type: u32, pattern: u64, pos: Point });
const QMask = struct({ flags: u8, pos: Point, bitmap: physical });
export const Fill = struct({ brush: Brush, rop: u16, mask: QMask });
export const Opaque = struct({ src: physical, srcArea: Rect, brush: Brush, rop: u16, scaleMode: u8, mask: QMask });
/** Also QXLBlend. */
export const Copy = struct({ src: physical, srcArea: Rect, rop: u16, scaleMode: u8, mask: QMask });
export const CopyBits = struct({ srcPos: Point });
/** QXLBlackness, QXLWhiteness and QXLInvers. */
export const Blackness = struct({ mask: QMask });

export const ImageDescriptor = struct({ id: u64, type: u8, flags: u8, width: u32, height: u32 });
export const Bitmap = struct({ format: u8, flags: u8, x: u32, y: u32, stride: u32, palette: physical, data: physical });
/** `ents` follow. */
export const Palette = struct({ unique: u64, numEnts: u16 });
/** QXLClipRects: the first chunk follows in place. */
export const ClipRects = struct({ numRects: u32 });

/** `heads` follow. */
export const MonitorsConfig = struct({ count: u16, maxAllowed: u16 });
export const Head = struct({ id: u32, surfaceId: u32, width: u32, height: u32, x: u32, y: u32, flags: u32 });
