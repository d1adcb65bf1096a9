/** The virtio ports that SPICE clients talk to: the agent's, and any others by name. */
import type { SerialPortOptions } from '../../devices/virtio/index.ts';
import { AGENT_PORT, SpiceVmc, type SpiceVmcOptions } from '../spice/agent/spicevmc.ts';
import { SpicePort } from '../spice/channels/port.ts';
import type { MachineConfig } from './config.ts';

export interface SpicePorts {
	readonly agent: SpiceVmc | undefined;
	readonly ports: readonly SpicePort[];
	/** For the virtio console device. */
	readonly serial: readonly SerialPortOptions[];
}

/** Without SPICE there are none. `options` are the agent's ways to the machine. */
export function createSpicePorts(
	config: Pick<MachineConfig, 'agent' | 'spice' | 'spicePorts'>,
	options: Pick<SpiceVmcOptions, 'monitors' | 'primary'>,
): SpicePorts {
	if (!config.spice) return { agent: undefined, ports: [], serial: [] };
	const agent = config.agent ? new SpiceVmc({ ...options, ...config.agent }) : undefined;
	const ports = config.spicePorts.map((name) => new SpicePort(name));
	const serial = ports.map((port) => ({ name: port.name, backend: port }));
	return { agent, ports, serial: agent ? [{ name: AGENT_PORT, backend: agent }, ...serial] : serial };
}
