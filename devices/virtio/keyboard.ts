/** A keyboard, as `virtio-keyboard-pci`: set 1 scan codes become the kernel's key codes. */
import { Set1Splitter } from '../input/scancodes.ts';
import { Ev, VirtioInput } from './input.ts';

/** Key codes (linux/input-event-codes.h) of the keys that set 1 prefixes with E0h. */
const EXTENDED: ReadonlyMap<number, number> = new Map([
	[0x10, 165], // previous song
	[0x19, 163], // next song
	[0x1c, 96], // keypad Enter
	[0x1d, 97], // right Ctrl
	[0x20, 113], // mute
	[0x21, 140], // calculator
	[0x22, 164], // play, pause
	[0x24, 166], // stop
	[0x2e, 114], // volume down
	[0x30, 115], // volume up
	[0x32, 172], // home page
	[0x35, 98], // keypad /
	[0x37, 99], // Print Screen
	[0x38, 100], // right Alt
	[0x46, 119], // Pause with Ctrl
	[0x47, 102], // Home
	[0x48, 103], // Up
	[0x49, 104], // Page Up
	[0x4b, 105], // Left
	[0x4d, 106], // Right
	[0x4f, 107], // End
	[0x50, 108], // Down
	[0x51, 109], // Page Down
	[0x52, 110], // Insert
	[0x53, 111], // Delete
	[0x5b, 125], // left Windows
	[0x5c, 126], // right Windows
	[0x5d, 127], // Menu
	[0x5e, 116], // Power
	[0x5f, 142], // Sleep
	[0x63, 143], // Wake
	[0x6c, 155], // mail
	[0x6d, 226], // media
]);
/** Keys without prefix whose codes are not those of set 1. */
const PLAIN: ReadonlyMap<number, number> = new Map([
	[0x54, 99], // Print Screen with Alt
	[0x59, 117], // keypad =
	[0x70, 93], // Katakana/Hiragana
	[0x73, 89], // Ro
	[0x77, 91], // Hiragana
	[0x78, 90], // Katakana
	[0x79, 92], // Henkan
	[0x7b, 94], // Muhenkan
	[0x7d, 124], // Yen
	[0x7e, 121], // keypad comma
]);
const PAUSE = 119;

/** What the device says it has: the codes of QEMU's. */
const KEYS = [
	...range(1, 83),
	...range(86, 89),
	...range(91, 94),
	...range(96, 111),
	...range(113, 117),
	...[119, ...range(121, 140), 142, 143],
	...range(155, 159),
	...[...range(163, 166), 172, 173, 226],
];
/** LEDs by bit: evdev counts num, caps, scroll; SPICE has scroll 1, num 2, caps 4. */
const LEDS = [2, 4, 1] as const;

export class VirtioKeyboard extends VirtioInput {
	/** Called with the new value when the guest sets the LEDs. */
	onLeds: ((leds: number) => void) | undefined;
	readonly #splitter = new Set1Splitter();
	#leds = 0;

	constructor() {
		super({
			name: 'virtio-keyboard',
			classCode: 0x090000,
			title: 'QEMU Virtio Keyboard',
			product: 1,
			version: 1,
			codes: new Map([
				[Ev.key, KEYS],
				[Ev.led, [0, 1, 2]],
				[Ev.rep, []],
			]),
			onStatus: ({ type, code, value }) => {
				if (type === Ev.led && code < LEDS.length) this.#setLed(LEDS[code], value !== 0);
			},
		});
	}

	get leds(): number {
		return this.#leds;
	}

	scancodes(codes: Uint8Array): void {
		this.#splitter.split(codes, (event) => {
			const last = event[event.length - 1];
			const code = keyCode(event);
			if (code !== undefined) this.send([{ type: Ev.key, code, value: last & 0x80 ? 0 : 1 }]);
		});
	}

	#setLed(mask: number, on: boolean): void {
		const leds = on ? this.#leds | mask : this.#leds & ~mask;
		if (leds === this.#leds) return;
		this.#leds = leds;
		this.onLeds?.(leds);
	}

	override reset(): void {
		super.reset();
		this.#splitter.reset();
		this.#leds = 0;
	}

	override save() {
		return { ...super.save(), leds: this.#leds };
	}

	override restore(state: Parameters<VirtioInput['restore']>[0]): void {
		super.restore(state);
		this.#leds = Number(state.leds);
	}
}

function keyCode(event: readonly number[]): number | undefined {
	const key = event[event.length - 1] & 0x7f;
	if (event[0] === 0xe1) return PAUSE;
	if (event[0] === 0xe0) return EXTENDED.get(key);
	return PLAIN.get(key) ?? (key >= 1 && key <= 0x58 && key !== 0x55 ? key : undefined);
}

function range(first: number, last: number): number[] {
	return Array.from({ length: last - first + 1 }, (_, i) => first + i);
}
