/**
 * A PS/2 mouse with the IntelliMouse wheel and the IntelliMouse Explorer's fourth and fifth buttons.
 * IBM PS/2 Hardware Interface Technical Reference, "Mouse"; Microsoft, "Intellimouse: enabling the wheel"
 * (sample rates 200, 100, 80 select the wheel; 200, 200, 80 after that the five buttons).
 */
import {
	checkVersion,
	type Device,
	type DeviceState,
	MouseButton,
	type StateValue,
	tracePoints,
} from '../../src/core/index.ts';
import { PS2_ACK, PS2_BAT_OK, PS2_RESEND, type Ps2Device, Ps2Output } from './ps2.ts';

const Command = {
	scaling1to1: 0xe6,
	scaling2to1: 0xe7,
	setResolution: 0xe8,
	statusRequest: 0xe9,
	setStream: 0xea,
	readData: 0xeb,
	resetWrap: 0xec,
	setWrap: 0xee,
	setRemote: 0xf0,
	readType: 0xf2,
	setSampleRate: 0xf3,
	enable: 0xf4,
	disable: 0xf5,
	setDefault: 0xf6,
	resend: 0xfe,
	reset: 0xff,
} as const;

/** Device ids. */
const PLAIN = 0;
const WHEEL = 3;
const FIVE_BUTTONS = 4;

/** Bits of the status byte above the buttons. */
const STATUS_SCALING_2TO1 = 0x10;
const STATUS_ENABLED = 0x20;
const STATUS_REMOTE = 0x40;

/** Movements that wait: one per change of the buttons, so that no click is lost. */
const MAX_WAITING = 64;
/** A distance that waits is bounded; nobody misses the rest. */
const MAX_DISTANCE = 0x7fff;

const trace = tracePoints('ps2-mouse', {
	command: ['byte'],
	argument: ['command', 'byte'],
	id: ['type'],
	packet: ['dx', 'dy', 'dz', 'buttons'],
});

interface Motion {
	dx: number;
	/** Up positive, as PS/2 counts. */
	dy: number;
	/** Wheel, towards the user positive. */
	dz: number;
	readonly buttons: number;
}

export class Ps2Mouse implements Ps2Device, Device {
	onPending: (() => void) | undefined;
	readonly #output = new Ps2Output();
	#waiting: Motion[] = [];
	/** Buttons as MouseButton, now and as last told to the host. */
	#buttons = 0;
	#told = 0;
	#type = PLAIN;
	#enabled = false;
	#remote = false;
	#wrap = false;
	#scaling2to1 = false;
	#resolution = 2;
	#sampleRate = 100;
	/** The last three sample rates set: the key to the wheel. */
	#rates: readonly number[] = [0, 0, 0];
	#expects = 0;

	reset(): void {
		this.#output.reset();
		this.#waiting = [];
		this.#buttons = 0;
		this.#told = 0;
		this.#expects = 0;
		this.#wrap = false;
		this.#type = PLAIN;
		this.#rates = [0, 0, 0];
		this.#setDefaults();
	}

	save() {
		return {
			version: 1,
			output: this.#output.save(),
			waiting: this.#waiting.map((m) => [m.dx, m.dy, m.dz, m.buttons]) as StateValue[],
			buttons: this.#buttons,
			told: this.#told,
			type: this.#type,
			enabled: this.#enabled,
			remote: this.#remote,
			wrap: this.#wrap,
			scaling2to1: this.#scaling2to1,
			resolution: this.#resolution,
			sampleRate: this.#sampleRate,
			rates: [...this.#rates] as StateValue[],
			expects: this.#expects,
		} satisfies DeviceState;
	}

	restore(state: DeviceState): void {
		checkVersion('ps2-mouse', state, 1);
		const saved = state as ReturnType<Ps2Mouse['save']>;
		this.#output.restore(saved.output);
		this.#waiting = saved.waiting.flatMap((m) => {
			if (!Array.isArray(m)) return [];
			const [dx, dy, dz, buttons] = m.map(Number);
			return [{ dx, dy, dz, buttons }];
		});
		this.#buttons = saved.buttons;
		this.#told = saved.told;
		this.#type = saved.type;
		this.#enabled = saved.enabled;
		this.#remote = saved.remote;
		this.#wrap = saved.wrap;
		this.#scaling2to1 = saved.scaling2to1;
		this.#resolution = saved.resolution;
		this.#sampleRate = saved.sampleRate;
		this.#rates = saved.rates.map(Number);
		this.#expects = saved.expects;
	}

	/** Screen directions: right and down are positive, and the wheel down. `buttons` is a MouseButton mask. */
	motion(dx: number, dy: number, wheel: number, buttons: number): void {
		this.#buttons = buttons;
		if (!this.#enabled && !this.#remote) return;
		const last = this.#waiting[this.#waiting.length - 1];
		if (last && (last.buttons === buttons || this.#waiting.length >= MAX_WAITING)) {
			last.dx = clamp(last.dx + dx, MAX_DISTANCE);
			last.dy = clamp(last.dy - dy, MAX_DISTANCE);
			last.dz = clamp(last.dz + wheel, MAX_DISTANCE);
			if (last.buttons !== buttons) this.#waiting[this.#waiting.length - 1] = { ...last, buttons };
		} else {
			this.#waiting.push({
				dx: clamp(dx, MAX_DISTANCE),
				dy: clamp(-dy, MAX_DISTANCE),
				dz: clamp(wheel, MAX_DISTANCE),
				buttons,
			});
		}
		this.#stream();
	}

	/** Makes the guest look: a packet without movement, unless others are on their way. */
	poke(): void {
		if (!this.#enabled || this.#remote || this.#output.pending) return;
		this.#output.push(this.#encode(0, 0, 0, this.#told));
		this.onPending?.();
	}

	get pending(): boolean {
		return this.#output.pending;
	}

	take(): number {
		const byte = this.#output.take();
		this.#stream();
		return byte;
	}

	write(byte: number): void {
		// A mouse that is spoken to stops in mid-packet; what it had not sent is stale.
		this.#output.dropData();
		if (this.#wrap && byte !== Command.reset && byte !== Command.resetWrap) this.#output.answer(byte);
		else if (this.#expects !== 0) this.#argument(byte);
		else this.#command(byte);
		if (this.#output.pending) this.onPending?.();
	}

	#command(byte: number): void {
		trace.command(byte);
		this.#output.answer(PS2_ACK);
		switch (byte) {
			case Command.scaling1to1:
				this.#scaling2to1 = false;
				break;
			case Command.scaling2to1:
				this.#scaling2to1 = true;
				break;
			case Command.setResolution:
			case Command.setSampleRate:
				this.#expects = byte;
				break;
			case Command.statusRequest:
				this.#output.answer(PS2_ACK, this.#status(), this.#resolution, this.#sampleRate);
				break;
			case Command.setStream:
				this.#remote = false;
				break;
			case Command.readData:
				this.#output.answer(PS2_ACK, ...this.#packet());
				break;
			case Command.resetWrap:
				this.#wrap = false;
				break;
			case Command.setWrap:
				this.#wrap = true;
				break;
			case Command.setRemote:
				this.#remote = true;
				break;
			case Command.readType:
				this.#output.answer(PS2_ACK, this.#type);
				break;
			case Command.enable:
				this.#enabled = true;
				break;
			case Command.disable:
				this.#enabled = false;
				this.#waiting = [];
				break;
			case Command.setDefault:
				this.#setDefaults();
				this.#waiting = [];
				break;
			case Command.resend:
				this.#output.answer(this.#output.last);
				break;
			case Command.reset:
				this.#setDefaults();
				this.#waiting = [];
				this.#wrap = false;
				this.#type = PLAIN;
				this.#output.answer(PS2_ACK, PS2_BAT_OK, PLAIN);
				break;
			default:
				this.#output.answer(PS2_RESEND);
		}
	}

	#argument(byte: number): void {
		trace.argument(this.#expects, byte);
		if (this.#expects === Command.setSampleRate) {
			this.#sampleRate = byte;
			this.#rates = [this.#rates[1], this.#rates[2], byte];
			this.#unlock();
		} else {
			this.#resolution = byte & 3;
		}
		this.#expects = 0;
		this.#output.answer(PS2_ACK);
	}

	#unlock(): void {
		const [first, second, third] = this.#rates;
		if (first !== 200 || third !== 80) return;
		if (second === 100) this.#type = WHEEL;
		else if (second === 200) this.#type = FIVE_BUTTONS;
		trace.id(this.#type);
	}

	#setDefaults(): void {
		this.#enabled = false;
		this.#remote = false;
		this.#scaling2to1 = false;
		this.#resolution = 2;
		this.#sampleRate = 100;
	}

	#status(): number {
		return (
			(this.#remote ? STATUS_REMOTE : 0) |
			(this.#enabled ? STATUS_ENABLED : 0) |
			(this.#scaling2to1 ? STATUS_SCALING_2TO1 : 0) |
			(this.#buttons & MouseButton.left ? 4 : 0) |
			(this.#buttons & MouseButton.middle ? 2 : 0) |
			(this.#buttons & MouseButton.right ? 1 : 0)
		);
	}

	/** Puts the next packet out once the host has taken the one before, so that what comes meanwhile is one movement. */
	#stream(): void {
		if (!this.#enabled || this.#remote || this.#output.pending) return;
		let next = this.#waiting[0];
		while (next && idle(next) && next.buttons === this.#told) {
			this.#waiting.shift();
			next = this.#waiting[0];
		}
		if (!next) return;
		this.#output.push(this.#packet());
		this.onPending?.();
	}

	/** The movement that waits longest, as much of it as a packet holds. */
	#packet(): number[] {
		const motion = this.#waiting[0] ?? { dx: 0, dy: 0, dz: 0, buttons: this.#buttons };
		const dx = clamp(motion.dx, 127);
		const dy = clamp(motion.dy, 127);
		const dz = this.#type === PLAIN ? 0 : clamp(motion.dz, 7);
		motion.dx -= dx;
		motion.dy -= dy;
		motion.dz -= this.#type === PLAIN ? motion.dz : dz;
		this.#told = motion.buttons;
		if (idle(motion)) this.#waiting.shift();
		return this.#encode(dx, dy, dz, motion.buttons);
	}

	#encode(dx: number, dy: number, dz: number, b: number): number[] {
		trace.packet(dx, dy, dz, b);
		const bytes = [
			8 |
				(b & MouseButton.left ? 1 : 0) |
				(b & MouseButton.right ? 2 : 0) |
				(b & MouseButton.middle ? 4 : 0) |
				(dx < 0 ? 0x10 : 0) |
				(dy < 0 ? 0x20 : 0),
			dx & 0xff,
			dy & 0xff,
		];
		if (this.#type === WHEEL) bytes.push(dz & 0xff);
		else if (this.#type === FIVE_BUTTONS)
			bytes.push((dz & 0x0f) | (b & MouseButton.side ? 0x10 : 0) | (b & MouseButton.extra ? 0x20 : 0));
		return bytes;
	}
}

function idle(motion: Motion): boolean {
	return motion.dx === 0 && motion.dy === 0 && motion.dz === 0;
}

function clamp(value: number, limit: number): number {
	return Math.max(-limit, Math.min(limit, Math.trunc(value)));
}
