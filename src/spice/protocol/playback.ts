/** Playback channel: spice.proto, PlaybackChannel. Times are multimedia time, ms. */
import { wire } from '../../core/index.ts';
import { baseClient, baseServer } from './base.ts';
import { ChannelType } from './constants.ts';
import { channel } from './kit.ts';
import { Mute, Volume } from './sound.ts';

const { Empty, rest, struct, u16, u32 } = wire;

export const playback = channel(ChannelType.playback, {
	server: {
		...baseServer,
		data: [101, struct({ time: u32, data: rest })],
		mode: [102, struct({ time: u32, mode: u16, data: rest })],
		start: [103, struct({ channels: u32, format: u16, frequency: u32, time: u32 })],
		stop: [104, Empty],
		volume: [105, Volume],
		mute: [106, Mute],
		latency: [107, struct({ latencyMs: u32 })],
	},
	client: baseClient,
});

/** protocol.h, SPICE_PLAYBACK_CAP_*. */
export const PlaybackCap = { celt: 0, volume: 1, latency: 2, opus: 3 } as const;
