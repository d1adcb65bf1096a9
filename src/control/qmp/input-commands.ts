/** send-key and input-send-event (qapi/ui.json). */
import * as z from 'zod';
import { BUTTONS, type InputQueue } from '../input.ts';
import { KEY_NAMES, keyBytes, numberBytes } from '../keys.ts';
import type { ControlContext } from './context.ts';
import { Int, QmpError } from './errors.ts';

/** Absolute axes run from 0 to this (ui/input.h: INPUT_EVENT_ABS_MAX). */
const ABS_MAX = 0x7fff;

const KeyValue = z.discriminatedUnion('type', [
	z.strictObject({ type: z.literal('number'), data: Int }),
	z.strictObject({ type: z.literal('qcode'), data: z.enum(KEY_NAMES as [string, ...string[]]) }),
]);
type KeyValue = z.output<typeof KeyValue>;

export const SendKey = z.strictObject({ keys: z.array(KeyValue), 'hold-time': Int.optional() });

export function sendKey({ input }: ControlContext, { keys, 'hold-time': hold }: z.output<typeof SendKey>): void {
	input.press(
		keys.map((key) => ({ make: bytesOf(key, true), release: bytesOf(key, false) })),
		hold,
	);
}

function bytesOf(key: KeyValue, down: boolean): readonly number[] {
	return key.type === 'qcode' ? keyBytes(key.data, down) : numberBytes(key.data, down);
}

const Axis = z.enum(['x', 'y']);
const Move = z.strictObject({ axis: Axis, value: Int });
const BUTTON_NAMES = [
	'left',
	'middle',
	'right',
	'wheel-up',
	'wheel-down',
	'side',
	'extra',
	'wheel-left',
	'wheel-right',
] as const;

const InputEvent = z.discriminatedUnion('type', [
	z.strictObject({ type: z.literal('key'), data: z.strictObject({ key: KeyValue, down: z.boolean() }) }),
	z.strictObject({
		type: z.literal('btn'),
		data: z.strictObject({ button: z.enum(BUTTON_NAMES), down: z.boolean() }),
	}),
	z.strictObject({ type: z.literal('rel'), data: Move }),
	z.strictObject({ type: z.literal('abs'), data: Move }),
]);

export const InputSendEvent = z.strictObject({
	device: z.string().optional(),
	head: Int.optional(),
	events: z.array(InputEvent),
});

/** Keys go out as they come; the pointer's events of one command make one movement. */
export function inputSendEvent(
	{ machine, input }: ControlContext,
	{ device, events }: z.output<typeof InputSendEvent>,
): void {
	if (device !== undefined) throw new QmpError(`Device '${device}' not found`, 'DeviceNotFound');
	if (machine.status !== 'running') throw new QmpError('VM not running');
	if (!input.absolute && events.some((event) => event.type === 'abs'))
		throw new QmpError('Input handler not found for event type abs');
	const pointer = new PointerMove(input.buttons);
	for (const event of events) {
		if (event.type === 'key') input.scancodes(bytesOf(event.data.key, event.data.down));
		else if (event.type === 'btn') pointer.button(event.data.button, event.data.down);
		else if (event.type === 'rel') pointer.relative(event.data.axis, event.data.value);
		else pointer.absolute(event.data.axis, event.data.value);
	}
	if (events.some((event) => event.type !== 'key')) pointer.send(input);
}

class PointerMove {
	#buttons: number;
	#dx = 0;
	#dy = 0;
	#wheel = 0;
	readonly #to: { x?: number; y?: number } = {};
	constructor(buttons: number) {
		this.#buttons = buttons;
	}

	button(name: (typeof BUTTON_NAMES)[number], down: boolean): void {
		if (name === 'wheel-up' || name === 'wheel-down') {
			if (down) this.#wheel += name === 'wheel-down' ? 1 : -1;
			return;
		}
		const mask = BUTTONS[name] ?? 0;
		this.#buttons = down ? this.#buttons | mask : this.#buttons & ~mask;
	}

	relative(axis: 'x' | 'y', value: number): void {
		if (axis === 'x') this.#dx += value;
		else this.#dy += value;
	}

	absolute(axis: 'x' | 'y', value: number): void {
		this.#to[axis] = Math.min(Math.max(value, 0), ABS_MAX);
	}

	send(input: InputQueue): void {
		if (this.#to.x !== undefined || this.#to.y !== undefined)
			input.position(this.#to, ABS_MAX + 1, this.#wheel, this.#buttons);
		else input.motion(this.#dx, this.#dy, this.#wheel, this.#buttons);
	}
}
