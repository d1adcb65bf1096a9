/**
 * Who moves the pointer. In server mode the client sends relative motion and the guest draws its own pointer; in client
 * mode the pointer is the client's own and the guest is told where it is. The client chooses among what the guest can.
 */
import type { Head, InputEvents } from '../core/index.ts';
import { MouseMode } from './protocol/constants.ts';

/** Where pointers move: the primary surface and the heads that show parts of it. */
export interface Screen {
	readonly width: number;
	readonly height: number;
	readonly heads: readonly Head[];
}

export class MouseModes {
	readonly #inputs: InputEvents;
	readonly #listeners = new Set<() => void>();
	readonly #stop: () => void;
	#current: MouseMode = MouseMode.server;
	#supported: number;

	constructor(inputs: InputEvents) {
		this.#inputs = inputs;
		this.#supported = this.#allowed();
		this.#stop = inputs.onChange(() => this.#update());
	}

	get current(): MouseMode {
		return this.#current;
	}

	/** Mask of MouseMode. */
	get supported(): number {
		return this.#supported;
	}

	/** A client's wish; one that cannot be met leaves the mode as it is, and the client is told. */
	request(mode: number): void {
		if (mode === MouseMode.server || (mode === MouseMode.client && (this.#supported & mode) !== 0))
			this.#current = mode;
		this.#tell();
	}

	/** Each client starts where the protocol starts. */
	reset(): void {
		this.#current = MouseMode.server;
	}

	/** Called when `current` or `supported` may differ. Returns the way to stop listening. */
	onChange(listener: () => void): () => void {
		this.#listeners.add(listener);
		return () => this.#listeners.delete(listener);
	}

	close(): void {
		this.#stop();
	}

	#allowed(): number {
		return MouseMode.server | (this.#inputs.absolute ? MouseMode.client : 0);
	}

	#update(): void {
		const supported = this.#allowed();
		if (supported === this.#supported) return;
		this.#supported = supported;
		if ((supported & this.#current) === 0) this.#current = MouseMode.server;
		this.#tell();
	}

	#tell(): void {
		for (const listener of [...this.#listeners]) listener();
	}
}
