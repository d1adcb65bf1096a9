/** Inputs channel: spice.proto, InputsChannel. */
import { wire } from '../../core/index.ts';
import { baseClient, baseServer } from './base.ts';
import { ChannelType } from './constants.ts';
import { channel } from './kit.ts';

const { Empty, i32, rest, struct, u8, u16, u32 } = wire;

/** Up to four set-1 scan code bytes, first byte lowest: 0x4de0 is E0 4D. */
const Key = struct({ code: u32 });
const Modifiers = struct({ modifiers: u16 });
const Button = struct({ button: u8, buttonsState: u16 });

export const inputs = channel(ChannelType.inputs, {
	server: {
		...baseServer,
		init: [101, Modifiers],
		keyModifiers: [102, Modifiers],
		mouseMotionAck: [111, Empty],
	},
	client: {
		...baseClient,
		keyDown: [101, Key],
		keyUp: [102, Key],
		keyModifiers: [103, Modifiers],
		keyScancode: [104, struct({ codes: rest })],
		mouseMotion: [111, struct({ dx: i32, dy: i32, buttonsState: u16 })],
		mousePosition: [112, struct({ x: u32, y: u32, buttonsState: u16, displayId: u8 })],
		mousePress: [113, Button],
		mouseRelease: [114, Button],
	},
});

/** enums.h, SpiceMouseButton: the wheel comes as two buttons. */
export const WheelButton = { up: 4, down: 5 } as const;
/** protocol.h, SPICE_INPUT_MOTION_ACK_BUNCH: a client stops when two bunches are unconfirmed. */
export const MOTION_ACK_BUNCH = 4;
