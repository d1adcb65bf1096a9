/** The entropy device. Virtio 1.2, 5.4. */
import type { StateValue } from '../../src/core/index.ts';
import { type ConfigSpace, DeviceType, type VirtioBus, type VirtioModel } from './virtio.ts';

/** Bytes that one buffer gets at most, whatever its length; the driver sees how many there are. */
const MOST = 4096;

export class VirtioRng implements VirtioModel {
	readonly name = 'virtio-rng';
	readonly type = DeviceType.entropy;
	readonly classCode = 0x00ff00;
	readonly features = 0n;
	readonly queueSizes = [8];
	readonly configLength = 0;
	readonly config: ConfigSpace = { read: () => 0, write: () => {} };
	readonly #fill: (into: Uint8Array) => void;
	#bus: VirtioBus | undefined;

	/** `fill` writes random bytes over what it is given. */
	constructor(fill: (into: Uint8Array) => void) {
		this.#fill = fill;
	}

	connect(bus: VirtioBus): void {
		this.#bus = bus;
	}

	kicked(): void {
		const queue = this.#bus?.queue(0);
		for (let chain = queue?.pop(); chain !== undefined; chain = queue?.pop()) {
			const bytes = new Uint8Array(Math.min(chain.in.length, MOST));
			this.#fill(bytes);
			queue?.push(chain, chain.in.write(0, bytes));
		}
	}

	started(): void {}
	queueReset(): void {}
	reset(): void {}
	save(): { [key: string]: StateValue } {
		return {};
	}
	restore(): void {}
}
