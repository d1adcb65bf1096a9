/**
 * Where input from clients, from QMP and from tests meets the devices that the guest reads it from. One relative mouse,
 * any number of keyboards and absolute pointers; the first one of each that the guest uses takes what is typed and pointed.
 */
import type { InputEvents } from '../core/index.ts';

export interface KeyboardInput {
	scancodes(codes: Uint8Array): void;
	/** 1 scroll lock, 2 num lock, 4 caps lock. */
	readonly leds: number;
	onLeds: ((leds: number) => void) | undefined;
}
/** A keyboard that a guest may leave alone, for another one. */
export interface FurtherKeyboard extends KeyboardInput {
	/** The guest reads it. */
	readonly active: boolean;
	onActive: ((active: boolean) => void) | undefined;
}
export interface MouseInput {
	motion(dx: number, dy: number, wheel: number, buttons: number): void;
}
export interface AbsolutePointer {
	/** `x` in 0..width-1, `y` in 0..height-1. */
	position(x: number, y: number, width: number, height: number, wheel: number, buttons: number): void;
	/** Relative motion, if the guest then takes it from this device instead of the mouse. */
	motion?(dx: number, dy: number, wheel: number, buttons: number): void;
	/** The guest has switched the device on and reads it. */
	readonly active: boolean;
	onActive: ((active: boolean) => void) | undefined;
}

export class Inputs implements InputEvents {
	#keyboard: KeyboardInput | undefined;
	readonly #furtherKeyboards: FurtherKeyboard[] = [];
	#mouse: MouseInput | undefined;
	readonly #pointers: AbsolutePointer[] = [];
	readonly #listeners = new Set<() => void>();

	setKeyboard(keyboard: KeyboardInput): void {
		this.#keyboard = keyboard;
		keyboard.onLeds = () => this.#changed();
	}

	/** Adds one that takes the keys while the guest uses it. */
	addKeyboard(keyboard: FurtherKeyboard): void {
		this.#furtherKeyboards.push(keyboard);
		keyboard.onLeds = () => this.#changed();
		keyboard.onActive = () => this.#changed();
	}

	setMouse(mouse: MouseInput): void {
		this.#mouse = mouse;
	}

	addPointer(pointer: AbsolutePointer): void {
		this.#pointers.push(pointer);
		pointer.onActive = () => this.#changed();
		if (pointer.active) this.#changed();
	}

	get absolute(): boolean {
		return this.#active() !== undefined;
	}

	get leds(): number {
		return this.#typing()?.leds ?? 0;
	}

	scancodes(codes: Uint8Array): void {
		this.#typing()?.scancodes(codes);
	}

	motion(dx: number, dy: number, wheel: number, buttons: number): void {
		const pointer = this.#active();
		if (pointer?.motion) pointer.motion(dx, dy, wheel, buttons);
		else this.#mouse?.motion(dx, dy, wheel, buttons);
	}

	position(x: number, y: number, width: number, height: number, wheel: number, buttons: number): void {
		const pointer = this.#active();
		if (!pointer) {
			// A position means nothing to a mouse, but a click or the wheel does.
			this.#mouse?.motion(0, 0, wheel, buttons);
			return;
		}
		if (!(width > 0 && height > 0)) return;
		pointer.position(clamp(x, width), clamp(y, height), width, height, wheel, buttons);
	}

	onChange(listener: () => void): () => void {
		this.#listeners.add(listener);
		return () => this.#listeners.delete(listener);
	}

	#typing(): KeyboardInput | undefined {
		return this.#furtherKeyboards.find((keyboard) => keyboard.active) ?? this.#keyboard;
	}

	#active(): AbsolutePointer | undefined {
		return this.#pointers.find((p) => p.active);
	}

	#changed(): void {
		for (const listener of this.#listeners) listener();
	}
}

function clamp(value: number, size: number): number {
	return Math.max(0, Math.min(size - 1, Math.trunc(value)));
}
