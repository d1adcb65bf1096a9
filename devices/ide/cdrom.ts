/**
 * An ATAPI CD/DVD-ROM drive with a tray whose medium may come and go while the guest runs.
 * ATA/ATAPI-6 9.8 ("PACKET protocol"), SFF-8020i; commands from MMC-3 and SPC-2, answers in mmc.ts.
 */
import { type BlockImage, checkVersion, type DeviceState, tracePoints } from '../../src/core/index.ts';
import type { DmaOutcome } from './busmaster.ts';
import { type Direction, IdeDrive } from './drive.ts';
import { type DriveNames, identifyCdrom } from './identify.ts';
import * as mmc from './mmc.ts';
import { ErrorBit, READY, Reason, Status } from './taskfile.ts';

const PACKET = 0xa0;
const PACKET_SIZE = 12;
/** The largest block that PIO moves between two interrupts. */
const MAX_BLOCK = 0xfffe;
/** Features register of PACKET. */
const Feature = { dma: 1, overlapped: 2 } as const;

const NAMES: DriveNames = { model: 'TSVM DVD-ROM', serial: 'TS00003', firmware: '1.0' };
const INITIAL_MODES = { singleWord: 0, multiWord: 0, ultra: 0x20 } as const;

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
type Sense = readonly [key: number, asc: number];

/** Where the data of the command under way comes from. */
interface Source {
	readonly kind: 'bytes' | 'data' | 'raw';
	/** Of 'bytes'. */
	readonly bytes: Uint8Array;
	/** First sector, of the others. */
	readonly lba: number;
	readonly length: number;
	/** Bytes that the guest has been offered. */
	sent: number;
}

const trace = tracePoints('atapi', {
	packet: ['drive', 'opcode', 'lba', 'length'],
	sense: ['drive', 'key', 'asc'],
	tray: ['drive', 'open'],
	medium: ['drive', 'sectors'],
});

export interface AtapiCdromOptions {
	/** Medium at power-on. */
	readonly image?: BlockImage;
	readonly names?: Partial<DriveNames>;
}

export class AtapiCdrom extends IdeDrive {
	protected readonly signature = 0xeb14;
	protected readonly statusAfterReset = 0;
	/** The tray moved, by the guest's or the operator's hand. */
	onTray: ((open: boolean) => void) | undefined;
	readonly #names: DriveNames;
	#medium: BlockImage | undefined;
	#trayOpen = false;
	#locked = false;
	/** A new medium that the guest has not been told of. */
	#attention = false;
	#newMediaEvent = false;
	#ejectRequest = false;
	#sense: Sense = Sense.none;
	#modes: { singleWord: number; multiWord: number; ultra: number } = { ...INITIAL_MODES };

	#packet = new Uint8Array(PACKET_SIZE);
	#dma = false;
	#byteLimit = 0;
	#source: Source | undefined;

	constructor({ image, names }: AtapiCdromOptions = {}) {
		super(0x10000);
		this.#names = { ...NAMES, ...names };
		this.#medium = image;
	}

	/** What lies in the drive, tray open or not. */
	get medium(): BlockImage | undefined {
		return this.#medium;
	}
	get trayOpen(): boolean {
		return this.#trayOpen;
	}
	/** The guest has locked the tray. */
	get locked(): boolean {
		return this.#locked;
	}

	/**
	 * Opens the tray and takes the medium out. False if the guest has locked it and `force` is not given: the guest has
	 * then been asked to let go.
	 */
	eject(force = false): boolean {
		if (this.#locked && !this.#trayOpen && !force) {
			this.#ejectRequest = true;
			return false;
		}
		this.#moveTray(true);
		this.#abandonSource();
		this.#medium = undefined;
		this.#locked = false;
		this.#ejectRequest = false;
		return true;
	}

	/** Puts a medium in and closes the tray. The caller closes the image that was in before. */
	insert(image: BlockImage): void {
		this.#abandonSource();
		this.#medium = image;
		trace.medium(this.name, this.#sectors);
		this.#attention = true;
		this.#newMediaEvent = true;
		this.#ejectRequest = false;
		this.#moveTray(false);
	}

	override reset(): void {
		super.reset();
		this.#sense = Sense.none;
		this.#attention = false;
		this.#newMediaEvent = false;
		this.#ejectRequest = false;
		this.#locked = false;
		this.#modes = { ...INITIAL_MODES };
	}

	protected override abandon(): void {
		super.abandon();
		this.#source = undefined;
	}

	save() {
		const source = this.#source;
		return {
			version: 1,
			regs: this.regs.save(),
			opcode: this.opcode,
			direction: this.direction,
			pos: this.pos,
			end: this.end,
			buffer: this.direction === 'none' ? null : this.buffer.slice(0, this.end),
			packet: this.#packet.slice(),
			dma: this.#dma,
			byteLimit: this.#byteLimit,
			source: source ? { ...source, bytes: source.bytes.slice() } : null,
			trayOpen: this.#trayOpen,
			locked: this.#locked,
			attention: this.#attention,
			newMediaEvent: this.#newMediaEvent,
			ejectRequest: this.#ejectRequest,
			sense: [...this.#sense],
			modes: { ...this.#modes },
		} satisfies DeviceState;
	}

	/** The medium itself is the machine's to put back, before this. */
	restore(state: DeviceState): void {
		checkVersion('ide cdrom', state, 1);
		const saved = state as ReturnType<AtapiCdrom['save']>;
		this.abandon();
		this.regs.restore(saved.regs);
		this.#packet = saved.packet.slice(0, PACKET_SIZE);
		this.#dma = saved.dma;
		this.#byteLimit = saved.byteLimit;
		this.#trayOpen = saved.trayOpen;
		this.#locked = saved.locked;
		this.#attention = saved.attention;
		this.#newMediaEvent = saved.newMediaEvent;
		this.#ejectRequest = saved.ejectRequest;
		this.#sense = [saved.sense[0], saved.sense[1]];
		this.#modes = { ...saved.modes };
		this.opcode = saved.opcode;
		this.#source = saved.source ? ({ ...saved.source } as Source) : undefined;
		if (saved.direction !== 'none') {
			if (saved.buffer) this.buffer.set((saved.buffer as Uint8Array).subarray(0, this.buffer.length));
			this.direction = saved.direction as Direction;
			this.pos = Math.min(saved.pos, this.buffer.length);
			this.end = Math.min(saved.end, this.buffer.length);
		} else if (this.#source) {
			if (this.#dma) this.#startDma(this.#source);
			else this.#offerNext(this.#source);
		}
	}

	/** Sectors that the guest can read now. */
	get #sectors(): number {
		return this.#medium && !this.#trayOpen ? Math.ceil(this.#medium.size / mmc.DATA_SECTOR) : 0;
	}

	#moveTray(open: boolean): void {
		if (open === this.#trayOpen) return;
		this.#trayOpen = open;
		trace.tray(this.name, open);
		this.onTray?.(open);
	}

	/** A read that still goes on must not meet another medium. */
	#abandonSource(): void {
		if (!this.#source || this.#source.kind === 'bytes') return;
		this.abandon();
		this.#failWith(Sense.notPresent);
	}

	protected override commandWhileBusy(opcode: number): boolean {
		return opcode === 0x08;
	}

	protected execute(opcode: number): void {
		switch (opcode) {
			case 0x08: // DEVICE RESET: the only command that ends without an interrupt
				this.softReset();
				this.regs.error = 0;
				break;
			case PACKET:
				this.#beginPacket();
				break;
			case 0xa1:
				this.buffer.set(identifyCdrom(this.#names, this.#modes));
				this.offerIn(512);
				break;
			case 0xec: // IDENTIFY DEVICE and READ SECTORS are how old software tells a packet device from a disk
			case 0x20:
				this.regs.sign(this.signature);
				this.fail();
				break;
			case 0xef:
				this.#setFeatures();
				break;
			case 0x00: // NOP is always aborted
				this.fail();
				break;
			case 0xe0: // power management: nothing to do
			case 0xe1:
			case 0xe2:
			case 0xe3:
			case 0xe6:
				this.succeed();
				break;
			case 0xe5:
				this.regs.nsector = 0xff;
				this.succeed();
				break;
			default:
				this.fail();
		}
	}

	#setFeatures(): void {
		const { features, nsector } = this.regs;
		const bit = 1 << (nsector & 7);
		const none = { singleWord: 0, multiWord: 0, ultra: 0 };
		if (features !== 0x03) {
			// Release and SERVICE interrupts, which go with overlapped commands, are not there.
			if ([0x66, 0xcc, 0x55, 0xaa].includes(features)) this.succeed();
			else this.fail();
			return;
		}
		switch (nsector >> 3) {
			case 0:
			case 1:
				this.#modes = none;
				break;
			case 2:
				this.#modes = { ...none, singleWord: bit };
				break;
			case 4:
				this.#modes = { ...none, multiWord: bit };
				break;
			case 8:
				this.#modes = { ...none, ultra: bit };
				break;
			default:
				this.fail();
				return;
		}
		this.succeed();
	}

	#beginPacket(): void {
		if (this.regs.features & Feature.overlapped) {
			this.fail();
			return;
		}
		this.#dma = (this.regs.features & Feature.dma) !== 0;
		this.#byteLimit = this.regs.byteCount;
		this.regs.nsector = Reason.cd;
		this.offerOut(PACKET_SIZE, false);
	}

	protected blockDone(): void {
		if (this.opcode !== PACKET) {
			this.succeed(false);
			return;
		}
		const source = this.#source;
		if (!source) {
			this.#packet.set(this.buffer.subarray(0, PACKET_SIZE));
			this.#runPacket();
		} else if (source.sent < source.length) {
			this.#offerNext(source);
		} else {
			this.#complete();
		}
	}

	#runPacket(): void {
		const cdb = new DataView(this.#packet.buffer, this.#packet.byteOffset, PACKET_SIZE);
		const opcode = cdb.getUint8(0);
		trace.packet(this.name, opcode, cdb.getUint32(2), cdb.getUint16(7));
		const command = packetCommands[opcode];
		if (!command) {
			this.#failWith(Sense.badOpcode);
			return;
		}
		if (!command.evenIfChanged && this.#announceChange()) return;
		if (command.needsMedium && this.#sectors === 0) {
			this.#failWith(Sense.notPresent);
			return;
		}
		if (opcode !== REQUEST_SENSE) this.#sense = Sense.none;
		const answer = command.run(this.#drive, cdb);
		if (answer === 'done') this.#complete();
		else if ('sense' in answer) this.#failWith(answer.sense);
		else this.#send(answer);
	}

	/**
	 * A new medium is announced once, by "medium may have changed". QEMU shows an empty drive once before that; a Linux
	 * that does not poll then fails its first read (sr_mod keeps `changed` from the second of the two).
	 */
	#announceChange(): boolean {
		if (!this.#attention || this.#sectors === 0) return false;
		this.#attention = false;
		this.#failWith(Sense.mediumChanged);
		return true;
	}

	#send(answer: Answer): void {
		const { kind, bytes, lba, length } = answer;
		if (length === 0) {
			this.#complete();
			return;
		}
		if (!this.#dma && this.#byteLimit === 0) {
			this.fail();
			return;
		}
		const source = { kind, bytes, lba, length, sent: 0 };
		this.#source = source;
		if (this.#dma) this.#startDma(source);
		else this.#offerNext(source);
	}

	/** The next block of PIO: as much as the byte count limit allows, an even number unless it is the last. */
	#offerNext(source: Source): void {
		const left = source.length - source.sent;
		const limit = Math.min(this.#byteLimit, MAX_BLOCK);
		const count = left <= limit ? left : Math.max(2, limit & ~1);
		this.after(
			this.#fill(source, source.sent, this.buffer.subarray(0, count)),
			() => {
				source.sent += count;
				this.regs.byteCount = count;
				this.regs.nsector = Reason.io;
				this.offerIn(count);
			},
			() => this.#failWith(Sense.mediumError),
		);
	}

	#startDma(source: Source): void {
		this.regs.status = READY | Status.drq;
		this.bus.dma.begin({
			toMemory: true,
			length: source.length,
			move: (offset, bytes) => this.#fill(source, offset, bytes),
			done: (outcome) => this.#dmaDone(outcome),
		});
	}

	#dmaDone(outcome: DmaOutcome): void {
		switch (outcome) {
			case 'complete':
				this.#complete();
				break;
			case 'short':
				this.#source = undefined;
				this.succeed(false);
				break;
			case 'failed':
				this.#failWith(Sense.mediumError);
				break;
			default:
				this.#source = undefined;
				this.fail();
		}
	}

	/** Puts the source's bytes from `offset` on into `into`. */
	#fill(source: Source, offset: number, into: Uint8Array): Promise<void> | undefined {
		if (source.kind === 'bytes') {
			into.set(source.bytes.subarray(offset, offset + into.length));
			return undefined;
		}
		if (!this.#medium) return Promise.reject(new Error('no medium'));
		if (source.kind === 'data') return readPadded(this.#medium, source.lba * mmc.DATA_SECTOR + offset, into);
		return this.#fillRaw(this.#medium, source, offset, into);
	}

	/** Raw sectors are made one by one; `into` may begin and end within one. */
	#fillRaw(medium: BlockImage, source: Source, offset: number, into: Uint8Array): Promise<void> | undefined {
		const data = new Uint8Array(mmc.DATA_SECTOR);
		const raw = new Uint8Array(mmc.RAW_SECTOR);
		const from = (at: number): Promise<void> | undefined => {
			let next = at;
			while (next < into.length) {
				const sector = Math.floor((offset + next) / mmc.RAW_SECTOR);
				const skip = (offset + next) % mmc.RAW_SECTOR;
				const place = next;
				const finish = () => {
					mmc.rawSector(source.lba + sector, raw, data);
					into.set(raw.subarray(skip, skip + Math.min(mmc.RAW_SECTOR - skip, into.length - place)), place);
				};
				next += Math.min(mmc.RAW_SECTOR - skip, into.length - next);
				const after = next;
				const work = readPadded(medium, (source.lba + sector) * mmc.DATA_SECTOR, data);
				if (work)
					return work.then(() => {
						finish();
						return from(after);
					});
				finish();
			}
			return undefined;
		};
		return from(0);
	}

	/** The packet command has succeeded. */
	#complete(): void {
		this.#source = undefined;
		this.regs.error = 0;
		this.regs.nsector = Reason.io | Reason.cd;
		this.succeed();
	}

	#failWith(sense: Sense): void {
		trace.sense(this.name, sense[0], sense[1]);
		this.#source = undefined;
		this.#sense = sense;
		this.regs.nsector = Reason.io | Reason.cd;
		this.fail((sense[0] << 4) | (sense[0] === 0 ? ErrorBit.abrt : 0));
	}

	/** What the packet commands below may see and do. */
	readonly #drive: PacketDrive = {
		names: () => this.#names,
		sectors: () => this.#sectors,
		locked: () => this.#locked,
		lock: (on) => {
			this.#locked = on;
		},
		takeSense: () => {
			const sense = this.#sense;
			this.#sense = Sense.none;
			return sense;
		},
		takeEvent: () => {
			const event = this.#ejectRequest
				? mmc.MediaEvent.ejectRequest
				: this.#newMediaEvent
					? mmc.MediaEvent.newMedia
					: mmc.MediaEvent.none;
			if (this.#ejectRequest) this.#ejectRequest = false;
			else this.#newMediaEvent = false;
			return mmc.mediaEvent(event, this.#trayOpen, this.#sectors > 0);
		},
		tray: (open) => {
			if (open && !this.#trayOpen && this.#locked)
				return this.#medium ? Sense.removalPrevented : Sense.removalPreventedEmpty;
			this.#moveTray(open);
			return undefined;
		},
	};
}

interface PacketDrive {
	names(): DriveNames;
	sectors(): number;
	locked(): boolean;
	lock(on: boolean): void;
	takeSense(): Sense;
	takeEvent(): number[];
	/** Moves the tray, or says why not. */
	tray(open: boolean): Sense | undefined;
}

type Answer = Omit<Source, 'sent'>;
type Result = 'done' | Answer | { readonly sense: Sense };

interface PacketCommand {
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

function dvdStructure(drive: PacketDrive, cdb: DataView): Result {
	if (!mmc.isDvd(drive.sectors())) return refuse(Sense.incompatibleMedium);
	return reply(mmc.dvdStructure(cdb.getUint8(7), drive.sectors()), cdb.getUint16(8));
}

const REQUEST_SENSE = 0x03;

/** Packet commands by opcode. */
const packetCommands: { readonly [opcode: number]: PacketCommand | undefined } = {
	0: { needsMedium: true, run: () => 'done' }, // TEST UNIT READY
	[REQUEST_SENSE]: {
		evenIfChanged: true,
		run: (drive, cdb) => reply(mmc.senseData(...drive.takeSense()), cdb.getUint8(4)),
	},
	18: { evenIfChanged: true, run: inquiry },
	27: { run: startStop },
	30: {
		run: (drive, cdb) => {
			drive.lock((cdb.getUint8(4) & 1) !== 0); // PREVENT/ALLOW MEDIUM REMOVAL
			return 'done';
		},
	},
	37: { needsMedium: true, run: (drive) => reply(mmc.capacity(drive.sectors()), 8) },
	40: { needsMedium: true, run: (drive, cdb) => read(drive, cdb.getUint32(2), cdb.getUint16(7), 'data') },
	43: {
		needsMedium: true,
		run: (drive, cdb) => (cdb.getUint32(2) >= drive.sectors() ? refuse(Sense.outOfRange) : 'done'), // SEEK
	},
	67: { needsMedium: true, run: readToc },
	70: {
		evenIfChanged: true,
		run: (drive, cdb) =>
			reply(cdb.getUint16(2) === 0 ? mmc.configuration(drive.sectors()) : undefined, cdb.getUint16(7)),
	},
	74: { evenIfChanged: true, run: getEvent },
	81: {
		needsMedium: true,
		run: (_, cdb) => reply(cdb.getUint8(1) & 7 ? undefined : mmc.discInformation(), cdb.getUint16(7)),
	},
	90: { run: modeSense },
	168: { needsMedium: true, run: (drive, cdb) => read(drive, cdb.getUint32(2), cdb.getUint32(6), 'data') },
	173: { needsMedium: true, run: dvdStructure },
	187: { run: () => 'done' }, // SET CD SPEED
	189: { run: (_, cdb) => reply(mmc.mechanismStatus, cdb.getUint16(8)) },
	190: { needsMedium: true, run: readCd },
};

/** The last sector may be longer than the image. */
function readPadded(image: BlockImage, offset: number, into: Uint8Array): Promise<void> | undefined {
	const there = Math.max(0, Math.min(into.length, image.size - offset));
	into.fill(0, there);
	return there > 0 ? image.read(offset, into.subarray(0, there)) : undefined;
}
