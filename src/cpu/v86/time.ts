/** Machine time: from the host's monotonic clock, or from the number of instructions executed. */
import { TimerQueue } from '../../core/index.ts';

/** Virtual time: one instruction takes this long, ns. About what the core does on a host of its day. */
export const NS_PER_INSTRUCTION = 4;
/**
 * Virtual time: asking for the time takes this long, ns. The core makes time up when two readings are the same
 * (v86 cpu.rs, read_tsc), from state that cannot be saved.
 */
const NS_PER_READING = 2;
/** Virtual time: a byte that a device moves within an access takes this long, ns. */
const NS_PER_BYTE = 1;
/** Calendar time at power-on of a machine in virtual time, ms since the epoch: 2000-01-01 00:00 UTC. */
const VIRTUAL_EPOCH = Date.UTC(2000, 0, 1);

/** What a saved state keeps of time. */
export interface SavedTime {
	/** Machine time, ns. */
	readonly ns: number;
	/** Calendar time, ms since the epoch. */
	readonly wall: number;
	/** The guest has read this very moment already. */
	readonly read: boolean;
}

export interface TimeSource {
	/** Machine time, ns. Never runs backwards. */
	now(): number;
	/** The guest reads the time. */
	read(): number;
	/** Calendar time, ms since the epoch. */
	wall(): number;
	pause(): void;
	resume(): void;
	save(): SavedTime;
	/** Makes the next now() `saved.ns`. */
	set(saved: SavedTime): void;
	/** A device moved so many bytes while the guest waited; real time has passed by itself. */
	spend(bytes: number): void;
	/** The machine does nothing until `ns`: virtual time goes there at once, real time cannot. True if it went. */
	skip(ns: number): boolean;
}

export class RealTime implements TimeSource {
	/** Host time at machine time 0, ms. */
	#zero = performance.now();
	#pausedAt: number | undefined;

	now(): number {
		return ((this.#pausedAt ?? performance.now()) - this.#zero) * 1e6;
	}
	read(): number {
		return this.now();
	}
	wall(): number {
		return Date.now();
	}
	pause(): void {
		this.#pausedAt ??= performance.now();
	}
	resume(): void {
		if (this.#pausedAt === undefined) return;
		this.#zero += performance.now() - this.#pausedAt;
		this.#pausedAt = undefined;
	}
	save(): SavedTime {
		return { ns: this.now(), wall: this.wall(), read: false };
	}
	set(saved: SavedTime): void {
		this.#zero = (this.#pausedAt ?? performance.now()) - saved.ns / 1e6;
	}
	spend(): void {}
	skip(): boolean {
		return false;
	}
}

/** All whole numbers, so that a sum does not depend on the order in which it came about. */
export class VirtualTime implements TimeSource {
	readonly #instructions: () => number;
	/** Machine time that no instruction accounts for, ns. */
	#skipped = 0;
	/** Machine time of the guest's last reading, ns. */
	#lastRead = -1;
	#epoch = VIRTUAL_EPOCH;

	constructor(instructions: () => number) {
		this.#instructions = instructions;
	}
	now(): number {
		return this.#instructions() * NS_PER_INSTRUCTION + this.#skipped;
	}
	read(): number {
		if (this.now() <= this.#lastRead) this.#skipped += NS_PER_READING;
		this.#lastRead = this.now();
		return this.#lastRead;
	}
	wall(): number {
		return this.#epoch + this.now() / 1e6;
	}
	// Without instructions time stands still by itself.
	pause(): void {}
	resume(): void {}
	save(): SavedTime {
		return { ns: this.now(), wall: this.wall(), read: this.now() <= this.#lastRead };
	}
	set(saved: SavedTime): void {
		this.#skipped += saved.ns - this.now();
		this.#lastRead = saved.read ? saved.ns : saved.ns - 1;
		this.#epoch = saved.wall - saved.ns / 1e6;
	}
	spend(bytes: number): void {
		this.#skipped += bytes * NS_PER_BYTE;
	}
	skip(ns: number): boolean {
		const by = Math.ceil(ns) - this.now();
		if (by > 0) this.#skipped += by;
		return true;
	}
}

/** The timers of a machine, telling the backend when one is armed that may cut a sleep short. */
export class MachineTimers extends TimerQueue {
	readonly #armed: (deadline: number) => void;
	constructor(source: TimeSource, armed: (deadline: number) => void) {
		super(
			() => source.now(),
			() => source.wall(),
		);
		this.#armed = armed;
	}
	override changed(timer: Parameters<TimerQueue['changed']>[0]): void {
		super.changed(timer);
		this.#armed(timer.deadline);
	}
}
