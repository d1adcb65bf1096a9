/** Host back ends of the serial ports, as the machine's description names them. */
import { openChar } from '../char/index.ts';
import type { CharBackend } from '../core/index.ts';
import type { MachineConfig } from './config.ts';
import type { MachineHost } from './machine.ts';

/** COM1..COM4; a hole means that the port is not there. */
export type SerialPorts = readonly (CharBackend | undefined)[];

/** COM1 is always there, so that a guest with a console on it does not wait for a port that never answers. */
export async function openSerials(config: MachineConfig, host: MachineHost): Promise<SerialPorts> {
	const wanted = config.serials.length > 0 ? config.serials : [{ kind: 'none' } as const];
	const ports: CharBackend[] = [];
	try {
		for (const serial of wanted) ports.push(await openChar(serial, { quit: host.quit }));
	} catch (error) {
		for (const port of ports) port.close();
		throw error;
	}
	return ports;
}
