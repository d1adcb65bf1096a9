/** What waits for a client: however slowly it reads, at the end it has the picture, and what waits stays small. */
import test from 'ava';
import fc from 'fast-check';
import { BitmapFormat, type Drawable, type Rect, Ropd, SurfaceFormat } from '../../../src/core/index.ts';
import { Canvas } from '../../../src/spice/display/canvas.ts';
import { reduce } from '../../../src/spice/display/ops.ts';
import { area, Damage, region, subtract } from '../../../src/spice/display/region.ts';
import { type PendingOp, PendingOps } from '../../../src/spice/display/tree.ts';
import { bitmap, rect, solid } from '../../helpers/pattern.ts';

const W = 64;
const H = 48;
const base = { surfaceId: 0, mmTime: 0 };

/** A client of few lines: what each operation means, and nothing else. */
class Screen {
	pixels = new Uint32Array(0);
	width = 0;
	shown = false;
	apply(op: PendingOp): void {
		const { pixels, width } = this;
		switch (op.kind) {
			case 'create':
				this.pixels = new Uint32Array(op.width * op.height);
				this.width = op.width;
				break;
			case 'destroy':
				this.pixels = new Uint32Array(0);
				break;
			case 'mark':
				this.shown = true;
				break;
			case 'fill':
				this.#each(op.rect, (at) => (pixels[at] = op.color));
				break;
			case 'copy': {
				const before = pixels.slice();
				this.#each(op.rect, (at) => (pixels[at] = before[at + op.dy * width + op.dx]));
				break;
			}
			case 'image': {
				const { data, stride } = op.pixels;
				this.#each(op.rect, (at, x, y) => {
					const from = y * stride + x * 4;
					pixels[at] = data[from] | (data[from + 1] << 8) | (data[from + 2] << 16);
				});
			}
		}
	}
	#each(r: Rect, set: (at: number, x: number, y: number) => void): void {
		for (let y = r.top; y < r.bottom; y++)
			for (let x = r.left; x < r.right; x++) set(y * this.width + x, x - r.left, y - r.top);
	}
}

const rects = fc
	.tuple(
		fc.integer({ min: -4, max: W }),
		fc.integer({ min: -4, max: H }),
		fc.integer({ min: 1, max: W }),
		fc.integer({ min: 1, max: H }),
	)
	.map(([x, y, w, h]) => rect(x, y, w, h));
const drawables: fc.Arbitrary<Drawable> = fc
	.record({
		kind: fc.constantFrom('fill', 'xor', 'copy', 'copy', 'image', 'invers'),
		box: rects,
		clip: fc.option(fc.array(rects, { minLength: 1, maxLength: 3 }), { nil: undefined, freq: 4 }),
		color: fc.nat({ max: 0xffffff }),
		x: fc.integer({ min: -5, max: W }),
		y: fc.integer({ min: -5, max: H }),
	})
	.map(({ kind, box, clip, color, x, y }): Drawable => {
		const common = { ...base, box, clip };
		const [width, height] = [box.right - box.left, box.bottom - box.top];
		if (kind === 'copy') return { ...common, op: 'copy-bits', srcPos: { x, y } };
		if (kind === 'invers') return { ...common, op: 'invers' };
		if (kind === 'image') {
			const src = bitmap(BitmapFormat.xrgb32, width, height, (i, j) => color ^ (i * 77 + j * 1301));
			return { ...common, op: 'copy', src, srcArea: rect(0, 0, width, height), rop: Ropd.put, scaleMode: 0 };
		}
		return { ...common, op: 'fill', brush: solid(color), rop: kind === 'fill' ? Ropd.put : Ropd.xor };
	});
type Step = { draw: Drawable } | { read: number } | { resize: number };
const steps: fc.Arbitrary<Step[]> = fc.array(
	fc.oneof(
		{ weight: 8, arbitrary: drawables.map((draw) => ({ draw })) },
		{ weight: 3, arbitrary: fc.nat({ max: 12 }).map((read) => ({ read })) },
		{ weight: 1, arbitrary: fc.nat({ max: 9 }).map((resize) => ({ resize })) },
	),
	{ maxLength: 140 },
);

test('at the end the client has the picture, whatever it read when', (t) => {
	fc.assert(
		fc.property(steps, (list) => {
			let canvas = new Canvas(W, H, SurfaceFormat.xrgb32);
			const pending = new PendingOps();
			const screen = new Screen();
			pending.create(canvas);
			pending.control({ kind: 'mark' });
			for (const step of list) {
				if ('read' in step) {
					for (let i = 0; i < step.read; i++) {
						const op = pending.next();
						if (op !== undefined) screen.apply(op);
					}
				} else if ('resize' in step) {
					pending.destroy();
					canvas = new Canvas(W + step.resize, H, SurfaceFormat.xrgb32);
					pending.create(canvas);
					pending.control({ kind: 'mark' });
				} else {
					const parts = canvas.affected(step.draw) ?? [];
					canvas.draw(step.draw, parts, () => undefined);
					for (const op of reduce(step.draw, canvas, parts)) pending.add(op);
				}
			}
			for (let op = pending.next(); op !== undefined; op = pending.next()) screen.apply(op);
			t.true(pending.empty);
			t.true(screen.shown);
			t.deepEqual(
				screen.pixels,
				canvas.pixels.map((v) => v & 0xffffff),
			);
		}),
		{ numRuns: 80 },
	);
});

function count(pending: PendingOps): number {
	let n = 0;
	while (pending.next() !== undefined) n++;
	return n;
}

function image(left: number, top: number, size: number) {
	const pixels = {
		format: BitmapFormat.xrgb32,
		width: size,
		height: size,
		stride: size * 4,
		data: new Uint8Array(size * size * 4),
	};
	return { kind: 'image', rect: rect(left, top, size, size), pixels } as const;
}

test('what is hidden is not sent, unless a copy still reads it', (t) => {
	const canvas = new Canvas(W, H, SurfaceFormat.xrgb32);
	const pending = new PendingOps();
	pending.create(canvas);
	t.is(count(pending), 2);
	for (let i = 0; i < 20; i++) pending.add(image(4, 4, 8));
	t.is(count(pending), 1);
	pending.add(image(4, 4, 8));
	pending.add({ kind: 'copy', rect: rect(30, 30, 4, 4), dx: -24, dy: -24 });
	pending.add({ kind: 'fill', rect: rect(0, 0, 20, 20), color: 1 });
	t.is(count(pending), 3);
	pending.add(image(4, 4, 8));
	pending.add({ kind: 'copy', rect: rect(30, 30, 4, 4), dx: 0, dy: 4 });
	pending.add({ kind: 'fill', rect: rect(0, 0, 20, 20), color: 1 });
	t.is(count(pending), 2);
});

test('a client that reads nothing costs a bounded number of operations and bytes', (t) => {
	const canvas = new Canvas(2048, 2048, SurfaceFormat.xrgb32);
	const pending = new PendingOps();
	pending.create(canvas);
	for (let i = 0; i < 100_000; i++)
		pending.add({ kind: 'fill', rect: rect((i * 37) % 2000, (i * 91) % 2000, 9, 9), color: i });
	t.true(pending.behind);
	// The surface, and damage in bands of at most 128 Ki pixels, with what the merging of rectangles adds.
	t.true(count(pending) <= 2 + Damage.LIMIT + 32);
	t.false(pending.behind);
	for (let i = 0; i < 40; i++) pending.add(image(i, i, 512));
	t.true(pending.behind, '40 MiB of images are too many');
});

/** Rectangles from top to bottom, each shifted against the one before: every band shows other columns. */
function staggered(count: number, width: number, height: number): Rect[] {
	return Array.from({ length: count }, (_, i) => rect((2 * i) % width, i % height, 1, height - (i % height)));
}

test('a clip in more pieces than anybody draws is refused; more rectangles than pieces are not', (t) => {
	const whole = Array.from({ length: 16384 }, (_, i) => rect(0, 0, 1024 - (i % 7), 768 - (i % 11)));
	const pieces = region(whole);
	t.true(pieces !== undefined && pieces.length < 20, `${pieces?.length} pieces`);
	t.is(region(staggered(16384, 32768, 8192)), undefined);
	t.is(region(Array.from({ length: 65536 }, (_, i) => rect((i % 256) * 2, (i >> 8) * 2, 1, 1)))?.length, 65536);
	t.is(region(Array.from({ length: 65537 }, (_, i) => rect((i % 512) * 2, (i >> 9) * 2, 1, 1))), undefined);
});

test('rectangles: pieces cover the same pixels once', (t) => {
	fc.assert(
		fc.property(
			fc.oneof(fc.array(rects, { maxLength: 12 }), fc.array(rects, { minLength: 49, maxLength: 70 })),
			rects,
			(list, hole) => {
				const painted = (parts: readonly Rect[]) => {
					const hits = new Map<number, number>();
					for (const r of parts)
						for (let y = r.top; y < r.bottom; y++)
							for (let x = r.left; x < r.right; x++) hits.set(y * 1000 + x, (hits.get(y * 1000 + x) ?? 0) + 1);
					return hits;
				};
				const sorted = (keys: Iterable<number>) => [...keys].sort((a, b) => a - b);
				const pieces = region(list) ?? [];
				t.deepEqual(sorted(painted(pieces).keys()), sorted(painted(list).keys()));
				t.true([...painted(pieces).values()].every((n) => n === 1));
				const left = painted(list.flatMap((r) => subtract(r, hole)));
				const within = painted([hole]);
				const outside = [...painted(list).keys()].filter((k) => !within.has(k));
				t.deepEqual(sorted(left.keys()), sorted(outside));
				const damage = new Damage();
				for (const r of list) damage.add(r);
				const kept = painted(damage.rects);
				t.true([...painted(list).keys()].every((k) => kept.has(k)));
				t.true(damage.rects.length <= Damage.LIMIT);
			},
		),
		{ numRuns: 25 },
	);
	t.is(area(rect(0, 0, 3, 4)), 12);
	t.is(area({ left: 3, top: 0, right: 1, bottom: 5 }), 0);
});

test('a piece of a large bitmap does not keep all of it alive', (t) => {
	const canvas = new Canvas(1000, 1000, SurfaceFormat.xrgb32);
	const src = bitmap(BitmapFormat.xrgb32, 1000, 1000, (x, y) => x * y);
	const whole = {
		...base,
		op: 'copy',
		box: rect(0, 0, 1000, 1000),
		src,
		srcArea: rect(0, 0, 1000, 1000),
		rop: Ropd.put,
		scaleMode: 0,
	} as const;
	const held = (d: Drawable) => {
		const parts = canvas.affected(d) ?? [];
		canvas.draw(d, parts, () => undefined);
		return reduce(d, canvas, parts).map((op) => (op.kind === 'image' ? op.pixels.data.buffer : undefined));
	};
	t.is(held(whole)[0], src.data.buffer);
	const [piece] = held({ ...whole, clip: [rect(5, 5, 10, 10)] });
	t.is(piece?.byteLength, 400);
});
