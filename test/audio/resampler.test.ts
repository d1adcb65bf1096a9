import test from 'ava';
import fc from 'fast-check';
import { FrameFifo } from '../../src/audio/fifo.ts';
import { Resampler } from '../../src/audio/resampler.ts';
import { correlation, pitch, toneShare } from '../helpers/sound.ts';

/** One second of a tone at `rate`, left as it is and right upside down. */
function tone(rate: number, hz: number, seconds = 1): Int16Array {
	return Int16Array.from({ length: Math.round(rate * seconds) * 2 }, (_, i) =>
		Math.round((i % 2 ? -1 : 1) * 20000 * Math.sin((2 * Math.PI * hz * (i >> 1)) / rate)),
	);
}

function convert(
	from: number,
	to: number,
	samples: Int16Array,
	block = 480,
): { left: Float64Array; right: Float64Array } {
	const resampler = new Resampler(from, to);
	const fifo = new FrameFifo(Math.ceil((samples.length / 2 / from) * to) + 1000);
	for (let at = 0; at < samples.length; at += block * 2) resampler.write(samples.subarray(at, at + block * 2), 2, fifo);
	const out = new Float32Array(fifo.level * 2);
	const frames = fifo.take(out, fifo.level);
	return {
		left: Float64Array.from({ length: frames }, (_, i) => out[i * 2]),
		right: Float64Array.from({ length: frames }, (_, i) => out[i * 2 + 1]),
	};
}

for (const [from, to] of [
	[8000, 48000],
	[11025, 48000],
	[22050, 48000],
	[44100, 48000],
	[48000, 48000],
	[48000, 44100],
	[48000, 8000],
])
	test(`${from} to ${to} Hz: a tone keeps its pitch, its level and its place, and nothing else comes with it`, (t) => {
		const { left, right } = convert(from, to, tone(from, 1000));
		t.true(Math.abs(left.length - to) < to * 0.01, `${left.length} frames`);
		const middle = left.subarray(to / 10, Math.floor(to * 0.9));
		t.true(toneShare(middle, to, 1000) > 0.99999, `${toneShare(middle, to, 1000)}`);
		t.true(Math.abs(pitch(middle, to, 1000) - 1000) < 0.001);
		const ideal = Float64Array.from({ length: left.length }, (_, i) => Math.sin((2 * Math.PI * 1000 * i) / to));
		t.true(correlation(ideal, left, 0, to / 10, to * 0.8) > 0.99999);
		t.true(correlation(ideal, right, 0, to / 10, to * 0.8) < -0.99999);
		t.true(Math.abs(Math.max(...middle) - 20000) < 100, `${Math.max(...middle)}`);
	});

test('what the lower rate cannot hold is taken out, not folded back', (t) => {
	const { left } = convert(48000, 8000, tone(48000, 5000));
	t.true(Math.max(...left.subarray(100, 7900).map(Math.abs)) < 20);
	const up = convert(8000, 48000, tone(8000, 3000)).left.subarray(4800, 43200);
	t.true(toneShare(up, 48000, 5000) < 1e-6);
});

test('the number of frames is exact for any rates and any pieces', (t) => {
	fc.assert(
		fc.property(fc.integer({ min: 8000, max: 48000 }), fc.integer({ min: 1, max: 3000 }), (rate, block) => {
			const { left } = convert(rate, 48000, new Int16Array(rate * 2), block);
			const late = (20 / Math.min(rate, 48000)) * 48000 + 2;
			t.true(left.length <= 48000 && left.length >= 48000 - late, `${rate}: ${left.length}`);
		}),
		{ numRuns: 20 },
	);
});

test('mono goes to both sides; a full queue says what it lost', (t) => {
	const fifo = new FrameFifo(10);
	t.is(
		new Resampler(48000, 48000).write(
			Int16Array.from({ length: 12 }, (_, i) => i),
			1,
			fifo,
		),
		2,
	);
	const out = new Float32Array(20);
	t.is(fifo.take(out, 100), 10);
	t.deepEqual([...out.subarray(0, 6)], [0, 0, 1, 1, 2, 2]);
});

test('a rate that changes all the time costs next to nothing: with tables made in advance this took minutes', (t) => {
	const out = new FrameFifo(4800);
	for (let n = 0; n < 5000; n++) {
		new Resampler(48000, 8000 + n * 7).write(new Int16Array(16), 2, out);
		out.clear();
	}
	t.is(out.level, 0);
});
