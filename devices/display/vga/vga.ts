/**
 * A VGA with Bochs VBE extensions: ports 3B4h-3DAh and 1CEh-1D0h, the window at A0000h, and a picture for the host.
 * IBM VGA XGA Technical Reference; answers as QEMU 7.2's stdvga.
 */
import {
	checkVersion,
	type Device,
	type DeviceState,
	type DisplaySink,
	type Host,
	type MmioSpace,
	type PortSpace,
	RegisterFile,
	type StateValue,
	type Timer,
	tracePoints,
	type VideoMemory,
} from '../../../src/core/index.ts';
import { Dac } from './dac.ts';
import { HostFrame } from './frame.ts';
import { PlaneMemory, WINDOW_SIZE } from './memory.ts';
import { VgaPorts } from './ports.ts';
import { attribute, crtc, graphics, sequencer } from './registers.ts';
import { linearRow, RasterRenderer } from './render.ts';
import { currentScreen, type Screen, type VgaRegisters } from './screen.ts';
import { VbeDispi } from './vbe.ts';

const trace = tracePoints('vga', {
	mode: ['kind', 'width', 'height', 'bpp'],
	refresh: ['kind', 'changed'],
});

const MS = 1e6;
/** Least time between two pictures, and the longest between two looks at a quiet linear frame buffer. */
const FRAME = 33 * MS;
const IDLE_POLL = 100 * MS;
/** The cursor shows for 16 of every 32 frames at 70 Hz, blinking characters for 32 of 64. */
const CURSOR_PHASE = (16e9 / 70) | 0;
const TEXT_PHASE = CURSOR_PHASE * 2;
/** Size of the black picture before the guest has chosen one. */
const POWER_ON = { width: 720, height: 400 } as const;

export interface VgaParts {
	readonly host: Host;
	readonly ports: PortSpace;
	readonly mmio: MmioSpace;
	/** Its first `size` bytes are the VGA's memory. */
	readonly memory: VideoMemory;
	/** Bytes, a power of two of at least 256 KiB. */
	readonly size: number;
	readonly sink: DisplaySink;
}

export class Vga implements Device {
	readonly vbe: VbeDispi;
	readonly #regs: VgaRegisters;
	readonly #dac = new Dac();
	readonly #ports: VgaPorts;
	readonly #planes: PlaneMemory;
	readonly #parts: VgaParts;
	readonly #frame: HostFrame;
	readonly #renderer = new RasterRenderer();
	readonly #timer: Timer;
	readonly #guestPages: Uint8Array;
	#line = new Uint32Array(0);

	/** Whether this VGA is what the host shows; QXL's native mode takes the screen away. */
	#shown = false;
	#screen: Screen = { kind: 'blank' };
	/** Registers or colours changed: the whole picture is to be drawn again. */
	#stale = true;
	#lastRefresh = Number.NEGATIVE_INFINITY;
	/** A change has armed the timer already. */
	#scheduled = false;
	#quietPolls = 0;

	constructor(parts: VgaParts) {
		this.#parts = parts;
		this.#regs = {
			sequencer: new RegisterFile(sequencer),
			graphics: new RegisterFile(graphics),
			crtc: new RegisterFile(crtc),
			attribute: new RegisterFile(attribute),
		};
		this.#planes = new PlaneMemory(parts.memory, parts.size, this.#regs.sequencer, this.#regs.graphics, () =>
			this.#schedule(),
		);
		this.#guestPages = new Uint8Array(Math.ceil(parts.size / 4096));
		this.#frame = new HostFrame(parts.sink);
		this.#timer = parts.host.clock.timer(() => this.refresh());
		this.vbe = new VbeDispi(parts.size, parts.memory.size, {
			changed: () => this.#followVbe(),
			clear: (length) => parts.memory.bytes().fill(0, 0, Math.min(length, parts.size)),
			access: (bank, wide) => {
				this.#planes.bank = bank;
				this.#dac.wide = wide;
				this.#dac.invalidate();
				this.#changed();
			},
		});
		this.#ports = new VgaPorts({
			clock: parts.host.clock,
			ports: parts.ports,
			regs: this.#regs,
			dac: this.#dac,
			vbe: this.vbe,
			changed: () => this.#changed(),
		});
		parts.mmio.map(0xa0000, WINDOW_SIZE, this.#planes, 'vga');
		this.reset();
	}

	reset(): void {
		for (const block of Object.values(this.#regs)) block.reset();
		this.#dac.reset();
		this.vbe.reset();
		this.#planes.latch = 0;
		this.#planes.dirty.fill(0);
		this.#ports.reset();
		this.#changed();
	}

	/** The VGA's picture becomes the host's primary surface; the caller has cleared the sink. */
	show(): void {
		this.#shown = true;
		// A restored machine's clock may stand before the last picture.
		this.#lastRefresh = Number.NEGATIVE_INFINITY;
		this.#frame.resize(POWER_ON.width, POWER_ON.height);
		this.#screen = { kind: 'blank' };
		this.#changed();
	}

	/** Something else is on the screen now: no more drawing. */
	hide(): void {
		this.#shown = false;
		this.#frame.forget();
		this.#timer.cancel();
		this.#scheduled = false;
	}

	save(): DeviceState {
		const regs: { [key: string]: StateValue } = {};
		for (const [name, block] of Object.entries(this.#regs)) regs[name] = block.save();
		return {
			version: 1,
			...regs,
			dac: this.#dac.save(),
			vbe: this.vbe.save(),
			latch: this.#planes.latch,
			...this.#ports.save(),
		};
	}

	restore(state: DeviceState): void {
		checkVersion('vga', state, 1);
		const part = (name: string) => (state[name] ?? {}) as { [key: string]: StateValue };
		for (const [name, block] of Object.entries(this.#regs)) block.restore(part(name));
		this.#dac.restore(part('dac'));
		this.vbe.restore(part('vbe'));
		this.#planes.latch = Number(state.latch) >>> 0;
		this.#ports.restore(state);
		this.#changed();
	}

	/** A VBE mode is set through its own registers; the VGA's are brought to match, as every VBE BIOS relies on. */
	#followVbe(): void {
		if (this.vbe.enabled) {
			const { sequencer, graphics, crtc } = this.#regs;
			const { xres, yres, bpp } = this.vbe.regs;
			const end = yres - 1;
			graphics.miscellaneous = (graphics.miscellaneous & ~0x0c) | 0x05;
			crtc.modeControl |= 3;
			crtc.offset = this.vbe.pitch >> 3;
			crtc.horizontalDisplayEnd = (xres >> 3) - 1;
			crtc.verticalDisplayEnd = end;
			crtc.overflow = (crtc.overflow & ~0x42) | ((end >> 7) & 0x02) | ((end >> 3) & 0x40) | 0x10;
			crtc.lineCompare = 0xff;
			crtc.maximumScanLine = (crtc.maximumScanLine & ~0x9f) | 0x40;
			if (bpp === 4) {
				sequencer.clockingMode &= ~8;
				graphics.mode &= ~0x60;
			} else {
				sequencer.memoryMode |= 8;
				sequencer.mapMask = 15;
				graphics.mode = (graphics.mode & ~0x60) | 0x40;
			}
		}
		this.#changed();
	}

	#changed(): void {
		this.#planes.decode();
		this.#stale = true;
		this.#schedule();
	}

	/** A picture soon, but no more than thirty a second. */
	#schedule(): void {
		if (!this.#shown || this.#scheduled) return;
		this.#scheduled = true;
		this.#quietPolls = 0;
		const due = Math.max(this.#lastRefresh + FRAME, this.#parts.host.clock.now());
		if (due < this.#timer.deadline) this.#timer.arm(due);
	}

	/** Draws what changed and tells the host. Runs on a timer; harmless at any other time. */
	refresh(): void {
		if (!this.#shown) return;
		const { host, memory, size } = this.#parts;
		const now = host.clock.now();
		this.#lastRefresh = now;
		this.#scheduled = false;
		const was = this.#screen;
		if (this.#stale) this.#screen = currentScreen(this.#regs, this.vbe, this.#ports.screenOn, size);
		const screen = this.#screen;
		if (this.#stale && screen.kind !== 'blank') this.#resize(screen, was);
		this.#dac.update();
		const bytes = memory.bytes().subarray(0, size);

		let next = Number.POSITIVE_INFINITY;
		if (screen.kind === 'blank') {
			if (this.#stale) this.#blank();
		} else if (screen.kind === 'linear') {
			this.#linear(screen, bytes);
		} else {
			const blink = { cursor: phase(now, CURSOR_PHASE) === 0, text: phase(now, TEXT_PHASE) === 0 };
			this.#renderer.render(screen.kind, screen.raster, this.#regs, this.#dac.colors, bytes, blink, this.#frame);
			if (this.#renderer.cursorShown) next = nextPhase(now, CURSOR_PHASE);
			else if (this.#renderer.textBlinks) next = nextPhase(now, TEXT_PHASE);
		}
		this.#stale = false;
		this.#planes.dirty.fill(0);
		const changed = this.#frame.flush(Math.floor(now / MS) >>> 0);
		trace.refresh(screen.kind, changed);
		if (screen.kind === 'linear') {
			// The guest writes a linear frame buffer unseen, so it is looked at: often while it changes, less when quiet.
			this.#quietPolls = changed ? 0 : this.#quietPolls + 1;
			next = now + Math.min(FRAME + this.#quietPolls * 4 * MS, IDLE_POLL);
		}
		if (next < this.#timer.deadline) this.#timer.arm(next);
	}

	#resize(screen: Exclude<Screen, { kind: 'blank' }>, was: Screen): void {
		const { width, height } = screen.kind === 'linear' ? screen : screen.raster;
		const bpp = screen.kind === 'linear' ? screen.bpp : 0;
		if (was.kind !== screen.kind || width !== this.#frame.width || height !== this.#frame.height)
			trace.mode(screen.kind, width, height, bpp);
		if (width !== this.#frame.width || height !== this.#frame.height) this.#frame.resize(width, height);
	}

	#blank(): void {
		const line = this.#lineOf(this.#frame.width).fill(0);
		for (let y = 0; y < this.#frame.height; y++) this.#frame.row(y, line);
	}

	/** Renders the rows that touch a page written since the last time; all of them when registers changed. */
	#linear(screen: Extract<Screen, { kind: 'linear' }>, bytes: Uint8Array): void {
		const { width, height, bpp, start, pitch } = screen;
		const rowBytes = Math.ceil((width * bpp) / 8);
		const pages = this.#guestPages.subarray(0, Math.ceil((start + (height - 1) * pitch + rowBytes) / 4096));
		this.#parts.memory.takeDirty(0, pages);
		const window = this.#planes.dirty;
		const line = this.#lineOf(width);
		for (let y = 0; y < height; y++) {
			const at = start + y * pitch;
			if (!this.#stale) {
				const last = (at + rowBytes - 1) >> 12;
				let page = at >> 12;
				while (page <= last && !pages[page] && !window[page]) page++;
				if (page > last) continue;
			}
			linearRow(bpp, width, bytes, at, this.#dac.colors, line);
			this.#frame.row(y, line);
		}
	}

	#lineOf(width: number): Uint32Array {
		if (this.#line.length < width) this.#line = new Uint32Array(width);
		return this.#line;
	}
}

/** 0 in the first half of a period of two `half`s, 1 in the second. */
function phase(now: number, half: number): number {
	return Math.floor(now / half) & 1;
}
function nextPhase(now: number, half: number): number {
	return (Math.floor(now / half) + 1) * half;
}
