/** The human monitor's commands, apart from help and info (QEMU's hmp-commands.hx). */
import { MouseButton } from '../../core/index.ts';
import { setBalloon } from '../balloon.ts';
import { DEFAULT_HOLD_MS } from '../input.ts';
import { isKeyName, keyBytes, numberBytes } from '../keys.ts';
import { changeMedium, eject, findDrive, type ReadOnlyMode } from '../media.ts';
import { expirePassword, type PasswordAction, setPassword } from '../password.ts';
import { QmpError } from '../qmp/errors.ts';
import { screendump } from '../screendump.ts';
import type { HmpArguments, HmpCommand } from './command.ts';

export const COMMANDS: readonly HmpCommand[] = [
	{
		name: 'balloon',
		args: 'value:i',
		params: 'target',
		help: 'request VM to change its memory allocation (in MB)',
		run: ({ machine }, { value }) => silent(() => setBalloon(machine, Number(value) * 2 ** 20)),
	},
	{
		name: 'change',
		args: 'device:B,force:-f,filename:F,format:s?,mode:s?',
		params: 'device [-f] filename [format [read-only-mode]]',
		help: 'change a removable medium, optional format, use -f to force the operation',
		run: async ({ machine }, args) => {
			const readOnlyMode = oneOf<ReadOnlyMode>(args.mode, ['retain', 'read-only', 'read-write']);
			const drive = findDrive(machine, text(args.device), undefined);
			await changeMedium(machine, drive, text(args.filename), {
				format: optional(args.format),
				force: args.force === true,
				readOnlyMode,
			});
			return '';
		},
	},
	{
		name: 'cont|c',
		args: '',
		params: '',
		help: 'resume emulation',
		run: ({ machine }) => silent(() => machine.cont()),
	},
	{
		name: 'eject',
		args: 'force:-f,device:B',
		params: '[-f] device',
		help: 'eject a removable medium (use -f to force it)',
		run: async ({ machine }, args) => {
			await eject(machine, findDrive(machine, text(args.device), undefined), args.force === true);
			return '';
		},
	},
	{
		name: 'expire_password',
		args: 'protocol:s,time:s',
		params: 'protocol time',
		help: 'set spice password expire-time',
		run: ({ machine }, args) => silent(() => expirePassword(machine, protocol(args), text(args.time))),
	},
	{
		name: 'mouse_button',
		args: 'state:i',
		params: 'state',
		help: 'change mouse button state (1=L, 2=M, 4=R)',
		run: ({ input }, { state }) => silent(() => input.motion(0, 0, 0, buttonMask(Number(state)))),
	},
	{
		name: 'mouse_move',
		args: 'dx:s,dy:s,dz:s?',
		params: 'dx dy [dz]',
		help: 'send mouse move events',
		run: ({ input }, { dx, dy, dz }) =>
			silent(() => input.motion(leading(dx), leading(dy), -Math.sign(leading(dz)), input.buttons)),
	},
	{
		name: 'quit|q',
		args: '',
		params: '',
		help: 'quit the emulator',
		run: ({ machine }) => {
			void machine.quit('host-qmp-quit');
			return '';
		},
	},
	{
		name: 'screendump',
		args: 'filename:F,format:-fs,device:s?,head:i?',
		params: 'filename [-f format] [device [head]]',
		help: "save screen into image 'filename', as 'ppm' or as the format given",
		run: async ({ machine }, args) => {
			if (args.device !== undefined) throw new QmpError(`Device '${args.device}' not found`, 'DeviceNotFound');
			await screendump(machine, text(args.filename), oneOf(args.format, ['ppm', 'png']));
			return '';
		},
	},
	{
		name: 'sendkey',
		args: 'keys:s,hold:i?',
		params: 'keys [hold_ms]',
		help: "send keys to the VM (e.g. 'sendkey ctrl-alt-f1', default hold time=100 ms)",
		run: ({ input }, { keys, hold }) => {
			const parts = text(keys).split('-');
			const wrong = parts.find((key) => keyPress(key) === undefined);
			if (wrong !== undefined) return `invalid parameter: ${wrong}\n`;
			const presses = parts.flatMap((key) => keyPress(key) ?? []);
			return silent(() => input.press(presses, hold === undefined ? DEFAULT_HOLD_MS : Number(hold)));
		},
	},
	{
		name: 'set_password',
		args: 'protocol:s,password:s,connected:s?',
		params: 'protocol password [action-if-connected]',
		help: 'set spice password',
		run: ({ machine }, args) => {
			const action = oneOf<PasswordAction>(args.connected, ['keep', 'fail', 'disconnect']);
			return silent(() => setPassword(machine, protocol(args), text(args.password), action));
		},
	},
	{
		name: 'stop|s',
		args: '',
		params: '',
		help: 'stop emulation',
		run: ({ machine }) => silent(() => machine.stop()),
	},
	{
		name: 'system_powerdown',
		args: '',
		params: '',
		help: 'send system power down event',
		run: ({ machine }) => silent(() => machine.powerdown()),
	},
	{
		name: 'system_reset',
		args: '',
		params: '',
		help: 'reset the system',
		run: ({ machine }) => silent(() => machine.reset()),
	},
];

/** A key by its name or as a number (0x1e); undefined for neither. */
function keyPress(key: string) {
	if (isKeyName(key)) return { make: keyBytes(key, true), release: keyBytes(key, false) };
	if (!/^(0x[0-9a-f]+|\d+)$/i.test(key)) return undefined;
	return { make: numberBytes(Number(key), true), release: numberBytes(Number(key), false) };
}

function buttonMask(state: number): number {
	const { left, middle, right } = MouseButton;
	return (state & 1 ? left : 0) | (state & 2 ? middle : 0) | (state & 4 ? right : 0);
}

/** The number that a word begins with, as strtol reads it; 0 for none. */
function leading(word: unknown): number {
	const number = Number.parseInt(String(word ?? ''), 10);
	return Number.isSafeInteger(number) ? number : 0;
}

function protocol(args: HmpArguments): 'spice' | 'vnc' {
	return oneOf(args.protocol, ['spice', 'vnc']) ?? 'spice';
}

function oneOf<T extends string>(value: unknown, values: readonly T[]): T | undefined {
	if (value === undefined) return undefined;
	const found = values.find((candidate) => candidate === value);
	if (found === undefined) throw new QmpError(`invalid parameter value: ${value}`);
	return found;
}

function optional(value: unknown): string | undefined {
	return value === undefined ? undefined : String(value);
}

function text(value: unknown): string {
	return String(value ?? '');
}

/** For commands that print nothing. */
function silent(act: () => void): string {
	act();
	return '';
}
