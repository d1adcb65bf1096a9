/**
 * The QXL paravirtual display with a VGA in it: PCI 1b36:0100, as QEMU's `qxl-vga`.
 * Interface: spice-protocol 0.14.3, spice/qxl_dev.h; behaviour of ports and interrupts as QEMU 7.2 at revision 5.
 * It starts as a VGA. A driver that creates a primary surface puts it in native mode, where the guest draws by commands
 * in rings; only a reset leads back.
 */
import {
	checkVersion,
	type Device,
	type DeviceState,
	type DisplayClientEvents,
	type DisplaySink,
	guestError,
	type Host,
	type Infer,
	type MmioSpace,
	PciFunction,
	type PortSpace,
	type StateValue,
	SurfaceFormat,
	tracePoints,
	type VideoMemory,
} from '../../../src/core/index.ts';
import { Vga } from '../vga/index.ts';
import { Commands, reason } from './commands.ts';
import { GuestBug } from './guest-reader.ts';
import { Heads } from './heads.ts';
import { Interrupt, IO_SIZE, Io, MemSlot, Ram, Rect, SURF_FLAG_KEEP_DATA, SurfaceCreate } from './layout.ts';
import { MEMSLOTS, Memslots } from './memslots.ts';
import { syncOf, VGA_PORTS } from './ports.ts';
import { RamHeader } from './ram-header.ts';
import { type ClientHead, QxlRom, ROM_SIZE, SURFACES } from './rom.ts';

const trace = tracePoints('qxl', {
	io_write: ['mode', 'port', 'value'],
	io_unexpected_vga_mode: ['port', 'value'],
	hard_reset: [],
	set_mode: ['index', 'width', 'height', 'bits'],
	enter_vga_mode: [],
	exit_vga_mode: [],
	memslot_add_guest: ['slot', 'start', 'end'],
	memslot_del_guest: ['slot'],
	create_guest_primary: ['width', 'height', 'stride', 'format', 'flags'],
	destroy_primary: [],
	update_area: ['surface', 'left', 'top', 'right', 'bottom'],
	async_complete: ['port'],
	send_events: ['events'],
	set_guest_bug: ['message'],
	client_capabilities: ['present'],
	client_monitors_config: ['heads', 'taken'],
	monitors_config: ['count'],
	log: ['text'],
});

const MIB = 1 << 20;
const BAR_RAM = 0;
const BAR_VRAM = 1;
const BAR_ROM = 2;
const BAR_IO = 3;
const NO_ASYNC = -1;
/** Bytes copied out of the guest before it gets another turn. */
const TURN_BYTES = 32 * MIB;

/** Lower 32 bits all ones: what old drivers write to int_mask when they mean "whatever". */
const ALL_EVENTS = 0xffffffff;

export interface QxlVgaSizes {
	/** BAR 0 and BAR 1, MiB, powers of two. */
	readonly ramMb: number;
	readonly vramMb: number;
	/** The part of BAR 0 that the VGA and the primary surface share, MiB, a power of two. */
	readonly vgamemMb: number;
	/** PCI revision: 5. */
	readonly revision: number;
}

export interface QxlVgaParts {
	readonly host: Host;
	readonly ports: PortSpace;
	readonly mmio: MmioSpace;
	/** BAR 0, `sizes.ramMb` MiB. */
	readonly ram: VideoMemory;
	/** BAR 1, `sizes.vramMb` MiB. */
	readonly vram: VideoMemory;
	readonly sink: DisplaySink;
	readonly sizes: QxlVgaSizes;
	/** VGA BIOS, for the expansion ROM. */
	readonly vgaBios?: Uint8Array;
}

type Mode = 'vga' | 'native' | 'compat' | 'undefined';

export class QxlVga implements Device, DisplayClientEvents {
	readonly pci: PciFunction;
	readonly vga: Vga;
	readonly rom: QxlRom;
	readonly #parts: QxlVgaParts;
	readonly #header: RamHeader;
	readonly #slots: Memslots;
	readonly #commands: Commands;
	readonly #heads: Heads;
	readonly #vgamem: number;

	#mode: Mode = 'undefined';
	/** The guest broke a rule; nothing but a reset is heard. */
	#guestBug = false;
	/** The port of the asynchronous command under way. */
	#currentAsync: number = NO_ASYNC;
	/** Ring work is deferred already. */
	#kicked = false;
	/** Counts resets, so that work deferred before one does nothing after it. */
	#epoch = 0;

	constructor(parts: QxlVgaParts) {
		const { host, ports, mmio, ram, vram, sink, sizes } = parts;
		this.#parts = parts;
		this.#vgamem = sizes.vgamemMb * MIB;
		this.#header = new RamHeader(ram);
		this.rom = new QxlRom(ram.size, this.#vgamem, () => host.clock.now() / 1e6);
		this.#slots = new Memslots([
			{ base: () => this.pci.barAddress(BAR_RAM), size: ram.size, bytes: () => ram.bytes() },
			{ base: () => this.pci.barAddress(BAR_VRAM), size: vram.size, bytes: () => vram.bytes() },
		]);
		this.#heads = new Heads(sink);
		this.#commands = new Commands({
			header: this.#header,
			slots: this.#slots,
			sink,
			memory: ram.size + vram.size,
			sendEvents: (events) => this.#sendEvents(events),
			setUpdateId: (id) => {
				this.rom.updateId = id;
			},
		});
		this.pci = new PciFunction({
			name: 'qxl-vga',
			vendor: 0x1b36,
			device: 0x0100,
			revision: sizes.revision,
			classCode: 0x030000,
			pin: 1,
			rom: parts.vgaBios,
			bars: {
				[BAR_RAM]: { kind: 'video', size: ram.size, memory: ram },
				[BAR_VRAM]: { kind: 'video', size: vram.size, memory: vram },
				[BAR_ROM]: { kind: 'mmio', size: ROM_SIZE, handler: this.rom.handler },
				[BAR_IO]: {
					kind: 'io',
					size: IO_SIZE,
					handler: {
						write8: (port, value) => this.#ioWrite(port, value),
						// Only bytes are decoded; wider accesses are lost.
						write16: () => {},
						write32: () => {},
					},
				},
			},
		});
		this.vga = new Vga({ host, ports, mmio, memory: ram, size: this.#vgamem, sink });
		this.#hardReset();
	}

	reset(): void {
		this.pci.reset();
		this.vga.reset();
		this.#hardReset();
	}

	/** Which of its two lives the adapter leads; "undefined" is between two primary surfaces. */
	get mode(): Mode {
		return this.#mode;
	}

	// --- what clients ask for -----------------------------------------------------------------------------------

	clientPresent(present: boolean, capabilities: Uint8Array): void {
		trace.client_capabilities(present);
		this.rom.setClient(present, capabilities);
		this.#sendEvents(Interrupt.client);
	}

	/** A driver takes it if it listens to that interrupt; one that unmasks nothing or all is older than this interrupt. */
	clientMonitorsConfig(heads: readonly ClientHead[]): boolean {
		const mask = this.#header.mask;
		const taken = mask !== 0 && mask !== ALL_EVENTS && (mask & Interrupt.clientMonitorsConfig) !== 0;
		trace.client_monitors_config(heads.length, taken);
		if (!taken) return false;
		if (this.rom.setMonitors(heads)) this.#sendEvents(Interrupt.clientMonitorsConfig);
		return true;
	}

	// --- ports --------------------------------------------------------------------------------------------------

	#ioWrite(port: number, value: number): void {
		trace.io_write(this.#mode, port, value);
		if (this.#guestBug && port !== Io.reset) return;
		const sync = syncOf(port);
		if (this.#mode === 'vga' && !VGA_PORTS.has(port)) {
			trace.io_unexpected_vga_mode(port, value);
			// Nice to a driver that waits for an answer.
			if (sync !== undefined) this.#sendEvents(Interrupt.ioCmd);
			return;
		}
		this.#guarded(() => {
			if (sync === undefined) {
				this.#run(port, value);
				return;
			}
			if (this.#currentAsync !== NO_ASYNC)
				throw new GuestBug(`port ${port} is written before port ${this.#currentAsync} has completed`);
			this.#currentAsync = port;
			this.#run(sync, value);
			this.#completeLater(port);
		});
	}

	/** The parameters were taken while the guest waited on the port; only the interrupt comes later. */
	#completeLater(port: number): void {
		const epoch = this.#epoch;
		this.#parts.host.defer(() => {
			if (epoch !== this.#epoch || this.#currentAsync !== port) return;
			this.#currentAsync = NO_ASYNC;
			trace.async_complete(port);
			this.#sendEvents(Interrupt.ioCmd);
		});
	}

	#run(port: number, value: number): void {
		switch (port) {
			case Io.notifyCmd:
			case Io.notifyCursor:
				this.#kick();
				return;
			case Io.updateArea:
				this.#updateArea();
				return;
			case Io.updateIrq:
				this.#updateIrq();
				return;
			case Io.notifyOom:
				if (!this.#commands.release.drained) return;
				this.#drainRings();
				this.#commands.release.flush();
				return;
			case Io.reset:
				this.#hardReset();
				return;
			case Io.setMode:
				this.#setMode(value);
				return;
			case Io.log:
				trace.log(this.#header.log());
				return;
			case Io.memslotAdd:
				this.#memslotAdd(value);
				return;
			case Io.memslotDel:
				if (value >= MEMSLOTS) throw new GuestBug(`memslot ${value} is deleted, there are ${MEMSLOTS}`);
				trace.memslot_del_guest(value);
				this.#slots.delete(value);
				return;
			case Io.createPrimary:
				if (value !== 0) throw new GuestBug(`primary surface ${value} is created`);
				this.#createPrimary();
				return;
			case Io.destroyPrimary:
				if (value !== 0) throw new GuestBug(`primary surface ${value} is destroyed`);
				this.#destroyPrimary();
				return;
			case Io.destroySurfaceWait:
				if (value >= SURFACES) throw new GuestBug(`surface ${value} is destroyed, there are ${SURFACES}`);
				this.#drainRings();
				this.#commands.destroySurface(value);
				return;
			case Io.destroyAllSurfaces:
				this.#drainRings();
				for (const id of this.#commands.surfaces.ids) this.#commands.destroySurface(id);
				this.#mode = 'undefined';
				return;
			case Io.flushSurfacesAsync:
				this.#flushSurfaces();
				return;
			case Io.flushRelease:
				this.#commands.release.flush();
				return;
			case Io.monitorsConfigAsync:
				this.#monitorsConfig();
				return;
			default:
				throw new GuestBug(`port ${port} is written, which does nothing at revision ${this.#parts.sizes.revision}`);
		}
	}

	#memslotAdd(slot: number): void {
		if (slot >= MEMSLOTS) throw new GuestBug(`memslot ${slot} is added, there are ${MEMSLOTS}`);
		if (this.#slots.has(slot)) throw new GuestBug(`memslot ${slot} is added twice`);
		const { memStart, memEnd } = this.#header.read(MemSlot, Ram.memSlot);
		trace.memslot_add_guest(slot, memStart, memEnd);
		if (!this.#slots.add(slot, memStart, memEnd))
			throw new GuestBug(`memslot ${slot} from 0x${memStart.toString(16)} to 0x${memEnd.toString(16)} lies in no BAR`);
	}

	/** A driver of interface version 1 chooses a mode of the ROM's list: one surface, one slot, addresses as the CPU's. */
	#setMode(index: number): void {
		const mode = this.rom.modes[index];
		if (!mode) throw new GuestBug(`mode ${index} is set, there are ${this.rom.modes.length}`);
		trace.set_mode(index, mode.x, mode.y, mode.bits);
		this.#hardReset();
		const base = this.pci.barAddress(BAR_RAM);
		const end = BigInt(base + this.#parts.ram.size);
		if (!this.#slots.add(0, BigInt(base), end, base)) throw new GuestBug('a mode is set while BAR 0 is not mapped');
		this.#beginPrimary({
			width: mode.x,
			height: mode.y,
			stride: -mode.x * 4,
			format: SurfaceFormat.xrgb32,
			flags: 0,
			mem: BigInt(base),
		});
		this.#mode = 'compat';
		this.#commands.compat = { narrow: mode.bits === 16 };
		this.rom.mode = index;
	}

	#createPrimary(): void {
		this.#beginPrimary(this.#header.read(SurfaceCreate, Ram.createSurface));
		this.#commands.compat = undefined;
	}

	#beginPrimary(create: Omit<Infer<typeof SurfaceCreate>, 'position' | 'mouseMode' | 'type'>): void {
		const { width, height, stride, format, flags, mem } = create;
		trace.create_guest_primary(width, height, stride, format, flags);
		if (Math.abs(stride) * height > this.#vgamem)
			throw new GuestBug(`primary surface of ${height} rows of ${stride} bytes is larger than the frame buffer`);
		if (this.#mode === 'native') throw new GuestBug('primary surface is created twice');
		if (stride % 4 !== 0) throw new GuestBug(`primary surface has a stride of ${stride}, no multiple of 4`);
		if (this.#mode === 'vga') {
			trace.exit_vga_mode();
			this.vga.hide();
			this.#parts.sink.reset();
		}
		this.#mode = 'native';
		try {
			this.#commands.surfaces.create(
				0,
				{ width, height, stride, format, data: mem },
				(flags & SURF_FLAG_KEEP_DATA) !== 0,
			);
		} catch (error) {
			throw new GuestBug(`primary surface: ${reason(error)}`);
		}
	}

	#destroyPrimary(): void {
		if (this.#mode !== 'native' && this.#mode !== 'compat') return;
		trace.destroy_primary();
		this.#drainRings();
		this.#commands.destroySurface(0);
		this.#mode = 'undefined';
	}

	#updateArea(): void {
		const id = this.#header.view.getUint32(Ram.updateSurface, true);
		const { left, top, right, bottom } = this.#header.read(Rect, Ram.updateArea);
		trace.update_area(id, left, top, right, bottom);
		if (id >= SURFACES) throw new GuestBug(`update of surface ${id}, there are ${SURFACES}`);
		if (left === right || top === bottom) {
			// Old drivers ask for nothing; QEMU complains and goes on.
			this.#sendEvents(Interrupt.error);
			return;
		}
		if (left < 0 || top < 0 || left > right || top > bottom)
			throw new GuestBug(`update of area ${left},${top}..${right},${bottom}`);
		this.#drainRings();
		this.#commands.attempt('update_area', () => this.#commands.surfaces.writeBack(id, { left, top, right, bottom }));
	}

	/** Every surface's pixels to where the guest keeps them, before it sleeps. */
	#flushSurfaces(): void {
		this.#drainRings();
		for (const id of this.#commands.surfaces.ids) {
			const { width, height } = this.#commands.surfaces.get(id) ?? { width: 0, height: 0 };
			const all = { left: 0, top: 0, right: width, bottom: height };
			this.#commands.attempt('flush of a surface', () => this.#commands.surfaces.writeBack(id, all));
		}
	}

	#monitorsConfig(): void {
		const address = this.#header.view.getBigUint64(Ram.monitorsConfig, true);
		if (address === 0n) return;
		this.#commands.attempt('monitors_config', () => this.#heads.read(this.#commands.reader, address));
		trace.monitors_config(this.#heads.count);
	}

	// --- rings --------------------------------------------------------------------------------------------------

	#kick(): void {
		if (this.#kicked) return;
		this.#kicked = true;
		this.#parts.host.defer(() => {
			this.#kicked = false;
			this.#guarded(() => this.#processRings(TURN_BYTES, false));
		});
	}

	/** Everything in the rings is done before what the guest asks for now. */
	#drainRings(): void {
		this.#processRings(this.#commands.reader.limit, true);
	}

	#processRings(budget: number, final: boolean): void {
		if (this.#mode === 'vga' || this.#guestBug) return;
		if (this.#commands.process(budget, final)) this.#kick();
	}

	// --- interrupts, errors, reset ------------------------------------------------------------------------------

	#sendEvents(events: number): void {
		const pending = this.#header.pending;
		if ((pending & events) === events) return;
		trace.send_events(events);
		this.#header.pending = (pending | events) >>> 0;
		this.#updateIrq();
	}

	#updateIrq(): void {
		this.pci.irq.set((this.#header.pending & this.#header.mask) !== 0);
	}

	/** A guest whose driver is broken is told so, and nothing but RESET is heard from then on. */
	#guarded(work: () => void): void {
		try {
			work();
		} catch (error) {
			if (!(error instanceof GuestBug)) throw error;
			trace.set_guest_bug(error.message);
			guestError('qxl', `${error.message}; the device waits for a reset`);
			this.#sendEvents(Interrupt.error);
			this.#guestBug = true;
		}
	}

	#hardReset(): void {
		trace.hard_reset();
		this.#epoch++;
		this.#guestBug = false;
		this.#currentAsync = NO_ASYNC;
		this.#heads.reset();
		this.#commands.reset();
		this.#slots.clear();
		this.rom.reset();
		this.#header.reset();
		this.#updateIrq();
		this.#enterVga();
	}

	#enterVga(): void {
		if (this.#mode === 'vga') return;
		trace.enter_vga_mode();
		this.#mode = 'vga';
		this.#parts.sink.reset();
		this.vga.show();
	}

	// --- save and restore ---------------------------------------------------------------------------------------

	/** The bytes of the two BARs are the board's to save; pixels that exist only as drawn are in here. */
	save(): DeviceState {
		return {
			version: 1,
			vga: this.vga.save(),
			rom: this.rom.save(),
			mode: this.#mode,
			guestBug: this.#guestBug,
			currentAsync: this.#currentAsync,
			kicked: this.#kicked,
			memslots: this.#slots.save(),
			commands: this.#commands.save(),
			heads: this.#heads.save(),
		};
	}

	restore(state: DeviceState): void {
		checkVersion('qxl-vga', state, 1);
		const part = (name: string) => (state[name] ?? {}) as { [key: string]: StateValue };
		const { sink } = this.#parts;
		this.#epoch++;
		this.rom.restore(state.rom);
		this.#slots.restore(state.memslots);
		this.#guestBug = state.guestBug === true;
		this.#currentAsync = Number(state.currentAsync);
		this.#mode = state.mode as Mode;
		sink.reset();
		this.vga.hide();
		this.vga.restore(state.vga as DeviceState);
		if (this.#mode === 'vga') this.vga.show();
		this.#commands.restore(part('commands'));
		this.#heads.restore(part('heads'));
		if (this.#currentAsync !== NO_ASYNC) this.#completeLater(this.#currentAsync);
		this.#kicked = false;
		if (state.kicked === true) this.#kick();
	}
}
