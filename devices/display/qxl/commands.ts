/** The guest's commands: both rings, what each command does, and its way back to the guest. qxl_dev.h, QXLCommand and on. */
import {
	type DisplaySink,
	type Drawable,
	GuestFault,
	guestError,
	type StateValue,
	tracePoints,
	WireError,
} from '../../../src/core/index.ts';
import { CLIP_RECT, costOf, readsItself } from './cost.ts';
import { type CursorState, runCursorCommand } from './cursor.ts';
import { type Compat, readDrawable, rect } from './drawable.ts';
import { CommandError, GuestBug, GuestReader } from './guest-reader.ts';
import {
	Cmd,
	COMMAND_RING_SIZE,
	CompatUpdateCmd,
	Interrupt,
	Ram,
	SURF_FLAG_KEEP_DATA,
	Surface,
	SurfaceCmd,
	SurfaceCmdType,
	UpdateCmd,
} from './layout.ts';
import type { Memslots } from './memslots.ts';
import { CommandRing, type RamHeader, ReleaseRing } from './ram-header.ts';
import { ReleaseQueue } from './release.ts';
import { SURFACES } from './rom.ts';
import { SurfaceTable } from './surfaces.ts';

const trace = tracePoints('qxl', {
	ring_command: ['type', 'data'],
	ring_cursor: ['data'],
	draw: ['op', 'surface', 'left', 'top', 'right', 'bottom'],
	draw_skipped: ['why', 'type', 'count'],
	surface_cmd: ['type', 'surface'],
});

/** Commands of one ring in one go: two rings full. */
const MAX_TURNS = 64;
/** What is drawn in one go, bytes as costOf counts them: a drawing that costs more comes in bands. */
const BAND_BYTES = 16 << 20;
/** Dropped commands that are logged one by one; after them only every thousandth. */
const LOGGED_DROPS = 10;

export interface CommandHost {
	readonly header: RamHeader;
	readonly slots: Memslots;
	readonly sink: DisplaySink;
	/** Bytes of both video memories together. */
	readonly memory: number;
	readonly sendEvents: (events: number) => void;
	/** QXLRom.update_id, for QXL_CMD_UPDATE. */
	readonly setUpdateId: (id: number) => void;
}

interface Rest {
	readonly drawable: Drawable;
	readonly address: bigint;
	top: number;
}

export class Commands {
	/** Commands taken off the rings since power-on. */
	taken = 0;
	readonly reader: GuestReader;
	readonly surfaces: SurfaceTable;
	readonly release: ReleaseQueue;
	/** Set while the guest draws as interface version 1 did. */
	compat: Compat | undefined;
	readonly #host: CommandHost;
	/** Each with the interrupt of a guest that waits for room. */
	readonly #rings: readonly (readonly [CommandRing, number])[];
	#cursor: CursorState = noCursor();
	/**
	 * The command that created each off-screen surface. It belongs to the device as long as the surface lives: Linux puts
	 * the command that destroys the surface into the same memory.
	 */
	readonly #creates = new Map<number, bigint>();
	/** Pixels drawn since process() began, counted in bytes. */
	#drawn = 0;
	/** A drawing too large for one go, where the command lies, and the row that is drawn next. */
	#rest: Rest | undefined;
	/** The command under way is not given back when it is done. */
	#kept = false;
	#dropped = 0;
	#skipped = 0;

	constructor(host: CommandHost) {
		const { header, slots, sink, memory } = host;
		this.#host = host;
		this.reader = new GuestReader(slots, memory);
		this.surfaces = new SurfaceTable(this.reader, sink, memory);
		this.release = new ReleaseQueue(new ReleaseRing(header), slots, () => host.sendEvents(Interrupt.display));
		this.#rings = [
			[new CommandRing(header, Ram.cursorRing), Interrupt.cursor],
			[new CommandRing(header, Ram.cmdRing), Interrupt.display],
		];
	}

	/** The host has cleared its surfaces and its cursor. */
	reset(): void {
		this.compat = undefined;
		this.surfaces.clear();
		this.#creates.clear();
		this.#rest = undefined;
		this.release.reset();
		this.#cursor = noCursor();
	}

	/**
	 * Both rings until they are empty, or until `budget` bytes have been copied and drawn. True: there is more to do after
	 * the guest's next turn. Throws GuestBug.
	 */
	process(budget: number): boolean {
		this.takeDone();
		let more = false;
		for (const [ring, event] of this.#rings) {
			// What commands make the device write may lie on the ring itself, so even the ring's own size needs a bound.
			let turns = MAX_TURNS;
			do {
				for (; ring.count > 0 && turns > 0; turns--) {
					if (ring.count > COMMAND_RING_SIZE) throw new GuestBug(`ring holds ${ring.count} commands`);
					while (this.#rest && this.#done <= budget) this.#drawRest(this.#rest);
					if (this.#done > budget) break;
					const { data, type } = ring.peek();
					const notify = ring.pop();
					this.taken++;
					this.#command(type, data);
					if (notify) this.#host.sendEvents(event);
				}
				if (ring.count > 0) {
					more = true;
					break;
				}
			} while (!ring.wait());
		}
		while (this.#rest && this.#done <= budget) this.#drawRest(this.#rest);
		return more || this.#rest !== undefined;
	}

	/** Bytes copied and drawn since it was last asked, or since the rings were last looked at. */
	takeDone(): number {
		const done = this.#done;
		this.reader.copied = 0;
		this.#drawn = 0;
		return done;
	}

	get #done(): number {
		return this.reader.copied + this.#drawn;
	}

	/** Does what the guest asks; what cannot be done is dropped with a word in the log. */
	attempt(what: string, work: () => void): void {
		try {
			work();
		} catch (error) {
			this.#drop(`${what}: ${reason(error)}`);
		}
	}

	#command(type: number, data: bigint): void {
		if (type === Cmd.nop) return;
		this.#kept = false;
		try {
			this.attempt(COMMAND_NAMES[type] ?? `command of type ${type}`, () => this.#execute(type, data));
		} finally {
			// Pixels were copied out, so the guest gets everything back at once, whatever became of the command.
			if (!this.#kept) this.#giveBack(data);
		}
	}

	#giveBack(address: bigint): void {
		this.attempt('release', () => this.release.release(address));
	}

	/** Ends a surface; what was kept for it goes back to the guest. */
	destroySurface(id: number): void {
		this.surfaces.destroy(id);
		const create = this.#creates.get(id);
		if (create === undefined) return;
		this.#creates.delete(id);
		this.#giveBack(create);
	}

	#execute(type: number, data: bigint): void {
		if (type === Cmd.cursor) trace.ring_cursor(data);
		else trace.ring_command(type, data);
		switch (type) {
			case Cmd.draw:
				this.#draw(data);
				return;
			case Cmd.update: {
				const { area, updateId, surfaceId } = this.compat
					? { ...this.reader.read(CompatUpdateCmd, data), surfaceId: 0 }
					: this.reader.read(UpdateCmd, data);
				this.surfaces.writeBack(surfaceId, rect(area));
				this.#host.setUpdateId(updateId);
				return;
			}
			case Cmd.cursor:
				runCursorCommand(this.reader, this.#host.sink, data, this.#cursor);
				return;
			case Cmd.message:
				return;
			case Cmd.surface:
				this.#surface(data);
				return;
			default:
				throw new CommandError('no such command');
		}
	}

	#draw(address: bigint): void {
		const drawable = readDrawable(this.reader, this.surfaces, address, this.compat);
		if ('skipped' in drawable) {
			this.#skipped++;
			trace.draw_skipped(drawable.skipped, drawable.type, this.#skipped);
			return;
		}
		const { left, top, right, bottom } = drawable.box;
		trace.draw(drawable.op, drawable.surfaceId, left, top, right, bottom);
		const cost = costOf(drawable, this.surfaces.get(drawable.surfaceId));
		if (cost > BAND_BYTES && !readsItself(drawable)) {
			this.#rest = { drawable, address, top };
			this.#kept = true;
			this.#drawRest(this.#rest);
		} else {
			this.#drawn += cost;
			this.#host.sink.draw(drawable);
		}
	}

	/** Draws as many rows as one go may cost; the command is given back with the last of them. */
	#drawRest(rest: Rest): void {
		const { drawable, address, top } = rest;
		const { box, clip, surfaceId } = drawable;
		const rows = box.bottom - box.top;
		const row = costOf({ ...drawable, clip: undefined }, this.surfaces.get(surfaceId)) / rows;
		rest.top = Math.min(box.bottom, top + Math.max(1, Math.floor(BAND_BYTES / row)));
		const band = (clip ?? [box]).flatMap((r) => {
			const [from, to] = [Math.max(r.top, top), Math.min(r.bottom, rest.top)];
			return from < to ? [{ left: r.left, top: from, right: r.right, bottom: to }] : [];
		});
		this.#drawn += row * (rest.top - top) + (clip?.length ?? 0) * CLIP_RECT;
		const last = rest.top === box.bottom;
		if (last) this.#rest = undefined;
		try {
			if (band.length > 0) this.#host.sink.draw({ ...drawable, clip: band });
		} catch (error) {
			this.#rest = undefined;
			this.#giveBack(address);
			throw error;
		}
		if (last) this.#giveBack(address);
	}

	#surface(address: bigint): void {
		const { surfaceId, type, flags } = this.reader.read(SurfaceCmd, address);
		trace.surface_cmd(type, surfaceId);
		if (surfaceId === 0 || surfaceId >= SURFACES) throw new CommandError(`surface ${surfaceId}`);
		if (type === SurfaceCmdType.create) {
			if (this.surfaces.get(surfaceId)) throw new CommandError(`surface ${surfaceId} exists`);
			const shape = this.reader.read(Surface, address, SurfaceCmd.min);
			this.surfaces.create(surfaceId, shape, (flags & SURF_FLAG_KEEP_DATA) !== 0);
			this.#creates.set(surfaceId, address);
			this.#kept = true;
		} else if (type === SurfaceCmdType.destroy) {
			if (!this.surfaces.get(surfaceId)) throw new CommandError(`surface ${surfaceId} does not exist`);
			this.destroySurface(surfaceId);
		} else {
			throw new CommandError(`surface command of type ${type}`);
		}
	}

	#drop(message: string): void {
		this.#dropped++;
		if (this.#dropped <= LOGGED_DROPS || this.#dropped % 1000 === 0)
			guestError('qxl', `${message} (dropped, ${this.#dropped} so far)`);
	}

	save(): { [key: string]: StateValue } {
		while (this.#rest) this.#drawRest(this.#rest);
		const { shape, x, y, visible } = this.#cursor;
		return {
			surfaces: this.surfaces.save(),
			compat: this.compat ? { ...this.compat } : null,
			creates: [...this.#creates].map(([id, address]) => ({ id, address })),
			release: this.release.save(),
			cursor: { shape: shape ? { ...shape } : null, x, y, visible },
		};
	}

	/** The sink has been reset; it is told of everything anew. */
	restore(state: { readonly [key: string]: StateValue | undefined }): void {
		const part = (name: string) => (state[name] ?? {}) as { [key: string]: StateValue };
		this.surfaces.restore(state.surfaces);
		this.release.restore(part('release'));
		this.compat = state.compat ? { narrow: part('compat').narrow === true } : undefined;
		this.#creates.clear();
		this.#rest = undefined;
		for (const { id, address } of (state.creates ?? []) as { id: number; address: bigint }[])
			this.#creates.set(id, address);
		const cursor = part('cursor');
		const shape = (cursor.shape ?? undefined) as unknown as CursorState['shape'];
		this.#cursor = { shape, x: Number(cursor.x), y: Number(cursor.y), visible: cursor.visible === true };
		if (shape) this.#host.sink.cursorSet(shape, this.#cursor.x, this.#cursor.y, this.#cursor.visible);
	}
}

function noCursor(): CursorState {
	return { shape: undefined, x: 0, y: 0, visible: false };
}

const COMMAND_NAMES: { readonly [type: number]: string | undefined } = {
	[Cmd.draw]: 'draw',
	[Cmd.update]: 'update',
	[Cmd.cursor]: 'cursor command',
	[Cmd.message]: 'message',
	[Cmd.surface]: 'surface command',
};

/** What is wrong with what the guest asked; an error that is not the guest's goes on up. */
export function reason(error: unknown): string {
	if (error instanceof CommandError || error instanceof GuestFault || error instanceof WireError) return error.message;
	throw error;
}
