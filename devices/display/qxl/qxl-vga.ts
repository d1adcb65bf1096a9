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
	type MmioSpace,
	PciFunction,
	type PortSpace,
	type StateValue,
	tracePoints,
	type VideoMemory,
} from '../../../src/core/index.ts';
import { Vga } from '../vga/index.ts';
import { Commands } from './commands.ts';
import { GuestBug } from './guest-reader.ts';
import { Heads, MAX_HEADS } from './heads.ts';
import { type Adapter, IoCommands, type Mode } from './io-commands.ts';
import { COMMAND_RING_SIZE, Interrupt, IO_SIZE, Io } from './layout.ts';
import { Memslots } from './memslots.ts';
import { AFTER_RINGS, syncOf, VGA_PORTS } from './ports.ts';
import { RamHeader } from './ram-header.ts';
import { type ClientHead, QxlRom, ROM_SIZE } from './rom.ts';

const trace = tracePoints('qxl', {
	io_write: ['mode', 'port', 'value'],
	io_unexpected_vga_mode: ['port', 'value'],
	hard_reset: [],
	enter_vga_mode: [],
	exit_vga_mode: [],
	async_complete: ['port'],
	send_events: ['events'],
	set_guest_bug: ['message'],
	client_capabilities: ['present'],
	client_monitors_config: ['heads', 'taken'],
});

const MIB = 1 << 20;
const BAR_RAM = 0;
const BAR_VRAM = 1;
const BAR_ROM = 2;
const BAR_IO = 3;
const NO_ASYNC = -1;
/** Bytes copied out of the guest and drawn before it gets another turn. */
const TURN_BYTES = 16 * MIB;
/** Commands that a guest waits for at most: two full rings. */
const MOST_WAITED_FOR = 2 * COMMAND_RING_SIZE;

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
	/** Heads at most, as QEMU's `max_outputs`; 0: as many as the ROM has room for. */
	readonly maxOutputs?: number;
	/** VGA BIOS, for the expansion ROM. */
	readonly vgaBios?: Uint8Array;
}

export class QxlVga implements Device, DisplayClientEvents {
	readonly pci: PciFunction;
	readonly vga: Vga;
	readonly rom: QxlRom;
	readonly #parts: QxlVgaParts;
	readonly #header: RamHeader;
	readonly #slots: Memslots;
	readonly #commands: Commands;
	readonly #heads: Heads;
	readonly #io: IoCommands;

	#mode: Mode = 'undefined';
	/** The guest broke a rule; nothing but a reset is heard. */
	#guestBug = false;
	/** The port of the asynchronous command under way. */
	#currentAsync: number = NO_ASYNC;
	/** Ring work is deferred already. */
	#kicked = false;
	/** Commands taken when the guest first made the write that it repeats now; -1 while it repeats none. */
	#waitsSince = -1;
	/** Counts resets, so that work deferred before one does nothing after it. */
	#epoch = 0;

	constructor(parts: QxlVgaParts) {
		const { host, ports, mmio, ram, vram, sink, sizes } = parts;
		this.#parts = parts;
		const vgamem = sizes.vgamemMb * MIB;
		const maxHeads = Math.min(parts.maxOutputs || MAX_HEADS, MAX_HEADS);
		this.#header = new RamHeader(ram);
		this.rom = new QxlRom(ram.size, vgamem, maxHeads, () => host.clock.now() / 1e6);
		this.#slots = new Memslots([
			{ base: () => this.pci.barAddress(BAR_RAM), size: ram.size, bytes: () => ram.bytes() },
			{ base: () => this.pci.barAddress(BAR_VRAM), size: vram.size, bytes: () => vram.bytes() },
		]);
		this.#heads = new Heads(sink, maxHeads);
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
		this.#io = new IoCommands({
			adapter: this.#adapter(),
			header: this.#header,
			slots: this.#slots,
			commands: this.#commands,
			heads: this.#heads,
			rom: this.rom,
			sizes: { ram: ram.size, vgamem, revision: sizes.revision },
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
		this.vga = new Vga({ host, ports, mmio, memory: ram, size: vgamem, sink });
		this.#hardReset();
	}

	reset(): void {
		this.pci.reset();
		this.vga.reset();
		this.#hardReset();
	}

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
		this.#commands.takeDone();
		this.#guarded(() => {
			if (AFTER_RINGS.has(port) && this.#waitsForRings()) return;
			if (sync === undefined) {
				this.#io.run(port, value);
				return;
			}
			if (this.#currentAsync !== NO_ASYNC)
				throw new GuestBug(`port ${port} is written before port ${this.#currentAsync} has completed`);
			this.#currentAsync = port;
			this.#io.run(sync, value);
			this.#completeLater(port);
		});
		this.#parts.host.spent(this.#commands.takeDone());
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

	/** This adapter as its ports' commands see it. */
	#adapter(): Adapter {
		const qxl = this;
		return {
			get mode() {
				return qxl.#mode;
			},
			set mode(mode) {
				qxl.#mode = mode;
			},
			get ramBase() {
				return qxl.pci.barAddress(BAR_RAM);
			},
			kick: () => this.#kick(),
			sendEvents: (events) => this.#sendEvents(events),
			updateIrq: () => this.#updateIrq(),
			hardReset: () => this.#hardReset(),
			leaveVga: () => {
				trace.exit_vga_mode();
				this.vga.hide();
				this.#parts.sink.reset();
			},
		};
	}

	// --- rings --------------------------------------------------------------------------------------------------

	#kick(): void {
		if (this.#kicked) return;
		this.#kicked = true;
		this.#parts.host.defer(() => {
			this.#kicked = false;
			this.#guarded(() => this.#processRings());
		});
	}

	/**
	 * A turn of the rings, before something that the guest wants done after all that is in them. True: there is more, and
	 * the guest makes its write again. It is let go on after two full rings, for commands can make the device itself write
	 * on them.
	 */
	#waitsForRings(): boolean {
		if (this.#waitsSince < 0) this.#waitsSince = this.#commands.taken;
		if (this.#processRings() && this.#commands.taken - this.#waitsSince <= MOST_WAITED_FOR) {
			this.#parts.host.again();
			return true;
		}
		this.#waitsSince = -1;
		return false;
	}

	/** A turn of both rings; tells whether more is left. */
	#processRings(): boolean {
		if (this.#mode === 'vga' || this.#guestBug) return false;
		// A command that fails by the host's fault is gone; those behind it still have their turn.
		let more = true;
		try {
			more = this.#commands.process(TURN_BYTES);
		} finally {
			if (more) this.#kick();
		}
		return more;
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
		this.#waitsSince = -1;
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
