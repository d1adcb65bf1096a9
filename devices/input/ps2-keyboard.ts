/**
 * A 101/102-key PS/2 keyboard. IBM PS/2 Hardware Interface Technical Reference, "Keyboards (101- and 102-Key)":
 * commands from the system, commands to the system, scan code sets 1 to 3.
 */
import { checkVersion, type Device, type DeviceState, type StateValue, tracePoints } from '../../src/core/index.ts';
import { PS2_ACK, PS2_BAT_OK, PS2_RESEND, type Ps2Device, Ps2Output } from './ps2.ts';
import { fromSet1, Set1Splitter } from './scancodes.ts';

const Command = {
	setLeds: 0xed,
	echo: 0xee,
	scanCodeSet: 0xf0,
	readId: 0xf2,
	setTypematic: 0xf3,
	enable: 0xf4,
	defaultDisable: 0xf5,
	setDefault: 0xf6,
	/** F7h..FAh: how all keys of set 3 repeat and release. */
	allKeysFirst: 0xf7,
	allKeysLast: 0xfa,
	/** FBh..FDh: the same for one key, whose code follows. */
	oneKeyFirst: 0xfb,
	oneKeyLast: 0xfd,
	resend: 0xfe,
	reset: 0xff,
} as const;

/** "MF2" keyboards answer with these two. */
const KEYBOARD_ID = [0xab, 0x83] as const;

/** Key events that wait for room in the output buffer. Beyond the first limit presses are lost, beyond the second all. */
const MAX_WAITING_PRESSES = 256;
const MAX_WAITING = 512;

const trace = tracePoints('ps2-keyboard', {
	command: ['byte'],
	argument: ['command', 'byte'],
	leds: ['value'],
	lost: ['scancode'],
});

export class Ps2Keyboard implements Ps2Device, Device {
	onPending: (() => void) | undefined;
	/** Called with the new value when the guest sets the LEDs. */
	onLeds: ((leds: number) => void) | undefined;
	readonly #output = new Ps2Output();
	readonly #splitter = new Set1Splitter();
	#waiting: (readonly number[])[] = [];
	#scanning = true;
	#set: 1 | 2 | 3 = 2;
	#leds = 0;
	/** The command whose argument comes next, or 0. */
	#expects = 0;

	/** What the LEDs show: 1 scroll lock, 2 num lock, 4 caps lock. */
	get leds(): number {
		return this.#leds;
	}

	reset(): void {
		this.#output.reset();
		this.#splitter.reset();
		this.#waiting = [];
		this.#expects = 0;
		this.#setDefaults();
		this.#setLeds(0);
	}

	save() {
		return {
			version: 1,
			output: this.#output.save(),
			waiting: this.#waiting.map((event) => Uint8Array.from(event)) as StateValue[],
			scanning: this.#scanning,
			set: this.#set,
			leds: this.#leds,
			expects: this.#expects,
		} satisfies DeviceState;
	}

	restore(state: DeviceState): void {
		checkVersion('ps2-keyboard', state, 1);
		const saved = state as ReturnType<Ps2Keyboard['save']>;
		this.#output.restore(saved.output);
		this.#waiting = saved.waiting.flatMap((event) => (event instanceof Uint8Array ? [[...event]] : []));
		this.#scanning = saved.scanning;
		this.#set = saved.set === 1 || saved.set === 3 ? saved.set : 2;
		this.#expects = saved.expects;
		this.#setLeds(saved.leds);
	}

	/** Keys pressed and released, as bytes of set 1. */
	scancodes(codes: Uint8Array): void {
		this.#splitter.split(codes, (event) => this.#key(event));
		this.#refill();
	}

	get pending(): boolean {
		return this.#output.pending;
	}

	take(): number {
		const byte = this.#output.take();
		this.#refill();
		return byte;
	}

	write(byte: number): void {
		if (this.#expects !== 0 && byte < Command.setLeds) this.#argument(byte);
		else this.#command(byte);
		if (this.#output.pending) this.onPending?.();
	}

	#command(byte: number): void {
		trace.command(byte);
		this.#expects = 0;
		switch (byte) {
			case Command.setLeds:
			case Command.scanCodeSet:
			case Command.setTypematic:
			case 0xfb:
			case 0xfc:
			case Command.oneKeyLast:
				this.#expects = byte;
				this.#output.answer(PS2_ACK);
				break;
			case Command.echo:
				this.#output.answer(Command.echo);
				break;
			case Command.readId:
				this.#output.answer(PS2_ACK, ...KEYBOARD_ID);
				break;
			case Command.enable:
				this.#scanning = true;
				this.#output.answer(PS2_ACK);
				break;
			case Command.defaultDisable:
				this.#setDefaults();
				this.#forgetKeys();
				this.#scanning = false;
				this.#output.answer(PS2_ACK);
				break;
			case Command.setDefault:
				this.#setDefaults();
				this.#forgetKeys();
				this.#output.answer(PS2_ACK);
				break;
			case Command.allKeysFirst:
			case 0xf8:
			case 0xf9:
			case Command.allKeysLast:
				this.#output.answer(PS2_ACK);
				break;
			case Command.resend:
				this.#output.answer(this.#output.last);
				break;
			case Command.reset:
				this.#setDefaults();
				this.#forgetKeys();
				this.#setLeds(0);
				this.#output.answer(PS2_ACK, PS2_BAT_OK);
				break;
			default:
				this.#output.answer(PS2_RESEND);
		}
	}

	#argument(byte: number): void {
		const command = this.#expects;
		trace.argument(command, byte);
		this.#expects = 0;
		this.#output.answer(PS2_ACK);
		if (command === Command.setLeds) {
			this.#setLeds(byte & 7);
		} else if (command === Command.scanCodeSet) {
			if (byte === 0) this.#output.answer(PS2_ACK, this.#set);
			else if (byte === 1 || byte === 2 || byte === 3) this.#set = byte;
			else this.#output.answer(PS2_RESEND);
		}
	}

	#setDefaults(): void {
		this.#scanning = true;
		this.#set = 2;
	}

	#forgetKeys(): void {
		this.#waiting = [];
		this.#output.dropData();
	}

	#setLeds(leds: number): void {
		if (leds === this.#leds) return;
		this.#leds = leds;
		trace.leds(leds);
		this.onLeds?.(leds);
	}

	#key(event: readonly number[]): void {
		if (!this.#scanning) return;
		const release = (event[event.length - 1] & 0x80) !== 0;
		if (this.#waiting.length < (release ? MAX_WAITING : MAX_WAITING_PRESSES)) this.#waiting.push(event);
		else trace.lost(event[event.length - 1]);
	}

	/** Real keyboards lose keys when their buffer is full; a client that pastes text would lose most of it. */
	#refill(): void {
		let taken = 0;
		while (taken < this.#waiting.length && this.#output.push(fromSet1(this.#waiting[taken], this.#set))) taken++;
		if (taken === 0) return;
		this.#waiting.splice(0, taken);
		this.onPending?.();
	}
}
