/** Pictures in tests: what a client's window shows held against what the machine says is on its screen. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { PNG } from 'pngjs';

/** Rows packed, 4 bytes a pixel: R, G, B, 255. */
export interface Picture {
	readonly width: number;
	readonly height: number;
	readonly rgba: Uint8Array;
}

/** Where the pictures of a test run are kept: dist/test-output. */
export const outputFolder = join(dirname(fileURLToPath(import.meta.url)), '..', '..', 'test-output');

export function readPng(path: string): Picture {
	const png = PNG.sync.read(readFileSync(path));
	return { width: png.width, height: png.height, rgba: png.data };
}

/** Keeps a picture as dist/test-output/NAME.png; returns its path. */
export function keepPng(name: string, picture: Picture): string {
	mkdirSync(outputFolder, { recursive: true });
	const path = join(outputFolder, `${name}.png`);
	const png = new PNG({ width: picture.width, height: picture.height });
	png.data = Buffer.from(picture.rgba);
	writeFileSync(path, PNG.sync.write(png));
	return path;
}

export function fromRgb(shot: { readonly width: number; readonly height: number; readonly rgb: Uint8Array }): Picture {
	const rgba = new Uint8Array(shot.width * shot.height * 4);
	for (let i = 0, o = 0; i < shot.rgb.length; i += 3, o += 4) {
		rgba[o] = shot.rgb[i];
		rgba[o + 1] = shot.rgb[i + 1];
		rgba[o + 2] = shot.rgb[i + 2];
		rgba[o + 3] = 255;
	}
	return { width: shot.width, height: shot.height, rgba };
}

/** Number of pixels whose colour differs; Infinity if the sizes do. */
export function differingPixels(a: Picture, b: Picture): number {
	if (a.width !== b.width || a.height !== b.height) return Number.POSITIVE_INFINITY;
	const [x, y] = [words(a), words(b)];
	let count = 0;
	for (let i = 0; i < x.length; i++) if (((x[i] ^ y[i]) & 0xffffff) !== 0) count++;
	return count;
}

/** Where `part` stands in `whole`, equal in every pixel; undefined if nowhere. */
export function findPicture(whole: Picture, part: Picture): { readonly x: number; readonly y: number } | undefined {
	const [w, p] = [words(whole), words(part)];
	for (let y = 0; y + part.height <= whole.height; y++) {
		for (let x = 0; x + part.width <= whole.width; x++) {
			if (standsAt(w, whole.width, p, part, x, y)) return { x, y };
		}
	}
	return undefined;
}

/** Share of pixels that are not of the most frequent colour: 0 for an empty screen. */
export function inkShare(picture: Picture): number {
	const counts = new Map<number, number>();
	for (const word of words(picture)) counts.set(word, (counts.get(word) ?? 0) + 1);
	return 1 - Math.max(...counts.values()) / (picture.width * picture.height);
}

function standsAt(whole: Uint32Array, stride: number, part: Uint32Array, size: Picture, x: number, y: number): boolean {
	for (let row = 0; row < size.height; row++) {
		let from = (y + row) * stride + x;
		let at = row * size.width;
		for (const end = at + size.width; at < end; at++, from++) {
			if (((whole[from] ^ part[at]) & 0xffffff) !== 0) return false;
		}
	}
	return true;
}

function words(picture: Picture): Uint32Array {
	const { rgba } = picture;
	if (rgba.byteOffset % 4 === 0) return new Uint32Array(rgba.buffer, rgba.byteOffset, rgba.byteLength / 4);
	return new Uint32Array(rgba.slice().buffer);
}
