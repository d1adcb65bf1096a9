/**
 * Rows of pixels from video memory, for every kind of picture a VGA shows.
 * IBM VGA XGA Technical Reference, "Attribute Controller" and "Modes of Operation".
 */
import type { Raster, Screen, VgaRegisters } from './screen.ts';

export interface Blink {
	/** The cursor, and characters with the blink attribute, are in the visible half of their period. */
	readonly cursor: boolean;
	readonly text: boolean;
}

export interface RowSink {
	row(y: number, line: Uint32Array): void;
}

/** 0x00RRGGBB of the sixteen colours of the attribute controller. */
export function attributeColors({ attribute }: VgaRegisters, dac: Uint32Array, into: Uint32Array): void {
	const select = attribute.colorSelect;
	for (let i = 0; i < 16; i++) {
		const entry = attribute.read(i, 1);
		into[i] =
			attribute.modeControl & 0x80
				? dac[(entry & 0x0f) | ((select & 0x0f) << 4)]
				: dac[(entry & 0x3f) | ((select & 0x0c) << 4)];
	}
}

/** Renders the whole of a picture fetched by the CRT controller. `bytes` is the VGA's video memory. */
export class RasterRenderer {
	/** Set by render: some character blinks, the cursor shows. */
	textBlinks = false;
	cursorShown = false;

	#dots = new Uint32Array(0);
	#line = new Uint32Array(0);
	readonly #colors = new Uint32Array(16);

	render(
		kind: Exclude<Screen['kind'], 'blank' | 'linear'>,
		raster: Raster,
		regs: VgaRegisters,
		dac: Uint32Array,
		bytes: Uint8Array,
		blink: Blink,
		out: RowSink,
	): void {
		this.textBlinks = false;
		this.cursorShown = false;
		attributeColors(regs, dac, this.#colors);
		// One column more than is shown: panning brings it in.
		const cells = raster.columns + 1;
		if (this.#dots.length < cells * raster.dots) this.#dots = new Uint32Array(cells * raster.dots);
		if (this.#line.length < raster.width) this.#line = new Uint32Array(raster.width);
		const text = kind === 'text' ? new TextStyle(regs) : undefined;

		let address = raster.start;
		let scan = Math.min(raster.presetScan, raster.rowHeight - 1);
		let repeat = 0;
		let pan = raster.pan;
		for (let y = 0; y < raster.height; y++) {
			if (repeat === 0) {
				let from = address;
				if (raster.scanBit0) from = scan & 1 ? from | raster.scanBit0 : from & ~raster.scanBit0;
				if (raster.scanBit1) from = scan & 2 ? from | raster.scanBit1 : from & ~raster.scanBit1;
				if (text) this.#text(text, raster, cells, from, scan, bytes, blink);
				else if (kind === 'planar') this.#planar(regs, raster, cells, from, bytes);
				else if (kind === 'cga') this.#cga(regs, raster, cells, from, bytes);
				else this.#packed(raster, cells, from, bytes, dac);
				this.#stretch(raster, pan);
			}
			out.row(y, this.#line);
			if (y === raster.lineCompare) {
				address = 0;
				scan = 0;
				repeat = 0;
				pan = raster.panBelow;
			} else if (++repeat === raster.repeat) {
				repeat = 0;
				if (++scan === raster.rowHeight) {
					scan = 0;
					address += raster.pitch;
				}
			}
		}
	}

	#stretch(raster: Raster, pan: number): void {
		const { width, wide } = raster;
		const dots = this.#dots;
		const line = this.#line;
		if (wide) for (let x = 0; x < width; x++) line[x] = dots[pan + (x >> 1)];
		else for (let x = 0; x < width; x++) line[x] = dots[pan + x];
	}

	#text(
		style: TextStyle,
		raster: Raster,
		cells: number,
		from: number,
		scan: number,
		bytes: Uint8Array,
		blink: Blink,
	): void {
		const dots = this.#dots;
		const colors = this.#colors;
		const nine = raster.dots === 9;
		const cursorRow = scan >= style.cursorStart && scan <= style.cursorEnd;
		let to = 0;
		for (let i = 0; i < cells; i++) {
			const at = ((from + i) & raster.mask) * 4;
			const character = bytes[at];
			const attr = bytes[at + 1];
			let pattern = bytes[style.font[(attr >> 3) & 1] + character * 128 + scan * 4];
			let back = attr >> 4;
			if (style.blinks) {
				back &= 7;
				if (attr & 0x80) {
					this.textBlinks = true;
					if (!blink.text) pattern = 0;
				}
			}
			// Bit 8 is the ninth dot: a copy of the eighth for line graphics, else background.
			let nine9 = style.lineGraphics && (character & 0xe0) === 0xc0 ? pattern & 1 : 0;
			const underlined = style.mono && (attr & 7) === 1 && scan === style.underline;
			if (((from + i) & raster.mask) === style.cursor && cursorRow) {
				this.cursorShown = true;
				if (blink.cursor) {
					pattern = 0xff;
					nine9 = 1;
				}
			}
			if (underlined) {
				pattern = 0xff;
				nine9 = 1;
			}
			const ink = colors[attr & 15];
			const paper = colors[back];
			for (let bit = 0x80; bit !== 0; bit >>= 1) dots[to++] = pattern & bit ? ink : paper;
			if (nine) dots[to++] = nine9 ? ink : paper;
		}
	}

	#planar(regs: VgaRegisters, raster: Raster, cells: number, from: number, bytes: Uint8Array): void {
		const enable = regs.attribute.colorPlaneEnable & 15;
		const dots = this.#dots;
		let to = 0;
		for (let i = 0; i < cells; i++) {
			const at = ((from + i) & raster.mask) * 4;
			const p0 = bytes[at];
			const p1 = bytes[at + 1];
			const p2 = bytes[at + 2];
			const p3 = bytes[at + 3];
			for (let bit = 7; bit >= 0; bit--) {
				const index =
					((p0 >> bit) & 1) | (((p1 >> bit) & 1) << 1) | (((p2 >> bit) & 1) << 2) | (((p3 >> bit) & 1) << 3);
				dots[to++] = this.#colors[index & enable];
			}
		}
	}

	/** Two bits a dot: even planes first, then odd ones; planes 2 and 3 give the upper bits of the colour. */
	#cga(regs: VgaRegisters, raster: Raster, cells: number, from: number, bytes: Uint8Array): void {
		const enable = regs.attribute.colorPlaneEnable & 15;
		const dots = this.#dots;
		let to = 0;
		for (let i = 0; i < cells; i++) {
			const at = ((from + i) & raster.mask) * 4;
			for (let plane = 0; plane < 2; plane++) {
				const low = bytes[at + plane];
				const high = bytes[at + plane + 2];
				for (let shift = 6; shift >= 0; shift -= 2)
					dots[to++] = this.#colors[(((low >> shift) & 3) | (((high >> shift) & 3) << 2)) & enable];
			}
		}
	}

	/** A byte a pixel, each two dots wide. */
	#packed(raster: Raster, cells: number, from: number, bytes: Uint8Array, dac: Uint32Array): void {
		const dots = this.#dots;
		let to = 0;
		for (let i = 0; i < cells; i++) {
			const at = ((from + i) & raster.mask) * 4;
			for (let plane = 0; plane < 4; plane++) {
				const color = dac[bytes[at + plane]];
				dots[to++] = color;
				dots[to++] = color;
			}
		}
	}
}

/** What the registers say about characters. */
class TextStyle {
	/** Byte offsets in video memory of the fonts for attribute bit 3 clear and set: plane 2, 32 bytes a character. */
	readonly font: readonly [number, number];
	readonly blinks: boolean;
	readonly mono: boolean;
	readonly lineGraphics: boolean;
	readonly underline: number;
	readonly cursor: number;
	readonly cursorStart: number;
	readonly cursorEnd: number;
	constructor({ sequencer, crtc, attribute }: VgaRegisters) {
		const map = sequencer.characterMap;
		const base = (number: number) => number * 8192 * 4 + 2;
		this.font = [base(((map & 3) << 1) | ((map >> 4) & 1)), base((((map >> 2) & 3) << 1) | ((map >> 5) & 1))];
		this.blinks = (attribute.modeControl & 8) !== 0;
		this.mono = (attribute.modeControl & 2) !== 0;
		this.lineGraphics = (attribute.modeControl & 4) !== 0;
		this.underline = crtc.underlineLocation & 0x1f;
		const off = crtc.cursorStart & 0x20;
		this.cursor = off ? -1 : (crtc.cursorLocationHigh << 8) | crtc.cursorLocationLow;
		this.cursorStart = crtc.cursorStart & 0x1f;
		this.cursorEnd = crtc.cursorEnd & 0x1f;
	}
}

/** One row of a linear mode, from byte `at` of `bytes`. */
export function linearRow(
	bpp: number,
	width: number,
	bytes: Uint8Array,
	at: number,
	dac: Uint32Array,
	line: Uint32Array,
): void {
	switch (bpp) {
		case 8:
			for (let x = 0; x < width; x++) line[x] = dac[bytes[at + x]];
			break;
		case 15:
			for (let x = 0; x < width; x++, at += 2) {
				const v = bytes[at] | (bytes[at + 1] << 8);
				line[x] = (wide5(v >> 10) << 16) | (wide5(v >> 5) << 8) | wide5(v);
			}
			break;
		case 16:
			for (let x = 0; x < width; x++, at += 2) {
				const v = bytes[at] | (bytes[at + 1] << 8);
				line[x] = (wide5(v >> 11) << 16) | (wide6(v >> 5) << 8) | wide5(v);
			}
			break;
		case 24:
			for (let x = 0; x < width; x++, at += 3) line[x] = bytes[at] | (bytes[at + 1] << 8) | (bytes[at + 2] << 16);
			break;
		default: {
			const words = new Uint32Array(bytes.buffer, bytes.byteOffset + at, width);
			for (let x = 0; x < width; x++) line[x] = words[x] & 0xffffff;
		}
	}
}

/** Five and six bits to eight, the highest repeated below so that all ones stay all ones. */
function wide5(v: number): number {
	return ((v & 31) << 3) | ((v & 31) >> 2);
}
function wide6(v: number): number {
	return ((v & 63) << 2) | ((v & 63) >> 4);
}
