/** TRIM's list of ranges. ACS-2 7.5.3: eight bytes each, 48 bits of address and 16 of length, in sectors. */
import type { BlockGuard } from '../block/index.ts';
import { SECTOR } from './geometry.ts';

const ENTRY = 8;

/** Discards each range that lies within `total` sectors, one after the other; a promise while that takes its time. */
export function trim(host: BlockGuard, total: number, ranges: Uint8Array): Promise<void> | undefined {
	const view = new DataView(ranges.buffer, ranges.byteOffset, ranges.length - (ranges.length % ENTRY));
	const discard = (at: number) => {
		const count = view.getUint16(at + 6, true);
		const lba = view.getUint32(at, true) + view.getUint16(at + 4, true) * 2 ** 32;
		return count > 0 && lba + count <= total ? host.discard(lba * SECTOR, count * SECTOR) : undefined;
	};
	const rest = async (from: number) => {
		for (let at = from; at < view.byteLength; at += ENTRY) await discard(at);
	};
	for (let at = 0; at < view.byteLength; at += ENTRY) {
		const work = discard(at);
		if (work) return work.then(() => rest(at + ENTRY));
	}
	return undefined;
}
