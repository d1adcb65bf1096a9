/**
 * An ATA hard disk: PIO with and without blocks of several sectors, DMA, 28- and 48-bit addresses and CHS, write
 * cache, flush, TRIM, SMART. ATA/ATAPI-6 8 ("Command descriptions") and 9 ("Protocols"); TRIM from ACS-2 7.5.
 */
import { type BlockImage, checkVersion, type DeviceState } from '../../src/core/index.ts';
import { cylindersOf, readAddress, type Translation, writeAddress } from './address.ts';
import type { DmaOutcome, DmaTransfer } from './busmaster.ts';
import { commands, FLUSH_CACHE } from './disk-commands.ts';
import { type Direction, IdeDrive } from './drive.ts';
import { type Geometry, geometryOf, SECTOR } from './geometry.ts';
import { type DriveNames, INITIAL_MODES, identifyDisk, selectModes } from './identify.ts';
import { SmartLog } from './smart.ts';
import { ErrorBit, READY, Status } from './taskfile.ts';
import { trim } from './trim.ts';

const MAX_MULTIPLE = 16;
/** READ NATIVE MAX cannot say more with 28 bits. */
const MAX_LBA28 = 0x0fffffff;
const NAMES: DriveNames = { model: 'TSVM HARDDISK', serial: 'TS00001', firmware: '1.0' };

/** What goes on between the first and the last block of a command. */
interface Progress {
	readonly kind: 'read' | 'write' | 'trim' | 'identify' | 'smart';
	readonly ext: boolean;
	/** Next sector, and sectors to go. */
	lba: number;
	count: number;
	/** Sectors between two interrupts. */
	readonly block: number;
}

export interface AtaDiskOptions {
	readonly image: BlockImage;
	readonly names?: Partial<DriveNames>;
}

export class AtaDisk extends IdeDrive {
	protected readonly signature = 0x0000;
	protected readonly statusAfterReset = READY;
	readonly geometry: Geometry;
	/** Sectors of 512 bytes. */
	readonly total: number;
	readonly #names: DriveNames;
	readonly #smart = new SmartLog();
	#translation: Translation = { heads: 16, sectors: 63 };
	#multiple = MAX_MULTIPLE;
	#writeCache = true;
	#modes = INITIAL_MODES;
	#progress: Progress | undefined;

	constructor({ image, names }: AtaDiskOptions) {
		super(MAX_MULTIPLE * SECTOR, image);
		this.total = Math.floor(image.size / SECTOR);
		this.geometry = geometryOf(image);
		this.#names = { ...NAMES, ...names };
		this.#defaults();
	}

	override reset(): void {
		super.reset();
		this.#defaults();
	}

	#defaults(): void {
		this.#translation = { heads: this.geometry.heads, sectors: this.geometry.sectors };
		this.#multiple = MAX_MULTIPLE;
		this.#writeCache = true;
		this.#modes = INITIAL_MODES;
		this.#smart.reset();
	}

	protected override abandon(): void {
		super.abandon();
		this.#progress = undefined;
	}

	save() {
		const progress = this.#progress;
		return {
			version: 1,
			regs: this.regs.save(),
			opcode: this.opcode,
			direction: this.direction,
			pos: this.pos,
			end: this.end,
			buffer: progress ? this.buffer.slice() : null,
			progress: progress ? { ...progress } : null,
			heads: this.#translation.heads,
			sectors: this.#translation.sectors,
			multiple: this.#multiple,
			writeCache: this.#writeCache,
			smart: this.#smart.enabled,
			modes: { ...this.#modes },
		} satisfies DeviceState;
	}

	restore(state: DeviceState): void {
		checkVersion('ide disk', state, 1);
		const saved = state as ReturnType<AtaDisk['save']>;
		this.abandon();
		this.regs.restore(saved.regs);
		this.#translation = { heads: saved.heads, sectors: saved.sectors };
		this.#multiple = saved.multiple;
		this.#writeCache = saved.writeCache;
		this.#smart.enabled = saved.smart;
		this.#modes = { ...saved.modes };
		if (saved.direction !== 'none' && saved.progress && saved.buffer) {
			this.buffer.set((saved.buffer as Uint8Array).subarray(0, this.buffer.length));
			this.opcode = saved.opcode;
			this.direction = saved.direction as Direction;
			this.pos = Math.min(saved.pos, this.buffer.length);
			this.end = Math.min(saved.end, this.buffer.length);
			this.#progress = { ...saved.progress };
		} else if (saved.opcode !== 0) {
			this.#repeat(saved);
		}
	}

	/** The host had work to do when the state was saved: the same work again reads or writes the same sectors. */
	#repeat(saved: ReturnType<AtaDisk['save']>): void {
		this.opcode = saved.opcode;
		const { progress } = saved;
		if (!progress || progress.block === 0) {
			this.execute(saved.opcode);
			return;
		}
		this.#progress = { ...progress };
		if (progress.kind === 'write') {
			this.buffer.set((saved.buffer as Uint8Array).subarray(0, this.buffer.length));
			this.end = Math.min(saved.end, this.buffer.length);
			this.#writeBlock(this.#progress);
		} else {
			this.#loadBlock(this.#progress);
		}
	}

	protected execute(opcode: number): void {
		const run = commands.get(opcode);
		if (run) run(this, opcode);
		else this.fail();
	}

	/** READ SECTORS, READ MULTIPLE and their EXT forms. */
	readPio(ext: boolean, block: number): void {
		const progress = block > 0 && this.#begin('read', ext, block);
		if (progress) this.#loadBlock(progress);
		else this.fail();
	}

	writePio(ext: boolean, block: number): void {
		const progress = block > 0 && this.#begin('write', ext, block);
		if (progress) this.#askBlock(progress, false);
		else this.fail();
	}

	readDma(ext: boolean): void {
		const progress = this.#begin('read', ext, 0);
		if (!progress) {
			this.fail();
			return;
		}
		const first = progress.lba * SECTOR;
		this.#dma(progress, true, (offset, bytes) => this.host.read(first + offset, bytes));
	}

	writeDma(ext: boolean): void {
		const progress = this.#begin('write', ext, 0);
		if (!progress) {
			this.fail();
			return;
		}
		const first = progress.lba * SECTOR;
		this.#dma(progress, false, (offset, bytes) => this.host.write(first + offset, bytes));
	}

	/** READ VERIFY: the medium is the host's concern, so only the address is checked. */
	verify(ext: boolean): void {
		if (this.#begin('read', ext, 0)) this.succeed();
		else this.fail();
	}

	identify(): void {
		const { geometry } = this;
		const identity = identifyDisk({
			names: this.#names,
			total: this.total,
			geometry,
			current: { cylinders: cylindersOf(this.total, geometry, this.#translation), ...this.#translation },
			multiple: this.#multiple,
			maxMultiple: MAX_MULTIPLE,
			writeCache: this.#writeCache,
			smart: this.#smart.enabled,
			modes: this.#modes,
		});
		this.#answer('identify', identity);
	}

	#answer(kind: 'identify' | 'smart', sector: Uint8Array): void {
		this.buffer.set(sector);
		this.#progress = { kind, ext: false, lba: 0, count: 0, block: 1 };
		this.offerIn(SECTOR);
	}

	flush(): void {
		// A saved state that waits for this must flush again, not write again.
		this.opcode = FLUSH_CACHE;
		this.after(
			this.host.flush(),
			() => this.succeed(),
			() => this.#writeFault(),
		);
	}

	setMultiple(): void {
		const count = this.regs.nsector;
		if (count > MAX_MULTIPLE || (count & (count - 1)) !== 0) {
			this.fail();
			return;
		}
		this.#multiple = count;
		this.succeed();
	}

	get multiple(): number {
		return this.#multiple;
	}

	/** INITIALIZE DEVICE PARAMETERS: the translation that CHS addresses are in. */
	setParameters(): void {
		if (this.regs.nsector === 0) {
			this.fail();
			return;
		}
		this.#translation = { heads: (this.regs.select & 15) + 1, sectors: this.regs.nsector };
		this.succeed();
	}

	checkPower(): void {
		this.regs.nsector = 0xff; // active or idle
		this.succeed();
	}

	readNativeMax(ext: boolean): void {
		this.#setLba(ext, ext ? this.total - 1 : Math.min(this.total - 1, MAX_LBA28));
		this.succeed();
	}

	setFeatures(): void {
		switch (this.regs.features) {
			case 0x02:
				this.#writeCache = true;
				this.succeed();
				return;
			case 0x82:
				this.#writeCache = false;
				this.flush();
				return;
			case 0x03: {
				const modes = selectModes(this.regs.nsector);
				this.#modes = modes ?? this.#modes;
				if (modes) this.succeed();
				else this.fail();
				return;
			}
			case 0x05: // power management, acoustic management, read look-ahead, defaults: accepted, nothing to do
			case 0x85:
			case 0x42:
			case 0xc2:
			case 0x55:
			case 0xaa:
			case 0x66:
			case 0xcc:
			case 0x67:
			case 0x69:
			case 0x96:
			case 0x9a:
				this.succeed();
				return;
			default:
				this.fail();
				return;
		}
	}

	/** SMART: the key in LBA mid and high, the subcommand in features. */
	smart(): void {
		if (this.regs.byteCount !== 0xc24f) {
			this.fail();
			return;
		}
		const result = this.#smart.run(this.regs.features, this.regs.nsector);
		if (result === 'refused') {
			this.fail();
			return;
		}
		if (result === 'done') {
			this.succeed();
			return;
		}
		this.#answer('smart', result);
	}

	/** DATA SET MANAGEMENT with TRIM. */
	dataSetManagement(): void {
		if (!(this.regs.features & 1)) {
			this.fail();
			return;
		}
		const progress: Progress = { kind: 'trim', ext: true, lba: 0, count: this.regs.count(true), block: 0 };
		this.#progress = progress;
		this.#dma(progress, false, (_, bytes) => trim(this.host, this.total, bytes.slice()));
	}

	/**
	 * Notes what the registers ask for; undefined if it lies outside the disk or cannot be done. A range that begins inside
	 * and ends outside is refused whole; QEMU's PIO stops where the disk ends.
	 */
	#begin(kind: 'read' | 'write', ext: boolean, block: number): Progress | undefined {
		const lba = readAddress(this.regs, ext, this.#translation);
		const count = this.regs.count(ext);
		if (lba < 0 || lba + count > this.total) return undefined;
		if (kind === 'write' && this.host.readOnly) return undefined;
		this.#progress = { kind, ext, lba, count, block };
		return this.#progress;
	}

	#setLba(ext: boolean, lba: number): void {
		writeAddress(this.regs, ext, lba, this.#translation);
	}

	/** Moves on by `sectors`, and shows it in the registers. */
	#advanceBy(progress: Progress, sectors: number): void {
		progress.lba += sectors;
		progress.count -= sectors;
		this.#setLba(progress.ext, progress.lba);
		this.regs.setCount(progress.ext, progress.count);
	}

	#loadBlock(progress: Progress): void {
		const sectors = Math.min(progress.block, progress.count);
		const bytes = this.buffer.subarray(0, sectors * SECTOR);
		this.after(
			this.host.read(progress.lba * SECTOR, bytes),
			() => {
				this.#advanceBy(progress, sectors);
				this.offerIn(bytes.length);
			},
			() => this.#readError(progress),
		);
	}

	#askBlock(progress: Progress, interrupt: boolean): void {
		this.offerOut(Math.min(progress.block, progress.count) * SECTOR, interrupt);
	}

	protected blockDone(): void {
		const progress = this.#progress;
		if (!progress) return;
		if (progress.kind === 'write') {
			this.#writeBlock(progress);
		} else if (progress.count > 0) {
			this.#loadBlock(progress);
		} else {
			this.#progress = undefined;
			this.succeed(false);
		}
	}

	#writeBlock(progress: Progress): void {
		const bytes = this.buffer.subarray(0, this.end);
		this.after(
			this.host.write(progress.lba * SECTOR, bytes),
			() => {
				this.#advanceBy(progress, bytes.length / SECTOR);
				if (progress.count > 0) this.#askBlock(progress, true);
				else this.#written();
			},
			() => this.#writeFault(),
		);
	}

	/** Without a write cache a write is only over when it is on stable storage. */
	#written(): void {
		this.#progress = undefined;
		if (this.#writeCache) this.succeed();
		else this.flush();
	}

	#dma(progress: Progress, toMemory: boolean, move: DmaTransfer['move']): void {
		this.regs.status = READY | Status.drq;
		this.bus.dma.begin({
			toMemory,
			length: progress.count * SECTOR,
			move,
			done: (outcome) => this.#dmaDone(progress, outcome),
		});
	}

	#dmaDone(progress: Progress, outcome: DmaOutcome): void {
		switch (outcome) {
			case 'complete':
				if (progress.kind === 'trim') {
					this.succeed();
					return;
				}
				this.#advanceBy(progress, progress.count);
				if (progress.kind === 'write') this.#written();
				else this.succeed();
				break;
			case 'short':
				// "The PRDs specified a smaller size than the IDE transfer": no interrupt tells of it.
				this.succeed(false);
				break;
			case 'failed':
				if (progress.kind === 'read') this.#readError(progress);
				else this.#writeFault();
				break;
			default:
				this.fail();
		}
		this.#progress = undefined;
	}

	#readError(progress: Progress): void {
		this.#setLba(progress.ext, progress.lba);
		this.#progress = undefined;
		this.fail(ErrorBit.unc);
	}

	#writeFault(): void {
		this.#progress = undefined;
		this.fail(ErrorBit.abrt, Status.drdy | Status.df | Status.err);
	}

	/** Nothing to do. `status` as after the command. */
	done(status: number): void {
		this.succeed();
		this.regs.status = status;
	}
}
