/** Messages that every channel has. spice.proto, BaseChannel. */
import { wire } from '../../core/index.ts';

const { array, bytes, Empty, rest, struct, u8, u32, u64 } = wire;

export const WaitForChannel = struct({ channelType: u8, channelId: u8, messageSerial: u64 });
export const Notify = struct({ timeStamp: u64, severity: u32, visibility: u32, what: u32, message: bytes(u32, 65536) });
export const Disconnecting = struct({ timeStamp: u64, reason: u32 });

export const baseServer = {
	migrate: [1, struct({ flags: u32 })],
	migrateData: [2, struct({ data: rest })],
	setAck: [3, struct({ generation: u32, window: u32 })],
	ping: [4, struct({ id: u32, timestamp: u64, data: rest })],
	waitForChannels: [5, struct({ waitList: array(u8, WaitForChannel) })],
	disconnecting: [6, Disconnecting],
	notify: [7, Notify],
} as const;

export const baseClient = {
	ackSync: [1, struct({ generation: u32 })],
	ack: [2, Empty],
	pong: [3, struct({ id: u32, timestamp: u64 })],
	migrateFlushMark: [4, Empty],
	migrateData: [5, struct({ data: rest })],
	disconnecting: [6, Disconnecting],
} as const;
/** Numbers below this belong to every channel. enums.h, SPICE_MSG_BASE_LAST. */
export const BASE_LAST = 100;
