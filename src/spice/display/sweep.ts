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
	const columns = edges(rects.flatMap((r) => [r.left, r.right]));
	const rows = edges(rects.flatMap((r) => [r.top, r.bottom]));
	const place = new Map(columns.map((x, i) => [x, i]));
	const starts = [...rects].sort((a, b) => a.top - b.top);
	const ends = [...rects].sort((a, b) => a.bottom - b.bottom);
	const covered = new Coverage(columns);
	const out: Band[] = [];
	let above: Band[] = [];
	for (let i = 0, start = 0, end = 0; i + 1 < rows.length; i++) {
		const top = rows[i];
		for (; end < ends.length && ends[end].bottom === top; end++) covered.add(place, ends[end], -1);
		for (; start < starts.length && starts[start].top === top; start++) covered.add(place, starts[start], 1);
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

function edges(values: readonly number[]): number[] {
	return [...new Set(values)].sort((a, b) => a - b);
}

/** Whether a band shows the same columns as the one right above it. */
function continues(above: readonly Band[], band: readonly Band[]): boolean {
	if (above.length === 0 || above.length !== band.length || above[0].bottom !== band[0].top) return false;
	return above.every((piece, i) => piece.left === band[i].left && piece.right === band[i].right);
}

/** How often each stretch between two neighbouring columns is covered. */
class Coverage {
	readonly #columns: readonly number[];
	/** By node of the tree, whose children are 2n and 2n + 1: rectangles over the whole node, and whether any is below. */
	readonly #whole: Int32Array;
	readonly #any: Uint8Array;

	constructor(columns: readonly number[]) {
		this.#columns = columns;
		this.#whole = new Int32Array(4 * columns.length);
		this.#any = new Uint8Array(4 * columns.length);
	}

	/** Adds `by` to the stretches of a rectangle whose edges are at `place` in the columns. */
	add(place: ReadonlyMap<number, number>, { left, right }: Rect, by: number): void {
		this.#add(1, 0, this.#columns.length - 1, place.get(left) ?? 0, place.get(right) ?? 0, by);
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
