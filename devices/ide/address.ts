/** Sector addresses in the task file: 28 bits, 48 bits, or cylinder, head and sector. ATA/ATAPI-6 6.2, 6.20. */
import type { Geometry } from './geometry.ts';
import { Reg, Select, type TaskFile } from './taskfile.ts';

/** The translation that CHS addresses are in. */
export interface Translation {
	readonly heads: number;
	readonly sectors: number;
}

/** The sector that the registers name; -1 for a CHS address that does not exist. */
export function readAddress({ now, before, select }: TaskFile, ext: boolean, { heads, sectors }: Translation): number {
	const low = now[Reg.lbaLow] | (now[Reg.lbaMid] << 8) | (now[Reg.lbaHigh] << 16);
	if (ext) {
		const high = before[Reg.lbaLow] | (before[Reg.lbaMid] << 8) | (before[Reg.lbaHigh] << 16);
		return low + high * 2 ** 24;
	}
	if (select & Select.lba) return low + (select & 15) * 2 ** 24;
	if (now[Reg.lbaLow] === 0) return -1;
	const cylinder = now[Reg.lbaMid] | (now[Reg.lbaHigh] << 8);
	return (cylinder * heads + (select & 15)) * sectors + now[Reg.lbaLow] - 1;
}

/** Shows a sector in the registers, in the form that the command had it. */
export function writeAddress(regs: TaskFile, ext: boolean, lba: number, { heads, sectors }: Translation): void {
	const { now, before } = regs;
	if (!ext && !(regs.select & Select.lba)) {
		const track = Math.floor(lba / sectors);
		now[Reg.lbaLow] = (lba % sectors) + 1;
		regs.byteCount = Math.floor(track / heads);
		regs.select = (regs.select & 0xf0) | ((track % heads) & 15);
		return;
	}
	now[Reg.lbaLow] = lba;
	now[Reg.lbaMid] = lba >>> 8;
	now[Reg.lbaHigh] = lba >>> 16;
	const high = Math.floor(lba / 2 ** 24);
	if (ext) {
		before[Reg.lbaLow] = high;
		before[Reg.lbaMid] = high >>> 8;
		before[Reg.lbaHigh] = high >>> 16;
	} else {
		regs.select = (regs.select & 0xf0) | (high & 15);
	}
}

/** Cylinders of a disk of `total` sectors in the translation that the driver has set. */
export function cylindersOf(total: number, geometry: Geometry, { heads, sectors }: Translation): number {
	if (heads === geometry.heads && sectors === geometry.sectors) return geometry.cylinders;
	return Math.min(65535, Math.floor(total / (heads * sectors)));
}
