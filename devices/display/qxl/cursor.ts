/** QXLCursorCmd into calls of the host's cursor. qxl_dev.h, QXLCursor; pixel layouts as spice-protocol's SpiceCursorType. */
import { type CursorShape, CursorType, type DisplaySink } from '../../../src/core/index.ts';
import { CommandError, type GuestReader } from './guest-reader.ts';
import { Cursor, CursorCmd, CursorCmdType, CursorMove, CursorSet, CursorTrail } from './layout.ts';

/** No pointer is larger; spice-gtk's limit is of the same order. */
const MAX_CURSOR_SIDE = 1024;

/** Where the cursor is and how it looks, so that a restored machine can show it again. */
export interface CursorState {
	shape: CursorShape | undefined;
	x: number;
	y: number;
	visible: boolean;
}

/** Carries out the QXLCursorCmd at `address`. Throws GuestFault, WireError or CommandError. */
export function runCursorCommand(reader: GuestReader, sink: DisplaySink, address: bigint, state: CursorState): void {
	const { type } = reader.read(CursorCmd, address);
	const body = CursorCmd.min;
	switch (type) {
		case CursorCmdType.set: {
			const { position, visible, shape } = reader.read(CursorSet, address, body);
			state.shape = readShape(reader, shape);
			state.x = position.x;
			state.y = position.y;
			state.visible = visible !== 0;
			sink.cursorSet(state.shape, state.x, state.y, state.visible);
			return;
		}
		case CursorCmdType.move: {
			const { x, y } = reader.read(CursorMove, address, body);
			state.x = x;
			state.y = y;
			state.visible = true;
			sink.cursorMove(x, y);
			return;
		}
		case CursorCmdType.hide:
			state.visible = false;
			sink.cursorHide();
			return;
		case CursorCmdType.trail: {
			const { length, frequency } = reader.read(CursorTrail, address, body);
			sink.cursorTrail(length, frequency);
			return;
		}
		default:
			throw new CommandError(`cursor command of type ${type}`);
	}
}

function readShape(reader: GuestReader, address: bigint): CursorShape {
	const { unique, type, width, height, hotSpotX, hotSpotY, dataSize } = reader.read(Cursor, address);
	if (width > MAX_CURSOR_SIDE || height > MAX_CURSOR_SIDE) throw new CommandError(`cursor of ${width}x${height}`);
	const size = shapeBytes(type, width, height);
	if (size === undefined) throw new CommandError(`cursor shape of type ${type}`);
	if (dataSize < size) throw new CommandError(`cursor data of ${dataSize} bytes where ${size} are due`);
	const data = reader.chunks(address, size, Cursor.min);
	return { unique, type: type as CursorType, width, height, hotSpotX, hotSpotY, data };
}

/** Bytes of a shape: its pixels, its palette, and for all but alpha a 1-bit mask. Undefined for an unknown type. */
function shapeBytes(type: number, width: number, height: number): number | undefined {
	const mask = Math.ceil(width / 8) * height;
	switch (type) {
		case CursorType.alpha:
			return width * height * 4;
		case CursorType.mono:
			return mask * 2;
		case CursorType.color4:
			return Math.ceil(width / 2) * height + 16 * 4 + mask;
		case CursorType.color8:
			return width * height + 256 * 4 + mask;
		case CursorType.color16:
			return width * height * 2 + mask;
		case CursorType.color24:
			return width * height * 3 + mask;
		case CursorType.color32:
			return width * height * 4 + mask;
		default:
			return undefined;
	}
}
