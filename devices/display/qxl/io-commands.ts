/**
 * What QXL's ports do. spice-protocol 0.14.3, spice/qxl_dev.h (QXL_IO_*); behaviour as QEMU 7.2 at revision 5. The
 * asynchronous ports come here as the synchronous ones that they stand for.
 */
import { type Infer, SurfaceFormat, tracePoints } from '../../../src/core/index.ts';
import { type Commands, reason } from './commands.ts';
import { GuestBug } from './guest-reader.ts';
import type { Heads } from './heads.ts';
import { Interrupt, Io, MemSlot, Ram, Rect, SURF_FLAG_KEEP_DATA, SurfaceCreate } from './layout.ts';
import { MEMSLOTS, type Memslots } from './memslots.ts';
import type { RamHeader } from './ram-header.ts';
import { type QxlRom, SURFACES } from './rom.ts';

const trace = tracePoints('qxl', {
	set_mode: ['index', 'width', 'height', 'bits'],
	memslot_add_guest: ['slot', 'start', 'end'],
	memslot_del_guest: ['slot'],
	create_guest_primary: ['width', 'height', 'stride', 'format', 'flags'],
	destroy_primary: [],
	update_area: ['surface', 'left', 'top', 'right', 'bottom'],
	monitors_config: ['count'],
	log: ['text'],
});

/** Which of its lives the adapter leads; "undefined" is between two primary surfaces. */
export type Mode = 'vga' | 'native' | 'compat' | 'undefined';

/** What a port asks of the adapter that it belongs to. */
export interface Adapter {
	mode: Mode;
	/** Where the guest has put BAR 0, or PCI_UNMAPPED. */
	readonly ramBase: number;
	/** Rings are looked at soon. */
	kick(): void;
	sendEvents(events: number): void;
	updateIrq(): void;
	hardReset(): void;
	/** The VGA's picture goes from the screen. */
	leaveVga(): void;
}

export interface IoParts {
	readonly adapter: Adapter;
	readonly header: RamHeader;
	readonly slots: Memslots;
	readonly commands: Commands;
	readonly heads: Heads;
	readonly rom: QxlRom;
	/** BAR 0 and its part for the primary surface, bytes; PCI revision. */
	readonly sizes: { readonly ram: number; readonly vgamem: number; readonly revision: number };
}

export class IoCommands {
	readonly #adapter: Adapter;
	readonly #header: RamHeader;
	readonly #slots: Memslots;
	readonly #commands: Commands;
	readonly #heads: Heads;
	readonly #rom: QxlRom;
	readonly #sizes: IoParts['sizes'];

	constructor({ adapter, header, slots, commands, heads, rom, sizes }: IoParts) {
		this.#adapter = adapter;
		this.#header = header;
		this.#slots = slots;
		this.#commands = commands;
		this.#heads = heads;
		this.#rom = rom;
		this.#sizes = sizes;
	}

	/** All that must be done before has been: see AFTER_RINGS. Throws GuestBug when the guest breaks a rule. */
	run(port: number, value: number): void {
		switch (port) {
			case Io.notifyCmd:
			case Io.notifyCursor:
				this.#adapter.kick();
				return;
			case Io.updateArea:
				this.#updateArea();
				return;
			case Io.updateIrq:
				this.#adapter.updateIrq();
				return;
			case Io.notifyOom:
				if (!this.#commands.release.drained) return;
				this.#commands.release.flush();
				return;
			case Io.reset:
				this.#adapter.hardReset();
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
				this.#commands.destroySurface(value);
				return;
			case Io.destroyAllSurfaces:
				for (const id of this.#commands.surfaces.ids) this.#commands.destroySurface(id);
				this.#adapter.mode = 'undefined';
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
				throw new GuestBug(`port ${port} is written, which does nothing at revision ${this.#sizes.revision}`);
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
		const mode = this.#rom.modes[index];
		if (!mode) throw new GuestBug(`mode ${index} is set, there are ${this.#rom.modes.length}`);
		trace.set_mode(index, mode.x, mode.y, mode.bits);
		this.#adapter.hardReset();
		const base = this.#adapter.ramBase;
		const end = BigInt(base + this.#sizes.ram);
		if (!this.#slots.add(0, BigInt(base), end, base)) throw new GuestBug('a mode is set while BAR 0 is not mapped');
		this.#beginPrimary({
			width: mode.x,
			height: mode.y,
			stride: -mode.x * 4,
			format: SurfaceFormat.xrgb32,
			flags: 0,
			mem: BigInt(base),
		});
		this.#adapter.mode = 'compat';
		this.#commands.compat = { narrow: mode.bits === 16 };
		this.#rom.mode = index;
	}

	#createPrimary(): void {
		this.#beginPrimary(this.#header.read(SurfaceCreate, Ram.createSurface));
		this.#commands.compat = undefined;
	}

	#beginPrimary(create: Omit<Infer<typeof SurfaceCreate>, 'position' | 'mouseMode' | 'type'>): void {
		const { width, height, stride, format, flags, mem } = create;
		trace.create_guest_primary(width, height, stride, format, flags);
		if (Math.abs(stride) * height > this.#sizes.vgamem)
			throw new GuestBug(`primary surface of ${height} rows of ${stride} bytes is larger than the frame buffer`);
		if (this.#adapter.mode === 'native') throw new GuestBug('primary surface is created twice');
		if (stride % 4 !== 0) throw new GuestBug(`primary surface has a stride of ${stride}, no multiple of 4`);
		if (this.#adapter.mode === 'vga') this.#adapter.leaveVga();
		this.#adapter.mode = 'native';
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
		if (this.#adapter.mode !== 'native' && this.#adapter.mode !== 'compat') return;
		trace.destroy_primary();
		this.#commands.destroySurface(0);
		this.#adapter.mode = 'undefined';
	}

	#updateArea(): void {
		const id = this.#header.view.getUint32(Ram.updateSurface, true);
		const { left, top, right, bottom } = this.#header.read(Rect, Ram.updateArea);
		trace.update_area(id, left, top, right, bottom);
		if (id >= SURFACES) throw new GuestBug(`update of surface ${id}, there are ${SURFACES}`);
		if (left === right || top === bottom) {
			// Old drivers ask for nothing; QEMU complains and goes on.
			this.#adapter.sendEvents(Interrupt.error);
			return;
		}
		if (left < 0 || top < 0 || left > right || top > bottom)
			throw new GuestBug(`update of area ${left},${top}..${right},${bottom}`);
		this.#commands.attempt('update_area', () => this.#commands.surfaces.writeBack(id, { left, top, right, bottom }));
	}

	/** Every surface's pixels to where the guest keeps them, before it sleeps. */
	#flushSurfaces(): void {
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
}
