/** The canvas against a model that looks at one pixel at a time. */
import test from 'ava';
import fc from 'fast-check';
import {
	type Bitmap,
	BitmapFormat,
	type Drawable,
	type Mask,
	type Rect,
	Ropd,
	SurfaceFormat,
} from '../../../src/core/index.ts';
import { Canvas } from '../../../src/spice/display/canvas.ts';
import { Columns } from '../../../src/spice/display/scale.ts';
import type { Source } from '../../../src/spice/display/sources.ts';
import { bitmap, rect, solid } from '../../helpers/pattern.ts';

const W = 37;
const H = 23;
const base = { surfaceId: 0, mmTime: 0 };

function inside(r: Rect, x: number, y: number): boolean {
	return x >= r.left && x < r.right && y >= r.top && y < r.bottom;
}

/** Whether `d` may touch the pixel: box, clip and mask. */
function touches(d: Drawable, x: number, y: number): boolean {
	if (!inside(d.box, x, y)) return false;
	if (d.clip !== undefined && !d.clip.some((c) => inside(c, x, y))) return false;
	if (!('mask' in d) || d.mask === undefined) return true;
	const { image, pos, inverse } = d.mask;
	if (image.kind !== 'bitmap') throw new Error('the model knows bitmaps only');
	const [mx, my] = [x - d.box.left + pos.x, y - d.box.top + pos.y];
	if (mx < 0 || my < 0 || mx >= image.width || my >= image.height) return false;
	const byte = image.data[(image.topDown ? my : image.height - 1 - my) * image.stride + Math.floor(mx / 8)];
	const bit = image.format === BitmapFormat.plt1Be ? (byte >> (7 - (mx % 8))) & 1 : (byte >> (mx % 8)) & 1;
	return (bit === 1) !== inverse;
}

/** Bit by bit from the flags' names. */
function combine(rop: number, a: number, b: number, aFlag: number, bFlag: number): number {
	const x = rop & aFlag ? ~a : a;
	const y = rop & bFlag ? ~b : b;
	let result = x;
	if (rop & Ropd.put) result = x;
	else if (rop & Ropd.or) result = x | y;
	else if (rop & Ropd.and) result = x & y;
	else if (rop & Ropd.xor) result = x ^ y;
	else if (rop & Ropd.blackness) return 0;
	else if (rop & Ropd.whiteness) return 0xffffffff;
	else if (rop & Ropd.invers) return ~b >>> 0;
	else return a;
	return (rop & Ropd.inversRes ? ~result : result) >>> 0;
}

function pixelOf(b: Bitmap, x: number, y: number): number {
	const at = (b.topDown ? y : b.height - 1 - y) * b.stride + x * 4;
	return new DataView(b.data.buffer).getUint32(at, true);
}

function model(before: Uint32Array, d: Drawable): Uint32Array {
	const after = before.slice();
	for (let y = 0; y < H; y++) {
		for (let x = 0; x < W; x++) {
			if (!touches(d, x, y)) continue;
			const at = y * W + x;
			const dest = before[at];
			switch (d.op) {
				case 'fill':
					if (d.brush.kind === 'solid')
						after[at] = combine(d.rop, d.brush.color, dest, Ropd.inversBrush, Ropd.inversDest);
					else if (d.brush.kind === 'pattern' && d.brush.image.kind === 'bitmap') {
						const { image, pos } = d.brush;
						const tx = (((x - pos.x) % image.width) + image.width) % image.width;
						const ty = (((y - pos.y) % image.height) + image.height) % image.height;
						after[at] = combine(d.rop, pixelOf(image, tx, ty), dest, Ropd.inversBrush, Ropd.inversDest);
					} else after[at] = combine(d.rop, 0, dest, Ropd.inversBrush, Ropd.inversDest);
					break;
				case 'copy':
				case 'blend':
				case 'opaque': {
					if (d.src.kind !== 'bitmap') throw new Error('the model knows bitmaps only');
					const src = pixelOf(d.src, x - d.box.left + d.srcArea.left, y - d.box.top + d.srcArea.top);
					if (d.op !== 'opaque') after[at] = combine(d.rop, src, dest, Ropd.inversSrc, Ropd.inversDest);
					else if (d.brush.kind === 'solid')
						after[at] = combine(d.rop, d.brush.color, src, Ropd.inversBrush, Ropd.inversSrc);
					break;
				}
				case 'copy-bits': {
					const sx = x - d.box.left + d.srcPos.x;
					const sy = y - d.box.top + d.srcPos.y;
					if (sx >= 0 && sy >= 0 && sx < W && sy < H) after[at] = before[sy * W + sx];
					break;
				}
				case 'blackness':
					after[at] = 0;
					break;
				case 'whiteness':
					after[at] = 0xffffffff;
					break;
				case 'invers':
					after[at] = ~dest;
					break;
			}
		}
	}
	return after;
}

const rects = fc
	.record({
		left: fc.integer({ min: -9, max: W + 3 }),
		top: fc.integer({ min: -9, max: H + 3 }),
		width: fc.integer({ min: 1, max: W }),
		height: fc.integer({ min: 1, max: H }),
	})
	.map((r) => rect(r.left, r.top, r.width, r.height));
const rops = fc.nat({ max: 0x7ff });
const colors = fc.nat({ max: 0xffffffff });
const clips = fc.option(fc.array(rects, { maxLength: 4 }), { nil: undefined });
const masks: fc.Arbitrary<Mask | undefined> = fc.option(
	fc.record({
		image: fc
			.tuple(fc.constantFrom(BitmapFormat.plt1Be, BitmapFormat.plt1Le), fc.nat(), fc.boolean())
			.map(([format, seed, topDown]) =>
				bitmap(format, 29, 17, (x, y) => (Math.imul(x * 7 + y * 13, seed | 1) >>> 9) & 1, { topDown }),
			),
		pos: fc.record({ x: fc.integer({ min: -3, max: 9 }), y: fc.integer({ min: -3, max: 9 }) }),
		inverse: fc.boolean(),
	}),
	{ nil: undefined },
);
/** A source as large as the box asks for, with a margin around. */
function source(box: Rect, seed: number, topDown: boolean) {
	const width = box.right - box.left;
	const height = box.bottom - box.top;
	const src = bitmap(BitmapFormat.xrgb32, width + 2, height + 3, (x, y) => Math.imul(x + y * 31 + 1, seed | 1) >>> 0, {
		topDown,
		extra: seed % 5,
	});
	return { src, srcArea: rect(1, 2, width, height), scaleMode: 0 };
}
const drawables: fc.Arbitrary<Drawable> = fc
	.record({
		op: fc.constantFrom(
			'fill',
			'tile',
			'none',
			'copy',
			'blend',
			'opaque',
			'copy-bits',
			'blackness',
			'whiteness',
			'invers',
		),
		box: rects,
		clip: clips,
		rop: rops,
		color: colors,
		mask: masks,
		topDown: fc.boolean(),
		pos: fc.record({ x: fc.integer({ min: -5, max: W }), y: fc.integer({ min: -5, max: H }) }),
	})
	.map(({ op, box, clip, rop, color, mask, topDown, pos }): Drawable => {
		const common = { ...base, box, clip };
		switch (op) {
			case 'fill':
				return { ...common, op, brush: solid(color), rop, mask };
			case 'tile': {
				const image = bitmap(BitmapFormat.xrgb32, 5, 4, (x, y) => Math.imul(x + 9 * y, color | 1) >>> 0, { topDown });
				return { ...common, op: 'fill', brush: { kind: 'pattern', image, pos }, rop, mask };
			}
			case 'none':
				return { ...common, op: 'fill', brush: { kind: 'none' }, rop, mask };
			case 'copy':
			case 'blend':
				return { ...common, op, ...source(box, color, topDown), rop, mask };
			case 'opaque':
				return { ...common, op, ...source(box, color, topDown), brush: solid(color ^ 0x5555), rop, mask };
			case 'copy-bits':
				return { ...common, op, srcPos: pos };
			default:
				return { ...common, op: op as 'invers', mask };
		}
	});

test('random operations draw what the model draws', (t) => {
	fc.assert(
		fc.property(fc.array(drawables, { minLength: 1, maxLength: 8 }), (list) => {
			const canvas = new Canvas(W, H, SurfaceFormat.argb32);
			for (let i = 0; i < canvas.pixels.length; i++) canvas.pixels[i] = Math.imul(i, 0x9e3779b1);
			for (const d of list) {
				const expected = model(canvas.pixels, d);
				t.true(canvas.draw(d, canvas.affected(d) ?? [], () => undefined));
				t.deepEqual(canvas.pixels, expected, d.op);
			}
		}),
		{ numRuns: 400 },
	);
});

const formats = [SurfaceFormat.a1, SurfaceFormat.a8, SurfaceFormat.rgb555, SurfaceFormat.rgb565, SurfaceFormat.xrgb32];

test('content in any surface format comes back as it went in', (t) => {
	const stride: Record<number, number> = { 1: 3, 8: 17, 16: 34, 80: 34, 32: 68, 96: 68 };
	for (const format of formats) {
		const content = Uint8Array.from({ length: stride[format] * 5 }, (_, i) => (i * 73 + 11) & 0xff);
		if (format === SurfaceFormat.rgb555) for (let i = 1; i < content.length; i += 2) content[i] &= 0x7f;
		if (format === SurfaceFormat.a1) for (let y = 0; y < 5; y++) content[y * 3 + 2] &= 1;
		const canvas = new Canvas(17, 5, format, content.slice());
		const row = stride[format];
		const back = new Uint8Array(content.length).fill(0xff);
		t.true(canvas.readOwn(rect(0, 0, 17, 5), back, 0, row));
		t.deepEqual(back, content, `format ${format}`);
		const turned = new Uint8Array(content.length);
		t.true(canvas.readOwn(rect(0, 0, 17, 5), turned, 4 * row, -row));
		t.deepEqual(turned.subarray(4 * row), content.subarray(0, row), 'the bottom row first');
		t.false(canvas.readOwn(rect(1, 0, 17, 5), back, 0, row));
		t.false(canvas.readOwn(rect(3, 3, 0, 1), back, 0, row));
	}
});

test('16-bit surfaces: raster operations work on the guest bits', (t) => {
	for (const format of [SurfaceFormat.rgb555, SurfaceFormat.rgb565]) {
		const mask = format === SurfaceFormat.rgb555 ? 0x7fff : 0xffff;
		for (const rop of [Ropd.xor, Ropd.and, Ropd.or, Ropd.put, Ropd.put | Ropd.inversBrush, Ropd.xor | Ropd.inversRes]) {
			const canvas = new Canvas(1, 1, format, Uint8Array.of(0x9c, 0x35));
			const box = rect(0, 0, 1, 1);
			const d: Drawable = { ...base, op: 'fill', box, brush: solid(0x5ac3), rop };
			t.true(canvas.draw(d, [box], () => undefined));
			const own = new Uint8Array(2);
			t.true(canvas.readOwn(box, own, 0, 2));
			const expected = combine(rop, 0x5ac3, 0x359c, Ropd.inversBrush, Ropd.inversDest) & mask;
			t.is(own[0] | (own[1] << 8), expected, `format ${format} rop ${rop}`);
		}
	}
});

test('palette and packed sources are read as their formats say', (t) => {
	const entries = [0x112233, 0x445566, 0x778899, 0xaabbcc];
	const cases: [BitmapFormat, number, number][] = [
		[BitmapFormat.plt1Be, 1, 0x445566],
		[BitmapFormat.plt1Le, 1, 0x445566],
		[BitmapFormat.plt4Be, 2, 0x778899],
		[BitmapFormat.plt4Le, 3, 0xaabbcc],
		[BitmapFormat.plt8, 3, 0xaabbcc],
		[BitmapFormat.rgb16, 0x7c1f, 0xff00ff],
		[BitmapFormat.rgb24, 0x102030, 0x102030],
	];
	for (const [format, value, color] of cases) {
		for (const topDown of [true, false]) {
			const src = bitmap(format, 11, 3, (x, y) => (x === 7 && y === 2 ? value : 0), { palette: entries, topDown });
			const canvas = new Canvas(1, 1, SurfaceFormat.xrgb32);
			const box = rect(0, 0, 1, 1);
			const d: Drawable = { ...base, op: 'copy', box, src, srcArea: rect(7, 2, 1, 1), rop: Ropd.put, scaleMode: 0 };
			t.true(canvas.draw(d, [box], () => undefined));
			t.is(canvas.pixels[0], color, `format ${format}`);
		}
	}
});

test('scaling: nearest takes pixels whole, interpolation stays between them', (t) => {
	const src = bitmap(BitmapFormat.xrgb32, 2, 1, (x) => (x ? 0xff8000 : 0x002000));
	const canvas = new Canvas(8, 2, SurfaceFormat.xrgb32);
	const box = rect(0, 0, 8, 2);
	const d = { ...base, op: 'copy', box, src, srcArea: rect(0, 0, 2, 1), rop: Ropd.put } as const;
	t.true(canvas.draw({ ...d, scaleMode: 1 }, [box], () => undefined));
	t.deepEqual([...canvas.pixels.subarray(0, 8)], [...Array(4).fill(0x002000), ...Array(4).fill(0xff8000)]);
	t.true(canvas.draw({ ...d, scaleMode: 0 }, [box], () => undefined));
	const reds = [...canvas.pixels.subarray(8)].map((v) => v >>> 16);
	t.is(reds[0], 0);
	t.is(reds[7], 255);
	t.deepEqual(
		reds,
		[...reds].sort((a, b) => a - b),
	);
	t.true(reds[3] > 64 && reds[4] < 192);
});

test('sources that are broken, missing or of another kind leave the canvas alone', (t) => {
	const canvas = new Canvas(16, 16, SurfaceFormat.xrgb32);
	const whole = bitmap(BitmapFormat.xrgb32, 8, 8, () => 0xffffff);
	const box = rect(0, 0, 8, 8);
	const copy = { ...base, op: 'copy', box, srcArea: rect(0, 0, 8, 8), rop: Ropd.put, scaleMode: 0 } as const;
	const bad: Drawable[] = [
		{ ...copy, src: { ...whole, data: whole.data.subarray(1) } },
		{ ...copy, src: { ...whole, stride: 4 } },
		{ ...copy, src: { ...whole, height: 9 } },
		{ ...copy, src: { ...whole, format: BitmapFormat.plt8 } },
		{ ...copy, src: whole, srcArea: rect(1, 0, 8, 8) },
		{ ...copy, src: whole, srcArea: rect(-1, 0, 8, 8) },
		{ ...copy, src: whole, srcArea: rect(4, 4, 0, 0) },
		{ ...copy, src: { kind: 'surface', surfaceId: 5 } },
		{ ...copy, src: { kind: 'quic', id: 0n, cache: false, width: 8, height: 8, data: new Uint8Array(8) } },
		{ ...copy, src: whole, mask: { image: whole, pos: { x: 0, y: 0 }, inverse: false } },
	];
	for (const d of bad) t.false(canvas.draw(d, canvas.affected(d) ?? [], () => undefined));
	t.true(canvas.pixels.every((v) => v === 0));
});

test('a surface as its own source, tile or mask is read as it was before', (t) => {
	const image = { kind: 'surface', surfaceId: 1 } as const;
	const sizes = fc.record({ width: fc.integer({ min: 1, max: 12 }), height: fc.integer({ min: 1, max: 9 }) });
	const own = fc
		.tuple(rects, clips, rops, fc.nat({ max: 1 }), sizes, fc.nat({ max: 9 }), fc.nat({ max: 9 }), fc.nat({ max: 3 }))
		.map(([box, clip, rop, scaleMode, size, x, y, what]): Drawable => {
			const shape = { ...base, box, clip, rop, scaleMode, src: image, srcArea: rect(x, y, size.width, size.height) };
			const brush = { kind: 'pattern', image, pos: { x, y } } as const;
			const still = rect(x, y, box.right - box.left, box.bottom - box.top);
			if (what === 0) return { ...shape, op: 'copy' };
			if (what === 1) return { ...shape, op: 'copy', srcArea: still };
			return what === 2 ? { ...base, op: 'fill', box, clip, rop, brush } : { ...shape, op: 'opaque', brush };
		});
	const masked = fc.option(fc.record({ x: fc.integer({ min: -9, max: 9 }), y: fc.integer({ min: -9, max: 9 }) }), {
		nil: undefined,
	});
	fc.assert(
		fc.property(
			own,
			masked,
			fc.constantFrom(SurfaceFormat.argb32, SurfaceFormat.a1),
			fc.nat(),
			(d, pos, format, seed) => {
				const content = Uint8Array.from({ length: W * H * 4 }, (_, i) => Math.imul(i + 3, seed | 1) >>> 11);
				const [canvas, other] = [0, 1].map(() => new Canvas(W, H, format, content.slice()));
				const mask = pos && format === SurfaceFormat.a1 ? { mask: { image, pos, inverse: seed % 2 === 0 } } : {};
				const expected = new Canvas(W, H, format, content.slice());
				const drawn = { ...d, ...mask } as Drawable;
				const done = expected.draw(drawn, expected.affected(drawn) ?? [], () => other);
				t.is(
					canvas.draw(drawn, canvas.affected(drawn) ?? [], () => canvas),
					done,
				);
				t.deepEqual(canvas.pixels, expected.pixels);
			},
		),
		{ numRuns: 400 },
	);
});

test('what a drawing copies of its own surface is as large as what it changes', (t) => {
	class Counting extends Canvas {
		copied = 0;
		override read(area: Rect): Uint8Array {
			this.copied += (area.right - area.left) * (area.bottom - area.top);
			return super.read(area);
		}
	}
	const mask: Mask = { image: bitmap(BitmapFormat.plt1Be, 8, 8, () => 1), pos: { x: 0, y: 0 }, inverse: false };
	for (const [rop, masked] of [
		[Ropd.put, false],
		[Ropd.xor, false],
		[Ropd.put, true],
		[Ropd.xor, true],
	] as const) {
		const canvas = new Counting(1024, 1024, SurfaceFormat.argb32);
		const d: Drawable = {
			...base,
			op: 'copy',
			box: rect(0, 0, 1024, 1024),
			clip: [rect(3, 3, 2, 1), rect(5, 6, 1, 1)],
			src: { kind: 'surface', surfaceId: 0 },
			srcArea: rect(0, 0, 1024, 1024),
			rop,
			scaleMode: 0,
			...(masked ? { mask } : {}),
		};
		t.true(canvas.draw(d, canvas.affected(d) ?? [], () => canvas));
		t.true(canvas.copied <= 12, `${canvas.copied} pixels`);
	}
});

test('a wide row drawn narrow is read where it is sampled', (t) => {
	let read = 0;
	const source: Source = {
		width: 8192,
		height: 1,
		row(x, _, count, out, at) {
			read += count;
			for (let i = 0; i < count; i++) out[at + i] = x + i;
		},
	};
	const columns = new Columns(rect(0, 0, 3, 1), (x) => (x + 0.5) * 2730 - 0.5, 8192);
	const line = columns.line();
	columns.read(source, 0, 0, line);
	t.deepEqual(
		[...columns.left].map((i) => line[i]),
		[1364, 4094, 6824],
	);
	t.deepEqual(
		[...columns.right].map((i) => line[i]),
		[1365, 4095, 6825],
	);
	t.is(read, 6);
});

test('a clip of any length names its pixels, and no others', (t) => {
	const canvas = new Canvas(64, 48, SurfaceFormat.xrgb32);
	const clip = Array.from({ length: 16384 }, (_, i) => rect(5, 7 + (i % 2), 1, 1));
	const d: Drawable = { ...base, op: 'invers', box: rect(0, 0, 64, 48), clip };
	const parts = canvas.affected(d) ?? [];
	t.deepEqual(parts, [rect(5, 7, 1, 2)]);
	t.true(canvas.draw(d, parts, () => undefined));
	t.deepEqual(
		[...canvas.pixels.entries()].filter(([, v]) => v !== 0).map(([i]) => i),
		[7 * 64 + 5, 8 * 64 + 5],
	);
});
