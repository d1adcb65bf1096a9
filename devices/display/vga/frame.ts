/** The picture as last told to the host, and the smallest set of rectangles that brings the host up to date. */
import { BitmapFormat, type DisplaySink, Ropd, SurfaceFormat } from '../../../src/core/index.ts';

const TILE_SHIFT = 4;
const TILE = 1 << TILE_SHIFT;
/** A larger update is cut into bands of rows, so that its first part can be on its way while the rest is encoded. */
const BAND_BYTES = 1 << 20;

interface Run {
	readonly left: number;
	readonly right: number;
	top: number;
}

export class HostFrame {
	width = 0;
	height = 0;
	/** 0x00RRGGBB, `width * height` of them. */
	pixels = new Uint32Array(0);
	#changed = new Uint8Array(0);
	#columns = 0;
	#anyChanged = false;
	readonly #sink: DisplaySink;

	constructor(sink: DisplaySink) {
		this.#sink = sink;
	}

	/** Begins a picture of another size, black; the host gets a new primary surface. */
	resize(width: number, height: number): void {
		this.width = width;
		this.height = height;
		this.pixels = new Uint32Array(width * height);
		this.#columns = Math.ceil(width / TILE);
		this.#changed = new Uint8Array(this.#columns * Math.ceil(height / TILE));
		this.#anyChanged = false;
		this.#sink.surfaceCreate({ id: 0, width, height, format: SurfaceFormat.xrgb32 });
	}

	/** The size no longer holds: the next picture makes its own surface. */
	forget(): void {
		this.width = 0;
		this.height = 0;
		this.#anyChanged = false;
	}

	/** Takes row `y` from the first `width` pixels of `line`. */
	row(y: number, line: Uint32Array): void {
		const { width, pixels } = this;
		const base = y * width;
		const tiles = (y >> TILE_SHIFT) * this.#columns;
		for (let left = 0; left < width; left += TILE) {
			const right = Math.min(left + TILE, width);
			let x = left;
			while (x < right && pixels[base + x] === line[x]) x++;
			if (x === right) continue;
			for (; x < right; x++) pixels[base + x] = line[x];
			this.#changed[tiles + (left >> TILE_SHIFT)] = 1;
			this.#anyChanged = true;
		}
	}

	/** Sends what changed since the last call; returns whether anything did. `mmTime` in ms. */
	flush(mmTime: number): boolean {
		if (!this.#anyChanged) return false;
		this.#anyChanged = false;
		let open: Run[] = [];
		const rows = Math.ceil(this.height / TILE);
		for (let row = 0; row <= rows; row++) {
			const runs = row < rows ? this.#runs(row) : [];
			const next: Run[] = [];
			for (const run of runs) {
				const above = open.find((o) => o.left === run.left && o.right === run.right);
				next.push(above ?? run);
			}
			for (const run of open) if (!next.includes(run)) this.#send(run, row * TILE, mmTime);
			open = next;
		}
		this.#changed.fill(0);
		return true;
	}

	/** Changed stretches of one row of tiles; a gap of one tile costs less than another rectangle. */
	#runs(row: number): Run[] {
		const runs: Run[] = [];
		const base = row * this.#columns;
		let start = -1;
		let end = -1;
		for (let x = 0; x < this.#columns; x++) {
			if (!this.#changed[base + x]) continue;
			if (start >= 0 && x - end > 1) {
				runs.push(this.#run(start, end, row));
				start = x;
			} else if (start < 0) {
				start = x;
			}
			end = x + 1;
		}
		if (start >= 0) runs.push(this.#run(start, end, row));
		return runs;
	}

	#run(start: number, end: number, row: number): Run {
		return { left: start * TILE, right: Math.min(end * TILE, this.width), top: row * TILE };
	}

	#send(run: Run, end: number, mmTime: number): void {
		const bottom = Math.min(end, this.height);
		const width = run.right - run.left;
		const band = Math.max(TILE, Math.floor(BAND_BYTES / (width * 4)));
		for (let top = run.top; top < bottom; top += band) {
			const height = Math.min(band, bottom - top);
			const data = new Uint32Array(width * height);
			for (let y = 0; y < height; y++) {
				const at = (top + y) * this.width + run.left;
				data.set(this.pixels.subarray(at, at + width), y * width);
			}
			this.#sink.draw({
				op: 'copy',
				surfaceId: 0,
				box: { left: run.left, top, right: run.right, bottom: top + height },
				mmTime,
				src: {
					kind: 'bitmap',
					id: 0n,
					cache: false,
					format: BitmapFormat.xrgb32,
					width,
					height,
					stride: width * 4,
					topDown: true,
					data: new Uint8Array(data.buffer),
				},
				srcArea: { left: 0, top: 0, right: width, bottom: height },
				rop: Ropd.put,
				scaleMode: 0,
			});
		}
	}
}
