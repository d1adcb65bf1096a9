/** QEMU's option words: `virtio-blk-pci,drive=d0`, with `,,` for a comma in a value. util/qemu-option.c, opts_parse. */
import { TsvmError } from '../core/index.ts';
import type { MachineOptions } from '../machine/config.ts';
import { CHARDEV_BACKENDS, DRIVERS, helpOf } from '../machine/devices.ts';

export type DeviceOptions = NonNullable<MachineOptions['devices']>[number];
export type ChardevOptions = NonNullable<MachineOptions['chardevs']>[number];
export type DriveOptions = NonNullable<MachineOptions['drives']>[number];

/** The flags that these words stand behind. */
export interface WordFlags {
	readonly device?: readonly string[];
	readonly chardev?: readonly string[];
	readonly drive?: readonly string[];
}

const HELP = ['help', '?'];

/**
 * `name=value` pairs. The first one may be a bare value, of `implied`; other bare names mean `=on`, and `noNAME` means
 * `=off`, as there. Throws TsvmError for an empty part or a name that comes twice.
 */
export function parseWords(flag: string, text: string, implied?: string): Record<string, string> {
	const words: Record<string, string> = {};
	for (const [n, part] of splitParts(text).entries()) {
		const equals = part.indexOf('=');
		let [name, value] = equals < 0 ? [part, 'on'] : [part.slice(0, equals), part.slice(equals + 1)];
		if (equals < 0 && n === 0 && implied !== undefined) [name, value] = [implied, part];
		else if (equals < 0 && /^no[a-z]/.test(part)) [name, value] = [part.slice(2), 'off'];
		if (name === '') throw new TsvmError('usage', `${flag}: '${text}' has an empty part`, 'write name=value,…', 2);
		if (Object.hasOwn(words, name)) throw new TsvmError('usage', `${flag}: ${name} is there twice in '${text}'`, '', 2);
		words[name] = value;
	}
	return words;
}

/** At single commas; a double one stands for a comma in a value. */
function splitParts(text: string): string[] {
	const parts = [''];
	for (const [piece] of text.matchAll(/,,|,|[^,]+/g)) {
		if (piece === ',') parts.push('');
		else parts[parts.length - 1] += piece === ',,' ? ',' : piece;
	}
	return parts;
}

/** The words as the description has them, unchecked: its schema does that. */
export function wordOptions(flags: WordFlags): Pick<MachineOptions, 'devices' | 'chardevs' | 'drives'> {
	return {
		devices: flags.device?.map((text) => {
			const { driver, ...rest } = parseWords('--device', text, 'driver');
			return { driver: fullName(driver), ...rest } as unknown as DeviceOptions;
		}),
		chardevs: flags.chardev?.map((text) => parseWords('--chardev', text, 'backend') as unknown as ChardevOptions),
		drives: flags.drive?.map((text) => parseWords('--drive', text) as unknown as DriveOptions),
	};
}

/** `virtio-blk` means virtio-blk-pci on this board (softmmu/qdev-monitor.c, qdev_alias_table). */
function fullName(driver: string): string {
	const known = (name: string) => Object.hasOwn(DRIVERS, name);
	return !known(driver) && known(`${driver}-pci`) ? `${driver}-pci` : driver;
}

/** As QEMU's -action; the description checks the word. */
export function panicAction(flag: string | undefined): MachineOptions['panic'] {
	if (flag === undefined) return undefined;
	const { panic, ...others } = parseWords('--action', flag);
	if (panic === undefined || Object.keys(others).length > 0)
		throw new TsvmError(
			'usage',
			`--action: '${flag}' is no action`,
			'write panic=shutdown, pause, exit-failure or none',
			2,
		);
	return panic as MachineOptions['panic'];
}

/** The text that `help` in one of the flags asks for; undefined if none does. */
export function wordHelp(flags: WordFlags): string | undefined {
	for (const text of flags.device ?? []) {
		const help = helpIn(text, 'device', Object.entries(DRIVERS));
		if (help !== undefined) return help;
	}
	for (const text of flags.chardev ?? []) {
		const help = helpIn(text, 'chardev', Object.entries(CHARDEV_BACKENDS));
		if (help !== undefined) return help;
	}
	if (flags.drive?.some((text) => text.split(',').some((part) => HELP.includes(part))))
		return `drive options:\n${helpOf('drive', 'drive')?.join('\n')}\n`;
	return undefined;
}

function helpIn(text: string, kind: 'device' | 'chardev', list: readonly (readonly [string, string])[]) {
	const [name, ...parts] = text.split(',');
	if (HELP.includes(name)) return list.map(([each, doc]) => `${each.padEnd(20)} ${doc}\n`).join('');
	if (!parts.some((part) => HELP.includes(part))) return undefined;
	const full = kind === 'device' ? fullName(name) : name;
	const lines = helpOf(kind, full);
	return lines && `${full} options:\n${lines.join('\n')}\n`;
}
