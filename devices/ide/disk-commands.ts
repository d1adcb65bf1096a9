/** An ATA hard disk's commands by opcode. ATA/ATAPI-6, 8 ("Command descriptions"); DATA SET MANAGEMENT from ACS-2 7.5. */
import type { AtaDisk } from './disk.ts';
import { READY, Status } from './taskfile.ts';

export const FLUSH_CACHE = 0xe7;

type Run = (disk: AtaDisk, opcode: number) => void;
const nothing: Run = (disk) => disk.done(READY);
/** Power management: the heads are parked, so "seek complete" goes. */
const parked: Run = (disk) => disk.done(Status.drdy);

/** What is not here is aborted. Where two opcodes do the same, the second is the "no retry" form. */
export const commands: ReadonlyMap<number, Run> = new Map<number, Run>([
	[0x06, (disk) => disk.dataSetManagement()],
	[0x10, nothing], // RECALIBRATE
	[0x20, (disk) => disk.readPio(false, 1)], // READ SECTORS
	[0x21, (disk) => disk.readPio(false, 1)],
	[0x24, (disk) => disk.readPio(true, 1)], // READ SECTORS EXT
	[0x25, (disk) => disk.readDma(true)], // READ DMA EXT
	[0x27, (disk) => disk.readNativeMax(true)],
	[0x29, (disk) => disk.readPio(true, disk.multiple)], // READ MULTIPLE EXT
	[0x30, (disk) => disk.writePio(false, 1)], // WRITE SECTORS
	[0x31, (disk) => disk.writePio(false, 1)],
	[0x34, (disk) => disk.writePio(true, 1)], // WRITE SECTORS EXT
	[0x35, (disk) => disk.writeDma(true)], // WRITE DMA EXT
	[0x39, (disk) => disk.writePio(true, disk.multiple)], // WRITE MULTIPLE EXT
	[0x3c, (disk) => disk.writePio(false, 1)], // WRITE VERIFY
	[0x40, (disk) => disk.verify(false)],
	[0x41, (disk) => disk.verify(false)],
	[0x42, (disk) => disk.verify(true)], // READ VERIFY SECTORS EXT
	[0x70, nothing], // SEEK
	[0x91, (disk) => disk.setParameters()],
	[0x94, parked], // STANDBY IMMEDIATE, IDLE IMMEDIATE, STANDBY, IDLE, CHECK POWER MODE, SLEEP by their first numbers
	[0x95, parked],
	[0x96, parked],
	[0x97, parked],
	[0x98, (disk) => disk.checkPower()],
	[0x99, parked],
	[0xb0, (disk) => disk.smart()],
	[0xc4, (disk) => disk.readPio(false, disk.multiple)], // READ MULTIPLE
	[0xc5, (disk) => disk.writePio(false, disk.multiple)], // WRITE MULTIPLE
	[0xc6, (disk) => disk.setMultiple()],
	[0xc8, (disk) => disk.readDma(false)], // READ DMA
	[0xc9, (disk) => disk.readDma(false)],
	[0xca, (disk) => disk.writeDma(false)], // WRITE DMA
	[0xcb, (disk) => disk.writeDma(false)],
	[0xe0, parked], // STANDBY IMMEDIATE and the rest by their later numbers
	[0xe1, parked],
	[0xe2, parked],
	[0xe3, parked],
	[0xe5, (disk) => disk.checkPower()],
	[0xe6, parked],
	[FLUSH_CACHE, (disk) => disk.flush()],
	[0xea, (disk) => disk.flush()], // FLUSH CACHE EXT
	[0xec, (disk) => disk.identify()],
	[0xef, (disk) => disk.setFeatures()],
	[0xf8, (disk) => disk.readNativeMax(false)],
]);
