/** Keys and pointer events from the monitors, on their way to the machine's input devices. */
import { type InputEvents, MouseButton } from '../core/index.ts';

/** QEMU's default for send-key, ms. */
export const DEFAULT_HOLD_MS = 100;
/** Keys that may wait for their turn; further ones are dropped, as QEMU drops them. */
const MAX_WAITING = 1024;
const MAX_HOLD_MS = 60_000;

/** qapi/ui.json, enum InputButton, as far as mice here have them. */
export const BUTTONS: Readonly<Record<string, number>> = MouseButton;

/** A key's bytes for going down and up. */
export interface KeyPress {
	readonly make: readonly number[];
	readonly release: readonly number[];
}

/** One for a machine: key combinations are pressed one after another, and buttons stay pressed between commands. */
export class InputQueue {
	readonly #inputs: InputEvents;
	readonly #timers = new Set<NodeJS.Timeout>();
	#turn: Promise<void> = Promise.resolve();
	#waiting = 0;
	#buttons = 0;
	#at = { x: 0, y: 0 };
	#closed = false;

	constructor(inputs: InputEvents) {
		this.#inputs = inputs;
	}

	/** Presses the keys together, holds them, lets go in reverse order. Returns at once. */
	press(keys: readonly KeyPress[], holdMs = DEFAULT_HOLD_MS): void {
		if (this.#waiting >= MAX_WAITING) return;
		this.#waiting++;
		const hold = Math.min(Math.max(holdMs, 0), MAX_HOLD_MS);
		this.#turn = this.#turn.then(async () => {
			for (const key of keys) this.scancodes(key.make);
			await this.#sleep(hold);
			for (const key of [...keys].reverse()) this.scancodes(key.release);
			// A guest that polls its keyboard must see the key go up before the next one comes.
			await this.#sleep(hold > 0 ? 1 : 0);
			this.#waiting--;
		});
	}

	scancodes(bytes: readonly number[]): void {
		if (!this.#closed && bytes.length > 0) this.#inputs.scancodes(Uint8Array.from(bytes));
	}

	get buttons(): number {
		return this.#buttons;
	}

	motion(dx: number, dy: number, wheel: number, buttons: number): void {
		this.#buttons = buttons;
		if (!this.#closed) this.#inputs.motion(dx, dy, wheel, buttons);
	}

	/** An axis that is left out stays where the pointer was. Positions are 0..`size` - 1. */
	position(to: { readonly x?: number; readonly y?: number }, size: number, wheel: number, buttons: number): void {
		this.#buttons = buttons;
		this.#at = { ...this.#at, ...to };
		if (!this.#closed) this.#inputs.position(this.#at.x, this.#at.y, size, size, wheel, buttons);
	}

	get absolute(): boolean {
		return this.#inputs.absolute;
	}

	/** Nothing reaches the devices any more, and nothing waits. */
	close(): void {
		this.#closed = true;
		for (const timer of this.#timers) clearTimeout(timer);
		this.#timers.clear();
	}

	#sleep(ms: number): Promise<void> {
		if (ms === 0 || this.#closed) return Promise.resolve();
		return new Promise((resolve) => {
			const timer = setTimeout(() => {
				this.#timers.delete(timer);
				resolve();
			}, ms);
			this.#timers.add(timer);
		});
	}
}
