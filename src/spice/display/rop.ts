/**
 * Raster operations of spice.proto's ropd flags, as functions of two 32-bit pixels. The canvas keeps 16-bit pixels
 * with their bits repeated, and bitwise functions do the same to a bit and its copy, so one set serves all depths.
 */
import { Ropd } from '../../core/index.ts';

export type Rop = (source: number, dest: number) => number;

/** The plain copy; compared by identity where it has a fast path. */
export const copyRop: Rop = (s) => s;
const copyInverted: Rop = (s) => ~s;
const black: Rop = () => 0;
const white: Rop = () => -1;
const invert: Rop = (_, d) => ~d;

/** Which of the three inputs the two operands are, for the flags that invert them. */
export type RopInput = 'src' | 'brush' | 'dest';
const inverted: Record<RopInput, number> = {
	src: Ropd.inversSrc,
	brush: Ropd.inversBrush,
	dest: Ropd.inversDest,
};

/** The function that `descriptor` names, of a `source` and a `dest` input. Unknown flags mean a copy. */
export function rop(descriptor: number, source: RopInput, dest: RopInput): Rop {
	const s = descriptor & inverted[source] ? -1 : 0;
	const d = descriptor & inverted[dest] ? -1 : 0;
	const r = descriptor & Ropd.inversRes ? -1 : 0;
	if (descriptor & Ropd.put) return (s ^ r) === 0 ? copyRop : copyInverted;
	if (descriptor & Ropd.or) return (a, b) => ((a ^ s) | (b ^ d)) ^ r;
	if (descriptor & Ropd.and) return (a, b) => ((a ^ s) & (b ^ d)) ^ r;
	if (descriptor & Ropd.xor) return (a, b) => a ^ b ^ s ^ d ^ r;
	if (descriptor & Ropd.blackness) return black;
	if (descriptor & Ropd.whiteness) return white;
	if (descriptor & Ropd.invers) return invert;
	return copyRop;
}

export const ropBlackness = black;
export const ropWhiteness = white;
export const ropInvers = invert;
