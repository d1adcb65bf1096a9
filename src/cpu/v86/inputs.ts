/**
 * The interrupt inputs of the core's controllers, for callers that must not see the core fail. Raising a line delivers
 * the interrupt at once when the guest lets it, and a guest that has no handler for it, nor for the faults that follow,
 * makes the core give up in the middle of that: a triple fault. Neither may the device that raised the line get the
 * exception, nor may it be lost.
 */
import type { InterruptInputs } from './irq.ts';

export class GuardedInputs implements InterruptInputs {
	readonly #inputs: InterruptInputs;
	readonly #failed: (error: unknown) => void;
	/** The core has failed: its inputs lead nowhere. */
	dead = false;

	constructor(inputs: InterruptInputs, failed: (error: unknown) => void) {
		this.#inputs = inputs;
		this.#failed = failed;
	}

	device_raise_irq(line: number): void {
		if (this.dead) return;
		try {
			this.#inputs.device_raise_irq(line);
		} catch (error) {
			this.#failed(error);
		}
	}

	device_lower_irq(line: number): void {
		if (this.dead) return;
		try {
			this.#inputs.device_lower_irq(line);
		} catch (error) {
			this.#failed(error);
		}
	}
}
