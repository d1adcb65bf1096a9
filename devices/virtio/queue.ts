/** One virtqueue as device models see it, whichever kind of ring the driver chose. Virtio 1.2, 2.6. */
import type { Dma, StateValue } from '../../src/core/index.ts';
import { Chain, RingError } from './chain.ts';
import { PackedRing } from './packed.ts';
import { SplitRing } from './split.ts';

/** Size, addresses of the three areas, and what was negotiated. */
export interface RingOptions {
	readonly size: number;
	readonly desc: number;
	/** Available ring, or driver event suppression. */
	readonly driver: number;
	/** Used ring, or device event suppression. */
	readonly device: number;
	readonly packed: boolean;
	readonly indirect: boolean;
	readonly eventIdx: boolean;
	readonly notifyOnEmpty: boolean;
}

/** Every method throws RingError or GuestFault when the driver's part makes no sense. */
export interface Ring {
	/** The next chain, or undefined; the driver is then asked to notify when there is one. */
	pop(): Chain | undefined;
	push(chain: Chain, written: number): void;
	/** Whether the driver wants an interrupt for what was pushed since the last call. */
	wantsInterrupt(): boolean;
	save(): { [key: string]: StateValue };
	restore(state: { readonly [key: string]: StateValue | undefined }): void;
}

/** What a queue asks of and tells its transport. */
export interface QueueOwner {
	/** The first chain is pushed after an interrupt was decided. */
	touched(queue: Virtqueue): void;
	/** A number that changes whenever the guest may have run. */
	turn(): number;
	/** The queue gives out no more in this turn, though there may be more in it. */
	unfinished(): void;
}

/** Descriptors looked at in one turn, about 0.2 µs each: the longest chain that there may be, and some more. */
const MOST_DESCRIPTORS = 2048;

export class Virtqueue {
	readonly maxSize: number;
	/** As the driver set them; they count from enable() on. */
	size: number;
	desc = 0;
	driver = 0;
	device = 0;
	/** Something was pushed, and no interrupt for it was decided yet. */
	touched = false;
	readonly #dma: Dma;
	readonly #owner: QueueOwner;
	#ring: Ring | undefined;
	#options: RingOptions | undefined;
	/** Chains that this ring has given out; what an earlier one gave out is void. */
	#out = new WeakSet<Chain>();
	/** Chains taken in turn `#turn`, and their descriptors. */
	#taken = 0;
	#descriptors = 0;
	#turn = -1;

	constructor(dma: Dma, maxSize: number, owner: QueueOwner) {
		this.#dma = dma;
		this.#owner = owner;
		this.maxSize = maxSize;
		this.size = maxSize;
	}

	get enabled(): boolean {
		return this.#ring !== undefined;
	}

	/** Starts a ring. Throws RingError when it is misplaced. */
	enable(options: RingOptions): void {
		this.#ring = options.packed ? new PackedRing(this.#dma, options) : new SplitRing(this.#dma, options);
		this.#options = options;
		this.#out = new WeakSet();
		this.touched = false;
	}

	reset(): void {
		this.#ring = undefined;
		this.#options = undefined;
		this.#out = new WeakSet();
		this.touched = false;
		this.size = this.maxSize;
		this.desc = this.driver = this.device = 0;
	}

	/**
	 * The next chain; undefined if there is none, the queue is not enabled, or this turn has seen enough of it: the device
	 * is then kicked again.
	 */
	pop(): Chain | undefined {
		if (this.#ring === undefined) return undefined;
		const turn = this.#owner.turn();
		if (turn !== this.#turn) this.#taken = this.#descriptors = 0;
		this.#turn = turn;
		if (this.#descriptors >= MOST_DESCRIPTORS) {
			this.#owner.unfinished();
			return undefined;
		}
		const chain = this.#ring.pop();
		if (!chain) return undefined;
		// A ring that lies over its own buffers can refill itself for ever; an honest one only when the guest runs.
		if (++this.#taken > this.maxSize) throw new RingError('more buffers were available than the ring has');
		this.#descriptors += chain.out.count + chain.in.count;
		this.#out.add(chain);
		return chain;
	}

	/** Gives a chain back, `written` bytes from the start of its device-writable part. A void one is dropped. */
	push(chain: Chain, written: number): void {
		if (!this.#out.delete(chain)) return;
		this.#ring?.push(chain, written);
		if (this.touched) return;
		this.touched = true;
		this.#owner.touched(this);
	}

	/** Whether an interrupt is due for what was pushed. */
	takeInterrupt(): boolean {
		if (!this.touched) return false;
		this.touched = false;
		return this.#ring?.wantsInterrupt() ?? false;
	}

	save(): { [key: string]: StateValue } {
		return {
			size: this.size,
			desc: this.desc,
			driver: this.driver,
			device: this.device,
			options: this.#options ? { ...this.#options } : null,
			ring: this.#ring?.save() ?? null,
		};
	}

	/** Throws RingError when the saved ring does not fit into memory. */
	restore(state: { readonly [key: string]: StateValue | undefined }): void {
		this.reset();
		this.size = Number(state.size);
		this.desc = Number(state.desc);
		this.driver = Number(state.driver);
		this.device = Number(state.device);
		if (!state.options) return;
		const options = state.options as unknown as RingOptions;
		if (!(options.size >= 1 && options.size <= this.maxSize)) throw new RingError('a saved queue has another size');
		this.enable(options);
		this.#ring?.restore(state.ring as { [key: string]: StateValue });
	}

	/** A chain that was in use when the machine was saved. */
	adopt(state: StateValue | undefined): Chain {
		const chain = Chain.restore(this.#dma, state);
		this.#out.add(chain);
		return chain;
	}
}
