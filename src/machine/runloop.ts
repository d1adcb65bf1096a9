/**
 * Turns the CPU's slices into turns of the event loop: slice, sockets and timers, slice; and sleep while it is halted.
 * An idle guest costs one timer per wake-up, a busy one never keeps sockets waiting for more than a slice.
 */
import type { CpuBackend } from '../cpu/backend.ts';

export class RunLoop {
	readonly #cpu: CpuBackend;
	#running = false;
	#inSlice = false;
	#immediate: NodeJS.Immediate | undefined;
	#timeout: NodeJS.Timeout | undefined;
	readonly #turn = () => this.#run();

	constructor(cpu: CpuBackend) {
		this.#cpu = cpu;
		cpu.onWake = () => this.#wake();
	}

	start(): void {
		if (this.#running) return;
		this.#running = true;
		this.#cpu.resume();
		this.#schedule(0);
	}

	/** No slice begins after this returns, and machine time stands still, once the slice that asks for it is over. */
	stop(): void {
		if (!this.#running) return;
		this.#running = false;
		this.#unschedule();
		// A slice ends by the clock: one in which time stands still would never end.
		if (!this.#inSlice) this.#cpu.pause();
	}

	#run(): void {
		this.#immediate = undefined;
		this.#timeout = undefined;
		if (!this.#running) return;
		this.#inSlice = true;
		const sleep = this.#cpu.runSlice();
		this.#inSlice = false;
		// A device may have stopped the machine, or an interrupt woken it, during the slice.
		if (!this.#running) this.#cpu.pause();
		else if (this.#immediate === undefined && this.#timeout === undefined) this.#schedule(sleep);
	}

	#wake(): void {
		if (!this.#running || this.#timeout === undefined) return;
		this.#unschedule();
		this.#schedule(0);
	}

	#schedule(ms: number): void {
		if (ms <= 0) this.#immediate = setImmediate(this.#turn);
		else this.#timeout = setTimeout(this.#turn, ms);
	}

	#unschedule(): void {
		if (this.#immediate !== undefined) clearImmediate(this.#immediate);
		if (this.#timeout !== undefined) clearTimeout(this.#timeout);
		this.#immediate = undefined;
		this.#timeout = undefined;
	}
}
