/** A pointer that says where it is, as `virtio-tablet-pci`. */
import { MouseButton } from '../../src/core/index.ts';
import { Ev, type InputEvent, VirtioInput } from './input.ts';

/** linux/input-event-codes.h */
const BTN_LEFT = 0x110;
const BTN_RIGHT = 0x111;
const BTN_MIDDLE = 0x112;
const BTN_SIDE = 0x113;
const BTN_EXTRA = 0x114;
const BTN_GEAR_DOWN = 0x150;
const BTN_GEAR_UP = 0x151;
const REL_WHEEL = 8;
const ABS_X = 0;
const ABS_Y = 1;
const RANGE = 0x8000;

const BUTTONS: readonly (readonly [mask: number, code: number])[] = [
	[MouseButton.left, BTN_LEFT],
	[MouseButton.middle, BTN_MIDDLE],
	[MouseButton.right, BTN_RIGHT],
	[MouseButton.side, BTN_SIDE],
	[MouseButton.extra, BTN_EXTRA],
];

export class VirtioTablet extends VirtioInput {
	#x = -1;
	#y = -1;
	#buttons = 0;

	constructor() {
		super({
			name: 'virtio-tablet',
			classCode: 0x098000,
			title: 'QEMU Virtio Tablet',
			product: 3,
			version: 2,
			codes: new Map([
				[Ev.key, [BTN_LEFT, BTN_RIGHT, BTN_MIDDLE, BTN_SIDE, BTN_EXTRA, BTN_GEAR_DOWN, BTN_GEAR_UP]],
				[Ev.rel, [REL_WHEEL]],
				[Ev.abs, [ABS_X, ABS_Y]],
			]),
			axes: new Map([
				[ABS_X, { min: 0, max: RANGE - 1 }],
				[ABS_Y, { min: 0, max: RANGE - 1 }],
			]),
		});
	}

	/** `x` in 0..width-1, `y` in 0..height-1; `wheel` in clicks, down positive; `buttons` a MouseButton mask. */
	position(x: number, y: number, width: number, height: number, wheel: number, buttons: number): void {
		// The middle of the pixel, so that rounding on the guest's side finds the same one.
		const wide = Math.floor(((x + 0.5) * RANGE) / width);
		const high = Math.floor(((y + 0.5) * RANGE) / height);
		const events: InputEvent[] = [];
		if (wide !== this.#x) events.push({ type: Ev.abs, code: ABS_X, value: wide });
		if (high !== this.#y) events.push({ type: Ev.abs, code: ABS_Y, value: high });
		for (const [mask, code] of BUTTONS)
			if ((buttons ^ this.#buttons) & mask) events.push({ type: Ev.key, code, value: buttons & mask ? 1 : 0 });
		if (wheel !== 0) events.push({ type: Ev.rel, code: REL_WHEEL, value: -wheel });
		// What found no room is told again with the next movement.
		if (!this.send(events)) return;
		this.#x = wide;
		this.#y = high;
		this.#buttons = buttons;
	}

	override reset(): void {
		super.reset();
		this.#x = this.#y = -1;
		this.#buttons = 0;
	}

	override save() {
		return { ...super.save(), x: this.#x, y: this.#y, buttons: this.#buttons };
	}

	override restore(state: Parameters<VirtioInput['restore']>[0]): void {
		super.restore(state);
		this.#x = Number(state.x);
		this.#y = Number(state.y);
		this.#buttons = Number(state.buttons);
	}
}
