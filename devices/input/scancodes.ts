/**
 * The three PS/2 scan code sets. A keyboard speaks set 2 unless told otherwise, and the i8042 turns set 2 into the
 * set 1 that software expects. Sources: IBM PS/2 Hardware Interface Technical Reference, "Keyboards (101- and 102-Key)",
 * figures of the scan code sets; Microsoft "Keyboard Scan Code Specification", appendix A and C.
 */

/** Set 2 byte to set 1 byte, as the i8042 translates 00h..7fh; from 80h on only 83h and 84h differ from themselves. */
const translated = [
	0xff, 0x43, 0x41, 0x3f, 0x3d, 0x3b, 0x3c, 0x58, 0x64, 0x44, 0x42, 0x40, 0x3e, 0x0f, 0x29, 0x59, 0x65, 0x38, 0x2a,
	0x70, 0x1d, 0x10, 0x02, 0x5a, 0x66, 0x71, 0x2c, 0x1f, 0x1e, 0x11, 0x03, 0x5b, 0x67, 0x2e, 0x2d, 0x20, 0x12, 0x05,
	0x04, 0x5c, 0x68, 0x39, 0x2f, 0x21, 0x14, 0x13, 0x06, 0x5d, 0x69, 0x31, 0x30, 0x23, 0x22, 0x15, 0x07, 0x5e, 0x6a,
	0x72, 0x32, 0x24, 0x16, 0x08, 0x09, 0x5f, 0x6b, 0x33, 0x25, 0x17, 0x18, 0x0b, 0x0a, 0x60, 0x6c, 0x34, 0x35, 0x26,
	0x27, 0x19, 0x0c, 0x61, 0x6d, 0x73, 0x28, 0x74, 0x1a, 0x0d, 0x62, 0x6e, 0x3a, 0x36, 0x1c, 0x1b, 0x75, 0x2b, 0x63,
	0x76, 0x55, 0x56, 0x77, 0x78, 0x79, 0x7a, 0x0e, 0x7b, 0x7c, 0x4f, 0x7d, 0x4b, 0x47, 0x7e, 0x7f, 0x6f, 0x52, 0x53,
	0x50, 0x4c, 0x4d, 0x48, 0x01, 0x45, 0x57, 0x4e, 0x51, 0x4a, 0x37, 0x49, 0x46, 0x54,
];

/** What the i8042 makes of each byte from a keyboard, apart from the release prefix F0h. */
export const SET2_TO_SET1 = Uint8Array.from({ length: 256 }, (_, byte) => {
	if (byte === 0x83) return 0x41;
	if (byte === 0x84) return 0x54;
	return byte < 0x80 ? translated[byte] : byte;
});

/** Set 2 make code of each set 1 make code. F7 and Alt+SysRq are the two that lie above 7fh. */
const SET1_TO_SET2 = new Uint8Array(128);
for (let byte = 0x84; byte > 0; byte--) if (SET2_TO_SET1[byte] < 0x80) SET1_TO_SET2[SET2_TO_SET1[byte]] = byte;
SET1_TO_SET2[0x41] = 0x83;
SET1_TO_SET2[0x54] = 0x84;

/** Set 3 make codes that differ from set 2: keys without a prefix in set 1. */
const set3 = new Map([
	[0x01, 0x08], // Esc
	[0x1d, 0x11], // left Ctrl
	[0x38, 0x19], // left Alt
	[0x3a, 0x14], // Caps Lock
	[0x2b, 0x5c], // backslash
	[0x56, 0x13], // the 102nd key
	[0x3b, 0x07],
	[0x3c, 0x0f],
	[0x3d, 0x17],
	[0x3e, 0x1f],
	[0x3f, 0x27],
	[0x40, 0x2f],
	[0x41, 0x37],
	[0x42, 0x3f],
	[0x43, 0x47],
	[0x44, 0x4f], // F10
	[0x57, 0x56], // F11
	[0x58, 0x5e], // F12
	[0x45, 0x76], // Num Lock
	[0x46, 0x5f], // Scroll Lock
	[0x37, 0x7e], // keypad *
	[0x4a, 0x84], // keypad -
	[0x4e, 0x7c], // keypad +
	[0x54, 0x57], // Alt+SysRq
]);
/** Set 3 make codes of the keys that set 1 prefixes with E0h. */
const set3extended = new Map([
	[0x1c, 0x79], // keypad Enter
	[0x1d, 0x58], // right Ctrl
	[0x35, 0x77], // keypad /
	[0x37, 0x57], // Print Screen
	[0x38, 0x39], // right Alt
	[0x46, 0x62], // Ctrl+Pause
	[0x47, 0x6e], // Home
	[0x48, 0x63], // Up
	[0x49, 0x6f], // Page Up
	[0x4b, 0x61], // Left
	[0x4d, 0x6a], // Right
	[0x4f, 0x65], // End
	[0x50, 0x60], // Down
	[0x51, 0x6d], // Page Down
	[0x52, 0x67], // Insert
	[0x53, 0x64], // Delete
	[0x5b, 0x8b], // left Windows
	[0x5c, 0x8c], // right Windows
	[0x5d, 0x8d], // Menu
]);

const RELEASED = 0x80;
const PREFIX_E0 = 0xe0;
const PREFIX_E1 = 0xe1;
export const RELEASE_PREFIX = 0xf0;

/**
 * One key event (set 1 bytes: make or break with its prefixes) in another set. Empty where set 3 has nothing to say,
 * such as for the shifts that set 1 fakes around the grey keys.
 */
export function fromSet1(event: readonly number[], set: 1 | 2 | 3): readonly number[] {
	if (set === 1) return event;
	if (set === 3) return toSet3(event);
	const out: number[] = [];
	for (const byte of event) {
		if (byte === PREFIX_E0 || byte === PREFIX_E1) out.push(byte);
		else if (byte & RELEASED) out.push(RELEASE_PREFIX, SET1_TO_SET2[byte & 0x7f]);
		else out.push(SET1_TO_SET2[byte]);
	}
	return out;
}

function toSet3(event: readonly number[]): readonly number[] {
	const last = event[event.length - 1];
	const key = last & 0x7f;
	let code: number | undefined;
	if (event[0] === PREFIX_E1) code = 0x62;
	else if (event[0] === PREFIX_E0) code = set3extended.get(key);
	else code = set3.get(key) ?? SET1_TO_SET2[key];
	if (code === undefined) return [];
	return last & RELEASED ? [RELEASE_PREFIX, code] : [code];
}

/**
 * Cuts a stream of set 1 bytes into key events, each with its prefixes: 1eh; E0h 48h; E1h 1dh 45h.
 * What is left of an event at the end of one call goes on with the next.
 */
export class Set1Splitter {
	#begun: number[] = [];

	/** Calls `each` for every event that `bytes` completes. */
	split(bytes: Uint8Array, each: (event: readonly number[]) => void): void {
		for (const byte of bytes) {
			if (byte === PREFIX_E0 || byte === PREFIX_E1) {
				this.#begun = [byte];
				continue;
			}
			this.#begun.push(byte);
			if (this.#begun[0] === PREFIX_E1 && this.#begun.length < 3) continue;
			each(this.#begun);
			this.#begun = [];
		}
	}

	reset(): void {
		this.#begun = [];
	}
}
