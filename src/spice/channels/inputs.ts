/**
 * Inputs channel: keys, pointer and wheel to whatever devices take them, keyboard LEDs both ways. SPICE protocol,
 * "Inputs Channel".
 */
import type { InputEvents } from '../../core/index.ts';
import { CapSet } from '../caps.ts';
import type { ChannelBehaviour, ChannelFactory, ChannelLink } from '../channel.ts';
import type { MouseModes, Screen } from '../mouse.ts';
import { InputsCap, MouseMode } from '../protocol/constants.ts';
import { inputs, MOTION_ACK_BUNCH, WheelButton } from '../protocol/inputs.ts';
import { receiver, type Sender, sender } from '../protocol/kit.ts';
import { HeldKeys } from './held-keys.ts';

export interface InputsChannelHost {
	readonly inputs: InputEvents;
	readonly mouse: MouseModes;
	/** Undefined while there is no primary surface. Clients say where they point in one of its heads. */
	screen(): Screen | undefined;
	/** Told once a channel starts over a connection that is not encrypted. */
	insecure(link: ChannelLink): void;
}

/** Lock keys: LED bit and set-1 scan code. */
const LOCKS = [
	{ led: 1, code: 0x46 },
	{ led: 2, code: 0x45 },
	{ led: 4, code: 0x3a },
] as const;
/** LEFT, MIDDLE, RIGHT, SIDE and EXTRA of SpiceMouseButtonMask; the wheel's two bits are clicks, not states. */
const BUTTONS = 1 | 2 | 4 | 32 | 64;
/**
 * How long a lock key is held that client or server taps in one go. A guest answers the press by setting the LED, and
 * Linux drops a scan code that comes in while it waits for the keyboard's acknowledgement: a release that close behind
 * is lost, the key counts as held, and its next press as a repeat. Fingers take longer.
 */
const TAP_MS = 50;
/** How long a guest may take to light a LED after its key; libspice-server waits as long. */
const LED_PATIENCE_MS = 2000;
/** A message holds a few keys at most. */
const MAX_MESSAGE = 4096;

export function createInputsChannel(host: InputsChannelHost): ChannelFactory {
	return Object.assign((link: ChannelLink) => new InputsChannel(link, host), {
		caps: CapSet.of(InputsCap.keyScancode),
	});
}

class InputsChannel implements ChannelBehaviour {
	readonly maxMessage = MAX_MESSAGE;
	readonly receive: (type: number, body: Uint8Array) => void;
	readonly #link: ChannelLink;
	readonly #host: InputsChannelHost;
	readonly #send: Sender<typeof inputs.server>;
	readonly #held = new HeldKeys();
	#stop: (() => void) | undefined;
	#motions = 0;
	#buttons = 0;
	#x = 0;
	#y = 0;
	/** LEDs that the client was last told. */
	#told = 0;
	/** LEDs that the guest will show once it has seen the lock keys sent so far; settled when the timer is gone. */
	#expected = 0;
	#settle: NodeJS.Timeout | undefined;
	/** Releases under way, by scan code. */
	readonly #taps = new Map<number, NodeJS.Timeout>();

	constructor(link: ChannelLink, host: InputsChannelHost) {
		this.#link = link;
		this.#host = host;
		this.#send = sender(link, inputs.server);
		this.receive = receiver(inputs.client, {
			keyDown: ({ code }) => this.#scancodes(unpack(code)),
			keyUp: ({ code }) => this.#scancodes(unpack(code)),
			keyScancode: ({ codes }) => this.#scancodes(codes),
			keyModifiers: ({ modifiers }) => this.#setLeds(modifiers),
			mouseMotion: ({ dx, dy, buttonsState }) => this.#motion(dx, dy, buttonsState),
			mousePosition: ({ x, y, buttonsState, displayId }) => this.#position(x, y, displayId, buttonsState),
			mousePress: ({ button, buttonsState }) => this.#press(button, buttonsState),
			mouseRelease: ({ buttonsState }) => this.#button(0, buttonsState),
		});
	}

	start(): void {
		const { inputs: events } = this.#host;
		this.#told = events.leds;
		this.#send.init({ modifiers: this.#told });
		this.#stop = events.onChange(() => this.#ledsChanged());
		if (!this.#link.secure) this.#host.insecure(this.#link);
	}

	/** A client that goes must not leave keys or buttons down in the guest. */
	closed(): void {
		this.#stop?.();
		clearTimeout(this.#settle);
		for (const tap of this.#taps.values()) clearTimeout(tap);
		const releases = this.#held.releaseAll();
		if (releases.length > 0) this.#host.inputs.scancodes(releases);
		if (this.#buttons !== 0) this.#button(0, 0);
	}

	#scancodes(codes: Uint8Array): void {
		const now = this.#withoutTaps(codes);
		if (now.length === 0) return;
		const pressed = this.#held.follow(now);
		const { leds } = this.#host.inputs;
		this.#host.inputs.scancodes(now);
		for (const { led, code } of LOCKS) {
			if (pressed.includes(code)) this.#expect((this.#settle === undefined ? leds : this.#expected) ^ led);
		}
	}

	/** Takes out the release of each lock key that is pressed and let go at once, for later. */
	#withoutTaps(codes: Uint8Array): Uint8Array {
		const now: number[] = [];
		for (let i = 0; i < codes.length; i++) {
			const code = codes[i];
			if (this.#taps.has(code)) {
				clearTimeout(this.#taps.get(code));
				this.#taps.delete(code);
				now.push(code | 0x80);
			}
			now.push(code);
			if (!LOCKS.some((lock) => lock.code === code) || codes[i + 1] !== (code | 0x80)) continue;
			i++;
			const timer = setTimeout(() => {
				this.#taps.delete(code);
				this.#scancodes(Uint8Array.of(code | 0x80));
			}, TAP_MS);
			this.#taps.set(code, timer.unref());
		}
		return Uint8Array.from(now);
	}

	/** The client's locks differ from the guest's: press the keys that make them equal. */
	#setLeds(wanted: number): void {
		const leds = this.#settle === undefined ? this.#host.inputs.leds : this.#expected;
		for (const { led, code } of LOCKS) {
			if (((wanted ^ leds) & led) !== 0) this.#scancodes(Uint8Array.of(code, code | 0x80));
		}
	}

	#expect(leds: number): void {
		this.#expected = leds;
		clearTimeout(this.#settle);
		this.#settle = setTimeout(() => {
			this.#settle = undefined;
			// A guest that ignored the key has other LEDs than the client believes: say so.
			this.#tellLeds();
		}, LED_PATIENCE_MS);
		this.#settle.unref();
	}

	#ledsChanged(): void {
		const { leds } = this.#host.inputs;
		if (leds === this.#expected) {
			clearTimeout(this.#settle);
			this.#settle = undefined;
		}
		if (leds !== this.#told) this.#tellLeds();
	}

	#tellLeds(): void {
		this.#told = this.#host.inputs.leds;
		this.#send.keyModifiers({ modifiers: this.#told });
	}

	#motion(dx: number, dy: number, state: number): void {
		this.#acknowledge();
		if (this.#host.mouse.current !== MouseMode.server) return;
		this.#buttons = state & BUTTONS;
		this.#host.inputs.motion(dx, dy, 0, this.#buttons);
	}

	#position(x: number, y: number, displayId: number, state: number): void {
		this.#acknowledge();
		const head = this.#host.screen()?.heads.find(({ id }) => id === displayId);
		this.#x = (head?.x ?? 0) + x;
		this.#y = (head?.y ?? 0) + y;
		if (this.#host.mouse.current === MouseMode.client) this.#button(0, state);
	}

	#press(button: number, state: number): void {
		const wheel = button === WheelButton.up ? -1 : button === WheelButton.down ? 1 : 0;
		this.#button(wheel, state);
	}

	/** New button state or a click of the wheel, where the pointer is. */
	#button(wheel: number, state: number): void {
		const { inputs: events, mouse } = this.#host;
		this.#buttons = state & BUTTONS;
		if (mouse.current === MouseMode.server) {
			events.motion(0, 0, wheel, this.#buttons);
			return;
		}
		const screen = this.#host.screen();
		if (screen === undefined || screen.width === 0 || screen.height === 0) return;
		const x = Math.min(this.#x, screen.width - 1);
		const y = Math.min(this.#y, screen.height - 1);
		events.position(x, y, screen.width, screen.height, wheel, this.#buttons);
	}

	#acknowledge(): void {
		if (++this.#motions % MOTION_ACK_BUNCH === 0) this.#send.mouseMotionAck();
	}
}

/** key_down and key_up carry their bytes in a word, the first one lowest, and end at a zero. */
function unpack(code: number): Uint8Array {
	const bytes: number[] = [];
	for (let rest = code; (rest & 0xff) !== 0; rest >>>= 8) bytes.push(rest & 0xff);
	return Uint8Array.from(bytes);
}
