/**
 * An ATAPI CD/DVD-ROM drive with a tray whose medium may come and go while the guest runs.
 * ATA/ATAPI-6 9.8 ("PACKET protocol"), SFF-8020i; commands from MMC-3 and SPC-2, answers in mmc.ts.
 */
import { type BlockImage, checkVersion, type DeviceState, tracePoints } from '../../src/core/index.ts';
import type { BlockGuard } from '../block/index.ts';
import type { DmaOutcome } from './busmaster.ts';
import { type Direction, IdeDrive } from './drive.ts';
import { type DriveNames, INITIAL_MODES, identifyCdrom, selectModes } from './identify.ts';
import * as mmc from './mmc.ts';
import { type Answer, type PacketDrive, packetCommands, REQUEST_SENSE, Sense } from './packet-commands.ts';
import { ErrorBit, READY, Reason, Status } from './taskfile.ts';

const PACKET = 0xa0;
const PACKET_SIZE = 12;
/** The largest block that PIO moves between two interrupts. */
const MAX_BLOCK = 0xfffe;
/** Features register of PACKET. */
const Feature = { dma: 1, overlapped: 2 } as const;

const NAMES: DriveNames = { model: 'TSVM DVD-ROM', serial: 'TS00003', firmware: '1.0' };

/** How far the guest has got with an answer. */
interface Source extends Answer {
	/** Bytes that it has been offered. */
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
	#trayOpen = false;
	#locked = false;
	/** A new medium that the guest has not been told of. */
	#attention = false;
	#newMediaEvent = false;
	#ejectRequest = false;
	#sense: Sense = Sense.none;
	#modes = INITIAL_MODES;

	#packet = new Uint8Array(PACKET_SIZE);
	#dma = false;
	#byteLimit = 0;
	#source: Source | undefined;

	constructor({ image, names }: AtapiCdromOptions = {}) {
		super(0x10000, image);
		this.#names = { ...NAMES, ...names };
	}

	/** What lies in the drive, tray open or not. */
	get medium(): BlockImage | undefined {
		return this.host.image;
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
		this.host.insert(undefined);
		this.#locked = false;
		this.#ejectRequest = false;
		return true;
	}

	/** Puts a medium in and closes the tray. The caller closes the image that was in before. */
	insert(image: BlockImage): void {
		this.#abandonSource();
		this.host.insert(image);
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
		this.#modes = INITIAL_MODES;
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
		return this.#trayOpen ? 0 : Math.ceil(this.host.size / mmc.DATA_SECTOR);
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
		const modes = features === 0x03 ? selectModes(nsector) : undefined;
		this.#modes = modes ?? this.#modes;
		// Look-ahead and defaults are accepted; overlapped commands, and so their interrupts, are not there.
		if (modes || [0x55, 0x66, 0xaa, 0xcc].includes(features)) this.succeed();
		else this.fail();
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
		const command = packetCommands.get(opcode);
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
		if (source.kind === 'data') return readPadded(this.host, source.lba * mmc.DATA_SECTOR + offset, into);
		return this.#fillRaw(source, offset, into);
	}

	/** Raw sectors are made one by one; `into` may begin and end within one. */
	#fillRaw(source: Source, offset: number, into: Uint8Array): Promise<void> | undefined {
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
				const work = readPadded(this.host, (source.lba + sector) * mmc.DATA_SECTOR, data);
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
				return this.medium ? Sense.removalPrevented : Sense.removalPreventedEmpty;
			this.#moveTray(open);
			return undefined;
		},
	};
}

/** The last sector may be longer than the image. */
function readPadded(host: BlockGuard, offset: number, into: Uint8Array): Promise<void> | undefined {
	const there = Math.max(0, Math.min(into.length, host.size - offset));
	into.fill(0, there);
	return there > 0 ? host.read(offset, into.subarray(0, there)) : undefined;
}
