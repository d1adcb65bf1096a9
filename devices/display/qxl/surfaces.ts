/**
 * The guest's surfaces: their shape, and where in video memory the guest wants to find their pixels.
 * What is drawn on them is the host's business until the guest asks for it (update_area, flush).
 */
import type { DisplaySink, Rect, StateValue, SurfaceFormat } from '../../../src/core/index.ts';
import { CommandError, type GuestReader } from './guest-reader.ts';
import { checkSize, surfaceBits } from './image.ts';

export interface SurfaceShape {
	readonly width: number;
	readonly height: number;
	readonly format: SurfaceFormat;
	/** Bytes from one row to the one below it; negative: the bottom row comes first in memory. */
	readonly stride: number;
	/** QXLPHYSICAL of the lowest byte. */
	readonly data: bigint;
}

export class SurfaceTable {
	readonly #reader: GuestReader;
	readonly #sink: DisplaySink;
	/** Surfaces cannot overlap in a sane guest, so all together are no larger than video memory. */
	readonly #limit: number;
	readonly #shapes = new Map<number, SurfaceShape>();
	#bytes = 0;

	constructor(reader: GuestReader, sink: DisplaySink, limit: number) {
		this.#reader = reader;
		this.#sink = sink;
		this.#limit = limit;
	}

	get(id: number): SurfaceShape | undefined {
		return this.#shapes.get(id);
	}

	get ids(): number[] {
		return [...this.#shapes.keys()];
	}

	/** Begins surface `id`, with the pixels that are in its memory if `keepData`. Throws GuestFault or CommandError. */
	create(
		id: number,
		shape: { readonly [K in keyof SurfaceShape]: K extends 'format' ? number : SurfaceShape[K] },
		keepData: boolean,
	): void {
		const { width, height, stride, format, data } = shape;
		const bits = surfaceBits(format);
		if (bits === undefined) throw new CommandError(`surface of format ${format}`);
		checkSize('surface', width, height);
		if (Math.abs(stride) < rowBytes(width, bits)) throw new CommandError(`stride ${stride} of ${width} pixels`);
		const size = Math.abs(stride) * height;
		const memory = this.#reader.slots.resolve(data, size);
		const was = this.#shapes.get(id);
		const others = this.#bytes - (was ? Math.abs(was.stride) * was.height : 0);
		if (others + size > this.#limit) throw new CommandError('surfaces larger than video memory');
		this.forget(id);
		const made: SurfaceShape = { width, height, stride, data, format: format as SurfaceFormat };
		this.#shapes.set(id, made);
		this.#bytes += size;
		// Pixels are made whether or not there are any to take over.
		this.#reader.copied += size;
		const pixels = keepData ? pack(made, rowBytes(width, bits), memory) : undefined;
		this.#sink.surfaceCreate({ id, width, height, format: made.format, pixels });
	}

	destroy(id: number): void {
		if (!this.#shapes.has(id)) return;
		this.forget(id);
		this.#sink.surfaceDestroy(id);
	}

	/** Takes it out of the table; the host is told by other means. */
	forget(id: number): void {
		const shape = this.#shapes.get(id);
		if (!shape) return;
		this.#bytes -= Math.abs(shape.stride) * shape.height;
		this.#shapes.delete(id);
	}

	clear(): void {
		this.#shapes.clear();
		this.#bytes = 0;
	}

	/** What has been drawn in `area`, rows packed; undefined if it leaves the surface. */
	read(id: number, area: Rect): Uint8Array | undefined {
		const shape = this.#shapes.get(id);
		if (!shape || area.left < 0 || area.top < 0 || area.right > shape.width || area.bottom > shape.height)
			return undefined;
		if (area.left >= area.right || area.top >= area.bottom) return undefined;
		const row = rowBytes(area.right - area.left, surfaceBits(shape.format) ?? 0);
		const pixels = new Uint8Array(row * (area.bottom - area.top));
		return this.#sink.readSurface(id, area, pixels, 0, row) ? pixels : undefined;
	}

	/** Writes what has been drawn in `area` back to the guest's memory. Throws GuestFault if that is gone. */
	writeBack(id: number, area: Rect): void {
		const shape = this.#shapes.get(id);
		if (!shape) return;
		const bits = surfaceBits(shape.format) ?? 0;
		// Rows of a 1-bit surface can only be exchanged in whole bytes.
		const grain = bits < 8 ? 8 / bits : 1;
		const clipped = {
			left: Math.max(0, area.left - (area.left % grain)),
			top: Math.max(0, area.top),
			right: Math.min(shape.width, Math.ceil(area.right / grain) * grain),
			bottom: Math.min(shape.height, area.bottom),
		};
		if (clipped.left >= clipped.right || clipped.top >= clipped.bottom) return;
		const memory = this.#reader.slots.resolve(shape.data, Math.abs(shape.stride) * shape.height);
		const at = rowOffset(shape, clipped.top) + (clipped.left * bits) / 8;
		if (this.#sink.readSurface(id, clipped, memory, at, shape.stride))
			this.#reader.copied += rowBytes(clipped.right - clipped.left, bits) * (clipped.bottom - clipped.top);
	}

	/** Shapes and pixels. */
	save(): StateValue {
		return [...this.#shapes].map(([id, { width, height, format, stride, data }]) => ({
			id,
			width,
			height,
			format,
			stride,
			data,
			pixels: this.read(id, { left: 0, top: 0, right: width, bottom: height }) ?? null,
		}));
	}

	/** The sink has been reset. */
	restore(state: StateValue | undefined): void {
		this.clear();
		if (!Array.isArray(state)) return;
		for (const saved of state) {
			const s = saved as unknown as SurfaceShape & { id: number; pixels: Uint8Array | null };
			this.#shapes.set(s.id, {
				width: s.width,
				height: s.height,
				format: s.format,
				stride: s.stride,
				data: s.data,
			});
			this.#bytes += Math.abs(s.stride) * s.height;
			const pixels = s.pixels?.slice();
			this.#sink.surfaceCreate({ id: s.id, width: s.width, height: s.height, format: s.format, pixels });
		}
	}
}

function rowBytes(width: number, bits: number): number {
	return Math.ceil((width * bits) / 8);
}

/** Byte offset of row `y` from the surface's lowest byte. */
function rowOffset({ stride, height }: SurfaceShape, y: number): number {
	return stride >= 0 ? y * stride : (height - 1 - y) * -stride;
}

/** A copy of a surface's memory, top row first, without what lies between rows. */
function pack(shape: SurfaceShape, row: number, memory: Uint8Array): Uint8Array {
	if (shape.stride === row) return memory.slice(0, row * shape.height);
	const out = new Uint8Array(row * shape.height);
	for (let y = 0; y < shape.height; y++) {
		const at = rowOffset(shape, y);
		out.set(memory.subarray(at, at + row), y * row);
	}
	return out;
}
