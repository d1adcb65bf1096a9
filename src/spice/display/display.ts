/**
 * The picture of one display adapter, as the server keeps it: every operation is drawn here first, so that a client
 * that comes late, a screenshot, or a guest that reads back sees what was drawn. Clients follow through listeners.
 */
import {
	type CursorShape,
	type DisplaySink,
	type Drawable,
	guestError,
	type Head,
	type Rect,
	type SurfaceFormat,
	tracePoints,
} from '../../core/index.ts';
import type { CursorEvent, CursorSource, CursorState } from '../channels/cursor.ts';
import type { Screen } from '../mouse.ts';
import { Canvas } from './canvas.ts';
import { type ClientOp, reduce } from './ops.ts';
import { intersect, isEmpty } from './region.ts';
import type { Screenshot } from './screenshot.ts';

/** One that follows the primary surface. */
export interface DisplayListener {
	/** The primary is now this canvas, as it is drawn. */
	created(canvas: Canvas): void;
	destroyed(): void;
	/** Something was drawn on it. */
	drawn(ops: readonly ClientOp[]): void;
	/** The heads changed. */
	monitors(): void;
}
export interface Monitors {
	readonly maxAllowed: number;
	readonly heads: readonly Head[];
}

/** What all surfaces of a display may hold together: as much as the largest video memory, at 4 bytes a pixel. */
const MAX_TOTAL_PIXELS = 128 << 20;
const MAX_SIDE = 16384;
const MAX_SURFACES = 1024;
const MAX_HEADS = 64;
/** The largest surface whose room is kept, pixels. */
const MOST_ROOM = 4096 * 4096;
/** The surface that a client shows. */
const PRIMARY = 0;

const trace = tracePoints('display', {
	surface_create: ['id', 'width', 'height', 'format'],
	surface_destroy: ['id'],
	draw: ['op', 'surface', 'left', 'top', 'right', 'bottom'],
	draw_dropped: ['op', 'surface', 'dropped'],
	monitors_config: ['heads', 'max_allowed'],
});

export class Display implements DisplaySink, CursorSource {
	readonly #surfaces = new Map<number, Canvas>();
	readonly #listeners = new Set<DisplayListener>();
	readonly #cursorListeners = new Set<(event: CursorEvent) => void>();
	#cursor: CursorState = { shape: undefined, x: 0, y: 0, visible: false };
	#monitors: Monitors = { maxAllowed: 1, heads: [] };
	#totalPixels = 0;
	#dropped = 0;
	/** The memory of the surface that went last, for the next one: a guest that changes modes makes no garbage. */
	#room: Uint32Array | undefined;

	/** The primary surface, if there is one. */
	get primary(): Canvas | undefined {
		return this.#surfaces.get(PRIMARY);
	}
	get cursor(): CursorState {
		return this.#cursor;
	}
	/** The heads as the guest set them; without its word, one head that is the primary surface. */
	get monitors(): Monitors {
		const { primary } = this;
		if (this.#monitors.heads.length > 0 || primary === undefined) return this.#monitors;
		const head = { id: 0, surfaceId: PRIMARY, width: primary.width, height: primary.height, x: 0, y: 0, flags: 0 };
		return { maxAllowed: 1, heads: [head] };
	}
	/** Where pointers move, if there is a primary surface. */
	get screen(): Screen | undefined {
		const { primary } = this;
		return primary && { width: primary.width, height: primary.height, heads: this.monitors.heads };
	}
	/** Operations that were not drawn because they were broken or of a kind not supported. */
	get dropped(): number {
		return this.#dropped;
	}

	/** Follows the primary surface from now on. Returns the way to stop. */
	listen(listener: DisplayListener): () => void {
		this.#listeners.add(listener);
		return () => this.#listeners.delete(listener);
	}
	onCursor(listener: (event: CursorEvent) => void): () => void {
		this.#cursorListeners.add(listener);
		return () => this.#cursorListeners.delete(listener);
	}

	surfaceCreate(surface: {
		readonly id: number;
		readonly width: number;
		readonly height: number;
		readonly format: SurfaceFormat;
		readonly pixels?: Uint8Array;
	}): void {
		const { id, width, height, format, pixels } = surface;
		trace.surface_create(id, width, height, format);
		this.surfaceDestroy(id);
		const sides = width > 0 && height > 0 && width <= MAX_SIDE && height <= MAX_SIDE;
		if (!sides || this.#totalPixels + width * height > MAX_TOTAL_PIXELS || this.#surfaces.size >= MAX_SURFACES) {
			guestError('display', `surface ${id} of ${width}x${height} pixels does not fit`);
			return;
		}
		const canvas = new Canvas(width, height, format, pixels, this.#takeRoom());
		this.#totalPixels += width * height;
		this.#surfaces.set(id, canvas);
		if (id === PRIMARY) for (const listener of this.#listeners) listener.created(canvas);
	}

	surfaceDestroy(id: number): void {
		const canvas = this.#surfaces.get(id);
		if (canvas === undefined) return;
		trace.surface_destroy(id);
		this.#surfaces.delete(id);
		this.#totalPixels -= canvas.width * canvas.height;
		if (id === PRIMARY) for (const listener of this.#listeners) listener.destroyed();
		if (canvas.room !== undefined && canvas.room.length <= MOST_ROOM) this.#room = canvas.room;
	}

	#takeRoom(): Uint32Array | undefined {
		const room = this.#room;
		this.#room = undefined;
		return room;
	}

	reset(): void {
		for (const id of [...this.#surfaces.keys()]) this.surfaceDestroy(id);
		this.#monitors = { maxAllowed: 1, heads: [] };
		this.#cursor = { shape: undefined, x: 0, y: 0, visible: false };
		this.#tellCursor({ type: 'reset' });
	}

	draw(drawable: Drawable): void {
		const { op, surfaceId, box } = drawable;
		trace.draw(op, surfaceId, box.left, box.top, box.right, box.bottom);
		const canvas = this.#surfaces.get(surfaceId);
		const rects = canvas?.affected(drawable);
		if (canvas !== undefined && rects === undefined)
			guestError('display', `a clip of ${drawable.clip?.length} rectangles is in too many pieces`);
		if (canvas === undefined || rects === undefined || !canvas.draw(drawable, rects, (id) => this.#surfaces.get(id))) {
			this.#dropped++;
			trace.draw_dropped(op, surfaceId, this.#dropped);
			return;
		}
		if (surfaceId !== PRIMARY || this.#listeners.size === 0 || rects.length === 0) return;
		const ops = reduce(drawable, canvas, rects);
		for (const listener of this.#listeners) listener.drawn(ops);
	}

	cursorSet(shape: CursorShape, x: number, y: number, visible: boolean): void {
		this.#cursor = { shape, x, y, visible };
		this.#tellCursor({ type: 'set', shape, x, y, visible });
	}
	cursorMove(x: number, y: number): void {
		this.#cursor = { ...this.#cursor, x, y, visible: true };
		this.#tellCursor({ type: 'move', x, y });
	}
	cursorHide(): void {
		this.#cursor = { ...this.#cursor, visible: false };
		this.#tellCursor({ type: 'hide' });
	}
	cursorTrail(length: number, frequency: number): void {
		this.#tellCursor({ type: 'trail', length, frequency });
	}

	monitorsConfig(maxAllowed: number, heads: readonly Head[]): void {
		trace.monitors_config(heads.length, maxAllowed);
		this.#monitors = { maxAllowed, heads: heads.slice(0, MAX_HEADS) };
		for (const listener of this.#listeners) listener.monitors();
	}

	readSurface(id: number, rect: Rect, into: Uint8Array, at: number, stride: number): boolean {
		return this.#surfaces.get(id)?.readOwn(rect, into, at, stride) ?? false;
	}

	/** The primary surface, or the part of it that head number `head` shows. Without a surface: one black pixel. */
	screenshot(head?: number): Screenshot {
		const canvas = this.primary;
		if (canvas === undefined) return { width: 1, height: 1, rgb: new Uint8Array(3) };
		let rect: Rect = { left: 0, top: 0, right: canvas.width, bottom: canvas.height };
		const chosen = head === undefined ? undefined : this.monitors.heads[head];
		if (chosen !== undefined) {
			const shown = { left: chosen.x, top: chosen.y, right: chosen.x + chosen.width, bottom: chosen.y + chosen.height };
			const part = intersect(rect, shown);
			if (!isEmpty(part)) rect = part;
		}
		const width = rect.right - rect.left;
		const height = rect.bottom - rect.top;
		const rgb = new Uint8Array(width * height * 3);
		for (let y = 0, to = 0; y < height; y++) {
			const from = (rect.top + y) * canvas.width + rect.left;
			for (let i = from; i < from + width; i++) {
				const v = canvas.pixels[i];
				rgb[to++] = v >> 16;
				rgb[to++] = v >> 8;
				rgb[to++] = v;
			}
		}
		return { width, height, rgb };
	}

	#tellCursor(event: CursorEvent): void {
		for (const listener of this.#cursorListeners) listener(event);
	}
}
