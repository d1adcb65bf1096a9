/** Machine time: from the host's monotonic clock, or from the number of instructions executed. */
import { TimerQueue } from '../../core/index.ts';

/** Virtual time: one instruction takes this long, ns. About what the core does on a host of its day. */
export const NS_PER_INSTRUCTION = 4;
/** Calendar time at power-on of a machine in virtual time, ms since the epoch: 2000-01-01 00:00 UTC. */
const VIRTUAL_EPOCH = Date.UTC(2000, 0, 1);

export interface TimeSource {
	/** Machine time, ms with fraction. Never runs backwards. */
	now(): number;
	/** Calendar time, ms since the epoch. */
	wall(): number;
	pause(): void;
	resume(): void;
	/** Makes the next now() `ms`; only for a restored machine. */
	set(ms: number, wall: number): void;
	/** The machine does nothing until `ms`: virtual time goes there at once, real time cannot. True if it went. */
	skip(ms: number): boolean;
}

export class RealTime implements TimeSource {
	/** Host time at machine time 0, ms. */
	#zero = performance.now();
	#pausedAt: number | undefined;

	now(): number {
		return (this.#pausedAt ?? performance.now()) - this.#zero;
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
	set(ms: number): void {
		this.#zero = (this.#pausedAt ?? performance.now()) - ms;
	}
	skip(): boolean {
		return false;
	}
}

export class VirtualTime implements TimeSource {
	readonly #instructions: () => number;
	/** Machine time that no instruction accounts for, ms. */
	#skipped = 0;
	#epoch = VIRTUAL_EPOCH;

	constructor(instructions: () => number) {
		this.#instructions = instructions;
	}
	now(): number {
		return this.#instructions() * (NS_PER_INSTRUCTION / 1e6) + this.#skipped;
	}
	wall(): number {
		return this.#epoch + this.now();
	}
	// Without instructions time stands still by itself.
	pause(): void {}
	resume(): void {}
	set(ms: number, wall: number): void {
		this.#skipped += ms - this.now();
		this.#epoch = wall - ms;
	}
	skip(ms: number): boolean {
		const by = ms - this.now();
		if (by > 0) this.#skipped += by;
		return true;
	}
}

/** The timers of a machine, telling the backend when one is armed that may cut a sleep short. */
export class MachineTimers extends TimerQueue {
	readonly #armed: (deadline: number) => void;
	constructor(source: TimeSource, armed: (deadline: number) => void) {
		super(
			() => source.now() * 1e6,
			() => source.wall(),
		);
		this.#armed = armed;
	}
	override changed(timer: Parameters<TimerQueue['changed']>[0]): void {
		super.changed(timer);
		this.#armed(timer.deadline);
	}
}
