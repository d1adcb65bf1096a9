/**
 * The 256 words that a drive says about itself. ATA/ATAPI-6 8.15.8 (IDENTIFY DEVICE), 8.16.8 (IDENTIFY PACKET DEVICE).
 * Values equal those of QEMU's drives, apart from the names.
 */
import type { Geometry } from './geometry.ts';

export interface DriveNames {
	/** At most 40 characters. */
	readonly model: string;
	/** At most 20. */
	readonly serial: string;
	/** At most 8. */
	readonly firmware: string;
}

/** Transfer modes that SET FEATURES selected: the high bytes of words 62, 63 and 88. */
export interface TransferModes {
	readonly singleWord: number;
	readonly multiWord: number;
	readonly ultra: number;
}

/** UDMA mode 5: what QEMU's drives start with, and drivers without SET FEATURES rely on. */
export const INITIAL_MODES: TransferModes = { singleWord: 0, multiWord: 0, ultra: 0x20 };

/** SET FEATURES 03h: the upper five bits name the kind of transfer, the lower three its mode. Undefined if there is none. */
export function selectModes(value: number): TransferModes | undefined {
	const bit = 1 << (value & 7);
	const none = { singleWord: 0, multiWord: 0, ultra: 0 };
	switch (value >> 3) {
		case 0: // PIO, the default mode
		case 1: // PIO
			return none;
		case 2:
			return { ...none, singleWord: bit };
		case 4:
			return { ...none, multiWord: bit };
		case 8:
			return { ...none, ultra: bit };
		default:
			return undefined;
	}
}

export interface DiskIdentity {
	readonly names: DriveNames;
	/** Sectors of 512 bytes. */
	readonly total: number;
	readonly geometry: Geometry;
	/** Heads and sectors that INITIALIZE DEVICE PARAMETERS set. */
	readonly current: { readonly cylinders: number; readonly heads: number; readonly sectors: number };
	readonly multiple: number;
	readonly maxMultiple: number;
	readonly writeCache: boolean;
	readonly smart: boolean;
	readonly modes: TransferModes;
}

/** Strings have their first character in the high byte of each word. */
function text(words: Uint16Array, at: number, count: number, value: string): void {
	const padded = value.padEnd(count * 2).slice(0, count * 2);
	for (let i = 0; i < count; i++) words[at + i] = (padded.charCodeAt(i * 2) << 8) | padded.charCodeAt(i * 2 + 1);
}

function names(words: Uint16Array, { model, serial, firmware }: DriveNames): void {
	text(words, 10, 10, serial);
	words[20] = 3;
	words[21] = 512;
	words[22] = 4;
	text(words, 23, 4, firmware);
	text(words, 27, 20, model);
}

function toBytes(words: Uint16Array): Uint8Array {
	const out = new Uint8Array(512);
	const view = new DataView(out.buffer);
	for (let i = 0; i < 256; i++) view.setUint16(i * 2, words[i], true);
	return out;
}

export function identifyDisk(disk: DiskIdentity): Uint8Array {
	const w = new Uint16Array(256);
	const { geometry, current, total, modes } = disk;
	w[0] = 0x0040;
	w[1] = geometry.cylinders;
	w[3] = geometry.heads;
	w[4] = 512 * geometry.sectors;
	w[5] = 512;
	w[6] = geometry.sectors;
	names(w, disk.names);
	w[47] = 0x8000 | disk.maxMultiple;
	w[48] = 1;
	w[49] = 0x0b00; // LBA, DMA, IORDY
	w[51] = 0x0200;
	w[52] = 0x0200;
	w[53] = 0x0007;
	w[54] = current.cylinders;
	w[55] = current.heads;
	w[56] = current.sectors;
	const reachable = current.cylinders * current.heads * current.sectors;
	w[57] = reachable;
	w[58] = reachable >>> 16;
	if (disk.multiple > 0) w[59] = 0x0100 | disk.multiple;
	const small = Math.min(total, 0x0fffffff);
	w[60] = small;
	w[61] = small >>> 16;
	w[62] = 0x0007 | (modes.singleWord << 8);
	w[63] = 0x0007 | (modes.multiWord << 8);
	w[64] = 0x0003;
	w.fill(120, 65, 69);
	w[69] = 0x4000; // TRIM leaves undefined data
	w[80] = 0x00f0; // ATA-4 .. ATA-7
	w[81] = 0x0016;
	w[82] = 0x4021; // NOP, write cache, SMART
	w[83] = 0x7400; // FLUSH CACHE (EXT), 48-bit addresses
	w[84] = 0x4000;
	w[85] = 0x4000 | (disk.writeCache ? 0x20 : 0) | (disk.smart ? 1 : 0);
	w[86] = 0x3400;
	w[87] = 0x4000;
	w[88] = 0x003f | (modes.ultra << 8);
	w[93] = 0x6001;
	w[100] = total;
	w[101] = Math.floor(total / 0x10000);
	w[102] = Math.floor(total / 0x100000000);
	w[106] = 0x6000;
	w[169] = 1; // TRIM
	return toBytes(w);
}

export function identifyCdrom(driveNames: DriveNames, modes: TransferModes): Uint8Array {
	const w = new Uint16Array(256);
	w[0] = 0x85c0; // ATAPI, CD-ROM, removable, 12-byte packets, DRQ within 50 us
	names(w, driveNames);
	w[48] = 1;
	w[49] = 0x0300;
	w[53] = 0x0007;
	w[62] = 0x0007 | (modes.singleWord << 8);
	w[63] = 0x0007 | (modes.multiWord << 8);
	w[64] = 0x0003;
	w[65] = 180;
	w[66] = 180;
	w[67] = 300;
	w[68] = 180;
	w[71] = 30;
	w[72] = 30;
	w[80] = 0x001e;
	w[88] = 0x003f | (modes.ultra << 8);
	return toBytes(w);
}
