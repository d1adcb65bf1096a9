/** Work on ranges of a file, in order where ranges meet and at once where they do not. */

interface Entry {
	readonly start: number;
	readonly end: number;
	/** Never rejects. */
	readonly done: Promise<void>;
}

export class RangeQueue {
	readonly #entries = new Set<Entry>();

	/** How much waits or is under way. */
	get size(): number {
		return this.#entries.size;
	}

	/** Whether something in the range waits or is under way. */
	busy(offset: number, length: number): boolean {
		if (this.#entries.size === 0) return false;
		for (const { start, end } of this.#entries) if (start < offset + length && offset < end) return true;
		return false;
	}

	/** Does `work` after all that came before in its range; settles as that does. */
	run(offset: number, length: number, work: () => Promise<void> | undefined): Promise<void> {
		const end = offset + length;
		const before = [...this.#entries].filter((entry) => entry.start < end && offset < entry.end);
		const result = Promise.all(before.map(({ done }) => done)).then(work);
		const entry: Entry = {
			start: offset,
			end,
			done: result
				.catch(() => {})
				.then(() => {
					this.#entries.delete(entry);
				}),
		};
		this.#entries.add(entry);
		return result;
	}

	/** When all of it is done, whatever came of it. */
	async drained(): Promise<void> {
		await Promise.all([...this.#entries].map(({ done }) => done));
	}
}
