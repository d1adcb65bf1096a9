/** The display as devices and operators see it. */
import test from 'ava';
import fc from 'fast-check';
import { PNG } from 'pngjs';
import {
	type BitmapFormat,
	CursorType,
	type Drawable,
	type Image,
	listenTrace,
	type Rect,
	Ropd,
	SurfaceFormat,
} from '../../../src/core/index.ts';
import type { CursorEvent } from '../../../src/spice/channels/cursor.ts';
import { Display } from '../../../src/spice/display/display.ts';
import { encodePng, encodePpm } from '../../../src/spice/display/screenshot.ts';
import { drawPattern, PATTERN, rect, solid } from '../../helpers/pattern.ts';

const base = { surfaceId: 0, mmTime: 0 };

test('screenshots: the whole screen, one head, no screen; as PNG and PPM', (t) => {
	const display = new Display();
	t.deepEqual(display.screenshot(), { width: 1, height: 1, rgb: new Uint8Array(3) });
	drawPattern(display);
	const whole = display.screenshot();
	t.is(whole.rgb.length, PATTERN.width * PATTERN.height * 3);
	t.deepEqual([...whole.rgb.subarray(0, 3)], [0x20, 0x40, 0x60]);
	const head = { id: 0, surfaceId: 0, width: 64, height: 64, x: 560, y: 500, flags: 0 };
	display.monitorsConfig(2, [{ ...head, x: 0, y: 0 }, head]);
	const part = display.screenshot(1);
	t.deepEqual([part.width, part.height], [64, 64]);
	t.deepEqual([...part.rgb.subarray(0, 3)], [0x80, 0x40, 0xc0]);
	const png = PNG.sync.read(Buffer.from(encodePng(part)));
	t.deepEqual([png.width, png.height], [64, 64]);
	for (let i = 0; i < 64 * 64; i++)
		for (let c = 0; c < 3; c++) if (png.data[i * 4 + c] !== part.rgb[i * 3 + c]) t.fail();
	const ppm = encodePpm(part);
	t.is(Buffer.from(ppm.subarray(0, 13)).toString('latin1'), 'P6\n64 64\n255\n');
	t.deepEqual(ppm.subarray(13), Buffer.from(part.rgb));
});

test('surfaces: created, replaced, read back in their own format, gone', (t) => {
	const display = new Display();
	display.surfaceCreate({ id: 3, width: 4, height: 2, format: SurfaceFormat.rgb565 });
	const box = rect(0, 0, 4, 2);
	display.draw({ ...base, surfaceId: 3, op: 'fill', box, brush: solid(0xf81f), rop: Ropd.put });
	const read = (id: number, area: Rect) => {
		const into = new Uint8Array(4).fill(9);
		return display.readSurface(id, area, into, 0, 4) ? [...into] : undefined;
	};
	t.deepEqual(read(3, rect(1, 1, 2, 1)), [0x1f, 0xf8, 0x1f, 0xf8]);
	t.is(read(3, rect(0, 0, 5, 2)), undefined);
	t.is(read(4, box), undefined);
	display.surfaceCreate({ id: 3, width: 1, height: 1, format: SurfaceFormat.xrgb32 });
	t.deepEqual(read(3, rect(0, 0, 1, 1)), [0, 0, 0, 0]);
	for (const [width, height] of [
		[300, 200],
		[2, 2],
		[200, 300],
	]) {
		display.surfaceCreate({ id: 3, width, height, format: SurfaceFormat.xrgb32 });
		const all = { ...base, surfaceId: 3, box: rect(0, 0, width, height) };
		const into = new Uint8Array(width * height * 4);
		t.true(display.readSurface(3, all.box, into, 0, width * 4));
		t.true(
			into.every((byte) => byte === 0),
			'nothing of the one before',
		);
		display.draw({ ...all, op: 'whiteness' });
	}
	display.surfaceDestroy(3);
	display.surfaceDestroy(3);
	t.is(read(3, rect(0, 0, 1, 1)), undefined);
});

test('surfaces that are too large or too many are refused with a word to the log', (t) => {
	const errors: string[] = [];
	const stop = listenTrace(
		(name) => name === 'guest.error',
		(event) => errors.push(String(event.fields.message)),
	);
	t.teardown(stop);
	const display = new Display();
	const create = (id: number, width: number, height: number) =>
		display.surfaceCreate({ id, width, height, format: SurfaceFormat.xrgb32 });
	for (const [w, h] of [
		[0, 5],
		[5, -1],
		[70000, 1],
		[16384, 16384],
		[1.5e9, 1.5e9],
	])
		create(1, w, h);
	t.is(errors.length, 5);
	for (let id = 0; id < 1100; id++) create(id, 1, 1);
	t.is(errors.length, 5 + 76);
	display.reset();
	create(0, 8192, 8192);
	create(1, 8192, 8192);
	t.is(errors.length, 5 + 76);
	create(2, 1, 1);
	t.is(errors.length, 5 + 77, 'all pixels together have a limit');
	display.surfaceDestroy(1);
	create(2, 8192, 8192);
	t.is(errors.length, 5 + 77, 'and room that is given back can be used again');
	t.is(display.primary?.width, 8192);
});

test('the cursor: state for who comes late, events for who is there', (t) => {
	const display = new Display();
	const events: CursorEvent[] = [];
	const stop = display.onCursor((event) => events.push(event));
	const data = new Uint8Array(4);
	const shape = { unique: 5n, type: CursorType.alpha, width: 1, height: 1, hotSpotX: 0, hotSpotY: 0, data };
	display.cursorSet(shape, 7, 8, true);
	t.deepEqual(display.cursor, { shape, x: 7, y: 8, visible: true });
	display.cursorMove(9, 10);
	t.deepEqual(display.cursor, { shape, x: 9, y: 10, visible: true });
	display.cursorHide();
	t.false(display.cursor.visible);
	display.cursorTrail(2, 3);
	display.reset();
	t.is(display.cursor.shape, undefined);
	stop();
	display.cursorMove(1, 1);
	t.deepEqual(
		events.map((event) => event.type),
		['set', 'move', 'hide', 'trail', 'reset'],
	);
});

test('operations that cannot be drawn are counted and leave no trace on the screen', (t) => {
	const display = new Display();
	const box = rect(0, 0, 8, 8);
	display.draw({ ...base, op: 'whiteness', box });
	t.is(display.dropped, 1);
	display.surfaceCreate({ id: 0, width: 8, height: 8, format: SurfaceFormat.xrgb32 });
	const src: Image = { kind: 'lz-rgb', id: 1n, cache: false, width: 8, height: 8, data: new Uint8Array(9) };
	display.draw({ ...base, op: 'copy', box, src, srcArea: box, rop: Ropd.put, scaleMode: 0 });
	t.is(display.dropped, 2);
	t.true(display.primary?.pixels.every((v) => v === 0));
});

/** Coordinates as a hostile guest picks them. */
const wild = fc.oneof(
	fc.integer({ min: -70, max: 70 }),
	fc.constantFrom(-0x80000000, 0x7fffffff, -1, 0, 65535, 0xffffffff, Number.NaN),
);
const wildRect: fc.Arbitrary<Rect> = fc.record({ left: wild, top: wild, right: wild, bottom: wild });
const wildImage: fc.Arbitrary<Image> = fc.oneof(
	fc.record({
		kind: fc.constant('bitmap' as const),
		id: fc.constant(0n),
		cache: fc.boolean(),
		format: fc.integer({ min: 0, max: 12 }).map((f) => f as BitmapFormat),
		width: wild,
		height: wild,
		stride: wild,
		topDown: fc.boolean(),
		palette: fc.option(fc.constant({ id: 1n, entries: Uint32Array.of(1, 2, 3) }), { nil: undefined }),
		data: fc.uint8Array({ maxLength: 600 }),
	}),
	fc.record({ kind: fc.constant('surface' as const), surfaceId: fc.constantFrom(0, 1, 2, 9) }),
);
const wildPoint = fc.record({ x: wild, y: wild });
const wildMask = fc.option(fc.record({ image: wildImage, pos: wildPoint, inverse: fc.boolean() }), { nil: undefined });
const wildDrawable = fc.record({
	op: fc.constantFrom('fill', 'copy', 'blend', 'opaque', 'copy-bits', 'blackness', 'whiteness', 'invers'),
	surfaceId: fc.constantFrom(0, 1, 2),
	mmTime: fc.constant(0),
	box: wildRect,
	clip: fc.option(fc.array(wildRect, { maxLength: 60 }), { nil: undefined }),
	src: wildImage,
	srcArea: wildRect,
	srcPos: wildPoint,
	rop: fc.nat({ max: 65535 }),
	scaleMode: fc.nat({ max: 3 }),
	mask: wildMask,
	brush: fc.oneof(
		fc.constant({ kind: 'none' as const }),
		fc.record({ kind: fc.constant('solid' as const), color: fc.nat({ max: 0xffffffff }) }),
		fc.record({ kind: fc.constant('pattern' as const), image: wildImage, pos: wildPoint }),
	),
}) as unknown as fc.Arbitrary<Drawable>;

test('random operations with random coordinates never throw', (t) => {
	fc.assert(
		fc.property(fc.array(wildDrawable, { minLength: 1, maxLength: 10 }), (list) => {
			const display = new Display();
			display.surfaceCreate({ id: 0, width: 60, height: 40, format: SurfaceFormat.xrgb32 });
			display.surfaceCreate({ id: 1, width: 33, height: 5, format: SurfaceFormat.a1 });
			display.surfaceCreate({ id: 2, width: 20, height: 64, format: SurfaceFormat.rgb565 });
			display.listen({ created() {}, destroyed() {}, drawn() {}, monitors() {} });
			for (const d of list) display.draw(d);
		}),
		{ numRuns: 3000 },
	);
	t.pass();
});
