/** Host back ends of the serial ports and of the other byte streams, as the machine's description names them. */
import { type CharSpec, openChar } from '../char/index.ts';
import type { CharBackend } from '../core/index.ts';
import type { MachineConfig } from './config.ts';
import type { Chardev } from './devices.ts';
import type { MachineHost } from './machine.ts';

/** COM1..COM4; a hole means that the port is not there. */
export type SerialPorts = readonly (CharBackend | undefined)[];
/** By id. */
export type Chardevs = ReadonlyMap<string, CharBackend>;

/** COM1 is always there, so that a guest with a console on it does not wait for a port that never answers. */
export async function openSerials(config: MachineConfig, chardevs: Chardevs, host: MachineHost): Promise<SerialPorts> {
	const wanted = config.serials.length > 0 ? config.serials : [{ kind: 'none' } as const];
	const ports: (CharBackend | undefined)[] = [];
	try {
		for (const serial of wanted)
			ports.push(serial.kind === 'chardev' ? chardevs.get(serial.id) : await openChar(serial, { quit: host.quit }));
	} catch (error) {
		closeAll(ports);
		throw error;
	}
	return ports;
}

/** Opens what the plan lists. Rejects with TsvmError, and has then closed the others. */
export async function openChardevs(chardevs: readonly Chardev[], host: MachineHost): Promise<Chardevs> {
	const opened = new Map<string, CharBackend>();
	try {
		for (const chardev of chardevs) {
			const spec = specOf(chardev);
			if (spec && chardev.id !== undefined) opened.set(chardev.id, await openChar(spec, { quit: host.quit }));
		}
	} catch (error) {
		closeAll(opened.values());
		throw error;
	}
	return opened;
}

/** Closes each once, however many places it is named in. */
export function closeAll(...backends: readonly Iterable<CharBackend | undefined>[]): void {
	for (const backend of new Set(backends.flatMap((list) => [...list]))) backend?.close();
}

function specOf(chardev: Chardev): CharSpec | undefined {
	switch (chardev.backend) {
		case 'socket':
			return { kind: 'unix', path: chardev.path ?? '' };
		case 'file':
			return { kind: 'file', path: chardev.path ?? '' };
		case 'stdio':
			return { kind: 'stdio' };
		case 'null':
			return { kind: 'none' };
		default:
			return undefined;
	}
}
