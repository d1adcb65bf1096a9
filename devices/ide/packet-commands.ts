/**
 * The packet commands of a CD/DVD-ROM drive: what each asks for, and what it is answered or refused.
 * MMC-3 (T10/1363-D) 5, SPC-2 7.
 */
import type { DriveNames } from './identify.ts';
import * as mmc from './mmc.ts';

export const REQUEST_SENSE = 0x03;

/** Sense keys and additional sense codes: SPC-2 7.23, MMC-3 annex. */
export const Sense = {
	none: [0, 0],
	notPresent: [2, 0x3a],
	mediumError: [3, 0x11],
	badOpcode: [5, 0x20],
	outOfRange: [5, 0x21],
	badField: [5, 0x24],
	incompatibleMedium: [5, 0x30],
	savingNotSupported: [5, 0x39],
	mediumChanged: [6, 0x28],
	removalPrevented: [2, 0x53],
	removalPreventedEmpty: [5, 0x53],
} as const;
export type Sense = readonly [key: number, asc: number];

/** Data for the guest, and where it comes from. */
export interface Answer {
	readonly kind: 'bytes' | 'data' | 'raw';
	/** Of 'bytes'. */
	readonly bytes: Uint8Array;
	/** First sector, of the others. */
	readonly lba: number;
	/** Bytes. */
	readonly length: number;
}

/** What the packet commands may see and do. */
export interface PacketDrive {
	names(): DriveNames;
	sectors(): number;
	locked(): boolean;
	lock(on: boolean): void;
	takeSense(): Sense;
	takeEvent(): number[];
	/** Moves the tray, or says why not. */
	tray(open: boolean): Sense | undefined;
}

type Result = 'done' | Answer | { readonly sense: Sense };

export interface PacketCommand {
	readonly needsMedium?: boolean;
	/** Does not report a change of medium. */
	readonly evenIfChanged?: boolean;
	readonly run: (drive: PacketDrive, cdb: DataView) => Result;
}

const NOTHING = new Uint8Array(0);
const refuse = (sense: Sense): Result => ({ sense });

/** At most `allocation` bytes of an answer; a missing one is a field that the drive does not know. */
function reply(bytes: readonly number[] | undefined, allocation: number): Result {
	if (!bytes) return refuse(Sense.badField);
	const cut = Uint8Array.from(bytes.slice(0, allocation));
	return { kind: 'bytes', bytes: cut, lba: 0, length: cut.length };
}

function read(drive: PacketDrive, lba: number, count: number, kind: 'data' | 'raw'): Result {
	if (lba + count > drive.sectors()) return refuse(Sense.outOfRange);
	const length = count * (kind === 'raw' ? mmc.RAW_SECTOR : mmc.DATA_SECTOR);
	return { kind, bytes: NOTHING, lba, length };
}

function readCd(drive: PacketDrive, cdb: DataView): Result {
	const count = cdb.getUint16(6) * 256 + cdb.getUint8(8);
	const fields = cdb.getUint8(9) & 0xf8;
	if (fields === 0) return 'done';
	if (fields !== 0x10 && fields !== 0xf8) return refuse(Sense.badField);
	return read(drive, cdb.getUint32(2), count, fields === 0x10 ? 'data' : 'raw');
}

function startStop(drive: PacketDrive, cdb: DataView): Result {
	const bits = cdb.getUint8(4);
	// Bit 1 moves the tray, bit 0 says where to; the motor is not our concern.
	const sense = bits & 2 ? drive.tray((bits & 1) === 0) : undefined;
	return sense ? refuse(sense) : 'done';
}

function inquiry(drive: PacketDrive, cdb: DataView): Result {
	const page = cdb.getUint8(2);
	const allocation = cdb.getUint16(3);
	if (cdb.getUint8(1) & 1) return reply(mmc.vitalProductData(page, drive.names()), allocation);
	return reply(page === 0 ? mmc.inquiry(drive.names()) : undefined, allocation);
}

function readToc(drive: PacketDrive, cdb: DataView): Result {
	// SFF-8020i has the format in the last byte, MMC in the third; Linux uses the former.
	const format = cdb.getUint8(9) >> 6 || cdb.getUint8(2) & 15;
	const asMsf = (cdb.getUint8(1) & 2) !== 0;
	return reply(mmc.toc(format, drive.sectors(), asMsf, cdb.getUint8(6)), cdb.getUint16(7));
}

function modeSense(drive: PacketDrive, cdb: DataView): Result {
	const control = cdb.getUint8(2) >> 6;
	if (control === 3) return refuse(Sense.savingNotSupported);
	if (control !== 0) return refuse(Sense.badField);
	return reply(mmc.modePage(cdb.getUint8(2) & 63, drive.locked()), cdb.getUint16(7));
}

function getEvent(drive: PacketDrive, cdb: DataView): Result {
	if (!(cdb.getUint8(1) & 1)) return refuse(Sense.badField); // only polling, no waiting
	const wanted = cdb.getUint8(4) & 0x10;
	return reply(wanted ? drive.takeEvent() : mmc.noEvent, cdb.getUint16(7));
}

function preventRemoval(drive: PacketDrive, cdb: DataView): Result {
	drive.lock((cdb.getUint8(4) & 1) !== 0);
	return 'done';
}

function getConfiguration(drive: PacketDrive, cdb: DataView): Result {
	const profiles = cdb.getUint16(2) === 0 ? mmc.configuration(drive.sectors()) : undefined;
	return reply(profiles, cdb.getUint16(7));
}

function readDiscInformation(_: PacketDrive, cdb: DataView): Result {
	return reply(cdb.getUint8(1) & 7 ? undefined : mmc.discInformation(), cdb.getUint16(7));
}

function dvdStructure(drive: PacketDrive, cdb: DataView): Result {
	if (!mmc.isDvd(drive.sectors())) return refuse(Sense.incompatibleMedium);
	return reply(mmc.dvdStructure(cdb.getUint8(7), drive.sectors()), cdb.getUint16(8));
}

/** Packet commands by opcode. */
export const packetCommands: ReadonlyMap<number, PacketCommand> = new Map<number, PacketCommand>([
	[0x00, { needsMedium: true, run: () => 'done' }], // TEST UNIT READY
	[
		REQUEST_SENSE,
		{ evenIfChanged: true, run: (drive, cdb) => reply(mmc.senseData(...drive.takeSense()), cdb.getUint8(4)) },
	],
	[0x12, { evenIfChanged: true, run: inquiry }],
	[0x1b, { run: startStop }],
	[0x1e, { run: preventRemoval }],
	[0x25, { needsMedium: true, run: (drive) => reply(mmc.capacity(drive.sectors()), 8) }],
	[
		0x28, // READ(10)
		{ needsMedium: true, run: (drive, cdb) => read(drive, cdb.getUint32(2), cdb.getUint16(7), 'data') },
	],
	[
		0x2b, // SEEK
		{
			needsMedium: true,
			run: (drive, cdb) => (cdb.getUint32(2) >= drive.sectors() ? refuse(Sense.outOfRange) : 'done'),
		},
	],
	[0x43, { needsMedium: true, run: readToc }],
	[0x46, { evenIfChanged: true, run: getConfiguration }],
	[0x4a, { evenIfChanged: true, run: getEvent }],
	[0x51, { needsMedium: true, run: readDiscInformation }],
	[0x5a, { run: modeSense }],
	[
		0xa8, // READ(12)
		{ needsMedium: true, run: (drive, cdb) => read(drive, cdb.getUint32(2), cdb.getUint32(6), 'data') },
	],
	[0xad, { needsMedium: true, run: dvdStructure }],
	[0xbb, { run: () => 'done' }], // SET CD SPEED
	[0xbd, { run: (_, cdb) => reply(mmc.mechanismStatus, cdb.getUint16(8)) }],
	[0xbe, { needsMedium: true, run: readCd }],
]);
