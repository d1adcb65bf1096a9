/** The memory balloon as QMP and the human monitor ask for it, in QEMU's words (softmmu/balloon.c, hw/virtio/virtio-balloon.c). */
import * as z from 'zod';
import { BALLOON_STATISTICS, type BalloonControl, type MachineControl } from '../machine/control.ts';
import { Int, QmpError, validate } from './qmp/errors.ts';

/** Where libvirt and QEMU's own tests put the device. */
export const BALLOON_PATH = '/machine/peripheral/balloon0';
const STATISTICS = 'guest-stats';
const INTERVAL = 'guest-stats-polling-interval';
/** How QEMU shows what the guest has not told. */
const UNKNOWN = 0xffffffffffffffffn;

function balloonOf(machine: MachineControl): BalloonControl {
	if (machine.balloon) return machine.balloon;
	throw new QmpError('No balloon device has been activated', 'DeviceNotActive');
}

/** Bytes that the guest has now. */
export function queryBalloon(machine: MachineControl): number {
	return balloonOf(machine).actual;
}

/** `bytes` that the guest should have; more than there is means all. */
export function setBalloon(machine: MachineControl, bytes: number): void {
	const balloon = balloonOf(machine);
	if (bytes <= 0) throw new QmpError("Parameter 'target' expects a size");
	balloon.target = bytes;
}

/** qom-get for the one object that has properties here. */
export function getProperty(machine: MachineControl, path: string, property: string): unknown {
	const balloon = objectAt(machine, path);
	if (property === INTERVAL) return balloon.pollingInterval;
	if (property === 'type') return 'virtio-balloon-pci';
	if (property !== STATISTICS) throw new QmpError(`Property 'virtio-balloon-pci.${property}' not found`);
	const { values, updated } = balloon.statistics;
	const stats = Object.fromEntries(BALLOON_STATISTICS.map((name) => [name, values.get(name) ?? UNKNOWN]));
	return { stats, 'last-update': updated };
}

export function setProperty(machine: MachineControl, path: string, property: string, value: unknown): void {
	const balloon = objectAt(machine, path);
	if (property === STATISTICS) throw new QmpError(`Property 'virtio-balloon-device.${property}' is not writable`);
	if (property !== INTERVAL) throw new QmpError(`Property 'virtio-balloon-pci.${property}' not found`);
	const { value: seconds } = validate(z.strictObject({ value: Int }), { value });
	if (seconds < 0) throw new QmpError('timer value must be greater than zero');
	if (seconds > 0xffffffff) throw new QmpError('timer value is too big');
	balloon.pollingInterval = seconds;
}

function objectAt(machine: MachineControl, path: string): BalloonControl {
	if (path !== BALLOON_PATH || !machine.balloon) throw new QmpError(`Device '${path}' not found`, 'DeviceNotFound');
	return machine.balloon;
}
