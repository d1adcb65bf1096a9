/** Sampling of scaled images: which pixels of a row are read, so that the cost is that of the pixels drawn. */
import type { Rect } from '../../core/index.ts';
import type { Source } from './sources.ts';

/** Source pixels a drawn one from which on the row is not read whole. */
const SPARSE = 4;

/** For each drawn pixel of a row the two it lies between, as indices into a line that `read` fills. */
export class Columns {
	readonly count: number;
	readonly left: Int32Array;
	readonly right: Int32Array;
	/** Where between the two, 0 to 1. */
	readonly fraction: Float64Array;
	/** Pixels of the source to read, from the image's own left edge: a run of them, or pairs. */
	readonly #first: number;
	readonly #length: number;
	readonly #pairs: Int32Array | undefined;

	/** Pixels of `rect`; `position` gives where in a row of `width` pixels each is sampled. */
	constructor(rect: Rect, position: (x: number) => number, width: number) {
		this.count = rect.right - rect.left;
		this.left = new Int32Array(this.count);
		this.right = new Int32Array(this.count);
		this.fraction = new Float64Array(this.count);
		for (let i = 0; i < this.count; i++) {
			const u = position(rect.left + i);
			const x = Math.floor(u);
			this.left[i] = within(x, width);
			this.right[i] = within(x + 1, width);
			this.fraction[i] = u - x;
		}
		this.#first = this.left[0];
		this.#length = this.right[this.count - 1] - this.#first + 1;
		if (this.#length > SPARSE * this.count) {
			this.#length = 2 * this.count;
			this.#pairs = new Int32Array(this.#length);
			for (let i = 0; i < this.count; i++) {
				this.#pairs[2 * i] = this.left[i];
				this.#pairs[2 * i + 1] = this.right[i];
				this.left[i] = 2 * i;
				this.right[i] = 2 * i + 1;
			}
		} else {
			for (let i = 0; i < this.count; i++) {
				this.left[i] -= this.#first;
				this.right[i] -= this.#first;
			}
		}
	}

	/** Room for what one row is read into. */
	line(): Uint32Array {
		return new Uint32Array(this.#length);
	}

	/** Row `y` of `source`, the image beginning at its pixel `x`. */
	read(source: Source, x: number, y: number, line: Uint32Array): void {
		const pairs = this.#pairs;
		if (pairs === undefined) source.row(x + this.#first, y, this.#length, line, 0);
		else for (let i = 0; i < pairs.length; i++) source.row(x + pairs[i], y, 1, line, i);
	}
}

/** `i`, or the end of 0..size that is nearest to it. */
export function within(i: number, size: number): number {
	return Math.min(size - 1, Math.max(0, i));
}

/** Between `a` and `b`, byte by byte; `t` from 0 to 1. */
export function blend(a: number, b: number, t: number): number {
	if (a === b) return a;
	const f = Math.round(t * 256);
	const even = ((a & 0xff00ff) * (256 - f) + (b & 0xff00ff) * f) / 256;
	const odd = (((a >>> 8) & 0xff00ff) * (256 - f) + ((b >>> 8) & 0xff00ff) * f) / 256;
	return ((even & 0xff00ff) | ((odd & 0xff00ff) << 8)) >>> 0;
}
