/** A display sink for device tests: draws the plain operations on 32-bit surfaces, and remembers every call. */
import {
	BitmapFormat,
	type CursorShape,
	type DisplaySink,
	type Drawable,
	type Head,
	type Rect,
	Ropd,
	SurfaceFormat,
} from '../../src/core/index.ts';

export interface DrawnSurface {
	readonly width: number;
	readonly height: number;
	readonly format: SurfaceFormat;
	/** 32-bit formats: one word a pixel; others: bytes as created, nothing is drawn on them. */
	readonly pixels: Uint32Array;
	readonly raw: Uint8Array;
}

export class DrawingSink implements DisplaySink {
	readonly surfaces = new Map<number, DrawnSurface>();
	readonly draws: Drawable[] = [];
	/** Names of all calls but draw, in order. */
	readonly calls: string[] = [];
	cursor: { shape?: CursorShape; x: number; y: number; visible: boolean } = { x: 0, y: 0, visible: false };
	heads: readonly Head[] = [];

	surfaceCreate(surface: {
		readonly id: number;
		readonly width: number;
		readonly height: number;
		readonly format: SurfaceFormat;
		readonly pixels?: Uint8Array;
	}): void {
		const { id, width, height, format } = surface;
		this.calls.push(`surfaceCreate ${id} ${width}x${height}`);
		const raw = surface.pixels ?? new Uint8Array(Math.ceil((width * bits(format)) / 8) * height);
		const pixels =
			bits(format) === 32 ? new Uint32Array(raw.buffer, raw.byteOffset, raw.length >> 2) : new Uint32Array(0);
		this.surfaces.set(id, { width, height, format, pixels, raw });
	}
	surfaceDestroy(id: number): void {
		this.calls.push(`surfaceDestroy ${id}`);
		this.surfaces.delete(id);
	}
	reset(): void {
		this.calls.push('reset');
		this.surfaces.clear();
		this.cursor = { x: 0, y: 0, visible: false };
		this.heads = [];
	}
	draw(drawable: Drawable): void {
		this.draws.push(drawable);
		const surface = this.surfaces.get(drawable.surfaceId);
		if (!surface) throw new Error(`drawing on surface ${drawable.surfaceId}, which does not exist`);
		const { left, top, right, bottom } = drawable.box;
		if (left < 0 || top < 0 || right > surface.width || bottom > surface.height)
			throw new Error('box leaves the surface');
		if (surface.pixels.length === 0) return;
		const source = sampler(this, drawable, surface);
		if (!source) return;
		const out: number[] = [];
		for (let y = top; y < bottom; y++) for (let x = left; x < right; x++) out.push(source(x - left, y - top));
		let i = 0;
		for (let y = top; y < bottom; y++) {
			for (let x = left; x < right; x++, i++) {
				if (drawable.clip && !drawable.clip.some((c) => x >= c.left && x < c.right && y >= c.top && y < c.bottom))
					continue;
				surface.pixels[y * surface.width + x] = out[i];
			}
		}
	}
	cursorSet(shape: CursorShape, x: number, y: number, visible: boolean): void {
		this.calls.push('cursorSet');
		this.cursor = { shape, x, y, visible };
	}
	cursorMove(x: number, y: number): void {
		this.cursor = { ...this.cursor, x, y, visible: true };
	}
	cursorHide(): void {
		this.cursor = { ...this.cursor, visible: false };
	}
	cursorTrail(length: number, frequency: number): void {
		this.calls.push(`cursorTrail ${length} ${frequency}`);
	}
	monitorsConfig(maxAllowed: number, heads: readonly Head[]): void {
		this.calls.push(`monitorsConfig ${maxAllowed}`);
		this.heads = heads;
	}
	readSurface(id: number, area: Rect, into: Uint8Array, to: number, stride: number): boolean {
		const surface = this.surfaces.get(id);
		if (!surface) return false;
		const { left, top, right, bottom } = area;
		if (left < 0 || top < 0 || right > surface.width || bottom > surface.height || left >= right || top >= bottom)
			return false;
		const bpp = bits(surface.format);
		const pitch = Math.ceil((surface.width * bpp) / 8);
		const row = Math.ceil(((right - left) * bpp) / 8);
		for (let y = top; y < bottom; y++) {
			const at = y * pitch + (left * bpp) / 8;
			into.set(surface.raw.subarray(at, at + row), to + (y - top) * stride);
		}
		return true;
	}

	/** 0x00RRGGBB of one pixel of the primary surface. */
	pixel(x: number, y: number): number {
		const { pixels, width } = this.primary;
		return pixels[y * width + x] & 0xffffff;
	}
	get primary(): DrawnSurface {
		const surface = this.surfaces.get(0);
		if (!surface) throw new Error('there is no primary surface');
		return surface;
	}
}

function bits(format: SurfaceFormat): number {
	if (format === SurfaceFormat.a1) return 1;
	if (format === SurfaceFormat.a8) return 8;
	return format === SurfaceFormat.rgb555 || format === SurfaceFormat.rgb565 ? 16 : 32;
}

/** The colour that a drawable puts at x, y of its box; undefined if this sink does not draw it. */
function sampler(sink: DrawingSink, d: Drawable, onto: DrawnSurface): ((x: number, y: number) => number) | undefined {
	const was = (x: number, y: number) => onto.pixels[(d.box.top + y) * onto.width + d.box.left + x];
	switch (d.op) {
		case 'blackness':
			return () => 0;
		case 'whiteness':
			return () => 0xffffff;
		case 'invers':
			return (x, y) => ~was(x, y) & 0xffffff;
		case 'fill': {
			const { brush } = d;
			return brush.kind === 'solid' ? () => brush.color : undefined;
		}
		case 'copy-bits':
			return (x, y) => onto.pixels[(d.srcPos.y + y) * onto.width + d.srcPos.x + x];
		case 'copy': {
			if (d.rop !== Ropd.put) return undefined;
			const { src, srcArea } = d;
			if (src.kind === 'surface') {
				const from = sink.surfaces.get(src.surfaceId);
				return from && ((x, y) => from.pixels[(srcArea.top + y) * from.width + srcArea.left + x]);
			}
			if (src.kind !== 'bitmap' || (src.format !== BitmapFormat.xrgb32 && src.format !== BitmapFormat.rgba32))
				return undefined;
			const view = new DataView(src.data.buffer, src.data.byteOffset, src.data.length);
			return (x, y) => {
				const row = src.topDown ? srcArea.top + y : src.height - 1 - srcArea.top - y;
				return view.getUint32(row * src.stride + (srcArea.left + x) * 4, true);
			};
		}
		default:
			return undefined;
	}
}
