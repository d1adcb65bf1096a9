/** The QMP commands: arguments as a schema, behaviour as a function. Names and shapes are qapi's. */
import * as z from 'zod';
import { PANIC_ACTIONS } from '../../machine/panic.ts';
import { getProperty, queryBalloon, setBalloon, setProperty } from '../balloon.ts';
import { executeHmp } from '../hmp/monitor.ts';
import { changeMedium, eject, findDrive } from '../media.ts';
import { expirePassword, setPassword } from '../password.ts';
import { screendump } from '../screendump.ts';
import { type ControlContext, packageText, QEMU_VERSION } from './context.ts';
import { Int, QmpError, validate } from './errors.ts';
import { InputSendEvent, inputSendEvent, SendKey, sendKey } from './input-commands.ts';
import { audioView, blockView, pciView, spiceView } from './views.ts';

export interface QmpCommand {
	/** Checks the arguments and does it; the result is the reply's `return`, or undefined for `{}`. Throws QmpError or TsvmError. */
	execute(context: ControlContext, args: unknown): unknown;
}

function command<T extends z.ZodType>(
	schema: T,
	run: (context: ControlContext, args: z.output<T>) => unknown,
): QmpCommand {
	return { execute: (context, args) => run(context, validate(schema, args)) };
}

const Nothing = z.strictObject({});

const Screendump = z.strictObject({
	filename: z.string(),
	device: z.string().optional(),
	head: Int.optional(),
	format: z.enum(['ppm', 'png']).optional(),
});
const SetPassword = z.strictObject({
	protocol: z.enum(['spice', 'vnc']),
	password: z.string(),
	connected: z.enum(['keep', 'fail', 'disconnect']).optional(),
});
const ExpirePassword = z.strictObject({ protocol: z.enum(['spice', 'vnc']), time: z.string() });
const Eject = z.strictObject({
	device: z.string().optional(),
	id: z.string().optional(),
	force: z.boolean().optional(),
});
const ChangeMedium = z.strictObject({
	device: z.string().optional(),
	id: z.string().optional(),
	filename: z.string(),
	format: z.string().optional(),
	force: z.boolean().optional(),
	'read-only-mode': z.enum(['retain', 'read-only', 'read-write']).optional(),
});
const Balloon = z.strictObject({ value: Int });
const QomGet = z.strictObject({ path: z.string(), property: z.string() });
const QomSet = z.strictObject({ path: z.string(), property: z.string(), value: z.unknown() });
const SetAction = z.strictObject({ panic: z.enum(PANIC_ACTIONS).optional() });
const HumanMonitorCommand = z.strictObject({ 'command-line': z.string(), 'cpu-index': Int.optional() });

/** qmp_capabilities is not here: it belongs to the session. */
export const COMMANDS: ReadonlyMap<string, QmpCommand> = new Map(
	Object.entries({
		'query-commands': command(Nothing, () => ['qmp_capabilities', ...COMMANDS.keys()].map((name) => ({ name }))),
		'query-version': command(Nothing, ({ version }) => ({ qemu: QEMU_VERSION, package: packageText(version) })),
		'query-name': command(Nothing, ({ machine }) => (machine.name === '' ? {} : { name: machine.name })),
		'query-uuid': command(Nothing, ({ machine }) => ({ UUID: machine.uuid })),
		'query-kvm': command(Nothing, () => ({ enabled: false, present: false })),
		'query-target': command(Nothing, () => ({ arch: 'i386' })),
		'query-cpus-fast': command(Nothing, () => [
			{
				'cpu-index': 0,
				'qom-path': '/machine/unattached/device[0]',
				'thread-id': process.pid,
				props: { 'socket-id': 0, 'core-id': 0, 'thread-id': 0 },
				target: 'i386',
			},
		]),
		'query-memory-size-summary': command(Nothing, ({ machine }) => ({ 'base-memory': machine.config.memory })),
		'query-status': command(Nothing, ({ machine }) => ({
			status: machine.status,
			running: machine.status === 'running',
			singlestep: false,
		})),
		'query-block': command(Nothing, ({ machine }) => machine.blocks().map(blockView)),
		'query-pci': command(Nothing, ({ machine }) => [{ bus: 0, devices: machine.pciTree().map(pciView) }]),
		'query-spice': command(Nothing, ({ machine }) => spiceView(machine.spice?.info())),
		'query-mice': command(Nothing, ({ input }) => [
			...(input.absolute ? [{ index: 3, name: 'vmmouse', current: true, absolute: true }] : []),
			{ index: 2, name: 'QEMU PS/2 Mouse', current: !input.absolute, absolute: false },
		]),
		'query-balloon': command(Nothing, ({ machine }) => ({ actual: queryBalloon(machine) })),
		balloon: command(Balloon, ({ machine }, { value }) => setBalloon(machine, value)),
		'qom-get': command(QomGet, ({ machine }, { path, property }) => getProperty(machine, path, property)),
		'qom-set': command(QomSet, ({ machine }, { path, property, value }) => setProperty(machine, path, property, value)),
		'x-query-audio': command(Nothing, ({ machine }) => audioView(machine.audio?.info())),
		stop: command(Nothing, ({ machine }) => machine.stop()),
		cont: command(Nothing, ({ machine }) => machine.cont()),
		system_reset: command(Nothing, ({ machine }) => machine.reset()),
		system_powerdown: command(Nothing, ({ machine }) => machine.powerdown()),
		'set-action': command(SetAction, ({ machine }, { panic }) => {
			if (panic !== undefined) machine.panicAction = panic;
		}),
		quit: command(Nothing, ({ machine }) => {
			void machine.quit('host-qmp-quit');
		}),
		screendump: command(Screendump, async ({ machine }, { filename, device, head, format }) => {
			if (device === undefined && head !== undefined)
				throw new QmpError("'head' must be specified together with 'device'");
			if (device !== undefined) throw new QmpError(`Device '${device}' not found`, 'DeviceNotFound');
			await screendump(machine, filename, format);
		}),
		'send-key': command(SendKey, (context, args) => sendKey(context, args)),
		'input-send-event': command(InputSendEvent, (context, args) => inputSendEvent(context, args)),
		set_password: command(SetPassword, ({ machine }, { protocol, password, connected }) =>
			setPassword(machine, protocol, password, connected),
		),
		expire_password: command(ExpirePassword, ({ machine }, { protocol, time }) =>
			expirePassword(machine, protocol, time),
		),
		eject: command(Eject, ({ machine }, { device, id, force }) =>
			eject(machine, findDrive(machine, device, id), force ?? false),
		),
		'blockdev-change-medium': command(ChangeMedium, ({ machine }, args) => {
			const { device, id, filename, format, force, 'read-only-mode': readOnlyMode } = args;
			const drive = findDrive(machine, device, id);
			return changeMedium(machine, drive, filename, { format, force, readOnlyMode });
		}),
		'human-monitor-command': command(HumanMonitorCommand, async (context, args) => {
			const text = await executeHmp(context, args['command-line']);
			return text.replaceAll('\n', '\r\n');
		}),
	}),
);
