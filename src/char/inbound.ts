/** The host's bytes on their way to a device that takes them when it can. */
import type { CharDevice } from '../core/index.ts';

export class Inbound {
	device: CharDevice | undefined;
	#rest = new Uint8Array(0);

	/** Bytes that wait. */
	get waiting(): number {
		return this.#rest.length;
	}

	/** Hands `bytes` on behind what waits; false if some of it has to wait. Without a device they are dropped. */
	push(bytes: Uint8Array): boolean {
		if (!this.device) return true;
		const all = this.#rest.length > 0 ? Buffer.concat([this.#rest, bytes]) : bytes;
		const taken = this.device.receive(all);
		// A copy: the caller's buffer may be used again.
		this.#rest = all.slice(taken);
		return this.#rest.length === 0;
	}

	/** The device can take more: true once nothing waits. */
	ready(): boolean {
		return this.#rest.length === 0 || this.push(new Uint8Array(0));
	}

	clear(): void {
		this.#rest = new Uint8Array(0);
	}
}
