/** TRIM's list of ranges. ACS-2 7.5.3: eight bytes each, 48 bits of address and 16 of length, in sectors. */
import type { BlockImage } from '../../src/core/index.ts';
import { SECTOR } from './geometry.ts';

/** Discards each range that lies within `total` sectors; a promise while the image takes its time. */
export function trim(image: BlockImage, total: number, ranges: Uint8Array): Promise<void> | undefined {
	if (!image.discard || image.readOnly) return undefined;
	const view = new DataView(ranges.buffer, ranges.byteOffset, ranges.length);
	const pending: Promise<void>[] = [];
	for (let at = 0; at + 8 <= ranges.length; at += 8) {
		const count = view.getUint16(at + 6, true);
		const lba = view.getUint32(at, true) + view.getUint16(at + 4, true) * 2 ** 32;
		if (count === 0 || lba + count > total) continue;
		const work = image.discard(lba * SECTOR, count * SECTOR);
		if (work) pending.push(work);
	}
	return pending.length > 0 ? Promise.all(pending).then(() => {}) : undefined;
}
