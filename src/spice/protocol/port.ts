/** Port and WebDAV channels: spice.proto, SpicevmcChannel and PortChannel. */
import { wire } from '../../core/index.ts';
import { baseClient, baseServer } from './base.ts';
import { ChannelType } from './constants.ts';
import { channel } from './kit.ts';

const { ptr, rest, struct, u8, u32 } = wire;

const Data = struct({ data: rest });
const Event = struct({ event: u8 });

/** enums.h, SpicePortEvent. */
export const PortEvent = { opened: 0, closed: 1, break: 2 } as const;

export const port = channel(ChannelType.port, {
	server: {
		...baseServer,
		data: [101, Data],
		/** `name` ends with a zero byte, which `nameSize` counts. */
		init: [201, struct({ nameSize: u32, name: ptr(rest), opened: u8 })],
		event: [202, Event],
	},
	client: {
		...baseClient,
		data: [101, Data],
		event: [201, Event],
	},
});
