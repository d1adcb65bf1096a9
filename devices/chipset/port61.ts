/**
 * System control port B (61h): gate and output of PIT channel 2, speaker enable, and the refresh toggle that old code
 * times short delays with. PC/AT technical reference.
 */
import { checkVersion, type Device, type DeviceState, type Host, type PortSpace } from '../../src/core/index.ts';
import type { PitChannel } from './pit-channel.ts';

const GATE2 = 0x01;
const SPEAKER = 0x02;
const REFRESH = 0x10;
const OUT2 = 0x20;

export class Port61 implements Device {
	/** Bits 0 and 1 as written. */
	#control = 0;
	/** Flips with each read, as QEMU does it: a loop that waits for edges ends whatever the speed of the machine. */
	#refresh = 0;
	readonly #channel: PitChannel;
	/** Called when bit 1 lets the timer's output through to the speaker, or no longer. */
	onSpeaker: ((enabled: boolean) => void) | undefined;

	/** `channel` is the PIT's channel 2. */
	constructor(_host: Host, ports: PortSpace, channel: PitChannel) {
		this.#channel = channel;
		ports.map(0x61, 1, { read8: () => this.#read(), write8: (_offset, value) => this.#write(value) }, 'port61');
	}

	reset(): void {
		this.#control = 0;
		this.#refresh = 0;
	}
	save() {
		return { version: 1, control: this.#control, refresh: this.#refresh };
	}
	restore(state: DeviceState): void {
		checkVersion('port61', state, 1);
		const { control, refresh } = state as ReturnType<Port61['save']>;
		this.#control = control;
		this.#refresh = refresh;
	}

	#read(): number {
		this.#refresh ^= REFRESH;
		return this.#control | this.#refresh | (this.#channel.output() ? OUT2 : 0);
	}

	#write(value: number): void {
		this.#control = value & (GATE2 | SPEAKER);
		this.onSpeaker?.((value & SPEAKER) !== 0);
		this.#channel.setGate((value & GATE2) !== 0);
	}
}
