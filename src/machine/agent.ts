/** The virtio ports: those that SPICE clients talk to, the agent's and any others by name, and those of the host. */
import type { SerialPortOptions } from '../../devices/virtio/index.ts';
import { closedChar } from '../char/index.ts';
import type { CharBackend } from '../core/index.ts';
import { type DisplayOutput, SpiceVmc, type SpiceVmcOptions } from '../spice/agent/spicevmc.ts';
import { SpicePort } from '../spice/channels/port.ts';
import { DISPLAY_SLOT } from './board.ts';
import type { MachineConfig } from './config.ts';
import type { Plan, PortEnd } from './plan.ts';

/** Outputs that Linux's driver gives the adapter. Its connectors are numbered as the display channel's monitors are. */
const OUTPUTS = 4;

export interface SpicePorts {
	readonly agent: SpiceVmc | undefined;
	readonly ports: readonly SpicePort[];
	/** Ports of each virtio console device. */
	readonly serials: readonly (readonly SerialPortOptions[])[];
}

/** `chardevs` are the opened back ends by id, `options` the agent's ways to the machine. */
export function createSpicePorts(
	config: Pick<MachineConfig, 'agent' | 'display'>,
	{ serials }: Pick<Plan, 'serials'>,
	chardevs: ReadonlyMap<string, CharBackend>,
	options: Pick<SpiceVmcOptions, 'monitors' | 'screen'>,
): SpicePorts {
	let agent: SpiceVmc | undefined;
	const ports: SpicePort[] = [];
	const backendOf = (end: PortEnd): CharBackend => {
		switch (end.kind) {
			case 'agent':
				agent = new SpiceVmc({ ...options, ...config.agent, displays: displayOutputs(config.display.maxOutputs) });
				return agent;
			case 'spice': {
				const port = new SpicePort(end.name);
				ports.push(port);
				return port;
			}
			case 'chardev':
				return chardevs.get(end.id) ?? closedChar();
			case 'nobody':
				return closedChar();
		}
	};
	const planned = serials.map((serial) =>
		serial.ports.map(({ end, ...port }) => ({ ...port, backend: backendOf(end) })),
	);
	return { agent, ports, serials: planned };
}

function displayOutputs(maxOutputs: number): DisplayOutput[] {
	const deviceAddress = `pci/0000/${DISPLAY_SLOT.toString(16).padStart(2, '0')}.0`;
	return Array.from({ length: Math.min(maxOutputs || OUTPUTS, OUTPUTS) }, (_, n) => ({
		channelId: 0,
		monitorId: n,
		deviceDisplayId: n,
		deviceAddress,
	}));
}
