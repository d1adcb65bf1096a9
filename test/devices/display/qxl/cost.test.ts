/** What drawings are weighed at. */
import test from 'ava';
import { costOf } from '../../../../devices/display/qxl/cost.ts';
import { BitmapFormat, type Drawable, Ropd, SurfaceFormat } from '../../../../src/core/index.ts';
import { bitmap, rect, solid } from '../../../helpers/pattern.ts';

const surface = { width: 100, height: 50, format: SurfaceFormat.xrgb32 };
const own = { kind: 'surface', surfaceId: 3 } as const;
const other = { kind: 'surface', surfaceId: 4 } as const;
const base = { surfaceId: 3, box: rect(0, 0, 10, 10), mmTime: 0 };
const copy = { ...base, op: 'copy', src: own, srcArea: rect(0, 0, 10, 10), rop: Ropd.put, scaleMode: 0 } as const;

test('a pixel costs 4 bytes as it stands, 16 if it has to be worked out, 64 if each is decided by itself', (t) => {
	const cost = (d: Drawable) => costOf(d, surface);
	t.is(cost(copy), 400);
	t.is(cost({ ...base, op: 'fill', brush: solid(1), rop: Ropd.put }), 400);
	t.is(cost({ ...base, op: 'blackness' }), 400);
	t.is(cost({ ...base, op: 'blackness', clip: new Array(3).fill(base.box) }), 400 + 3 * 4096);
	t.is(cost({ ...base, op: 'copy-bits', srcPos: { x: 0, y: 0 } }), 400);
	t.is(cost({ ...base, op: 'invers' }), 1600);
	t.is(cost({ ...copy, rop: Ropd.xor }), 1600);
	const bitmapOf = (format: BitmapFormat) => ({ ...copy, src: bitmap(format, 10, 10, () => 0) });
	t.is(cost(bitmapOf(BitmapFormat.xrgb32)), 400);
	t.is(cost(bitmapOf(BitmapFormat.rgb24)), 1600);
	t.is(costOf(bitmapOf(BitmapFormat.xrgb32), { ...surface, format: SurfaceFormat.rgb565 }), 1600);
	t.is(cost({ ...copy, mask: { image: other, pos: { x: 0, y: 0 }, inverse: false } }), 6400);
	t.is(cost({ ...copy, src: other, srcArea: rect(0, 0, 9, 10) }), 6400);
	t.is(
		cost({ ...base, op: 'fill', brush: { kind: 'pattern', image: other, pos: { x: 0, y: 0 } }, rop: Ropd.put }),
		1600,
	);
});

test('what is kept aside of a surface that is drawn on itself counts too', (t) => {
	const kept = surface.width * surface.height * 4;
	t.is(costOf({ ...copy, srcArea: rect(0, 0, 9, 10) }, surface), 6400 + kept);
	const brush = { kind: 'pattern', image: own, pos: { x: 0, y: 0 } } as const;
	t.is(costOf({ ...base, op: 'fill', brush, rop: Ropd.put }, surface), 1600 + kept);
	t.is(costOf({ ...copy, op: 'opaque', srcArea: rect(0, 0, 9, 10), brush }, surface), 6400 + 2 * kept);
});
