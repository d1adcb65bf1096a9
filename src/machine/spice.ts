/** The machine's SPICE server: which channels it has, and how it is asked and told. */
import type { AudioMixer } from '../audio/index.ts';
import type { DisplayClientEvents } from '../core/index.ts';
import type { ChannelFactory } from '../spice/channel.ts';
import { createCursorChannel } from '../spice/channels/cursor.ts';
import { createDisplayChannel, guestCapabilities } from '../spice/channels/display.ts';
import { createPlaybackChannel } from '../spice/channels/playback.ts';
import { createRecordChannel } from '../spice/channels/record.ts';
import type { Display } from '../spice/display/display.ts';
import { ChannelType } from '../spice/protocol/constants.ts';
import { SpiceServer } from '../spice/server.ts';
import type { SpicePorts } from './agent.ts';
import type { SpiceConfig } from './config.ts';
import type { MachineControl, MachineEventListener, SpiceControl } from './control.ts';

export interface SpiceParts {
	readonly machine: Pick<MachineControl, 'name' | 'uuid' | 'inputs'>;
	readonly display: Display;
	/** The guest's ports that clients talk to. */
	readonly guestPorts: SpicePorts;
	/** What clients hear and what they are heard by; undefined if they shall not. */
	readonly mixer: AudioMixer | undefined;
	/** The display adapter, which is told of clients. */
	readonly client: DisplayClientEvents;
	readonly warn: (line: string) => void;
	readonly emit: MachineEventListener;
}

/** Opens the ports. Throws TsvmError: port busy, certificate unreadable. */
export async function startSpice(config: SpiceConfig, parts: SpiceParts): Promise<SpiceServer> {
	const { machine, display, client, guestPorts, mixer } = parts;
	const server = new SpiceServer({
		name: machine.name,
		uuid: machine.uuid,
		inputs: machine.inputs,
		factories: new Map<number, ChannelFactory | readonly ChannelFactory[]>([
			[ChannelType.display, createDisplayChannel(display)],
			[ChannelType.cursor, createCursorChannel(display)],
			...(mixer ? soundChannels(mixer, config.playbackCompression) : []),
			...portChannels(guestPorts),
		]),
		agent: guestPorts.agent,
		screen: () => display.screen,
		clientPresent: (present, capabilities) => client.clientPresent(present, guestCapabilities(capabilities)),
		warn: parts.warn,
	});
	server.onEvent(parts.emit);
	const { port, addr, password, tls, secureChannels, webHosts } = config;
	await server.listen({ host: addr, port, tls, password, secureChannels, webHosts });
	return server;
}

export function spiceControl(server: SpiceServer): SpiceControl {
	return {
		setPassword: (password, connected) => server.setPassword(password, connected),
		expirePassword: (time) => server.expirePassword(time),
		info: () => server.info(),
	};
}

function soundChannels(mixer: AudioMixer, compression: boolean): [type: number, factory: ChannelFactory][] {
	return [
		[ChannelType.playback, createPlaybackChannel(mixer, { compression })],
		[ChannelType.record, createRecordChannel(mixer)],
	];
}

function portChannels({ ports }: SpicePorts): [type: number, factories: ChannelFactory[]][] {
	const types = [...new Set(ports.map((port) => port.channelType))];
	return types.map((type) => [type, ports.filter((port) => port.channelType === type).map((port) => port.factory)]);
}
