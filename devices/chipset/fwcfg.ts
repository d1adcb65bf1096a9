/**
 * fw_cfg: how firmware learns about the machine it runs on. QEMU docs/specs/fw_cfg.rst.
 *
 * Ports 0x510 (selector, 16-bit write) and 0x511 (data, byte reads) walk one item at a time; the DMA interface at
 * 0x514-0x51b (big-endian) copies whole items into guest memory, which is how a kernel gets loaded in one step.
 */
import {
	checkVersion,
	type Device,
	type DeviceState,
	type FwCfgContents,
	fwCfgKey,
	GuestFault,
	guestError,
	type Host,
	type PortSpace,
	tracePoints,
} from '../../src/core/index.ts';

const PORT_CONTROL = 0x510;
const PORT_DMA = 0x514;
/** "QEMU" in the first item, "QEMU CFG" where the DMA address register is read back. */
const SIGNATURE = new TextEncoder().encode('QEMU');
const DMA_SIGNATURE = new TextEncoder().encode('QEMU CFG');
/** FW_CFG_VERSION | FW_CFG_VERSION_DMA */
const ID = Uint8Array.of(3, 0, 0, 0);

const FILE_SLOTS = 0x20;
const FILE_NAME_MAX = 55;
const FILE_ENTRY_SIZE = 64;
/** Keys from here on do not exist; selecting one selects nothing. */
const MAX_ENTRY = fwCfgKey.fileFirst + FILE_SLOTS;
const ENTRY_MASK = 0x3fff;
const NOTHING = 0xffff;

/** Bits of FWCfgDmaAccess.control; the upper half is the key to select. */
const DMA_ERROR = 0x01;
const DMA_READ = 0x02;
const DMA_SKIP = 0x04;
const DMA_SELECT = 0x08;
const DMA_WRITE = 0x10;
/** struct FWCfgDmaAccess { be32 control; be32 length; be64 address } */
const DMA_ACCESS_SIZE = 16;

const ZEROS = new Uint8Array(65536);
const EMPTY = new Uint8Array(0);

const trace = tracePoints('fw_cfg', {
	select: ['key', 'size'],
	dma: ['control', 'length', 'address'],
});

export class FwCfg implements Device {
	readonly #host: Host;
	readonly #items = new Map<number, Uint8Array>();
	#key = NOTHING;
	#item: Uint8Array = EMPTY;
	#offset = 0;
	#dmaHigh = 0;

	/** Throws RangeError when a file name is too long or there are more files than slots. */
	constructor(host: Host, ports: PortSpace, contents: FwCfgContents) {
		this.#host = host;
		this.#items.set(fwCfgKey.signature, SIGNATURE);
		this.#items.set(fwCfgKey.id, ID);
		for (const [key, bytes] of contents.items) this.#items.set(key, bytes);
		if (contents.files.size > FILE_SLOTS) throw new RangeError(`fw_cfg has ${FILE_SLOTS} file slots`);
		let key: number = fwCfgKey.fileFirst;
		for (const bytes of contents.files.values()) this.#items.set(key++, bytes);
		this.#items.set(fwCfgKey.fileDir, directory(contents.files));

		ports.map(
			PORT_CONTROL,
			2,
			{
				read8: () => this.#nextByte(),
				// Both registers answer single bytes only; wider reads are refused, which reads as zero.
				read16: () => 0,
				read32: () => 0,
				write8: () => {},
				write16: (offset, value) => {
					if (offset === 0) this.#select(value);
				},
				write32: (offset, value) => {
					if (offset === 0) this.#select(value & 0xffff);
				},
			},
			'fw_cfg',
		);
		ports.map(
			PORT_DMA,
			8,
			{
				read8: (offset) => DMA_SIGNATURE[offset],
				write8: () => {},
				write16: () => {},
				write32: (offset, value) => this.#dmaAddress(offset, swap32(value)),
			},
			'fw_cfg-dma',
		);
		this.reset();
	}

	reset(): void {
		this.#dmaHigh = 0;
		this.#select(fwCfgKey.signature);
	}

	save(): DeviceState {
		return { version: 1, key: this.#key, offset: this.#offset, dmaHigh: this.#dmaHigh };
	}

	restore(state: DeviceState): void {
		checkVersion('fw_cfg', state, 1);
		this.#select(Number(state.key) & 0xffff);
		this.#offset = Math.min(Number(state.offset) >>> 0, this.#item.length);
		this.#dmaHigh = Number(state.dmaHigh) >>> 0;
	}

	#select(key: number): boolean {
		this.#offset = 0;
		const exists = (key & ENTRY_MASK) < MAX_ENTRY;
		this.#key = exists ? key : NOTHING;
		// Bit 14 once asked for write access and means nothing any more.
		this.#item = (exists && this.#items.get(key & (fwCfgKey.archLocal | ENTRY_MASK))) || EMPTY;
		trace.select(key, this.#item.length);
		return exists;
	}

	#nextByte(): number {
		return this.#offset < this.#item.length ? this.#item[this.#offset++] : 0;
	}

	/** The address register, high half first; writing the low half starts the transfer. */
	#dmaAddress(offset: number, value: number): void {
		if (offset === 0) {
			this.#dmaHigh = value;
		} else if (offset === 4) {
			const address = this.#dmaHigh * 0x1_0000_0000 + value;
			this.#dmaHigh = 0;
			try {
				this.#transfer(address);
			} catch (error) {
				if (!(error instanceof GuestFault)) throw error;
				guestError('fw_cfg', `DMA descriptor: ${error.message}`);
			}
		}
	}

	/** Runs one FWCfgDmaAccess. Throws GuestFault if the descriptor itself is not in RAM. */
	#transfer(descriptor: number): void {
		const dma = this.#host.dma;
		const access = dma.read(descriptor, DMA_ACCESS_SIZE);
		const view = new DataView(access.buffer, access.byteOffset, DMA_ACCESS_SIZE);
		const control = view.getUint32(0);
		const length = view.getUint32(4);
		const address = view.getUint32(8) * 0x1_0000_0000 + view.getUint32(12);
		trace.dma(control, length, address);
		if (control & DMA_SELECT) this.#select(control >>> 16);

		let result = 0;
		if (control & DMA_READ) {
			try {
				this.#copyOut(address, length);
			} catch (error) {
				if (!(error instanceof GuestFault)) throw error;
				guestError('fw_cfg', `DMA read of item 0x${this.#key.toString(16)}: ${error.message}`);
				result = DMA_ERROR;
			}
		} else if (control & DMA_WRITE) {
			// No item is writable.
			if (length > 0) result = DMA_ERROR;
		} else if (control & DMA_SKIP) {
			this.#offset = Math.min(this.#item.length, this.#offset + length);
		}
		const answer = new Uint8Array(4);
		answer[3] = result;
		dma.write(descriptor, answer);
	}

	/** `length` bytes of the item from where it stands; zeros beyond its end. */
	#copyOut(address: number, length: number): void {
		const dma = this.#host.dma;
		if (length > 0) dma.view(address, length);
		const have = Math.min(length, this.#item.length - this.#offset);
		if (have > 0) {
			dma.write(address, this.#item.subarray(this.#offset, this.#offset + have));
			this.#offset += have;
		}
		for (let at = have; at < length; at += ZEROS.length)
			dma.write(address + at, ZEROS.subarray(0, Math.min(ZEROS.length, length - at)));
	}
}

/** struct FWCfgFiles: be32 count, then { be32 size; be16 select; be16 reserved; char name[56] } each. */
function directory(files: ReadonlyMap<string, Uint8Array>): Uint8Array {
	const bytes = new Uint8Array(4 + files.size * FILE_ENTRY_SIZE);
	const view = new DataView(bytes.buffer);
	view.setUint32(0, files.size);
	let at = 4;
	let key: number = fwCfgKey.fileFirst;
	for (const [name, content] of files) {
		const encoded = new TextEncoder().encode(name);
		if (encoded.length > FILE_NAME_MAX) throw new RangeError(`fw_cfg file name is too long: ${name}`);
		view.setUint32(at, content.length);
		view.setUint16(at + 4, key++);
		bytes.set(encoded, at + 8);
		at += FILE_ENTRY_SIZE;
	}
	return bytes;
}

function swap32(value: number): number {
	return (((value & 0xff) << 24) | ((value & 0xff00) << 8) | ((value >>> 8) & 0xff00) | ((value >>> 24) & 0xff)) >>> 0;
}
