/** Main channel: spice.proto, MainChannel. Migration messages stop here: this server neither leaves nor arrives. */
import { wire } from '../../core/index.ts';
import { baseClient, baseServer } from './base.ts';
import { ChannelType } from './constants.ts';
import { channel } from './kit.ts';

const { array, bytes, Empty, fixedBytes, rest, struct, u8, u16, u32, u64 } = wire;

export const MainInit = struct({
	sessionId: u32,
	displayChannelsHint: u32,
	supportedMouseModes: u32,
	currentMouseMode: u32,
	agentConnected: u32,
	agentTokens: u32,
	multiMediaTime: u32,
	ramHint: u32,
});
export const ChannelId = struct({ type: u8, id: u8 });
const Tokens = struct({ numTokens: u32 });
const Data = struct({ data: rest });

export const main = channel(ChannelType.main, {
	server: {
		...baseServer,
		init: [103, MainInit],
		channelsList: [104, struct({ channels: array(u32, ChannelId) })],
		mouseMode: [105, struct({ supportedModes: u16, currentMode: u16 })],
		multiMediaTime: [106, struct({ time: u32 })],
		agentConnected: [107, Empty],
		agentDisconnected: [108, struct({ errorCode: u32 })],
		agentData: [109, Data],
		agentToken: [110, Tokens],
		name: [113, struct({ name: bytes(u32, 4096) })],
		uuid: [114, struct({ uuid: fixedBytes(16) })],
		agentConnectedTokens: [115, Tokens],
	},
	client: {
		...baseClient,
		clientInfo: [101, struct({ cacheSize: u64 })],
		migrateConnected: [102, Empty],
		migrateConnectError: [103, Empty],
		attachChannels: [104, Empty],
		mouseModeRequest: [105, struct({ mode: u16 })],
		agentStart: [106, Tokens],
		agentData: [107, Data],
		agentToken: [108, Tokens],
		migrateEnd: [109, Empty],
		migrateDstDoSeamless: [110, struct({ srcVersion: u32 })],
		migrateConnectedSeamless: [111, Empty],
		qualityIndicator: [112, Data],
	},
});
