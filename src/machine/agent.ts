/** The virtio ports that SPICE clients talk to: the agent's, and any others by name. */
import type { SerialPortOptions } from '../../devices/virtio/index.ts';
import { AGENT_PORT, type DisplayOutput, SpiceVmc, type SpiceVmcOptions } from '../spice/agent/spicevmc.ts';
import { SpicePort } from '../spice/channels/port.ts';
import { DISPLAY_SLOT } from './board.ts';
import type { MachineConfig } from './config.ts';

/** Outputs that Linux's driver gives the adapter. Its connectors are numbered as the display channel's monitors are. */
const OUTPUTS = 4;

export interface SpicePorts {
	readonly agent: SpiceVmc | undefined;
	readonly ports: readonly SpicePort[];
	/** For the virtio console device. */
	readonly serial: readonly SerialPortOptions[];
}

/** Without SPICE there are none. `options` are the agent's ways to the machine. */
export function createSpicePorts(
	config: Pick<MachineConfig, 'agent' | 'spice' | 'spicePorts'>,
	options: Pick<SpiceVmcOptions, 'monitors' | 'screen'>,
): SpicePorts {
	if (!config.spice) return { agent: undefined, ports: [], serial: [] };
	const agent = config.agent ? new SpiceVmc({ ...options, ...config.agent, displays: displayOutputs() }) : undefined;
	const ports = config.spicePorts.map((name) => new SpicePort(name));
	const serial = ports.map((port) => ({ name: port.name, backend: port }));
	return { agent, ports, serial: agent ? [{ name: AGENT_PORT, backend: agent }, ...serial] : serial };
}

function displayOutputs(): DisplayOutput[] {
	const deviceAddress = `pci/0000/${DISPLAY_SLOT.toString(16).padStart(2, '0')}.0`;
	return Array.from({ length: OUTPUTS }, (_, n) => ({ channelId: 0, monitorId: n, deviceDisplayId: n, deviceAddress }));
}
