/**
 * Cylinders, heads and sectors for software that still thinks in them. ATA/ATAPI-6 annex A: at most 16383 cylinders,
 * 16 heads, 63 sectors; a partition table shows which translation the disk was partitioned with.
 */
import type { BlockImage } from '../../src/core/index.ts';

export const SECTOR = 512;

export interface Geometry {
	readonly cylinders: number;
	readonly heads: number;
	readonly sectors: number;
	/** How firmware maps this to the int 13h limits, as CMOS byte 39h counts: 0 none, 1 LBA, 2 large. */
	readonly translation: 0 | 1 | 2;
}

/** `total`: sectors of the disk. */
function natural(total: number): Geometry {
	const cylinders = Math.max(2, Math.min(16383, Math.floor(total / (16 * 63))));
	return { cylinders, heads: 16, sectors: 63, translation: cylinders <= 1024 ? 0 : 1 };
}

/** The geometry that the first partition in `mbr` ends in, if it says one. */
function partitioned(mbr: Uint8Array, total: number): Geometry | undefined {
	if (mbr[510] !== 0x55 || mbr[511] !== 0xaa) return undefined;
	const view = new DataView(mbr.buffer, mbr.byteOffset, SECTOR);
	for (let entry = 0x1be; entry < 0x1fe; entry += 16) {
		const endHead = mbr[entry + 5];
		const sectors = mbr[entry + 6] & 63;
		if (view.getUint32(entry + 12, true) === 0 || endHead === 0 || sectors === 0) continue;
		const heads = endHead + 1;
		const cylinders = Math.floor(total / (heads * sectors));
		if (cylinders < 1 || cylinders > 16383) continue;
		if (heads <= 16) return { cylinders, heads, sectors, translation: 0 };
		const physical = natural(total);
		return { ...physical, translation: physical.cylinders * physical.heads <= 131072 ? 2 : 1 };
	}
	return undefined;
}

/** An image that cannot be read at once gets the natural geometry of its size. */
export function geometryOf(image: BlockImage): Geometry {
	const total = Math.floor(image.size / SECTOR);
	const mbr = new Uint8Array(SECTOR);
	const work = image.read(0, mbr);
	if (work) {
		work.catch(() => {});
		return natural(total);
	}
	return partitioned(mbr, total) ?? natural(total);
}
