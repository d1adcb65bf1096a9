/** The heads that the guest shows on the primary surface. qxl_dev.h, QXLMonitorsConfig. */
import { type DisplaySink, decode, encode, type Head as HeadValue, type StateValue } from '../../../src/core/index.ts';
import { CommandError, type GuestReader } from './guest-reader.ts';
import { Head, MonitorsConfig } from './layout.ts';

const MAX_HEADS = 64;

export class Heads {
	readonly #sink: DisplaySink;
	#heads: readonly HeadValue[] = [];
	#maxAllowed = 0;

	constructor(sink: DisplaySink) {
		this.#sink = sink;
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
		this.#heads = reader.readArray(Head, count, address, MonitorsConfig.min);
		this.#maxAllowed = maxAllowed;
		this.#sink.monitorsConfig(maxAllowed, this.#heads);
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
