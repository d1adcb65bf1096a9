/** SPICE passwords through the monitors (ui/spice-core.c, monitor/qmp-cmds.c). */
import type { MachineControl } from '../machine/control.ts';
import { QmpError } from './qmp/errors.ts';

/** spice-protocol, protocol.h: SPICE_MAX_PASSWORD_LENGTH. */
const MAX_PASSWORD = 60;

export type PasswordAction = 'keep' | 'fail' | 'disconnect';

export function setPassword(
	machine: MachineControl,
	protocol: 'spice' | 'vnc',
	password: string,
	connected: PasswordAction = 'keep',
): void {
	if (protocol !== 'spice' || password.length > MAX_PASSWORD) throw new QmpError('Could not set password');
	const spice = requireSpice(machine);
	// A server that was started open stays open: clients that come without a password have been promised to get in.
	if (spice.info().auth !== 'spice') throw new QmpError('Could not set password');
	spice.setPassword(password, connected);
}

/** `time`: now, never, +SECONDS or seconds since the epoch. */
export function expirePassword(machine: MachineControl, protocol: 'spice' | 'vnc', time: string): void {
	if (protocol !== 'spice') throw new QmpError('Could not set password expire time');
	if (!/^(now|never|\+?\d{1,15})$/.test(time))
		throw new QmpError(`'${time}' is no time: now, never, +SECONDS or SECONDS`);
	requireSpice(machine).expirePassword(time);
}

function requireSpice(machine: MachineControl): NonNullable<MachineControl['spice']> {
	if (!machine.spice) throw new QmpError('SPICE is not in use', 'DeviceNotActive');
	return machine.spice;
}
