/** The heads that the guest shows on the primary surface. qxl_dev.h, QXLMonitorsConfig. */
import { type DisplaySink, decode, encode, type Head as HeadValue, type StateValue } from '../../../src/core/index.ts';
import { CommandError, type GuestReader } from './guest-reader.ts';
import { Head, MonitorsConfig } from './layout.ts';

/** What the ROM has room for. */
export const MAX_HEADS = 64;

export class Heads {
	readonly #sink: DisplaySink;
	readonly #limit: number;
	#heads: readonly HeadValue[] = [];
	#maxAllowed = 0;

	/** `limit`: how many of the guest's heads clients see, whatever the guest allows. */
	constructor(sink: DisplaySink, limit: number) {
		this.#sink = sink;
		this.#limit = limit;
	}

	get count(): number {
		return this.#heads.length;
	}

	/** The host has forgotten them. */
	reset(): void {
		this.#heads = [];
		this.#maxAllowed = 0;
	}

	/** Takes the list at `address`. Throws GuestFault or CommandError. */
	read(reader: GuestReader, address: bigint): void {
		const { count, maxAllowed } = reader.read(MonitorsConfig, address);
		if (count === 0 || count > MAX_HEADS) throw new CommandError(`${count} heads`);
		if (maxAllowed !== 0 && maxAllowed < count)
			throw new CommandError(`${count} heads where ${maxAllowed} are allowed`);
		this.#heads = reader.readArray(Head, Math.min(count, this.#limit), address, MonitorsConfig.min);
		// A guest's zero allows any number.
		this.#maxAllowed = this.#limit === MAX_HEADS ? maxAllowed : Math.min(maxAllowed || this.#limit, this.#limit);
		this.#sink.monitorsConfig(this.#maxAllowed, this.#heads);
	}

	save(): { [key: string]: StateValue } {
		return { maxAllowed: this.#maxAllowed, heads: this.#heads.map((head) => encode(Head, head)) };
	}

	restore(state: { readonly [key: string]: StateValue | undefined }): void {
		this.#maxAllowed = Number(state.maxAllowed) || 0;
		this.#heads = ((state.heads ?? []) as Uint8Array[]).map((head) => decode(Head, head));
		if (this.#heads.length > 0) this.#sink.monitorsConfig(this.#maxAllowed, this.#heads);
	}
}
