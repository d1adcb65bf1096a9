/**
 * VMware's absolute pointer, reached through the backdoor port: the guest's cursor goes where the client's is, with no
 * agent in the guest. The PS/2 mouse only tells the driver that there is something to fetch.
 * Known from Linux, drivers/input/mouse/vmmouse.c, and xf86-input-vmmouse, shared/vmmouse_client.c.
 */
import {
	checkVersion,
	type Device,
	type DeviceState,
	guestError,
	MouseButton,
	type PortRegisters,
	tracePoints,
} from '../../src/core/index.ts';
import type { Vmport } from './vmport.ts';

/** Backdoor commands. */
const ABSPOINTER_DATA = 39;
const ABSPOINTER_STATUS = 40;
const ABSPOINTER_COMMAND = 41;

/** Arguments of ABSPOINTER_COMMAND. */
const Request = { disable: 0xf5, enable: 0x45414552, relative: 0x4c455252, absolute: 0x53424152 } as const;
/** What ENABLE puts in the queue. */
const VERSION_ID = 0x3442554a;
/** Upper half of the status while the device is off. */
const OFF = 0xffff;

/** First word of a packet. */
const Flag = { left: 0x20, right: 0x10, middle: 0x08, relative: 0x10000 } as const;
const PACKET = 4;
const MAX_PACKETS = 256;
/** The most words that one ABSPOINTER_DATA can carry, in EAX .. EDI. */
const MAX_WORDS = 6;
const RANGE = 0xffff;
const OTHER_REGISTERS = ['ebx', 'ecx', 'edx', 'esi', 'edi'] as const;

const trace = tracePoints('vmmouse', {
	command: ['request'],
	packet: ['flags', 'x', 'y', 'z'],
	active: ['on'],
});

export interface VmMouseOptions {
	readonly vmport: Vmport;
	/** Makes the PS/2 mouse interrupt the guest. */
	readonly poke: () => void;
}

export class VmMouse implements Device {
	/** Called when the guest begins or ceases to use positions. */
	onActive: ((active: boolean) => void) | undefined;
	readonly #poke: () => void;
	#words: number[] = [];
	#status = OFF;
	#absolute = false;

	constructor({ vmport, poke }: VmMouseOptions) {
		this.#poke = poke;
		vmport.add(ABSPOINTER_STATUS, () => ((this.#status << 16) | this.#words.length) >>> 0);
		vmport.add(ABSPOINTER_COMMAND, (request) => this.#command(request));
		vmport.add(ABSPOINTER_DATA, (count, registers) => this.#data(count, registers));
	}

	get active(): boolean {
		return this.#absolute && this.#status !== OFF;
	}

	reset(): void {
		this.#words = [];
		this.#turn(OFF, false);
	}

	save() {
		return {
			version: 1,
			words: [...this.#words],
			status: this.#status,
			absolute: this.#absolute,
		} satisfies DeviceState;
	}

	restore(state: DeviceState): void {
		checkVersion('vmmouse', state, 1);
		const saved = state as ReturnType<VmMouse['save']>;
		this.#words = saved.words.slice(0, MAX_PACKETS * PACKET);
		this.#turn(saved.status, saved.absolute);
	}

	/** A position in a picture of `width` x `height`; wheel clicks, down positive; MouseButton mask. */
	position(x: number, y: number, width: number, height: number, wheel: number, buttons: number): void {
		if (!this.active) return;
		const flags = flagsOf(buttons);
		this.#put(flags, scale(x, width), scale(y, height), wheel);
	}

	/** Relative motion while the device is in use: the PS/2 mouse is then not listened to. */
	motion(dx: number, dy: number, wheel: number, buttons: number): void {
		if (this.active) this.#put(flagsOf(buttons) | Flag.relative, dx, dy, wheel);
	}

	#put(flags: number, x: number, y: number, z: number): void {
		const last = this.#words.length - PACKET;
		const words = this.#words;
		// A position makes an earlier one with the same buttons pointless.
		if (last >= 0 && !(flags & Flag.relative) && words[last] === flags && words[last + 3] === 0) words.length = last;
		if (words.length + PACKET > MAX_PACKETS * PACKET) return;
		trace.packet(flags, x, y, z);
		words.push(flags, x >>> 0, y >>> 0, clampWheel(z) >>> 0);
		this.#poke();
	}

	#command(request: number): number {
		trace.command(request);
		switch (request) {
			case Request.enable:
				this.#words = [VERSION_ID];
				this.#turn(0, this.#absolute);
				break;
			case Request.disable:
				this.#words = [];
				this.#turn(OFF, false);
				break;
			case Request.relative:
				this.#turn(this.#status, false);
				break;
			case Request.absolute:
				this.#turn(this.#status, true);
				break;
			default:
				guestError('vmmouse', `no request 0x${request.toString(16)}`);
		}
		return 0;
	}

	#turn(status: number, absolute: boolean): void {
		const was = this.active;
		this.#status = status;
		this.#absolute = absolute;
		if (this.active === was) return;
		trace.active(this.active);
		this.onActive?.(this.active);
	}

	/** A guest that asks for more than there is has lost step: the device goes off, and the driver starts over. */
	#data(count: number, registers: PortRegisters): number {
		if (count < 1 || count > MAX_WORDS || count > this.#words.length) {
			guestError('vmmouse', `${count} words asked for, ${this.#words.length} are there`);
			this.#words = [];
			this.#turn(OFF, false);
			return 0;
		}
		const [first, ...rest] = this.#words.splice(0, count);
		for (const [i, word] of rest.entries()) registers.set(OTHER_REGISTERS[i], word);
		return first;
	}
}

function flagsOf(buttons: number): number {
	return (
		(buttons & MouseButton.left ? Flag.left : 0) |
		(buttons & MouseButton.right ? Flag.right : 0) |
		(buttons & MouseButton.middle ? Flag.middle : 0)
	);
}

/** The middle of a pixel, in 0..FFFFh over the whole picture. */
function scale(at: number, size: number): number {
	return Math.min(RANGE, Math.floor(((at * 2 + 1) * (RANGE + 1)) / (size * 2)));
}

/** The driver looks at a signed byte. */
function clampWheel(z: number): number {
	return Math.max(-127, Math.min(127, Math.trunc(z)));
}
