/**
 * A VGA's ports: 3B4h-3DAh with their indexes, and the two of VBE. IBM VGA XGA Technical Reference, "VGA Function",
 * registers; answers as QEMU 7.2's stdvga.
 */
import { type Clock, type PortSpace, type StateValue, tracePoints } from '../../../src/core/index.ts';
import type { Dac } from './dac.ts';
import { crtc } from './registers.ts';
import type { VgaRegisters } from './screen.ts';
import type { VbeDispi } from './vbe.ts';

const trace = tracePoints('vga', { vbe_write: ['index', 'value'] });

/** One frame, for the retrace bits. */
const FIELD = 1e9 / 70;

export interface VgaPortParts {
	readonly clock: Clock;
	readonly ports: PortSpace;
	readonly regs: VgaRegisters;
	readonly dac: Dac;
	readonly vbe: VbeDispi;
	/** A register or colour has another value: the picture may look different. */
	readonly changed: () => void;
}

export class VgaPorts {
	readonly #clock: Clock;
	readonly #regs: VgaRegisters;
	readonly #dac: Dac;
	readonly #vbe: VbeDispi;
	readonly #changed: () => void;
	#sequencerIndex = 0;
	#graphicsIndex = 0;
	#crtcIndex = 0;
	/** Bit 5: the palette belongs to the display; without it the screen is blank. */
	#attributeIndex = 0;
	/** The next write to 3C0h is data. */
	#attributeData = false;
	#misc = 0;
	#feature = 0;

	constructor({ clock, ports, regs, dac, vbe, changed }: VgaPortParts) {
		this.#clock = clock;
		this.#regs = regs;
		this.#dac = dac;
		this.#vbe = vbe;
		this.#changed = changed;
		this.#map(ports);
	}

	reset(): void {
		this.#sequencerIndex = 0;
		this.#graphicsIndex = 0;
		this.#crtcIndex = 0;
		this.#attributeIndex = 0;
		this.#attributeData = false;
		this.#misc = 0;
		this.#feature = 0;
	}

	/** The palette belongs to the display; the screen is blank without. */
	get screenOn(): boolean {
		return (this.#attributeIndex & 0x20) !== 0;
	}

	save() {
		return {
			sequencerIndex: this.#sequencerIndex,
			graphicsIndex: this.#graphicsIndex,
			crtcIndex: this.#crtcIndex,
			attributeIndex: this.#attributeIndex,
			attributeData: this.#attributeData,
			misc: this.#misc,
			feature: this.#feature,
		};
	}

	restore(state: { readonly [key: string]: StateValue | undefined }): void {
		this.#sequencerIndex = Number(state.sequencerIndex) & 7;
		this.#graphicsIndex = Number(state.graphicsIndex) & 15;
		this.#crtcIndex = Number(state.crtcIndex) & 0xff;
		this.#attributeIndex = Number(state.attributeIndex) & 0x3f;
		this.#attributeData = state.attributeData === true;
		this.#misc = Number(state.misc) & 0xff;
		this.#feature = Number(state.feature) & 0xff;
	}

	#map(ports: PortSpace): void {
		const bytes = (base: number, size: number) =>
			ports.map(base, size, { read8: (o) => this.#read(base + o), write8: (o, v) => this.#write(base + o, v) }, 'vga');
		bytes(0x3b4, 2);
		bytes(0x3ba, 1);
		bytes(0x3c0, 16);
		bytes(0x3d4, 2);
		bytes(0x3da, 1);
		// Index at 1CEh, data at 1CFh and 1D0h, each 16 bits wide: the ranges overlap by a byte.
		ports.map(
			0x1ce,
			4,
			{
				read16: (o) => (o === 0 ? this.#vbe.index : o <= 2 ? this.#vbe.read() : 0xffff),
				write16: (o, value) => {
					if (o === 0) this.#vbe.index = value;
					else if (o <= 2) this.#writeVbe(value);
				},
			},
			'vbe',
		);
	}

	#writeVbe(value: number): void {
		trace.vbe_write(this.#vbe.index, value);
		this.#vbe.write(value);
	}

	/** CRTC and status ports answer at 3Bxh or 3Dxh, as bit 0 of the miscellaneous output register says. */
	#decodes(port: number): boolean {
		const color = (this.#misc & 1) !== 0;
		return (port & 0xff0) === 0x3b0 ? !color : (port & 0xff0) === 0x3d0 ? color : true;
	}

	#read(port: number): number {
		if (!this.#decodes(port)) return 0xff;
		switch (port) {
			case 0x3c0:
				return this.#attributeData ? 0 : this.#attributeIndex;
			case 0x3c1:
				return this.#regs.attribute.read(this.#attributeIndex & 0x1f, 1);
			case 0x3c4:
				return this.#sequencerIndex;
			case 0x3c5:
				return this.#regs.sequencer.read(this.#sequencerIndex, 1);
			case 0x3c6:
				return this.#dac.pixelMask;
			case 0x3c7:
				return this.#dac.state;
			case 0x3c8:
				return this.#dac.index;
			case 0x3c9:
				return this.#dac.read();
			case 0x3ca:
				return this.#feature;
			case 0x3cc:
				return this.#misc;
			case 0x3ce:
				return this.#graphicsIndex;
			case 0x3cf:
				return this.#regs.graphics.read(this.#graphicsIndex, 1);
			case 0x3b4:
			case 0x3d4:
				return this.#crtcIndex;
			case 0x3b5:
			case 0x3d5:
				return this.#regs.crtc.read(this.#crtcIndex, 1);
			case 0x3ba:
			case 0x3da:
				this.#attributeData = false;
				return this.#inputStatus();
			default:
				return 0;
		}
	}

	#write(port: number, value: number): void {
		if (!this.#decodes(port)) return;
		switch (port) {
			case 0x3c0:
				this.#writeAttribute(value);
				return;
			case 0x3c2:
				this.#misc = value & 0xef;
				return;
			case 0x3c4:
				this.#sequencerIndex = value & 7;
				return;
			case 0x3c5:
				this.#regs.sequencer.write(this.#sequencerIndex, 1, value);
				this.#changed();
				return;
			case 0x3c6:
				this.#dac.pixelMask = value;
				this.#dac.invalidate();
				this.#changed();
				return;
			case 0x3c7:
				this.#dac.readFrom(value);
				return;
			case 0x3c8:
				this.#dac.writeFrom(value);
				return;
			case 0x3c9:
				if (this.#dac.write(value)) this.#changed();
				return;
			case 0x3ce:
				this.#graphicsIndex = value & 15;
				return;
			case 0x3cf:
				this.#regs.graphics.write(this.#graphicsIndex, 1, value);
				this.#changed();
				return;
			case 0x3b4:
			case 0x3d4:
				this.#crtcIndex = value;
				return;
			case 0x3b5:
			case 0x3d5:
				this.#writeCrtc(value);
				return;
			case 0x3ba:
			case 0x3da:
				this.#feature = value & 0x10;
				return;
		}
	}

	#writeAttribute(value: number): void {
		if (!this.#attributeData) {
			const unblanks = (this.#attributeIndex ^ value) & 0x20;
			this.#attributeIndex = value & 0x3f;
			if (unblanks) this.#changed();
		} else {
			this.#regs.attribute.write(this.#attributeIndex & 0x1f, 1, value);
			this.#changed();
		}
		this.#attributeData = !this.#attributeData;
	}

	#writeCrtc(value: number): void {
		const regs = this.#regs.crtc;
		const index = this.#crtcIndex;
		if (index <= crtc.overflow.at && regs.verticalRetraceEnd & 0x80) {
			// Protected but for bit 8 of line compare.
			if (index === crtc.overflow.at) regs.overflow = (regs.overflow & ~0x10) | (value & 0x10);
		} else {
			regs.write(index, 1, value);
		}
		this.#changed();
	}

	/** Bit 0: not displaying; bit 3: vertical retrace. Guests wait for either, so both come and go in real proportion. */
	#inputStatus(): number {
		const { crtc } = this.#regs;
		const total = (crtc.verticalTotal | ((crtc.overflow & 1) << 8) | ((crtc.overflow & 0x20) << 4)) + 2;
		const shown = crtc.verticalDisplayEnd | ((crtc.overflow & 0x02) << 7) | ((crtc.overflow & 0x40) << 3);
		const retrace = crtc.verticalRetraceStart | ((crtc.overflow & 4) << 6) | ((crtc.overflow & 0x80) << 2);
		const at = ((this.#clock.now() % FIELD) / FIELD) * total;
		const line = Math.floor(at);
		const columns = crtc.horizontalTotal + 5;
		const displaying = line <= shown && (at - line) * columns <= crtc.horizontalDisplayEnd + 1;
		// Two lines of retrace at least, so that a guest looking once a line cannot miss it.
		const retracing = line >= retrace && line < retrace + Math.max(2, (crtc.verticalRetraceEnd - retrace) & 15);
		return (displaying ? 0 : 1) | (retracing ? 8 : 0);
	}
}
