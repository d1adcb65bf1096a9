/** Cursor channel: spice.proto, CursorChannel. */
import { wire } from '../../core/index.ts';
import { baseClient, baseServer } from './base.ts';
import { ChannelType } from './constants.ts';
import { channel } from './kit.ts';

const { Empty, i16, rest, struct, u8, u16, u64, union } = wire;

const Point16 = struct({ x: i16, y: i16 });
/** Tagged by its flags: NONE has no header, and this server lets no client cache a shape. */
export const Cursor = union(u16, {
	none: [1, struct({})],
	shape: [
		0,
		struct({ unique: u64, cursorType: u8, width: u16, height: u16, hotSpotX: u16, hotSpotY: u16, data: rest }),
	],
});

export const cursor = channel(ChannelType.cursor, {
	server: {
		...baseServer,
		init: [101, struct({ position: Point16, trailLength: u16, trailFrequency: u16, visible: u8, cursor: Cursor })],
		reset: [102, Empty],
		set: [103, struct({ position: Point16, visible: u8, cursor: Cursor })],
		move: [104, struct({ position: Point16 })],
		hide: [105, Empty],
		trail: [106, struct({ length: u16, frequency: u16 })],
		invalOne: [107, struct({ id: u64 })],
		invalAll: [108, Empty],
	},
	client: baseClient,
});
