/** Sets VGA and VBE modes through ports, as a VGA BIOS does. Register values: IBM VGA Technical Reference, mode tables. */
import { readFileSync } from 'node:fs';

/** What a mode needs of a machine. */
export interface VgaAccess {
	out8(port: number, value: number): void;
	out16(port: number, value: number): void;
	in8(port: number): number;
	in16(port: number): number;
	write8(address: number, value: number): void;
	read8(address: number): number;
}

interface VgaMode {
	readonly misc: number;
	readonly sequencer: readonly number[];
	readonly crtc: readonly number[];
	readonly graphics: readonly number[];
	readonly attribute: readonly number[];
}

const EGA_PALETTE = [0, 1, 2, 3, 4, 5, 0x14, 7, 0x38, 0x39, 0x3a, 0x3b, 0x3c, 0x3d, 0x3e, 0x3f];
const IDENTITY = Array.from({ length: 16 }, (_, i) => i);

// biome-ignore format: tables
export const MODES = {
	/** 80x25 text, 9x16 characters, 720x400. */
	text80: {
		misc: 0x67, sequencer: [3, 0x00, 0x03, 0x00, 0x02],
		crtc: [0x5f, 0x4f, 0x50, 0x82, 0x55, 0x81, 0xbf, 0x1f, 0x00, 0x4f, 0x0d, 0x0e, 0, 0, 0, 0, 0x9c, 0x8e, 0x8f, 0x28, 0x1f, 0x96, 0xb9, 0xa3, 0xff],
		graphics: [0, 0, 0, 0, 0, 0x10, 0x0e, 0x0f, 0xff], attribute: [...EGA_PALETTE, 0x0c, 0, 0x0f, 0x08, 0],
	},
	/** 40x25 text, 9x16 characters with the dot clock halved. */
	text40: {
		misc: 0x67, sequencer: [3, 0x08, 0x03, 0x00, 0x02],
		crtc: [0x2d, 0x27, 0x28, 0x90, 0x2b, 0xa0, 0xbf, 0x1f, 0x00, 0x4f, 0x0d, 0x0e, 0, 0, 0, 0, 0x9c, 0x8e, 0x8f, 0x14, 0x1f, 0x96, 0xb9, 0xa3, 0xff],
		graphics: [0, 0, 0, 0, 0, 0x10, 0x0e, 0x0f, 0xff], attribute: [...EGA_PALETTE, 0x0c, 0, 0x0f, 0x08, 0],
	},
	/** 320x200, 4 colours, CGA addresses. */
	cga4: {
		misc: 0x63, sequencer: [3, 0x09, 0x03, 0x00, 0x02],
		crtc: [0x2d, 0x27, 0x28, 0x90, 0x2b, 0x80, 0xbf, 0x1f, 0x00, 0xc1, 0, 0, 0, 0, 0, 0, 0x9c, 0x8e, 0x8f, 0x14, 0x00, 0x96, 0xb9, 0xa2, 0xff],
		graphics: [0, 0, 0, 0, 0, 0x30, 0x0f, 0x0f, 0xff], attribute: [0, 0x13, 0x15, 0x17, 2, 4, 6, 7, 0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x01, 0, 0x03, 0, 0],
	},
	/** 640x480, 16 colours. */
	planar: {
		misc: 0xe3, sequencer: [3, 0x01, 0x0f, 0x00, 0x06],
		crtc: [0x5f, 0x4f, 0x50, 0x82, 0x54, 0x80, 0x0b, 0x3e, 0x00, 0x40, 0, 0, 0, 0, 0, 0, 0xea, 0x8c, 0xdf, 0x28, 0x00, 0xe7, 0x04, 0xe3, 0xff],
		graphics: [0, 0, 0, 0, 0, 0x00, 0x05, 0x0f, 0xff], attribute: [...EGA_PALETTE, 0x01, 0, 0x0f, 0, 0],
	},
	/** 320x200, 256 colours. */
	mode13: {
		misc: 0x63, sequencer: [3, 0x01, 0x0f, 0x00, 0x0e],
		crtc: [0x5f, 0x4f, 0x50, 0x82, 0x54, 0x80, 0xbf, 0x1f, 0x00, 0x41, 0, 0, 0, 0, 0, 0, 0x9c, 0x8e, 0x8f, 0x28, 0x40, 0x96, 0xb9, 0xa3, 0xff],
		graphics: [0, 0, 0, 0, 0, 0x40, 0x05, 0x0f, 0xff], attribute: [...IDENTITY, 0x41, 0, 0x0f, 0, 0],
	},
} as const satisfies Record<string, VgaMode>;

export class VgaDriver {
	readonly io: VgaAccess;
	constructor(io: VgaAccess) {
		this.io = io;
	}

	setMode(mode: VgaMode): void {
		const { io } = this;
		io.out8(0x3c2, mode.misc);
		for (const [i, v] of mode.sequencer.entries()) this.sequencer(i, v);
		this.crtc(0x11, 0);
		for (const [i, v] of mode.crtc.entries()) this.crtc(i, v);
		for (const [i, v] of mode.graphics.entries()) this.graphics(i, v);
		for (const [i, v] of mode.attribute.entries()) this.attribute(i, v);
	}
	sequencer(index: number, value: number): void {
		this.io.out16(0x3c4, index | (value << 8));
	}
	graphics(index: number, value: number): void {
		this.io.out16(0x3ce, index | (value << 8));
	}
	crtc(index: number, value: number): void {
		this.io.out16(0x3d4, index | (value << 8));
	}
	/** Leaves the palette with the display. */
	attribute(index: number, value: number): void {
		this.io.in8(0x3da);
		this.io.out8(0x3c0, index);
		this.io.out8(0x3c0, value);
		this.io.out8(0x3c0, 0x20);
	}
	vbe(index: number, value: number): void {
		this.io.out16(0x1ce, index);
		this.io.out16(0x1cf, value);
	}
	readVbe(index: number): number {
		this.io.out16(0x1ce, index);
		return this.io.in16(0x1cf);
	}
	/** A VBE mode with the linear frame buffer; memory is cleared. */
	setVbe(width: number, height: number, bpp: number): void {
		this.vbe(4, 0);
		this.vbe(3, bpp);
		this.vbe(1, width);
		this.vbe(2, height);
		this.vbe(4, 0x41);
		this.io.in8(0x3da);
		this.io.out8(0x3c0, 0x20);
	}
	/** Six bits a component. */
	color(index: number, red: number, green: number, blue: number): void {
		this.io.out8(0x3c8, index);
		for (const c of [red, green, blue]) this.io.out8(0x3c9, c);
	}
	/** The 64 colours of the EGA at their places. */
	egaColors(): void {
		for (let i = 0; i < 64; i++) this.color(i, ...egaColor(i));
	}
	/** Loads 16-line characters into plane 2 through the window at A0000h. */
	loadFont(font: Uint8Array, block = 0): void {
		this.sequencer(2, 0x04);
		this.sequencer(4, 0x06);
		this.graphics(4, 2);
		this.graphics(5, 0);
		this.graphics(6, 0x04);
		const base = 0xa0000 + block * 0x2000;
		for (let ch = 0; ch < 256; ch++) for (let y = 0; y < 16; y++) this.io.write8(base + ch * 32 + y, font[ch * 16 + y]);
		this.sequencer(2, 0x03);
		this.sequencer(4, 0x02);
		this.graphics(4, 0);
		this.graphics(5, 0x10);
		this.graphics(6, 0x0e);
	}
}

/** Components of EGA colour rgbRGB, 0..63. */
export function egaColor(i: number): [number, number, number] {
	const level = (high: number, low: number) => (i & high ? 0x2a : 0) + (i & low ? 0x15 : 0);
	return [level(4, 0x20), level(2, 0x10), level(1, 0x08)];
}
/** Six bits as the DAC shows them, QEMU's way: the lowest bit repeated. */
export function wide6(v: number): number {
	return (v << 2) | (v & 1 ? 3 : 0);
}
/** 0x00RRGGBB of text attribute colour 0..15 with the standard palette. */
export function textColor(color: number): number {
	const [r, g, b] = egaColor(EGA_PALETTE[color]).map(wide6);
	return (r << 16) | (g << 8) | b;
}

/** The 8x16 font of Debian's VGA BIOS (package seabios): 256 characters of 16 bytes. */
export function biosFont(path = '/usr/share/seabios/vgabios-qxl.bin'): Uint8Array {
	const rom = readFileSync(path);
	// Character 0 is empty, character 1 is the white face.
	const face = Buffer.from('00007e81a58181bd9981817e00000000', 'hex');
	const at = rom.indexOf(Buffer.concat([Buffer.alloc(16), face]));
	if (at < 0) throw new Error(`no 8x16 font in ${path}`);
	return new Uint8Array(rom.subarray(at, at + 4096));
}
