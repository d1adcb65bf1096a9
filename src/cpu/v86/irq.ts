/**
 * The sixteen ISA interrupt lines. A line that changes while the guest is inside an instruction waits for settle():
 * translated code keeps guest registers in wasm locals there, and an interrupt delivered under it would be lost.
 */
import type { Irq } from '../../core/index.ts';

export interface InterruptInputs {
	device_raise_irq(line: number): void;
	device_lower_irq(line: number): void;
}

export class IrqLines {
	readonly lines: readonly Irq[];
	readonly #inputs: InterruptInputs;
	readonly #busy: () => boolean;
	/** A level waits for settle(); called once when the first one does. */
	readonly #waiting: () => void;
	readonly #lowerQuietly: (line: number) => void;
	/** Bit masks over the lines: what devices want, what the controllers have, and lines that went there and back. */
	#wanted = 0;
	#applied = 0;
	#pulsed = 0;

	/** `lowerQuietly` takes a line down where no interrupt may be delivered. */
	constructor(inputs: InterruptInputs, busy: () => boolean, waiting: () => void, lowerQuietly: (line: number) => void) {
		this.#inputs = inputs;
		this.#busy = busy;
		this.#waiting = waiting;
		this.#lowerQuietly = lowerQuietly;
		this.lines = Array.from({ length: 16 }, (_, line) => ({ set: (level: boolean) => this.#set(line, level) }));
	}

	#set(line: number, level: boolean): void {
		const bit = 1 << line;
		if (((this.#wanted & bit) !== 0) === level) return;
		this.#wanted ^= bit;
		if (!this.#busy()) {
			this.#apply(line, level);
			return;
		}
		// A level that a guest has just taken down must not be there when it ends the interrupt: it would come again.
		if (!level && (this.#applied & bit) !== 0) {
			this.#applied &= ~bit;
			this.#lowerQuietly(line);
			return;
		}
		// Edges are latched by the controllers, so a short pulse must not vanish between two settles.
		if (((this.#wanted ^ this.#applied) & bit) === 0) this.#pulsed |= bit;
		this.#waiting();
	}

	/** Brings the controllers up to date. Call only where an interrupt may be delivered. */
	settle(): void {
		const changed = (this.#wanted ^ this.#applied) | this.#pulsed;
		if (changed === 0) return;
		const pulsed = this.#pulsed;
		this.#pulsed = 0;
		for (let line = 0; line < 16; line++) {
			const bit = 1 << line;
			if ((changed & bit) === 0) continue;
			const level = (this.#wanted & bit) !== 0;
			if ((pulsed & bit) !== 0) {
				if (((this.#applied & bit) !== 0) !== level) this.#apply(line, level);
				this.#apply(line, !level);
			}
			this.#apply(line, level);
		}
	}

	#apply(line: number, level: boolean): void {
		if (level) {
			this.#applied |= 1 << line;
			this.#inputs.device_raise_irq(line);
		} else {
			this.#applied &= ~(1 << line);
			this.#inputs.device_lower_irq(line);
		}
	}

	/** Levels as a bit mask, for a saved state. */
	get levels(): number {
		return this.#wanted;
	}

	/** The controllers were reset: all their inputs look low until settle(). */
	forget(): void {
		this.#applied = 0;
		this.#pulsed = 0;
	}

	/** The controllers were put into a state that has these levels on their inputs. */
	adopt(levels: number): void {
		this.#wanted = levels;
		this.#applied = levels;
		this.#pulsed = 0;
	}
}
