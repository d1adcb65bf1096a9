/**
 * What server, client and guest agent say to each other. vd_agent.h of spice-protocol 0.14.3: each message has a header
 * of its own and travels in chunks, which belong to one of two byte streams: the client's and the server's own.
 */
import { type Infer, WireError, wire } from '../../core/index.ts';

const { array, bytes, Empty, fixedArray, i32, many, struct, u8, u32, u64 } = wire;

/** VDP_*_PORT: whose stream a chunk belongs to. */
export const VdpPort = { client: 1, server: 2 } as const;
export type VdpPort = (typeof VdpPort)[keyof typeof VdpPort];

/** VDIChunkHeader. What goes to the guest has at most MAX_AGENT_DATA bytes in a chunk; Linux's agent sends any size. */
export const ChunkHeader = struct({ port: u32, size: u32 });
/** VDAgentMessage. */
export const MessageHeader = struct({ protocol: u32, type: u32, opaque: u64, size: u32 });
/** VD_AGENT_PROTOCOL. */
export const PROTOCOL = 1;

/** VD_AGENT_* message numbers. */
export const AgentMessage = {
	mouseState: 1,
	monitorsConfig: 2,
	reply: 3,
	clipboard: 4,
	displayConfig: 5,
	announceCapabilities: 6,
	clipboardGrab: 7,
	clipboardRequest: 8,
	clipboardRelease: 9,
	fileXferStart: 10,
	fileXferStatus: 11,
	fileXferData: 12,
	clientDisconnected: 13,
	maxClipboard: 14,
	audioVolumeSync: 15,
	graphicsDeviceInfo: 16,
} as const;

/** VD_AGENT_CAP_* that the server itself looks at. */
export const AgentCap = {
	mouseState: 0,
	clipboard: 3,
	clipboardByDemand: 5,
	clipboardSelection: 6,
	fileXferDisabled: 13,
	graphicsDeviceInfo: 15,
} as const;

/** VD_AGENT_*BUTTON_MASK. */
export const AgentButton = { left: 2, middle: 4, right: 8, up: 16, down: 32, side: 64, extra: 128 } as const;

export const MouseState = struct({ x: u32, y: u32, buttons: u32, displayId: u8 });
/** The words of `caps` are a CapSet's. */
export const AnnounceCapabilities = struct({ request: u32, caps: many(u32, 64) });
export const ClientDisconnected = Empty;
/** `deviceAddress` ends with a zero byte. */
export const DeviceDisplayInfo = struct({
	channelId: u32,
	monitorId: u32,
	deviceDisplayId: u32,
	deviceAddress: bytes(u32, 256),
});
export const GraphicsDeviceInfo = struct({ displayInfo: array(u32, DeviceDisplayInfo, 64) });

/** VDAgentMonConfig; 0 x 0 is a monitor that is switched off. */
export const MonConfig = struct({ height: u32, width: u32, depth: u32, x: i32, y: i32 });
export type MonConfig = Infer<typeof MonConfig>;
const MonitorsHead = struct({ numOfMonitors: u32, flags: u32 });
/** More than any adapter has. */
const MAX_MONITORS = 256;

/** The monitors of a VDAgentMonitorsConfig. Sizes in millimetres may follow them. Throws WireError. */
export function readMonitorsConfig(body: Uint8Array): MonConfig[] {
	const { numOfMonitors } = wire.decode(MonitorsHead, body);
	if (numOfMonitors > MAX_MONITORS) throw new WireError(`${numOfMonitors} monitors`);
	return wire.decode(fixedArray(numOfMonitors, MonConfig), body, MonitorsHead.min);
}
