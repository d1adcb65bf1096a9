/**
 * The union of many rectangles, band by band from the top: a sweep over their horizontal edges with a segment tree that
 * holds the columns now covered (J. L. Bentley, "Algorithms for Klee's rectangle problems", 1977). n rectangles cost
 * n log n, and each piece of the result log n.
 */
import type { Rect } from '../../core/index.ts';

interface Band {
	readonly left: number;
	readonly right: number;
	readonly top: number;
	bottom: number;
}

/**
 * The same pixels as `rects`, none of them empty, in rectangles that do not overlap; undefined when that takes more
 * than `most` rectangles.
 */
export function union(rects: readonly Rect[], most: number): Rect[] | undefined {
	const count = rects.length;
	const xs = new Int32Array(2 * count);
	const ys = new Int32Array(2 * count);
	for (const [i, r] of rects.entries()) {
		xs[i] = r.left;
		xs[count + i] = r.right;
		ys[i] = r.top;
		ys[count + i] = r.bottom;
	}
	const columns = edges(xs);
	const rows = edges(ys);
	const [left, right] = [placesOf(xs.subarray(0, count), columns), placesOf(xs.subarray(count), columns)];
	const starts = order(placesOf(ys.subarray(0, count), rows), rows.length);
	const ends = order(placesOf(ys.subarray(count), rows), rows.length);
	const covered = new Coverage(columns);
	const out: Band[] = [];
	let above: Band[] = [];
	for (let i = 0, start = 0, end = 0; i + 1 < rows.length; i++) {
		const top = rows[i];
		for (; end < ends.length && rects[ends[end]].bottom === top; end++)
			covered.add(left[ends[end]], right[ends[end]], -1);
		for (; start < starts.length && rects[starts[start]].top === top; start++)
			covered.add(left[starts[start]], right[starts[start]], 1);
		const band = covered.spans(top, rows[i + 1], most);
		if (band === undefined) return undefined;
		if (continues(above, band)) {
			for (const piece of above) piece.bottom = rows[i + 1];
		} else {
			if (out.length + band.length > most) return undefined;
			for (const piece of band) out.push(piece);
			above = band;
		}
	}
	return out;
}

/** `values` in ascending order, each once. */
function edges(values: Int32Array): Int32Array {
	const sorted = values.slice().sort();
	let count = 0;
	for (let i = 0; i < sorted.length; i++)
		if (count === 0 || sorted[i] !== sorted[count - 1]) sorted[count++] = sorted[i];
	return sorted.subarray(0, count);
}

/** Where each of `values` stands among `edges`. */
function placesOf(values: Int32Array, edges: Int32Array): Int32Array {
	const places = new Int32Array(values.length);
	for (let i = 0; i < values.length; i++) {
		let from = 0;
		for (let to = edges.length; to - from > 1; ) {
			const middle = (from + to) >> 1;
			if (edges[middle] <= values[i]) from = middle;
			else to = middle;
		}
		places[i] = from;
	}
	return places;
}

/** Indices into `places`, by ascending place below `end`: a counting sort. */
function order(places: Int32Array, end: number): Int32Array {
	const next = new Int32Array(end + 1);
	for (let i = 0; i < places.length; i++) next[places[i] + 1]++;
	for (let place = 0; place < end; place++) next[place + 1] += next[place];
	const out = new Int32Array(places.length);
	for (let i = 0; i < places.length; i++) out[next[places[i]]++] = i;
	return out;
}

/** Whether a band shows the same columns as the one right above it. */
function continues(above: readonly Band[], band: readonly Band[]): boolean {
	if (above.length === 0 || above.length !== band.length || above[0].bottom !== band[0].top) return false;
	return above.every((piece, i) => piece.left === band[i].left && piece.right === band[i].right);
}

/** How often each stretch between two neighbouring columns is covered. */
class Coverage {
	readonly #columns: Int32Array;
	/** By node of the tree, whose children are 2n and 2n + 1: rectangles over the whole node, and whether any is below. */
	readonly #whole: Int32Array;
	readonly #any: Uint8Array;

	constructor(columns: Int32Array) {
		this.#columns = columns;
		this.#whole = new Int32Array(4 * columns.length);
		this.#any = new Uint8Array(4 * columns.length);
	}

	/** Adds `by` to the stretches between two columns, given by their places. */
	add(left: number, right: number, by: number): void {
		this.#add(1, 0, this.#columns.length - 1, left, right, by);
	}

	#add(node: number, from: number, to: number, left: number, right: number, by: number): void {
		if (left >= to || right <= from) return;
		if (left <= from && right >= to) {
			this.#whole[node] += by;
		} else {
			const middle = (from + to) >> 1;
			this.#add(2 * node, from, middle, left, right, by);
			this.#add(2 * node + 1, middle, to, left, right, by);
		}
		const inner = to - from > 1 && (this.#any[2 * node] | this.#any[2 * node + 1]) !== 0;
		this.#any[node] = this.#whole[node] > 0 || inner ? 1 : 0;
	}

	/** What is covered, as rectangles between two rows; undefined when there are more than `most`. */
	spans(top: number, bottom: number, most: number): Band[] | undefined {
		const out: { left: number; right: number; top: number; bottom: number }[] = [];
		const collect = (node: number, from: number, to: number): void => {
			if (this.#any[node] === 0 || out.length > most) return;
			if (this.#whole[node] === 0) {
				const middle = (from + to) >> 1;
				collect(2 * node, from, middle);
				collect(2 * node + 1, middle, to);
				return;
			}
			const left = this.#columns[from];
			const last = out.at(-1);
			if (last !== undefined && last.right === left) last.right = this.#columns[to];
			else out.push({ left, right: this.#columns[to], top, bottom });
		};
		collect(1, 0, this.#columns.length - 1);
		return out.length > most ? undefined : out;
	}
}
