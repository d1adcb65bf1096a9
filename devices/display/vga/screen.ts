/**
 * What the registers say is on the screen: kind of picture, size, and where its rows are fetched from.
 * IBM VGA XGA Technical Reference, "CRT Controller"; Bochs DISPI for the linear modes.
 */
import type { RegisterFile } from '../../../src/core/index.ts';
import type { attribute, crtc, graphics, sequencer } from './registers.ts';
import type { VbeDispi } from './vbe.ts';

export interface VgaRegisters {
	readonly sequencer: RegisterFile<typeof sequencer>;
	readonly graphics: RegisterFile<typeof graphics>;
	readonly crtc: RegisterFile<typeof crtc>;
	readonly attribute: RegisterFile<typeof attribute>;
}

/** How the CRT controller walks through the planes, in addresses of one byte a plane. */
export interface Raster {
	readonly width: number;
	readonly height: number;
	readonly columns: number;
	/** Dots a column: 8, or 9 in text modes. */
	readonly dots: number;
	/** Each dot is shown twice: the dot clock is halved. */
	readonly wide: boolean;
	readonly start: number;
	readonly pitch: number;
	/** Addresses wrap at this mask. */
	readonly mask: number;
	/** Scan line after which the address starts again at 0. */
	readonly lineCompare: number;
	/** Scan lines of a row, and how often each is shown. */
	readonly rowHeight: number;
	readonly repeat: number;
	readonly presetScan: number;
	/** Dots that the upper part is moved left by, and the lower part. */
	readonly pan: number;
	readonly panBelow: number;
	/** Address bits that bits 0 and 1 of the row scan counter replace; 0: none. */
	readonly scanBit0: number;
	readonly scanBit1: number;
}

export type Screen =
	| { readonly kind: 'blank' }
	| { readonly kind: 'text' | 'planar' | 'cga' | 'packed'; readonly raster: Raster }
	| {
			readonly kind: 'linear';
			readonly width: number;
			readonly height: number;
			readonly bpp: number;
			/** Bytes. */
			readonly start: number;
			readonly pitch: number;
	  };

/** A picture larger than this is not shown: no client could take it. */
const MAX_SIDE = 8192;
const MAX_PIXELS = 16 << 20;

/** `memory`: bytes of video memory. */
export function currentScreen(regs: VgaRegisters, vbe: VbeDispi, attributeOn: boolean, memory: number): Screen {
	if (!attributeOn) return { kind: 'blank' };
	if (vbe.enabled) {
		const { xres, yres, bpp } = vbe.regs;
		if (xres > MAX_SIDE || yres > MAX_SIDE || xres * yres > MAX_PIXELS) return { kind: 'blank' };
		if (bpp !== 4) return { kind: 'linear', width: xres, height: yres, bpp, start: vbe.start, pitch: vbe.pitch };
	}
	if (regs.sequencer.clockingMode & 0x20 && !vbe.enabled) return { kind: 'blank' };
	const raster = vbe.enabled ? vbePlanarRaster(vbe, memory) : vgaRaster(regs);
	if (!(regs.graphics.miscellaneous & 1)) return { kind: 'text', raster };
	const shift = (regs.graphics.mode >> 5) & 3;
	return { kind: shift === 0 ? 'planar' : shift === 1 ? 'cga' : 'packed', raster };
}

function vbePlanarRaster(vbe: VbeDispi, memory: number): Raster {
	return {
		width: vbe.regs.xres,
		height: vbe.regs.yres,
		columns: vbe.regs.xres >> 3,
		dots: 8,
		wide: false,
		start: vbe.start >> 2,
		pitch: vbe.pitch >> 2,
		mask: (memory >> 2) - 1,
		lineCompare: Number.POSITIVE_INFINITY,
		rowHeight: 1,
		repeat: 1,
		presetScan: 0,
		pan: 0,
		panBelow: 0,
		scanBit0: 0,
		scanBit1: 0,
	};
}

function vgaRaster({ sequencer, graphics, crtc, attribute }: VgaRegisters): Raster {
	const text = !(graphics.miscellaneous & 1);
	const dots = text && !(sequencer.clockingMode & 1) ? 9 : 8;
	const wide = (sequencer.clockingMode & 8) !== 0;
	const columns = crtc.horizontalDisplayEnd + 1;
	const overflow = crtc.overflow;
	const height = (crtc.verticalDisplayEnd | ((overflow & 0x02) << 7) | ((overflow & 0x40) << 3)) + 1;
	const byteMode = (crtc.modeControl >> 6) & 1;
	const panning = attribute.pixelPanning;
	// With nine dots a value of 8 means no move and 0..7 mean 1..8 (IBM, "Horizontal PEL Panning Register").
	const pan = dots === 9 ? (panning >= 8 ? 0 : panning + 1) : panning & 7;
	return {
		width: columns * dots * (wide ? 2 : 1),
		height,
		columns,
		dots,
		wide,
		start: ((crtc.startAddressHigh << 8) | crtc.startAddressLow) + ((crtc.presetRowScan >> 5) & 3),
		pitch: crtc.offset * 2,
		mask: 0xffff,
		lineCompare: crtc.lineCompare | ((overflow & 0x10) << 4) | ((crtc.maximumScanLine & 0x40) << 3),
		rowHeight: (crtc.maximumScanLine & 0x1f) + 1,
		repeat: crtc.maximumScanLine & 0x80 ? 2 : 1,
		presetScan: crtc.presetRowScan & 0x1f,
		pan,
		panBelow: attribute.modeControl & 0x20 ? 0 : pan,
		// In word mode addresses are shifted up by one on their way out, so bit 13 there is bit 12 of the counter.
		scanBit0: crtc.modeControl & 1 ? 0 : 1 << (12 + byteMode),
		scanBit1: crtc.modeControl & 2 ? 0 : 1 << (13 + byteMode),
	};
}
