/**
 * The agent as an absolute pointer: clients move their own cursor and the agent puts the guest's to the same place.
 * vd_agent.h, VDAgentMouseState: x and y are pixels of the head that `displayId` names.
 */
import { type Head, type Infer, MouseButton } from '../../core/index.ts';
import type { Screen } from '../mouse.ts';
import { AgentButton, type MouseState } from './messages.ts';

/** SpiceMouseButtonMask to VD_AGENT_*BUTTON_MASK. */
const BUTTONS = [
	[MouseButton.left, AgentButton.left],
	[MouseButton.middle, AgentButton.middle],
	[MouseButton.right, AgentButton.right],
	[MouseButton.side, AgentButton.side],
	[MouseButton.extra, AgentButton.extra],
] as const;
/** Clicks of the wheel that one call may stand for. */
const MAX_CLICKS = 16;
/** What fits into VDAgentMouseState.display_id. */
const MAX_DISPLAY_ID = 255;

export class AgentPointer {
	onActive: ((active: boolean) => void) | undefined;
	readonly #send: (state: Infer<typeof MouseState>) => void;
	readonly #screen: () => Screen | undefined;
	#active = false;

	/** While there is no screen, places are passed on as they are. */
	constructor(send: (state: Infer<typeof MouseState>) => void, screen: () => Screen | undefined) {
		this.#send = send;
		this.#screen = screen;
	}

	/** An agent is there and has said that it moves pointers. */
	get active(): boolean {
		return this.#active;
	}
	set active(active: boolean) {
		if (active === this.#active) return;
		this.#active = active;
		this.onActive?.(active);
	}

	/** A place in a picture of width x height; buttons are a MouseButton mask, wheel clicks count down positive. */
	position(x: number, y: number, width: number, height: number, wheel: number, buttons: number): void {
		const screen = this.#screen() ?? { width, height, heads: [] };
		const place = locate(scale(x, width, screen.width), scale(y, height, screen.height), screen.heads);
		let pressed = 0;
		for (const [spice, agent] of BUTTONS) if ((buttons & spice) !== 0) pressed |= agent;
		// The wheel is two buttons to the agent: down and up again for each click.
		const click = wheel < 0 ? AgentButton.up : AgentButton.down;
		for (let i = Math.min(Math.abs(wheel), MAX_CLICKS); i >= 1; i--) {
			this.#send({ ...place, buttons: pressed | click });
			this.#send({ ...place, buttons: pressed });
		}
		if (wheel === 0) this.#send({ ...place, buttons: pressed });
	}
}

function scale(value: number, from: number, to: number): number {
	return from === to ? value : Math.floor((value * to) / from);
}

/** The head that shows a place of the surface, or else the nearest one, and the place in it. */
function locate(x: number, y: number, heads: readonly Head[]): { x: number; y: number; displayId: number } {
	let place = { x, y, displayId: 0 };
	let nearest = Number.POSITIVE_INFINITY;
	for (const { id, x: left, y: top, width, height } of heads) {
		if (width === 0 || height === 0 || id > MAX_DISPLAY_ID) continue;
		const inX = Math.max(0, Math.min(width - 1, x - left));
		const inY = Math.max(0, Math.min(height - 1, y - top));
		const distance = Math.hypot(left + inX - x, top + inY - y);
		if (distance >= nearest) continue;
		nearest = distance;
		place = { x: inX, y: inY, displayId: id };
	}
	return place;
}
