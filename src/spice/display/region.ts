/** Rectangles, and small sets of them. Half-open, as everywhere: left <= x < right. */
import type { Rect } from '../../core/index.ts';
import { union } from './sweep.ts';

export function isEmpty(r: Rect): boolean {
	return !(r.left < r.right && r.top < r.bottom);
}
export function area(r: Rect): number {
	return isEmpty(r) ? 0 : (r.right - r.left) * (r.bottom - r.top);
}
/** May be empty: ask isEmpty. */
export function intersect(a: Rect, b: Rect): Rect {
	return {
		left: Math.max(a.left, b.left),
		top: Math.max(a.top, b.top),
		right: Math.min(a.right, b.right),
		bottom: Math.min(a.bottom, b.bottom),
	};
}
export function overlaps(a: Rect, b: Rect): boolean {
	return a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom && !isEmpty(a) && !isEmpty(b);
}
/** Whether all of `inner` lies in `outer`. */
export function covers(outer: Rect, inner: Rect): boolean {
	return (
		outer.left <= inner.left && outer.top <= inner.top && outer.right >= inner.right && outer.bottom >= inner.bottom
	);
}
/** The smallest rectangle around both. */
export function join(a: Rect, b: Rect): Rect {
	return {
		left: Math.min(a.left, b.left),
		top: Math.min(a.top, b.top),
		right: Math.max(a.right, b.right),
		bottom: Math.max(a.bottom, b.bottom),
	};
}
export function translate(r: Rect, dx: number, dy: number): Rect {
	return { left: r.left + dx, top: r.top + dy, right: r.right + dx, bottom: r.bottom + dy };
}

/** What is left of `a` without `b`: up to four rectangles. */
export function subtract(a: Rect, b: Rect): Rect[] {
	if (!overlaps(a, b)) return isEmpty(a) ? [] : [a];
	const out: Rect[] = [];
	const top = Math.max(a.top, b.top);
	const bottom = Math.min(a.bottom, b.bottom);
	if (a.top < top) out.push({ ...a, bottom: top });
	if (a.left < b.left) out.push({ left: a.left, top, right: b.left, bottom });
	if (b.right < a.right) out.push({ left: b.right, top, right: a.right, bottom });
	if (bottom < a.bottom) out.push({ ...a, top: bottom });
	return out;
}

/** Up to this many rectangles, cutting each by the others is quicker and makes fewer pieces than bands do. */
const FEW = 48;

/**
 * Rectangles of one region at most. A driver's longest clip has some thousands; what takes more than this costs its
 * server too much, whatever it draws.
 */
const MOST_PIECES = 1 << 16;

/** The same pixels in rectangles that do not overlap; undefined when it takes too many of them. */
export function region(rects: readonly Rect[]): Rect[] | undefined {
	const some = rects.filter((rect) => !isEmpty(rect));
	return some.length > FEW ? union(some, MOST_PIECES) : disjoint(some);
}

/** The same for few rectangles. */
function disjoint(rects: readonly Rect[]): Rect[] {
	const out: Rect[] = [];
	for (const rect of rects) {
		let pieces = [rect];
		for (const other of out) {
			pieces = pieces.flatMap((piece) => subtract(piece, other));
			if (pieces.length === 0) break;
		}
		out.push(...pieces);
	}
	return out;
}

/**
 * Pixels that must be sent again. Holds few rectangles, whatever is added: past its limit it takes in more pixels
 * than it was given, never fewer.
 */
export class Damage {
	static readonly LIMIT = 32;
	#rects: Rect[] = [];

	get empty(): boolean {
		return this.#rects.length === 0;
	}
	get rects(): readonly Rect[] {
		return this.#rects;
	}

	add(rect: Rect): void {
		if (isEmpty(rect)) return;
		for (const r of this.#rects) if (covers(r, rect)) return;
		const added = disjoint([rect, ...this.#rects]);
		this.#rects = added.length <= Damage.LIMIT ? added : [added.reduce(join)];
	}

	clear(): void {
		this.#rects = [];
	}

	/** Takes the next rectangle out, cut at `rows` rows. */
	take(rows: (width: number) => number): Rect | undefined {
		const rect = this.#rects.shift();
		if (rect === undefined) return undefined;
		const height = Math.max(1, rows(rect.right - rect.left));
		if (rect.bottom - rect.top <= height) return rect;
		this.#rects.unshift({ ...rect, top: rect.top + height });
		return { ...rect, bottom: rect.top + height };
	}
}
