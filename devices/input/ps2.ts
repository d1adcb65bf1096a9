/**
 * What a PS/2 keyboard and a PS/2 mouse have in common: a way out to the controller that carries answers to commands
 * ahead of what the user does. IBM PS/2 Hardware Interface Technical Reference, "Keyboard and Auxiliary Device Controller".
 */
import type { StateValue } from '../../src/core/index.ts';

/** The device end of a PS/2 cable, as the controller sees it. */
export interface Ps2Device {
	/** Bytes wait to be taken. */
	readonly pending: boolean;
	/** The next byte; only while `pending`. */
	take(): number;
	/** A byte from the host: a command or its argument. */
	write(byte: number): void;
	/** Set by the controller: called when `pending` may have become true. */
	onPending: (() => void) | undefined;
}

export const PS2_ACK = 0xfa;
export const PS2_RESEND = 0xfe;
export const PS2_BAT_OK = 0xaa;

/** The output buffer of a PS/2 device: 16 bytes of user input and, ahead of them, the answer to the last command. */
export class Ps2Output {
	readonly #capacity: number;
	#answer: number[] = [];
	#data: number[] = [];
	#last = 0;

	constructor(capacity = 16) {
		this.#capacity = capacity;
	}

	get pending(): boolean {
		return this.#answer.length > 0 || this.#data.length > 0;
	}
	/** Bytes of user input that fit. */
	get room(): number {
		return this.#capacity - this.#data.length;
	}
	/** The byte sent last, for a host that asks to hear it again. */
	get last(): number {
		return this.#last;
	}

	take(): number {
		const byte = this.#answer.shift() ?? this.#data.shift() ?? 0;
		this.#last = byte;
		return byte;
	}

	/** An answer replaces what was left of an earlier one: the host has moved on. */
	answer(...bytes: readonly number[]): void {
		this.#answer = [...bytes];
	}

	/** User input; all of it or, if it does not fit, nothing. */
	push(bytes: readonly number[]): boolean {
		if (bytes.length > this.room) return false;
		this.#data.push(...bytes);
		return true;
	}

	/** Forgets user input that has not been taken. */
	dropData(): void {
		this.#data = [];
	}

	reset(): void {
		this.#answer = [];
		this.#data = [];
		this.#last = 0;
	}

	save(): { [key: string]: StateValue } {
		return { answer: Uint8Array.from(this.#answer), data: Uint8Array.from(this.#data), last: this.#last };
	}

	restore(state: { readonly [key: string]: StateValue | undefined }): void {
		const { answer, data, last } = state;
		this.#answer = answer instanceof Uint8Array ? [...answer.subarray(0, this.#capacity)] : [];
		this.#data = data instanceof Uint8Array ? [...data.subarray(0, this.#capacity)] : [];
		this.#last = typeof last === 'number' ? last & 0xff : 0;
	}
}
