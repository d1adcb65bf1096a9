/** Ejecting and changing media, with the checks and words that QEMU has (block/qapi-sysemu.c). */
import { access } from 'node:fs/promises';
import { TsvmError } from '../core/index.ts';
import type { BlockInfo, MachineControl } from '../machine/control.ts';
import { QmpError } from './qmp/errors.ts';
import { systemMessage } from './screendump.ts';

export type ReadOnlyMode = 'retain' | 'read-only' | 'read-write';

/** A drive by its back end's name or by its device's path, exactly one of which must be given. */
export function findDrive(machine: MachineControl, device: string | undefined, id: string | undefined): BlockInfo {
	if ((device === undefined) === (id === undefined)) throw new QmpError("Need exactly one of 'device' and 'id'");
	const found = machine.blocks().find((block) => (id === undefined ? block.device === device : block.qdev === id));
	if (!found) throw new QmpError(`Device '${device ?? id}' not found`, 'DeviceNotFound');
	return found;
}

export async function eject(machine: MachineControl, drive: BlockInfo, force: boolean): Promise<void> {
	requireRemovable(drive);
	await orLocked(drive, () => machine.eject(drive.device, force));
}

export async function changeMedium(
	machine: MachineControl,
	drive: BlockInfo,
	filename: string,
	options: { readonly format?: string; readonly force?: boolean; readonly readOnlyMode?: ReadOnlyMode },
): Promise<void> {
	const { format, force = false, readOnlyMode = 'retain' } = options;
	if (format !== undefined && format !== 'raw') throw new QmpError(`Unknown driver '${format}'`);
	try {
		await access(filename);
	} catch (error) {
		throw new QmpError(`Could not open '${filename}': ${systemMessage(error)}`);
	}
	requireRemovable(drive);
	await orLocked(drive, () => machine.changeMedium(drive.device, filename, { force, readOnlyMode }));
}

function requireRemovable(drive: BlockInfo): void {
	if (!drive.removable) throw new QmpError(`Device '${drive.device}' is not removable`);
}

async function orLocked(drive: BlockInfo, action: () => Promise<void>): Promise<void> {
	try {
		await action();
	} catch (error) {
		if (!(error instanceof TsvmError) || error.code !== 'locked') throw error;
		const when = 'wait for tray to open and try again';
		throw new QmpError(`Device '${drive.device}' is locked and force was not specified, ${when}`);
	}
}
