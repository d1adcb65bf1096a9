/**
 * What a CD/DVD drive answers, as bytes. SCSI Multimedia Commands: MMC-3 (T10/1363-D) clause numbers below; INQUIRY,
 * REQUEST SENSE and the mode pages' frame: SPC-2. Contents equal those of QEMU's drive, apart from the names.
 */
import type { DriveNames } from './identify.ts';

/** Bytes of user data in a sector, and of everything in a raw one. */
export const DATA_SECTOR = 2048;
export const RAW_SECTOR = 2352;

/** Sectors of an 80-minute CD; more must be a DVD. */
const CD_SECTORS = 80 * 60 * 75;
/** Two seconds of pregap before LBA 0. */
const PREGAP = 150;

const PROFILE_CD = 0x08;
const PROFILE_DVD = 0x10;
const LEAD_OUT = 0xaa;
/** ADR 1 (position), control: data track. */
const DATA_TRACK = 0x14;

export function isDvd(sectors: number): boolean {
	return sectors > CD_SECTORS;
}

function be16(value: number): number[] {
	return [(value >> 8) & 0xff, value & 0xff];
}
function be32(value: number): number[] {
	return [(value >>> 24) & 0xff, (value >>> 16) & 0xff, (value >>> 8) & 0xff, value & 0xff];
}
function ascii(value: string, length: number): number[] {
	return [...Buffer.from(value.padEnd(length).slice(0, length), 'latin1')];
}

/** Minute, second, frame, with a zero before them. */
export function msf(lba: number): [0, number, number, number] {
	const frames = lba + PREGAP;
	return [0, Math.floor(frames / 4500) & 0xff, Math.floor(frames / 75) % 60, frames % 75];
}

function address(lba: number, asMsf: boolean): number[] {
	return asMsf ? msf(lba) : be32(lba);
}

/** REQUEST SENSE, fixed format, 18 bytes. */
export function senseData(key: number, asc: number): number[] {
	return [0xf0, 0, key, 0, 0, 0, 0, 10, 0, 0, 0, 0, asc, 0, 0, 0, 0, 0];
}

/** Standard INQUIRY data, 36 bytes. */
export function inquiry({ model, firmware }: DriveNames): number[] {
	const vendor = model.split(' ')[0];
	return [5, 0x80, 0, 0x21, 31, 0, 0, 0, ...ascii(vendor, 8), ...ascii(model, 16), ...ascii(firmware, 4)];
}

/** Vital product data pages 00h (the list) and 83h (identification); undefined for others. */
export function vitalProductData(page: number, { model, serial }: DriveNames): number[] | undefined {
	if (page === 0x00) return [5, 0x00, 0, 2, 0x00, 0x83];
	if (page !== 0x83) return undefined;
	const byVendor = [0x02, 0x00, 0, 20, ...ascii(serial, 20)];
	const byT10 = [0x02, 0x01, 0, 68, ...ascii('ATA', 8), ...ascii(model, 40), ...ascii(serial, 20)];
	return [5, 0x83, 0, byVendor.length + byT10.length, ...byVendor, ...byT10];
}

/** READ CAPACITY (5.16). */
export function capacity(sectors: number): number[] {
	return [...be32(sectors - 1), ...be32(DATA_SECTOR)];
}

/** READ TOC/PMA/ATIP (5.20) of a disc with one data track: formats 0 (tracks), 1 (sessions), 2 (full TOC). */
export function toc(format: number, sectors: number, asMsf: boolean, firstTrack: number): number[] | undefined {
	const framed = (descriptors: number[]) => [...be16(descriptors.length + 2), 1, 1, ...descriptors];
	switch (format) {
		case 0: {
			if (firstTrack > 1 && firstTrack !== LEAD_OUT) return undefined;
			const track = firstTrack <= 1 ? [0, DATA_TRACK, 1, 0, ...address(0, asMsf)] : [];
			return framed([...track, 0, DATA_TRACK | 2, LEAD_OUT, 0, ...address(sectors, asMsf)]);
		}
		case 1:
			return framed([0, 0, 0, 0, 0, 0, 0, 0]);
		case 2: {
			const entry = (point: number, last: number[]) => [1, DATA_TRACK, 0, point, 0, 0, 0, ...last];
			return framed([
				...entry(0xa0, [0, 1, 0, 0]),
				...entry(0xa1, [0, 1, 0, 0]),
				...entry(0xa2, address(sectors, asMsf)),
				...entry(1, address(0, asMsf)),
			]);
		}
		default:
			return undefined;
	}
}

/** GET CONFIGURATION (5.6): the profile list, with the profile that the disc has. `sectors` 0: no disc. */
export function configuration(sectors: number): number[] {
	const dvd = isDvd(sectors);
	const current = sectors === 0 ? 0 : dvd ? PROFILE_DVD : PROFILE_CD;
	const profiles = [
		0,
		PROFILE_DVD,
		current === PROFILE_DVD ? 1 : 0,
		0,
		0,
		PROFILE_CD,
		current === PROFILE_CD ? 1 : 0,
		0,
	];
	return [...be32(16), 0, 0, ...be16(current), 0, 0, 0x03, profiles.length, ...profiles];
}

export const MediaEvent = { none: 0, ejectRequest: 1, newMedia: 2 } as const;

/** GET EVENT STATUS NOTIFICATION (5.7), class "media". */
export function mediaEvent(event: number, trayOpen: boolean, present: boolean): number[] {
	return [0, 4, 4, 1 << 4, event, (trayOpen ? 1 : 0) | (present ? 2 : 0), 0, 0];
}
/** The same, when none of the classes asked for is there. */
export const noEvent: readonly number[] = [0, 0, 0x80, 1 << 4];

/** READ DISC INFORMATION (5.19): one complete session, finalised, unrestricted use. */
export function discInformation(): number[] {
	const out = new Array<number>(34).fill(0);
	out.splice(0, 8, 0, 32, 0x0e, 1, 1, 1, 1, 0x20);
	return out;
}

/** MODE SENSE (10): current values of one page. Undefined for pages that are not there. */
export function modePage(page: number, locked: boolean): number[] | undefined {
	const body = modePages.get(page)?.(locked);
	return body && [...be16(body.length + 6), 0x70, 0, 0, 0, 0, 0, ...body];
}
const modePages: ReadonlyMap<number, (locked: boolean) => number[]> = new Map([
	[0x01, readErrorRecovery],
	[0x0e, audioControl],
	[0x2a, capabilities],
]);
function readErrorRecovery(): number[] {
	return [0x01, 6, 0, 5, 0, 0, 0, 0];
}
function audioControl(): number[] {
	return [0x0e, 14, ...new Array<number>(14).fill(0)];
}
/** Capabilities and mechanical status: reads CD-R/RW and DVD-ROM; tray, lock and eject; 4x; 512 KiB. */
function capabilities(locked: boolean): number[] {
	const reads = [0x3b, 0, 0x71, 0x60];
	const tray = 0x29 | (locked ? 2 : 0);
	return [0x2a, 20, ...reads, tray, 0, ...be16(704), ...be16(2), ...be16(512), ...be16(704), 0, 0, 0, 0, 0, 0];
}

/** MECHANISM STATUS (5.11): idle, no changer. */
export const mechanismStatus: readonly number[] = [0, 0, 0, 0, 0, 1, 0, 0];

/** READ DVD STRUCTURE (5.22): physical format (0) and copyright (1); undefined for other formats. */
export function dvdStructure(format: number, sectors: number): number[] | undefined {
	if (format === 0) {
		const physical = [1, 0x0f, 1, 0, ...be32(0x30000), ...be32(0x30000 + sectors - 1), ...be32(0), 0];
		return [...be16(2048 + 2), 0, 0, ...physical, ...new Array<number>(2048 - physical.length).fill(0)];
	}
	return format === 1 ? [...be16(4 + 2), 0, 0, 0, 0, 0, 0] : undefined;
}

/**
 * A raw sector around `data`: sync pattern, header with its address, mode 1; the error correction that follows is
 * zero, as the medium is never read through it. ECMA-130 14.
 */
export function rawSector(lba: number, into: Uint8Array, data: Uint8Array): void {
	into.fill(0);
	into.fill(0xff, 1, 11);
	const [, minute, second, frame] = msf(lba);
	into.set([minute, second, frame, 1], 12);
	into.set(data, 16);
}
