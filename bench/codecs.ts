/**
 * How fast and how small each codec is, by kind of picture: `npm run bench:codecs`. One thread, 1024x768 pixels of
 * 4 bytes. Beside each figure stands libspice-server 0.15.1's (spice-common's encoders, gcc -O2, the same kinds of
 * picture but not the same pixels), measured once on another day, so it tells the order and not the percent; Debian
 * ships no library that exports those encoders, so they cannot run here.
 */
import { BitmapFormat } from '../src/core/index.ts';
import { type CodecName, encodeNow, type Pixels } from '../src/spice/codecs/index.ts';

const width = 1024;
const height = 768;

type Color = (x: number, y: number) => number;
const rgb = (r: number, g: number, b: number) => ((r & 255) << 16) | ((g & 255) << 8) | (b & 255);

/** Windows, title bars and text made of 8x8 glyphs. */
const desktop: Color = (x, y) => {
	const window = x > 100 && x < 700 && y > 80 && y < 600;
	if (!window) return rgb(40, 60 + (y >> 4), 110);
	if (y < 104) return rgb(70, 110, 170);
	const column = x >> 3;
	const line = (y - 104) >> 4;
	const glyph = Math.imul(column * 31 + line * 17 + 7, 2654435761) >>> 24;
	const ink = column % 70 < 20 + ((line * 37) % 45) && (y & 15) < 12 && ((glyph >> (x & 7)) ^ (glyph >> (y & 7))) & 1;
	return ink ? rgb(20, 20, 20) : rgb(250, 250, 250);
};
let state = 1;
function random(): number {
	state ^= state << 13;
	state ^= state >>> 17;
	state ^= state << 5;
	return state >>> 0;
}
/** Smooth light and shade with sensor noise of two bits. */
const photo: Color = (x, y) => {
	const light = 128 + 60 * Math.sin(x / 71) + 50 * Math.cos(y / 53) * Math.sin((x + y) / 190);
	const n = random();
	return rgb(light + (n & 3), light * 0.8 + ((n >> 2) & 3), light * 0.6 + 20 + ((n >> 4) & 3));
};
const gradient: Color = (x, y) => rgb(x >> 2, y / 3, (x + y) >> 3);
const noise: Color = () => random() & 0xffffff;

function picture(color: Color): Pixels {
	const pixels = new Uint32Array(width * height);
	for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) pixels[y * width + x] = color(x, y);
	return { format: BitmapFormat.xrgb32, width, height, stride: width * 4, data: new Uint8Array(pixels.buffer) };
}

const pictures = {
	desktop: picture(desktop),
	photo: picture(photo),
	gradient: picture(gradient),
	noise: picture(noise),
};
const reference: Record<CodecName, Record<keyof typeof pictures, readonly [speed: number, ratio: number]>> = {
	quic: { desktop: [958, 7.4], photo: [199, 4.3], gradient: [284, 6.7], noise: [528, 1.3] },
	lz: { desktop: [1395, 31.2], photo: [270, 1.6], gradient: [528, 2.0], noise: [553, 1.3] },
	lz4: { desktop: [2238, 16.2], photo: [436, 1.4], gradient: [646, 2.3], noise: [24571, 1.0] },
};

console.log('codec picture    MB/s (ratio)    libspice-server MB/s (ratio)');
for (const codec of ['quic', 'lz', 'lz4'] as const) {
	for (const [name, pixels] of Object.entries(pictures)) {
		let size = 0;
		let best = Number.POSITIVE_INFINITY;
		const end = performance.now() + 700;
		for (let runs = 0; runs < 5 || performance.now() < end; runs++) {
			const from = performance.now();
			size = encodeNow(codec, pixels).length;
			best = Math.min(best, performance.now() - from);
		}
		const speed = pixels.data.length / 1e6 / (best / 1000);
		const [s, r] = reference[codec][name as keyof typeof pictures];
		const ours = `${speed.toFixed(0).padStart(6)} (${(pixels.data.length / size).toFixed(1)})`;
		console.log(`${codec.padEnd(5)} ${name.padEnd(9)} ${ours.padEnd(16)} ${String(s).padStart(6)} (${r.toFixed(1)})`);
	}
}
