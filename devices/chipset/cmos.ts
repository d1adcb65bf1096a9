/**
 * What firmware looks for in CMOS memory: sizes of memory, boot order, drive types. IBM PC/AT technical reference for
 * the old bytes; SeaBIOS, src/hw/rtc.h and src/bootsplash for those that QEMU machines add.
 */
import type { Rtc } from './rtc.ts';

const KIB = 1024;
const MIB = 1024 * KIB;
const FLOPPY_TYPES = 0x10;
const DISK_TYPES = 0x12;
const EQUIPMENT = 0x14;
const BASE_MEMORY = 0x15;
const EXTENDED_MEMORY = 0x17;
const DISK_TYPE_EXTENDED = 0x19;
const DISK_GEOMETRY = 0x1b;
const EXTENDED_MEMORY_2 = 0x30;
const MEMORY_ABOVE_16M = 0x34;
const BOOT_FLAGS_1 = 0x38;
const DISK_TRANSLATION = 0x39;
const BOOT_FLAGS_2 = 0x3d;
const MEMORY_ABOVE_4G = 0x5b;
const CPU_COUNT = 0x5f;

const EQUIPMENT_FPU = 0x02;
const EQUIPMENT_MOUSE = 0x04;
/** Disk type 15 means "see the extended byte", and there 47 means "see the geometry". */
const TYPE_EXTENDED = 0x0f;
const TYPE_USER = 47;
/** Boot device codes: a, b floppy; c disk; d CD-ROM; n network. */
const BOOT_CODES: Readonly<Record<string, number>> = { a: 1, b: 1, c: 2, d: 3, n: 4 };

export interface DiskGeometry {
	readonly cylinders: number;
	readonly heads: number;
	readonly sectors: number;
	/** 0 none, 1 LBA, 2 large, 3 revised ECHS. */
	readonly translation: 0 | 1 | 2 | 3;
}

export interface CmosSetup {
	/** Guest RAM, bytes. */
	readonly memory: number;
	/** Boot order, up to three of a, b, c, d, n. */
	readonly boot: string;
	/** Whether a PS/2 mouse may be there; true if left out. */
	readonly mouse?: boolean;
	/** Primary master and slave, secondary master and slave. */
	readonly disks?: readonly (DiskGeometry | undefined)[];
}

/** Fills in what QEMU's `pc` board does; throws RangeError for a boot device that does not exist. */
export function fillCmos(rtc: Rtc, setup: CmosSetup): void {
	const word = (at: number, value: number) => {
		rtc.setCmos(at, value & 0xff);
		rtc.setCmos(at + 1, (value >> 8) & 0xff);
	};
	const units = (from: number, unit: number, max = 0xffff) =>
		Math.min(max, Math.floor(Math.max(0, setup.memory - from) / unit));
	word(BASE_MEMORY, units(0, KIB, 640));
	word(EXTENDED_MEMORY, units(MIB, KIB));
	word(EXTENDED_MEMORY_2, units(MIB, KIB));
	word(MEMORY_ABOVE_16M, units(16 * MIB, 64 * KIB));
	// All RAM lies below 4 GiB: the core has 32 address bits.
	for (let i = 0; i < 3; i++) rtc.setCmos(MEMORY_ABOVE_4G + i, 0);
	rtc.setCmos(CPU_COUNT, 0);
	rtc.setCmos(FLOPPY_TYPES, 0);
	rtc.setCmos(EQUIPMENT, EQUIPMENT_FPU | (setup.mouse === false ? 0 : EQUIPMENT_MOUSE));
	fillBootOrder(rtc, setup.boot);
	fillDisks(rtc, setup.disks ?? []);
}

function fillBootOrder(rtc: Rtc, boot: string): void {
	if (boot.length > 3) throw new RangeError(`boot order ${boot} names more than three devices`);
	const codes = [...boot].map((letter) => {
		const code = BOOT_CODES[letter];
		if (code === undefined) throw new RangeError(`no boot device ${letter}`);
		return code;
	});
	rtc.setCmos(BOOT_FLAGS_2, ((codes[1] ?? 0) << 4) | (codes[0] ?? 0));
	// Bit 0 stays clear: SeaBIOS then checks a floppy's signature before it starts it.
	rtc.setCmos(BOOT_FLAGS_1, (codes[2] ?? 0) << 4);
}

function fillDisks(rtc: Rtc, disks: readonly (DiskGeometry | undefined)[]): void {
	rtc.setCmos(DISK_TYPES, (disks[0] ? TYPE_EXTENDED << 4 : 0) | (disks[1] ? TYPE_EXTENDED : 0));
	let translation = 0;
	for (const [i, disk] of disks.entries()) {
		if (!disk) continue;
		translation |= disk.translation << (i * 2);
		if (i > 1) continue;
		const { cylinders, heads, sectors } = disk;
		rtc.setCmos(DISK_TYPE_EXTENDED + i, TYPE_USER);
		// Cylinders, heads, write precompensation (none), control byte, landing zone, sectors.
		const control = 0xc0 | (heads > 8 ? 8 : 0);
		const geometry = [cylinders, cylinders >> 8, heads, 0xff, 0xff, control, cylinders, cylinders >> 8, sectors];
		for (const [n, byte] of geometry.entries()) rtc.setCmos(DISK_GEOMETRY + i * 9 + n, byte & 0xff);
	}
	rtc.setCmos(DISK_TRANSLATION, translation);
}
