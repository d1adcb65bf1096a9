/** Record channel: spice.proto, RecordChannel. Times are multimedia time, ms. */
import { wire } from '../../core/index.ts';
import { baseClient, baseServer } from './base.ts';
import { ChannelType } from './constants.ts';
import { channel } from './kit.ts';
import { Mute, Volume } from './sound.ts';

const { Empty, rest, struct, u16, u32 } = wire;

export const record = channel(ChannelType.record, {
	server: {
		...baseServer,
		start: [101, struct({ channels: u32, format: u16, frequency: u32 })],
		stop: [102, Empty],
		volume: [103, Volume],
		mute: [104, Mute],
	},
	client: {
		...baseClient,
		data: [101, struct({ time: u32, data: rest })],
		mode: [102, struct({ time: u32, mode: u16, data: rest })],
		startMark: [103, struct({ time: u32 })],
	},
});

/** protocol.h, SPICE_RECORD_CAP_*. */
export const RecordCap = { celt: 0, volume: 1, opus: 2 } as const;
