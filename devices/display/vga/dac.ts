/**
 * The colour look-up table: 256 entries of red, green and blue, six bits each, or eight when VBE asks for it.
 * IBM VGA XGA Technical Reference, "Video Digital-to-Analog Converter".
 */
import type { StateValue } from '../../../src/core/index.ts';

/** Values of the state register, port 3C7h. */
const WRITING = 0;
const READING = 3;

export class Dac {
	/** As the guest wrote them, three bytes an entry. */
	readonly entries = new Uint8Array(768);
	/** 0x00RRGGBB for each entry; call `update` first. */
	readonly colors = new Uint32Array(256);
	pixelMask = 0xff;
	/** Eight bits a component. */
	wide = false;

	#state = WRITING;
	#index = 0;
	#component = 0;
	readonly #latched = new Uint8Array(3);
	#stale = true;

	reset(): void {
		this.entries.fill(0);
		this.pixelMask = 0xff;
		this.wide = false;
		this.#state = WRITING;
		this.#index = 0;
		this.#component = 0;
		this.#latched.fill(0);
		this.#stale = true;
	}

	get state(): number {
		return this.#state;
	}
	get index(): number {
		return this.#index;
	}

	readFrom(index: number): void {
		this.#index = index;
		this.#component = 0;
		this.#state = READING;
	}

	writeFrom(index: number): void {
		this.#index = index;
		this.#component = 0;
		this.#state = WRITING;
	}

	read(): number {
		const value = this.entries[this.#index * 3 + this.#component];
		if (++this.#component === 3) {
			this.#component = 0;
			this.#index = (this.#index + 1) & 0xff;
		}
		return value;
	}

	/** Takes a component; an entry changes when its third has come. Returns whether one changed. */
	write(value: number): boolean {
		this.#latched[this.#component] = value;
		if (++this.#component < 3) return false;
		this.#component = 0;
		this.entries.set(this.#latched, this.#index * 3);
		this.#index = (this.#index + 1) & 0xff;
		this.#stale = true;
		return true;
	}

	/** The table has to be worked out anew: width or mask changed. */
	invalidate(): void {
		this.#stale = true;
	}

	/** Brings `colors` up to date. */
	update(): void {
		if (!this.#stale) return;
		this.#stale = false;
		for (let i = 0; i < 256; i++) {
			const at = (i & this.pixelMask) * 3;
			this.colors[i] =
				(this.#component8(this.entries[at]) << 16) |
				(this.#component8(this.entries[at + 1]) << 8) |
				this.#component8(this.entries[at + 2]);
		}
	}

	/** Six bits are widened by repeating the lowest: 63 is 255, and 42 is 168 as on QEMU's screen. */
	#component8(value: number): number {
		if (this.wide) return value;
		return ((value & 0x3f) << 2) | (value & 1 ? 3 : 0);
	}

	save(): { [key: string]: StateValue } {
		return {
			entries: this.entries.slice(),
			latched: this.#latched.slice(),
			pixelMask: this.pixelMask,
			wide: this.wide,
			state: this.#state,
			index: this.#index,
			component: this.#component,
		};
	}

	restore(state: { readonly [key: string]: StateValue | undefined }): void {
		this.reset();
		if (state.entries instanceof Uint8Array && state.entries.length === 768) this.entries.set(state.entries);
		if (state.latched instanceof Uint8Array && state.latched.length === 3) this.#latched.set(state.latched);
		this.pixelMask = Number(state.pixelMask) & 0xff;
		this.wide = state.wide === true;
		this.#state = state.state === READING ? READING : WRITING;
		this.#index = Number(state.index) & 0xff;
		this.#component = Math.min(2, Number(state.component) & 3);
	}
}
