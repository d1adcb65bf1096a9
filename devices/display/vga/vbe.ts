/**
 * The Bochs VBE display interface ("DISPI"): linear modes of 8 to 32 bits a pixel, and planar ones of 4.
 * Bochs' vbe_display_api.txt; limits and corrections as QEMU 7.2's stdvga makes them.
 * Ports: index 1CEh, data 1CFh and 1D0h, 16 bits wide.
 */
import { RegisterFile, registers, type StateValue } from '../../../src/core/index.ts';

/** `at` is twice the index. The guest's writes go through VbeDispi.write, so no bits are plainly writable. */
export const dispi = registers({
	id: { at: 0, size: 2, reset: 0xb0c5, doc: 'interface version, B0C0h..B0C5h' },
	xres: { at: 2, size: 2, doc: 'pixels a line' },
	yres: { at: 4, size: 2, doc: 'lines' },
	bpp: { at: 6, size: 2, doc: '4, 8, 15, 16, 24 or 32' },
	enable: { at: 8, size: 2, doc: 'bit 0 on, 1 read maxima, 5 8-bit DAC, 6 linear frame buffer, 7 keep memory' },
	bank: { at: 10, size: 2, doc: '64 KiB bank seen at A0000h' },
	virtWidth: { at: 12, size: 2, doc: 'pixels from one line to the next' },
	virtHeight: { at: 14, size: 2, doc: 'lines that fit in memory' },
	xOffset: { at: 16, size: 2, doc: 'first pixel on the screen' },
	yOffset: { at: 18, size: 2, doc: 'first line on the screen' },
	videoMemory64k: { at: 20, size: 2, doc: 'video memory in units of 64 KiB' },
});
const END = 22;

const MAX_XRES = 16000;
const MAX_YRES = 12000;
const MAX_BPP = 32;

const ENABLED = 0x01;
const GET_CAPS = 0x02;
const DAC_8BIT = 0x20;
const KEEP_MEMORY = 0x80;

export interface VbeHooks {
	/** A mode is on, or its size, depth or offset changed. */
	readonly changed: () => void;
	/** The first `length` bytes of video memory become zero. */
	readonly clear: (length: number) => void;
	/** The bank window or the width of the DAC changed. */
	readonly access: (bankOffset: number, dac8bit: boolean) => void;
}

export class VbeDispi {
	readonly regs = new RegisterFile(dispi);
	index = 0;
	/** Bytes from one line to the next, and of the first pixel shown; meaningful while enabled. */
	pitch = 0;
	start = 0;

	readonly #memory: number;
	readonly #bankMask: number;
	readonly #hooks: VbeHooks;

	/**
	 * `memory`: bytes of video memory, a power of two of at least 64 KiB. The bank register counts through `banked` bytes,
	 * which may be more.
	 */
	constructor(memory: number, banked: number, hooks: VbeHooks) {
		this.#memory = memory;
		this.#bankMask = (banked >> 16) - 1;
		this.#hooks = hooks;
		this.reset();
	}

	get enabled(): boolean {
		return (this.regs.enable & ENABLED) !== 0;
	}

	reset(): void {
		this.regs.reset();
		this.regs.videoMemory64k = this.#memory >> 16;
		this.index = 0;
		this.pitch = 0;
		this.start = 0;
		this.#hooks.access(0, false);
	}

	read(): number {
		const at = this.index * 2;
		if (at >= END) return 0;
		if (this.regs.enable & GET_CAPS) {
			if (at === dispi.xres.at) return MAX_XRES;
			if (at === dispi.yres.at) return MAX_YRES;
			if (at === dispi.bpp.at) return MAX_BPP;
		}
		return this.regs.read(at, 2);
	}

	write(value: number): void {
		const r = this.regs;
		switch (this.index * 2) {
			case dispi.id.at:
				if (value >= 0xb0c0 && value <= 0xb0c5) r.id = value;
				return;
			case dispi.xres.at:
				r.xres = value;
				break;
			case dispi.yres.at:
				r.yres = value;
				break;
			case dispi.bpp.at:
				r.bpp = value;
				break;
			case dispi.virtWidth.at:
				r.virtWidth = value;
				break;
			case dispi.xOffset.at:
				r.xOffset = value;
				break;
			case dispi.yOffset.at:
				r.yOffset = value;
				break;
			case dispi.bank.at:
				r.bank = value & this.#bankMask;
				this.#hooks.access(r.bank << 16, (r.enable & DAC_8BIT) !== 0);
				return;
			case dispi.enable.at:
				this.#enable(value);
				return;
			default:
				return;
		}
		if (this.enabled) this.#correct();
	}

	#enable(value: number): void {
		const r = this.regs;
		const switchesOn = (value & ENABLED) !== 0 && !this.enabled;
		let bank = r.bank << 16;
		if (switchesOn) {
			r.virtWidth = 0;
			r.xOffset = 0;
			r.yOffset = 0;
			r.enable = value;
			this.#correct();
			if (!(value & KEEP_MEMORY)) this.#hooks.clear(r.yres * this.pitch);
		} else {
			bank = 0;
		}
		r.enable = value;
		this.#hooks.access(bank, (value & DAC_8BIT) !== 0);
		this.#hooks.changed();
	}

	/** Brings every register to a value that can be shown from the memory there is. */
	#correct(): void {
		const r = this.regs;
		if (![4, 8, 15, 16, 24, 32].includes(r.bpp)) r.bpp = 8;
		const bits = r.bpp === 15 ? 16 : r.bpp;
		r.xres = Math.min(Math.max(r.xres & ~7, 8), MAX_XRES);
		r.virtWidth = Math.max(Math.min(r.virtWidth & ~7, MAX_XRES), r.xres);
		this.pitch = (r.virtWidth * bits) / 8;
		r.virtHeight = Math.min(Math.floor(this.#memory / this.pitch), 0xffff);
		r.yres = Math.min(Math.max(r.yres, 1), MAX_YRES, r.virtHeight);
		r.xOffset = Math.min(r.xOffset, MAX_XRES);
		r.yOffset = Math.min(r.yOffset, MAX_YRES);
		const fits = () => {
			this.start = Math.floor((r.xOffset * bits) / 8) + r.yOffset * this.pitch;
			return this.start + r.yres * this.pitch <= this.#memory;
		};
		if (!fits()) {
			r.yOffset = 0;
			if (!fits()) {
				r.xOffset = 0;
				this.start = 0;
			}
		}
		this.#hooks.changed();
	}

	save(): { [key: string]: StateValue } {
		return { regs: this.regs.save(), index: this.index };
	}

	restore(state: { readonly [key: string]: StateValue | undefined }): void {
		this.regs.restore((state.regs ?? {}) as { [name: string]: StateValue });
		this.regs.videoMemory64k = this.#memory >> 16;
		this.index = Number(state.index) & 0xffff;
		if (this.enabled) this.#correct();
		this.#hooks.access(this.regs.bank << 16, (this.regs.enable & DAC_8BIT) !== 0);
	}
}
