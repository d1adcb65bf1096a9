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
import { attribute, crtc, graphics, sequencer } from './registers.ts';
import { linearRow, RasterRenderer } from './render.ts';
import { currentScreen, type Screen, type VgaRegisters } from './screen.ts';
import { VbeDispi } from './vbe.ts';

const trace = tracePoints('vga', {
	mode: ['kind', 'width', 'height', 'bpp'],
	vbe_write: ['index', 'value'],
	refresh: ['kind', 'changed'],
});

const MS = 1e6;
/** Least time between two pictures, and the longest between two looks at a quiet linear frame buffer. */
const FRAME = 33 * MS;
const IDLE_POLL = 100 * MS;
/** The cursor shows for 16 of every 32 frames at 70 Hz, blinking characters for 32 of 64. */
const CURSOR_PHASE = (16e9 / 70) | 0;
const TEXT_PHASE = CURSOR_PHASE * 2;
/** One frame, for the retrace bits. */
const FIELD = 1e9 / 70;
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
	readonly #planes: PlaneMemory;
	readonly #parts: VgaParts;
	readonly #frame: HostFrame;
	readonly #renderer = new RasterRenderer();
	readonly #timer: Timer;
	readonly #guestPages: Uint8Array;
	#line = new Uint32Array(0);

	#sequencerIndex = 0;
	#graphicsIndex = 0;
	#crtcIndex = 0;
	/** Bit 5: the palette belongs to the display; without it the screen is blank. */
	#attributeIndex = 0;
	/** The next write to 3C0h is data. */
	#attributeData = false;
	#misc = 0;
	#feature = 0;

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
		this.#mapPorts();
		parts.mmio.map(0xa0000, WINDOW_SIZE, this.#planes, 'vga');
		this.reset();
	}

	reset(): void {
		for (const block of Object.values(this.#regs)) block.reset();
		this.#dac.reset();
		this.vbe.reset();
		this.#planes.latch = 0;
		this.#planes.dirty.fill(0);
		this.#sequencerIndex = 0;
		this.#graphicsIndex = 0;
		this.#crtcIndex = 0;
		this.#attributeIndex = 0;
		this.#attributeData = false;
		this.#misc = 0;
		this.#feature = 0;
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
			sequencerIndex: this.#sequencerIndex,
			graphicsIndex: this.#graphicsIndex,
			crtcIndex: this.#crtcIndex,
			attributeIndex: this.#attributeIndex,
			attributeData: this.#attributeData,
			misc: this.#misc,
			feature: this.#feature,
		};
	}

	restore(state: DeviceState): void {
		checkVersion('vga', state, 1);
		const part = (name: string) => (state[name] ?? {}) as { [key: string]: StateValue };
		for (const [name, block] of Object.entries(this.#regs)) block.restore(part(name));
		this.#dac.restore(part('dac'));
		this.vbe.restore(part('vbe'));
		this.#planes.latch = Number(state.latch) >>> 0;
		this.#sequencerIndex = Number(state.sequencerIndex) & 7;
		this.#graphicsIndex = Number(state.graphicsIndex) & 15;
		this.#crtcIndex = Number(state.crtcIndex) & 0xff;
		this.#attributeIndex = Number(state.attributeIndex) & 0x3f;
		this.#attributeData = state.attributeData === true;
		this.#misc = Number(state.misc) & 0xff;
		this.#feature = Number(state.feature) & 0xff;
		this.#changed();
	}

	#mapPorts(): void {
		const { ports } = this.#parts;
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
				read16: (o) => (o === 0 ? this.vbe.index : o <= 2 ? this.vbe.read() : 0xffff),
				write16: (o, value) => {
					if (o === 0) this.vbe.index = value;
					else if (o <= 2) this.#writeVbe(value);
				},
			},
			'vbe',
		);
	}

	#writeVbe(value: number): void {
		trace.vbe_write(this.vbe.index, value);
		this.vbe.write(value);
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
		const at = ((this.#parts.host.clock.now() % FIELD) / FIELD) * total;
		const line = Math.floor(at);
		const columns = crtc.horizontalTotal + 5;
		const displaying = line <= shown && (at - line) * columns <= crtc.horizontalDisplayEnd + 1;
		// Two lines of retrace at least, so that a guest looking once a line cannot miss it.
		const retracing = line >= retrace && line < retrace + Math.max(2, (crtc.verticalRetraceEnd - retrace) & 15);
		return (displaying ? 0 : 1) | (retracing ? 8 : 0);
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
		if (this.#stale) this.#screen = currentScreen(this.#regs, this.vbe, (this.#attributeIndex & 0x20) !== 0, size);
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
