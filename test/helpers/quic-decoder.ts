/**
 * A decoder for QUIC of every type, for tests: spice-html5's knows only the 24- and 32-bit ones. Written for clarity
 * from the format's description (native/src/quic.cc), bit by bit.
 */

const CODE_LIMIT = 26;
const HALVE_AT = [110, 550, 900, 800, 550, 400, 350];
const RUN_BITS = [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 9, 10, 11, 12, 13, 14, 15];

class Bits {
	readonly #view: DataView;
	#at: number;
	constructor(bytes: Uint8Array) {
		this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
		this.#at = 0;
	}
	bit(): number {
		const word = this.#view.getUint32((this.#at >>> 5) * 4, true);
		const bit = (word >>> (31 - (this.#at & 31))) & 1;
		this.#at++;
		return bit;
	}
	bits(count: number): number {
		let value = 0;
		for (let i = 0; i < count; i++) value = value * 2 + this.bit();
		return value;
	}
}

/** One Golomb-Rice code of the family: how many plain codewords it has, and how long the others are. */
interface Code {
	readonly prefix: number;
	readonly plain: number;
	readonly tail: number;
}
function makeCode(bits: number, l: number): Code {
	const prefix = Math.min(CODE_LIMIT - bits, 2 ** (bits - l) - 1);
	const plain = prefix << l;
	return { prefix, plain, tail: Math.ceil(Math.log2(2 ** bits - plain)) };
}
/** By bits of a sample, 0..8, and l. */
const codes: readonly (readonly Code[])[] = Array.from({ length: 9 }, (_, bits) =>
	Array.from({ length: bits + 1 }, (_, l) => makeCode(bits, l)),
);

function codeLength(bits: number, l: number, value: number): number {
	const { prefix, plain, tail } = codes[bits][l];
	return value < plain ? (value >> l) + l + 1 : prefix + tail;
}

function readCode(from: Bits, bits: number, l: number): number {
	const { prefix, plain, tail } = codes[bits][l];
	let zeroes = 0;
	while (zeroes < prefix && from.bit() === 0) zeroes++;
	return zeroes < prefix ? (zeroes << l) | from.bits(l) : plain + from.bits(tail);
}

class Channel {
	readonly bits: number;
	readonly errors: number[] = [];
	/** errors[-1]. */
	before = 0;
	readonly buckets: { best: number; cost: number[] }[];
	constructor(bits: number) {
		this.bits = bits;
		this.buckets = Array.from({ length: bits }, () => ({ best: bits - 1, cost: new Array<number>(bits).fill(0) }));
	}
	#bucket(x: number) {
		const context = x === 0 ? this.before : this.errors[x - 1];
		return this.buckets[Math.min(this.bits - 1, Math.floor(Math.log2(context + 1)))];
	}
	/** The unfolded error at `x`. */
	read(from: Bits, x: number): number {
		const folded = readCode(from, this.bits, this.#bucket(x).best);
		this.errors[x] = folded;
		return folded & 1 ? 2 ** this.bits - 1 - (folded >> 1) : folded >> 1;
	}
	learn(x: number, halveAt: number): void {
		const bucket = this.#bucket(x);
		for (let l = 0; l < this.bits; l++) bucket.cost[l] += codeLength(this.bits, l, this.errors[x]);
		bucket.best = this.bits - 1;
		for (let l = this.bits - 2; l >= 0; l--) if (bucket.cost[l] < bucket.cost[bucket.best]) bucket.best = l;
		if (bucket.cost[bucket.best] > halveAt) for (let l = 0; l < this.bits; l++) bucket.cost[l] >>= 1;
	}
}

/** Channels that share one scan: red, green and blue; or alpha or gray alone. */
class Scan {
	readonly channels: Channel[];
	readonly #chaos: Uint32Array;
	#wait = 0;
	#seed = 0xff;
	#step = 0;
	#left = 2048;
	#runState = 0;

	constructor(count: number, bits: number, chaos: Uint32Array) {
		this.channels = Array.from({ length: count }, () => new Channel(bits));
		this.#chaos = chaos;
	}

	/** Decodes a row of `rows[c][x]` values under `above`. */
	row(from: Bits, width: number, above: number[][] | undefined): number[][] {
		const row = this.channels.map(() => new Array<number>(width).fill(0));
		for (const c of this.channels) c.before = above === undefined ? 0 : c.errors[0];
		let x = 0;
		while (this.#step < 6 && this.#left <= width - x) {
			if (this.#left > 0) this.#segment(from, row, above, x, x + this.#left);
			x += this.#left;
			this.#step++;
			this.#left = 2048;
		}
		if (x < width) {
			this.#segment(from, row, above, x, width);
			if (this.#step < 6) this.#left -= width - x;
		}
		return row;
	}

	#nextWait(): number {
		this.#seed = (this.#seed + 1) & 0xff;
		return this.#chaos[this.#seed] & (2 ** this.#step - 1);
	}

	#segment(from: Bits, row: number[][], above: number[][] | undefined, start: number, end: number): void {
		let x = start;
		let stop = x + this.#wait;
		if (x === 0) {
			this.#pixel(from, row, above, 0);
			if (this.#wait > 0) this.#wait--;
			else {
				this.#wait = this.#nextWait();
				for (const c of this.channels) c.learn(0, HALVE_AT[this.#step]);
			}
			x = 1;
			stop = x + this.#wait;
		}
		let ranAt = 0;
		while (x < end) {
			const still =
				above !== undefined &&
				x > 2 &&
				x !== ranAt &&
				row.every((values, c) => values[x - 1] === values[x - 2] && above[c][x] === above[c][x - 1]);
			if (still) {
				ranAt = x;
				const wait = stop - x;
				const length = this.#run(from);
				if (length > end - x) throw new Error(`a run of ${length} leaves the row`);
				for (const values of row) values.fill(values[x - 1], x, x + length);
				x += length;
				this.#wait = wait;
				if (x === end) return;
				stop = x + wait;
				continue;
			}
			this.#pixel(from, row, above, x);
			if (x === stop) {
				for (const c of this.channels) c.learn(x, HALVE_AT[this.#step]);
				stop = x + 1 + this.#nextWait();
			}
			x++;
		}
		this.#wait = stop - end;
	}

	#pixel(from: Bits, row: number[][], above: number[][] | undefined, x: number): void {
		for (const [c, channel] of this.channels.entries()) {
			const left = x > 0 ? row[c][x - 1] : (above?.[c][0] ?? 0);
			const predicted = above === undefined || x === 0 ? left : (left + above[c][x]) >> 1;
			row[c][x] = (predicted + channel.read(from, x)) & (2 ** channel.bits - 1);
		}
	}

	#run(from: Bits): number {
		let length = 0;
		while (from.bit() === 1) {
			length += 2 ** RUN_BITS[this.#runState];
			if (this.#runState < 31) this.#runState++;
		}
		length += from.bits(RUN_BITS[this.#runState]);
		if (this.#runState > 0) this.#runState--;
		return length;
	}
}

/** `planes`: red, green, blue, then alpha; or gray alone. Values are 5 or 8 bits, one per pixel, row by row. */
export function decodeQuic(bytes: Uint8Array, chaos: Uint32Array) {
	const from = new Bits(bytes);
	const word = () => from.bits(32);
	if (word() !== 0x43495551 || word() !== 0) throw new Error('not QUIC 0.0');
	const type = word();
	const width = word();
	const height = word();
	const bits = type === 2 ? 5 : 8;
	const scans = [new Scan(type === 1 ? 1 : 3, bits, chaos)];
	if (type === 5) scans.push(new Scan(1, 8, chaos));
	const planes = scans.flatMap((s) => s.channels.map(() => new Uint8Array(width * height)));
	let above: number[][][] | undefined;
	for (let y = 0; y < height; y++) {
		const rows = scans.map((s, i) => s.row(from, width, above?.[i]));
		for (const [c, values] of rows.flat().entries()) planes[c].set(values, y * width);
		above = rows;
	}
	return { type, width, height, planes };
}
