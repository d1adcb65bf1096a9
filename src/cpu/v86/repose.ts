/**
 * Notices a guest that only keeps its clock. Kernels built with a periodic tick (Debian's 686 one: 250 Hz) wake up for
 * each tick although nothing else happens, and on the host a wake-up costs more than the tick itself. While nothing but
 * ticks has happened for a second, the machine may be late for them by some milliseconds, and by more the longer that
 * lasts; such a kernel counts the ticks it missed by its clock. Whatever comes from outside ends this at once.
 */

/** Instructions a second below which a guest is idle: about twice what a tick of 250 Hz takes. */
const IDLE_RATE = 5_000_000;
/** Instructions without a halt that are work: a blinking text cursor takes 100 000. */
const BURST = 1_000_000;
/** It must have been idle for so long, ns; the lateness grows each time. */
const WINDOW = 1e9;
/** How late a tick may be more for each window, and at the most, ns. A cursor that blinks five times a second still does. */
const STEP = 20e6;
const MOST = 100e6;

export class Repose {
	/** The window began at this machine time, ns, and instruction. */
	#from = 0;
	#first = 0;
	#last = 0;
	#lateness = 0;

	/** How late, ns, the tick may be of a guest that halts `now` (ns) after `instructions`; 0 unless it has been idle. */
	look(now: number, instructions: number): number {
		if (instructions - this.#last > BURST) this.disturb(now, instructions);
		this.#last = instructions;
		if (now - this.#from >= WINDOW) {
			const idle = (instructions - this.#first) * 1e9 < IDLE_RATE * (now - this.#from);
			this.#lateness = idle ? Math.min(this.#lateness + STEP, MOST) : 0;
			this.#from = now;
			this.#first = instructions;
		}
		return this.#lateness;
	}

	/** Something happened that the guest may answer to. */
	disturb(now: number, instructions: number): void {
		this.#lateness = 0;
		this.#from = now;
		this.#first = instructions;
	}
}
