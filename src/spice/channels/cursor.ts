/**
 * Cursor channel: the guest's pointer shape and, in server mouse mode, its place. A client that reads slowly gets the
 * newest state, not every step to it.
 */
import type { CursorShape } from '../../core/index.ts';
import type { ChannelBehaviour, ChannelFactory, ChannelLink } from '../channel.ts';
import { cursor } from '../protocol/cursor.ts';
import { receiver, type Sender, sender } from '../protocol/kit.ts';

export interface CursorState {
	/** Undefined until the guest sets one, and after a reset. */
	readonly shape: CursorShape | undefined;
	readonly x: number;
	readonly y: number;
	readonly visible: boolean;
}
export type CursorEvent =
	| {
			readonly type: 'set';
			readonly shape: CursorShape;
			readonly x: number;
			readonly y: number;
			readonly visible: boolean;
	  }
	| { readonly type: 'move'; readonly x: number; readonly y: number }
	| { readonly type: 'hide' }
	| { readonly type: 'trail'; readonly length: number; readonly frequency: number }
	| { readonly type: 'reset' };

/** Where the cursor comes from: the display keeps its state and tells of every change after it. */
export interface CursorSource {
	readonly cursor: CursorState;
	/** Returns the way to stop listening. */
	onCursor(listener: (event: CursorEvent) => void): () => void;
}

/** Makes cursor channels that show `source`. */
export function createCursorChannel(source: CursorSource): ChannelFactory {
	return (link) => new CursorChannel(link, source);
}

const none = { type: 'none' } as const;

class CursorChannel implements ChannelBehaviour {
	readonly receive = receiver(cursor.client, {});
	readonly #link: ChannelLink;
	readonly #source: CursorSource;
	readonly #send: Sender<typeof cursor.server>;
	#stop: (() => void) | undefined;

	/** What the client has not been told: at most one of each, in the order in which they are sent. */
	#reset = false;
	#trail: { length: number; frequency: number } | undefined;
	#set = false;
	#hide = false;
	#move = false;

	constructor(link: ChannelLink, source: CursorSource) {
		this.#link = link;
		this.#source = source;
		this.#send = sender(link, cursor.server);
	}

	start(): void {
		this.#init();
		this.#stop = this.#source.onCursor((event) => this.#changed(event));
		this.#link.onWritable = () => this.#flush();
	}

	closed(): void {
		this.#stop?.();
	}

	#init(): void {
		const { shape, x, y, visible } = this.#source.cursor;
		this.#send.init({
			position: point(x, y),
			trailLength: 0,
			trailFrequency: 0,
			visible: visible ? 1 : 0,
			cursor: shape === undefined ? none : body(shape),
		});
	}

	#changed(event: CursorEvent): void {
		if (event.type === 'reset') this.#forget();
		if (event.type === 'reset') this.#reset = true;
		else if (event.type === 'trail') this.#trail = event;
		else if (event.type === 'set') this.#set = true;
		this.#hide = event.type === 'hide' || (this.#hide && event.type === 'trail');
		this.#move = event.type === 'move' || (this.#move && event.type === 'trail');
		this.#flush();
	}

	#flush(): void {
		if (!this.#link.writable) return;
		const { shape, x, y, visible } = this.#source.cursor;
		const position = point(x, y);
		if (this.#reset) {
			// A reset leaves the client as before its first init: it takes nothing else until the next.
			this.#send.reset();
			this.#init();
		}
		if (this.#trail) this.#send.trail(this.#trail);
		if (this.#set && shape) this.#send.set({ position, visible: visible ? 1 : 0, cursor: body(shape) });
		if (this.#hide) this.#send.hide();
		else if (this.#move && !this.#set) this.#send.move({ position });
		this.#forget();
	}

	#forget(): void {
		this.#reset = false;
		this.#trail = undefined;
		this.#set = false;
		this.#hide = false;
		this.#move = false;
	}
}

/** The wire has 16-bit coordinates. */
function point(x: number, y: number): { x: number; y: number } {
	const clamp = (v: number): number => Math.max(-32768, Math.min(32767, Math.trunc(v)));
	return { x: clamp(x), y: clamp(y) };
}

function body(shape: CursorShape) {
	const { unique, type: cursorType, width, height, hotSpotX, hotSpotY, data } = shape;
	return { type: 'shape', unique, cursorType, width, height, hotSpotX, hotSpotY, data } as const;
}
