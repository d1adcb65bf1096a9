/**
 * Key names of qapi/ui.json (QKeyCode) and the PS/2 set-1 bytes that a PC keyboard sends for them. Names that no PC
 * keyboard has a key for are in the list too, with no bytes: they are accepted and do nothing.
 */

/** Make codes; 0xe0xx stands for the two bytes e0 xx. */
const CODES: Readonly<Record<string, number>> = {
	shift: 0x2a,
	shift_r: 0x36,
	alt: 0x38,
	alt_r: 0xe038,
	ctrl: 0x1d,
	ctrl_r: 0xe01d,
	esc: 0x01,
	1: 0x02,
	2: 0x03,
	3: 0x04,
	4: 0x05,
	5: 0x06,
	6: 0x07,
	7: 0x08,
	8: 0x09,
	9: 0x0a,
	0: 0x0b,
	minus: 0x0c,
	equal: 0x0d,
	backspace: 0x0e,
	tab: 0x0f,
	q: 0x10,
	w: 0x11,
	e: 0x12,
	r: 0x13,
	t: 0x14,
	y: 0x15,
	u: 0x16,
	i: 0x17,
	o: 0x18,
	p: 0x19,
	bracket_left: 0x1a,
	bracket_right: 0x1b,
	ret: 0x1c,
	a: 0x1e,
	s: 0x1f,
	d: 0x20,
	f: 0x21,
	g: 0x22,
	h: 0x23,
	j: 0x24,
	k: 0x25,
	l: 0x26,
	semicolon: 0x27,
	apostrophe: 0x28,
	grave_accent: 0x29,
	backslash: 0x2b,
	z: 0x2c,
	x: 0x2d,
	c: 0x2e,
	v: 0x2f,
	b: 0x30,
	n: 0x31,
	m: 0x32,
	comma: 0x33,
	dot: 0x34,
	slash: 0x35,
	asterisk: 0x37,
	spc: 0x39,
	caps_lock: 0x3a,
	f1: 0x3b,
	f2: 0x3c,
	f3: 0x3d,
	f4: 0x3e,
	f5: 0x3f,
	f6: 0x40,
	f7: 0x41,
	f8: 0x42,
	f9: 0x43,
	f10: 0x44,
	num_lock: 0x45,
	scroll_lock: 0x46,
	kp_divide: 0xe035,
	kp_multiply: 0x37,
	kp_subtract: 0x4a,
	kp_add: 0x4e,
	kp_enter: 0xe01c,
	kp_decimal: 0x53,
	kp_0: 0x52,
	kp_1: 0x4f,
	kp_2: 0x50,
	kp_3: 0x51,
	kp_4: 0x4b,
	kp_5: 0x4c,
	kp_6: 0x4d,
	kp_7: 0x47,
	kp_8: 0x48,
	kp_9: 0x49,
	less: 0x56,
	f11: 0x57,
	f12: 0x58,
	home: 0xe047,
	pgup: 0xe049,
	pgdn: 0xe051,
	end: 0xe04f,
	left: 0xe04b,
	up: 0xe048,
	down: 0xe050,
	right: 0xe04d,
	insert: 0xe052,
	delete: 0xe053,
	stop: 0xe068,
	meta_l: 0xe05b,
	meta_r: 0xe05c,
	compose: 0xe05d,
	ro: 0x73,
	hiragana: 0x77,
	henkan: 0x79,
	yen: 0x7d,
	muhenkan: 0x7b,
	katakanahiragana: 0x70,
	kp_comma: 0x7e,
	kp_equals: 0x59,
	power: 0xe05e,
	sleep: 0xe05f,
	wake: 0xe063,
	audionext: 0xe019,
	audioprev: 0xe010,
	audiostop: 0xe024,
	audioplay: 0xe022,
	audiomute: 0xe020,
	volumeup: 0xe030,
	volumedown: 0xe02e,
	mediaselect: 0xe06d,
	mail: 0xe06c,
	calculator: 0xe021,
	computer: 0xe06b,
	ac_home: 0xe032,
	ac_back: 0xe06a,
	ac_forward: 0xe069,
	ac_refresh: 0xe067,
	ac_bookmarks: 0xe066,
};

/** Names without a key on a PC keyboard. */
const SILENT = [
	'unmapped',
	'menu',
	'again',
	'props',
	'undo',
	'front',
	'copy',
	'open',
	'paste',
	'find',
	'cut',
	'lf',
	'help',
	'lang1',
	'lang2',
] as const;

/** Print Screen and Pause are sequences of their own. */
const SEQUENCES: Readonly<Record<string, readonly [make: readonly number[], release: readonly number[]]>> = {
	print: [
		[0xe0, 0x2a, 0xe0, 0x37],
		[0xe0, 0xb7, 0xe0, 0xaa],
	],
	sysrq: [
		[0xe0, 0x2a, 0xe0, 0x37],
		[0xe0, 0xb7, 0xe0, 0xaa],
	],
	pause: [[0xe1, 0x1d, 0x45, 0xe1, 0x9d, 0xc5], []],
};

/** Every QKeyCode. */
export const KEY_NAMES: readonly string[] = [...Object.keys(CODES), ...Object.keys(SEQUENCES), ...SILENT];
const names = new Set(KEY_NAMES);

export function isKeyName(name: string): boolean {
	return names.has(name);
}

/** Set-1 bytes for pressing or letting go of a named key. */
export function keyBytes(name: string, down: boolean): readonly number[] {
	if (Object.hasOwn(SEQUENCES, name)) return SEQUENCES[name][down ? 0 : 1];
	return Object.hasOwn(CODES, name) ? codeBytes(CODES[name], down) : [];
}

/**
 * Set-1 bytes for a key number of QEMU (KeyValue 'number'): the make code, with bit 7 for keys that have the e0 prefix.
 * Numbers that name no key have no bytes.
 */
export function numberBytes(number: number, down: boolean): readonly number[] {
	if (!Number.isInteger(number) || number <= 0 || number > 0xff || (number & 0x7f) === 0) return [];
	return codeBytes((number & 0x80 ? 0xe000 : 0) | (number & 0x7f), down);
}

function codeBytes(code: number, down: boolean): readonly number[] {
	const last = (code & 0x7f) | (down ? 0 : 0x80);
	return code > 0xff ? [0xe0, last] : [last];
}
