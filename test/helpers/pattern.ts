/** A test card: every drawing operation that a display knows, in places of their own, animated or still. */
import {
	type Bitmap,
	BitmapFormat,
	type Brush,
	type DisplaySink,
	type Drawable,
	type Mask,
	type Rect,
	Ropd,
	SurfaceFormat,
} from '../../src/core/index.ts';

export const PATTERN = { width: 800, height: 600 };

export function rect(left: number, top: number, width: number, height: number): Rect {
	return { left, top, right: left + width, bottom: top + height };
}

/** A bitmap whose pixel (x, y) has the value that `pixel` gives, in `format`'s own terms. */
export function bitmap(
	format: BitmapFormat,
	width: number,
	height: number,
	pixel: (x: number, y: number) => number,
	options: { readonly palette?: readonly number[]; readonly topDown?: boolean; readonly extra?: number } = {},
): Bitmap {
	const { palette, topDown = true, extra = 0 } = options;
	const bits = [0, 1, 1, 4, 4, 8, 16, 24, 32, 32, 8][format];
	const stride = ((width * bits + 7) >> 3) + extra;
	const data = new Uint8Array(stride * height).fill(0x5a);
	for (let y = 0; y < height; y++) {
		const row = (topDown ? y : height - 1 - y) * stride;
		for (let x = 0; x < width; x++) {
			const v = pixel(x, y);
			if (bits >= 8) {
				for (let i = 0; i < bits / 8; i++) data[row + (x * bits) / 8 + i] = v >>> (i * 8);
				continue;
			}
			const high = format === BitmapFormat.plt1Be || format === BitmapFormat.plt4Be;
			const at = row + ((x * bits) >> 3);
			const place = (x * bits) & 7;
			const shift = high ? 8 - bits - place : place;
			data[at] = (data[at] & ~(((1 << bits) - 1) << shift)) | (v << shift);
		}
	}
	const entries = palette && { id: 0n, entries: Uint32Array.from(palette) };
	return { kind: 'bitmap', id: 0n, cache: false, format, width, height, stride, topDown, palette: entries, data };
}

export function solid(color: number): Brush {
	return { kind: 'solid', color };
}

const gray = Array.from({ length: 256 }, (_, i) => i * 0x10101);
const photo = (x: number, y: number) =>
	((128 + 100 * Math.sin(x / 17)) << 16) | ((128 + 100 * Math.cos(y / 13)) << 8) | ((x * 3 + y * 2) & 255);
const text = (x: number, y: number) => (((x >> 1) ^ (y * 5)) % 7 < 3 && y % 12 < 9 ? 0x101010 : 0xf8f8f0);

/** Draws the card on surface 0, which it creates, with surface 1 as a source. */
export function drawPattern(display: DisplaySink, format: SurfaceFormat = SurfaceFormat.xrgb32): void {
	const { width, height } = PATTERN;
	display.reset();
	display.surfaceCreate({ id: 0, width, height, format });
	for (const drawable of patternOps(display)) display.draw(drawable);
}

/** The card's operations, in order. */
export function patternOps(display: DisplaySink): Drawable[] {
	const { width, height } = PATTERN;
	const ops: Drawable[] = [];
	const base = { surfaceId: 0, mmTime: 0 };
	const put = Ropd.put;
	const copy = (src: Bitmap, box: Rect, more: Partial<Drawable & { readonly op: 'copy' }> = {}) => {
		const whole = rect(0, 0, src.width, src.height);
		ops.push({ ...base, op: 'copy', box, src, srcArea: whole, rop: put, scaleMode: 1, ...more });
	};

	ops.push({ ...base, op: 'fill', box: rect(0, 0, width, height), brush: solid(0x204060), rop: put });
	copy(bitmap(BitmapFormat.xrgb32, 300, 200, photo), rect(20, 20, 300, 200));
	copy(bitmap(BitmapFormat.xrgb32, 200, 120, text, { extra: 20 }), rect(340, 20, 200, 120));
	copy(bitmap(BitmapFormat.rgb24, 91, 51, photo, { extra: 3 }), rect(560, 20, 91, 51));
	copy(
		bitmap(BitmapFormat.rgb16, 90, 50, (x, y) => (x * 0x400 + y * 0x21) & 0x7fff),
		rect(670, 20, 90, 50),
	);
	copy(
		bitmap(BitmapFormat.plt8, 90, 50, (x, y) => x + y * 3, { palette: gray, topDown: false }),
		rect(560, 80, 90, 50),
	);
	const four = [0xff0000, 0x00ff00, 0x0000ff, 0xffff00, 0xff00ff, 0x00ffff, 0xffffff, 0];
	copy(
		bitmap(BitmapFormat.plt4Be, 45, 50, (x, y) => (x + y) & 7, { palette: four }),
		rect(670, 80, 45, 50),
	);
	copy(
		bitmap(BitmapFormat.plt4Le, 44, 50, (x, y) => (x + y) & 7, { palette: four }),
		rect(716, 80, 44, 50),
	);
	const two = [0x101010, 0xe0e060];
	copy(
		bitmap(BitmapFormat.plt1Be, 45, 40, (x, y) => (x >> 2) & (y >> 2) & 1, { palette: two }),
		rect(560, 140, 45, 40),
	);
	copy(
		bitmap(BitmapFormat.plt1Le, 45, 40, (x, y) => (x >> 2) & (y >> 2) & 1, { palette: two }),
		rect(610, 140, 45, 40),
	);

	// Clipped: a bitmap and a fill that show through some holes, and one through very many.
	const holes = [rect(30, 240, 40, 60), rect(80, 250, 50, 30), rect(100, 270, 90, 60)];
	copy(bitmap(BitmapFormat.xrgb32, 200, 120, text), rect(20, 230, 200, 120), { clip: holes });
	ops.push({
		...base,
		op: 'fill',
		box: rect(230, 230, 100, 100),
		clip: holes.map((r) => shift(r, 200)),
		brush: solid(0xc03030),
		rop: put,
	});
	const many = Array.from({ length: 40 }, (_, i) => rect(340 + (i % 8) * 12, 160 + (i >> 3) * 12, 6, 6));
	ops.push({ ...base, op: 'fill', box: rect(340, 160, 120, 70), clip: many, brush: solid(0x30c030), rop: put });

	// Raster operations, patterns, masks, scaling.
	for (const [i, rop] of [Ropd.or, Ropd.and, Ropd.xor, Ropd.put | Ropd.inversSrc, Ropd.invers].entries())
		copy(bitmap(BitmapFormat.xrgb32, 50, 40, photo), rect(30 + i * 55, 170, 50, 40), { rop });
	for (const [i, rop] of [Ropd.xor, Ropd.or | Ropd.inversBrush, Ropd.and | Ropd.inversDest].entries())
		ops.push({ ...base, op: 'fill', box: rect(350 + i * 60, 30, 50, 30), brush: solid(0x3050f0), rop });
	const tile = bitmap(BitmapFormat.xrgb32, 8, 8, (x, y) => (x === y || x === 7 - y ? 0xffa000 : 0x303030));
	const pattern: Brush = { kind: 'pattern', image: tile, pos: { x: 3, y: 5 } };
	ops.push({ ...base, op: 'fill', box: rect(480, 160, 60, 60), brush: pattern, rop: put });
	const disk: Mask = {
		image: bitmap(BitmapFormat.plt1Be, 60, 60, (x, y) => ((x - 30) ** 2 + (y - 30) ** 2 < 800 ? 1 : 0)),
		pos: { x: 0, y: 0 },
		inverse: false,
	};
	copy(bitmap(BitmapFormat.xrgb32, 60, 60, photo), rect(560, 200, 60, 60), { mask: disk });
	ops.push({
		...base,
		op: 'fill',
		box: rect(630, 200, 60, 60),
		brush: solid(0xff8080),
		rop: put,
		mask: { ...disk, inverse: true },
	});
	ops.push({
		...base,
		op: 'opaque',
		box: rect(700, 200, 60, 60),
		src: tile8(),
		srcArea: rect(0, 0, 60, 60),
		brush: solid(0xff00),
		rop: Ropd.or,
		scaleMode: 0,
	});
	copy(bitmap(BitmapFormat.xrgb32, 40, 30, text), rect(560, 280, 97, 71), { scaleMode: 1 });
	copy(bitmap(BitmapFormat.xrgb32, 40, 30, photo), rect(670, 280, 97, 71), { scaleMode: 0 });
	ops.push({ ...base, op: 'blackness', box: rect(340, 240, 40, 40) });
	ops.push({ ...base, op: 'whiteness', box: rect(385, 240, 40, 40) });
	ops.push({ ...base, op: 'invers', box: rect(350, 260, 120, 40) });

	// Copies within the surface, overlapping in every direction, clipped, and half outside.
	for (const [i, [dx, dy]] of [
		[7, 5],
		[-7, 5],
		[7, -5],
		[-7, -5],
		[9, 0],
		[-9, 0],
		[0, 6],
		[0, -6],
	].entries()) {
		const box = rect(30 + (i % 4) * 130, 380 + (i >> 2) * 100, 90, 70);
		copy(bitmap(BitmapFormat.xrgb32, 110, 90, photo), rect(box.left - 10, box.top - 10, 110, 90));
		ops.push({ ...base, op: 'copy-bits', box, srcPos: { x: box.left + dx, y: box.top + dy } });
	}
	ops.push({
		...base,
		op: 'copy-bits',
		box: rect(560, 380, 200, 100),
		clip: [rect(570, 390, 80, 40), rect(600, 440, 100, 30)],
		srcPos: { x: 20, y: 20 },
	});
	ops.push({ ...base, op: 'copy-bits', box: rect(740, 500, 200, 200), srcPos: { x: 700, y: 280 } });

	// Another surface as a source.
	display.surfaceCreate({ id: 1, width: 64, height: 64, format: SurfaceFormat.xrgb32 });
	display.draw({ ...base, surfaceId: 1, op: 'fill', box: rect(0, 0, 64, 64), brush: solid(0x8040c0), rop: put });
	display.draw({ ...base, surfaceId: 1, op: 'fill', box: rect(16, 16, 32, 32), brush: solid(0xf0f000), rop: put });
	ops.push({
		...base,
		op: 'copy',
		box: rect(560, 500, 64, 64),
		src: { kind: 'surface', surfaceId: 1 },
		srcArea: rect(0, 0, 64, 64),
		rop: put,
		scaleMode: 1,
	});
	return ops;
}

function tile8(): Bitmap {
	return bitmap(BitmapFormat.xrgb32, 60, 60, (x, y) => (((x >> 3) + (y >> 3)) % 2) * 0x800080);
}

function shift(r: Rect, dx: number): Rect {
	return { ...r, left: r.left + dx, right: r.right + dx };
}
