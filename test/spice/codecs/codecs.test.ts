/** Every codec, every format, against spice-html5's decoders and our own: what goes in comes out. */
import test from 'ava';
import fc from 'fast-check';
import { BitmapFormat } from '../../../src/core/index.ts';
import {
	bytesPerPixel,
	type CodecName,
	canEncode,
	encodeLater,
	encodeNow,
	native,
	type Pixels,
} from '../../../src/spice/codecs/index.ts';
import { sameBytes } from '../../helpers/bytes.ts';
import { html5Lz, html5Quic, quicChaos } from '../../helpers/html5-decoders.ts';
import { decodeLz, decodeLz4 } from '../../helpers/lz-decoders.ts';
import { decodeQuic } from '../../helpers/quic-decoder.ts';

const formats = ['rgb16', 'rgb24', 'xrgb32', 'rgba32'] as const;
type Format = (typeof formats)[number];
const chaos = quicChaos();

/** Pictures of the kinds that stress a codec; bytes beyond each row are noise that must not matter. */
function picture(format: Format, kind: number, width: number, height: number, extra: number, seed: number): Pixels {
	const bpp = bytesPerPixel(BitmapFormat[format]);
	const stride = width * bpp + extra;
	const data = new Uint8Array(stride * height);
	let state = (seed * 2654435761 + 1) >>> 0;
	const random = () => {
		state ^= state << 13;
		state ^= state >>> 17;
		state ^= state << 5;
		state >>>= 0;
		return state;
	};
	for (let i = 0; i < data.length; i++) data[i] = random();
	for (let y = 0; y < height && kind > 0; y++) {
		for (let x = 0; x < width; x++) {
			for (let c = 0; c < bpp; c++) {
				let value = 0;
				if (kind === 1) value = x * (c + 1) + y * 2;
				else if (kind === 2) value = ((x >> 3) ^ (y >> 2)) * 37 + c * 11;
				else if (kind === 3) value = (x * x + y * y * (c + 1)) >> 5;
				else if (kind === 4) value = random() % 17 === 0 ? random() : 200 + c;
				data[y * stride + x * bpp + c] = value;
			}
		}
	}
	return { format: BitmapFormat[format], width, height, stride, data };
}

/** The pixel's bits that a format really has, row by row: [r, g, b] and alpha. */
function meaning(p: Pixels): number[] {
	const bpp = bytesPerPixel(p.format);
	const out: number[] = [];
	for (let y = 0; y < p.height; y++) {
		for (let x = 0; x < p.width; x++) {
			const at = y * p.stride + x * bpp;
			const d = p.data;
			if (p.format === BitmapFormat.rgb16) {
				const v = d[at] | (d[at + 1] << 8);
				out.push((v >> 10) & 31, (v >> 5) & 31, v & 31);
			} else {
				out.push(d[at + 2], d[at + 1], d[at]);
				if (p.format === BitmapFormat.rgba32) out.push(d[at + 3]);
			}
		}
	}
	return out;
}

function interleave(planes: readonly Uint8Array[]): number[] {
	const out: number[] = [];
	for (let i = 0; i < planes[0].length; i++) for (const plane of planes) out.push(plane[i]);
	return out;
}

function decoded(codec: CodecName, bytes: Uint8Array, p: Pixels): number[] {
	if (codec === 'quic') {
		const image = decodeQuic(bytes, chaos);
		if (image.width !== p.width || image.height !== p.height) throw new Error('wrong size');
		return interleave(image.planes);
	}
	if (codec === 'lz4') {
		const stride = p.width * bytesPerPixel(p.format);
		const image = decodeLz4(bytes, stride * p.height);
		if (image.topDown !== 1 || image.format !== p.format) throw new Error('wrong header');
		return meaning({ ...p, stride, data: image.data });
	}
	const image = decodeLz(bytes);
	if (image.width !== p.width || image.height !== p.height || image.topDown !== 1) throw new Error('wrong header');
	if (image.stride !== p.width * bytesPerPixel(p.format)) throw new Error('wrong stride');
	const out: number[] = [];
	for (let i = 0; i < p.width * p.height; i++) {
		if (image.type === 6) {
			const v = (image.color[i * 2] << 8) | image.color[i * 2 + 1];
			out.push((v >> 10) & 31, (v >> 5) & 31, v & 31);
		} else {
			out.push(image.color[i * 3 + 2], image.color[i * 3 + 1], image.color[i * 3]);
			if (image.alpha) out.push(image.alpha[i]);
		}
	}
	return out;
}

/** What spice-html5 makes of it, in the same order; undefined for the formats that it lacks. */
function html5(codec: CodecName, bytes: Uint8Array, p: Pixels): number[] | undefined {
	const alpha = p.format === BitmapFormat.rgba32;
	if (codec === 'quic' && p.format !== BitmapFormat.rgb16) {
		const data = html5Quic(bytes);
		return data && meaning({ ...p, format: alpha ? p.format : BitmapFormat.xrgb32, stride: p.width * 4, data });
	}
	if (codec === 'lz' && (alpha || p.format === BitmapFormat.xrgb32)) {
		const { rgba } = html5Lz(bytes);
		return [...rgba].filter((_, i) => alpha || i % 4 !== 3);
	}
	return undefined;
}

/** Cheaper than deepEqual, by far. */
function same(a: readonly number[], b: readonly number[]): boolean {
	return a.length === b.length && a.every((v, i) => v === b[i]);
}

test('the addon is built, with LZ4', (t) => {
	const { addon } = native();
	t.truthy(addon);
	t.true(addon?.lz4);
	for (const codec of ['quic', 'lz', 'lz4'] as const)
		t.deepEqual(
			Object.values(BitmapFormat).filter((f) => canEncode(codec, f)),
			[BitmapFormat.rgb16, BitmapFormat.rgb24, BitmapFormat.xrgb32, BitmapFormat.rgba32],
		);
});

for (const codec of ['quic', 'lz', 'lz4'] as const) {
	for (const format of formats) {
		test(`${codec} ${format}: random pictures of random sizes round-trip`, async (t) => {
			const sizes = fc.record({
				kind: fc.integer({ min: 0, max: 4 }),
				width: fc.integer({ min: 1, max: 130 }),
				height: fc.integer({ min: 1, max: 60 }),
				extra: fc.integer({ min: 0, max: 9 }),
				seed: fc.integer({ min: 1, max: 1e6 }),
			});
			await fc.assert(
				fc.asyncProperty(sizes, async ({ kind, width, height, extra, seed }) => {
					const p = picture(format, kind, width, height, extra, seed);
					const expected = meaning(p);
					const bytes = encodeNow(codec, p);
					sameBytes(t, await encodeLater(codec, p), bytes);
					t.true(same(decoded(codec, bytes, p), expected), 'own decoder');
					const other = html5(codec, bytes, p);
					if (other !== undefined) t.true(same(other, expected), 'spice-html5');
				}),
				{ numRuns: 60, examples: [[{ kind: 0, width: 1, height: 1, extra: 0, seed: 1 }]] },
			);
		});
	}

	test(`${codec}: a big picture, with runs longer than 32768 and far matches`, (t) => {
		for (const kind of [1, 2, 3, 4]) {
			const p = picture('xrgb32', kind, 701, 403, 0, 7);
			if (kind === 2) p.data.fill(90, 0, 701 * 4 * 150);
			const bytes = encodeNow(codec, p);
			t.true(same(decoded(codec, bytes, p), meaning(p)), `own decoder, kind ${kind}`);
			const other = html5(codec, bytes, p);
			if (codec !== 'lz4') t.true(other !== undefined && same(other, meaning(p)), `spice-html5, kind ${kind}`);
		}
	});
}

test('noise grows by little: the output never exceeds its bound', (t) => {
	const p = picture('xrgb32', 0, 256, 256, 0, 3);
	t.true(encodeNow('lz', p).length < p.data.length);
	t.true(encodeNow('quic', p).length < p.data.length * 1.2);
	t.true(encodeNow('lz4', p).length < p.data.length * 1.01 + 64);
});

test('pixels that do not fill the image are refused', async (t) => {
	const p = picture('xrgb32', 1, 16, 16, 0, 1);
	for (const bad of [
		{ ...p, height: 17 },
		{ ...p, stride: 60 },
		{ ...p, width: 0 },
		{ ...p, width: 0x80000000, stride: 0xffffffff },
		{ ...p, format: BitmapFormat.plt8 },
		{ ...p, data: p.data.subarray(1) },
	]) {
		t.throws(() => encodeNow('quic', bad));
		await t.throwsAsync(encodeLater('lz', bad));
	}
});

test('many encoders at once leave each other alone', async (t) => {
	const pictures = Array.from({ length: 40 }, (_, i) => picture('xrgb32', i % 5, 50 + i, 40, 0, i + 1));
	const bytes = await Promise.all(pictures.map((p, i) => encodeLater(i % 2 ? 'quic' : 'lz', p)));
	for (const [i, p] of pictures.entries()) t.deepEqual(decoded(i % 2 ? 'quic' : 'lz', bytes[i], p), meaning(p));
});
