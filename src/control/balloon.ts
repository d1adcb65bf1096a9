/** The memory balloon as QMP and the human monitor ask for it, in QEMU's words (softmmu/balloon.c, hw/virtio/virtio-balloon.c). */
import * as z from 'zod';
import { BALLOON_STATISTICS, type BalloonControl, type MachineControl } from '../machine/control.ts';
import { Int, QmpError, validate } from './qmp/errors.ts';

/** QEMU finds a device that the operator has named by its id, with or without this before it. */
const PERIPHERAL = '/machine/peripheral/';
/** The name of a balloon that has none: what libvirt calls it. */
const BALLOON_ID = 'balloon0';
const TYPE = 'type';
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
	if (property === TYPE) return 'virtio-balloon-pci';
	if (property !== STATISTICS) throw new QmpError(`Property 'virtio-balloon-pci.${property}' not found`);
	const { values, updated } = balloon.statistics;
	const stats = Object.fromEntries(BALLOON_STATISTICS.map((name) => [name, values.get(name) ?? UNKNOWN]));
	return { stats, 'last-update': updated };
}

export function setProperty(machine: MachineControl, path: string, property: string, value: unknown): void {
	const balloon = objectAt(machine, path);
	if (property === TYPE) throw new QmpError(`Property 'virtio-balloon-pci.${property}' is not writable`);
	if (property === STATISTICS) throw new QmpError(`Property 'virtio-balloon-device.${property}' is not writable`);
	if (property !== INTERVAL) throw new QmpError(`Property 'virtio-balloon-pci.${property}' not found`);
	const { [INTERVAL]: seconds } = validate(z.strictObject({ [INTERVAL]: Int }), { [INTERVAL]: value });
	if (seconds < 0) throw new QmpError('timer value must be greater than zero');
	if (seconds > 0xffffffff) throw new QmpError('timer value is too big');
	balloon.pollingInterval = seconds;
}

function objectAt(machine: MachineControl, path: string): BalloonControl {
	const device = machine.config.devices.find(({ driver }) => driver === 'virtio-balloon-pci');
	const id = device?.id ?? BALLOON_ID;
	if (machine.balloon && (path === id || path === PERIPHERAL + id)) return machine.balloon;
	throw new QmpError(`Device '${path}' not found`, 'DeviceNotFound');
}
