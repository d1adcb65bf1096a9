/**
 * The sixteen ISA interrupt requests of a board. Several devices may drive one line, so each takes a source of its
 * own; the line is high while any source is (wired OR, as PIIX3 joins PIRQs and edge-triggered requests).
 */
import type { Irq } from '../../src/core/index.ts';

export class IsaIrqs {
	readonly #lines: readonly Irq[];
	/** Number of sources that are high, by line. */
	readonly #high: number[];

	/** `lines` are the inputs of the interrupt controllers, by number. */
	constructor(lines: readonly Irq[]) {
		this.#lines = lines;
		this.#high = lines.map(() => 0);
	}

	/** One more driver of request `line`; throws RangeError if there is no such line. */
	source(line: number): Irq {
		const out = this.#lines[line];
		if (!out) throw new RangeError(`no interrupt request ${line}`);
		let driven = false;
		return {
			set: (level) => {
				if (level === driven) return;
				driven = level;
				this.#high[line] += level ? 1 : -1;
				out.set(this.#high[line] > 0);
			},
		};
	}
}
