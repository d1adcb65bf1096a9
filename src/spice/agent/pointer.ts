/**
 * The agent as an absolute pointer: clients move their own cursor and the agent puts the guest's to the same place.
 * vd_agent.h, VDAgentMouseState: x and y are pixels of the primary surface.
 */
import { type Infer, MouseButton } from '../../core/index.ts';
import { AgentButton, type MouseState } from './messages.ts';

export interface Size {
	readonly width: number;
	readonly height: number;
}

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

export class AgentPointer {
	onActive: ((active: boolean) => void) | undefined;
	readonly #send: (state: Infer<typeof MouseState>) => void;
	readonly #primary: () => Size | undefined;
	#active = false;

	constructor(send: (state: Infer<typeof MouseState>) => void, primary: () => Size | undefined) {
		this.#send = send;
		this.#primary = primary;
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
		const primary = this.#primary() ?? { width, height };
		const place = {
			x: scale(x, width, primary.width),
			y: scale(y, height, primary.height),
			displayId: 0,
		};
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
