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
/** What a transfer moves at once, bytes; the rest follows in pieces, while the guest polls the control word. */
const MOST_AT_ONCE = 256 << 10;
const EMPTY = new Uint8Array(0);

/** A transfer out of an item that is under way. */
interface Transfer {
	readonly descriptor: number;
	readonly key: number;
	address: number;
	/** Bytes still to move, and where in the item they stand; behind its end there are zeros. */
	left: number;
	offset: number;
}

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
	#transfer: Transfer | undefined;

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
		this.#transfer = undefined;
		this.#select(fwCfgKey.signature);
	}

	save(): DeviceState {
		const transfer = this.#transfer ? { ...this.#transfer } : null;
		return { version: 2, key: this.#key, offset: this.#offset, dmaHigh: this.#dmaHigh, transfer };
	}

	restore(state: DeviceState): void {
		checkVersion('fw_cfg', state, 2);
		this.#select(Number(state.key) & 0xffff);
		this.#offset = Math.min(Number(state.offset) >>> 0, this.#item.length);
		this.#dmaHigh = Number(state.dmaHigh) >>> 0;
		this.#transfer = undefined;
		const saved = state.transfer;
		if (typeof saved !== 'object' || saved === null || Array.isArray(saved) || saved instanceof Uint8Array) return;
		const field = (name: keyof Transfer) => Number(saved[name]);
		this.#transfer = {
			descriptor: field('descriptor'),
			key: field('key'),
			address: field('address'),
			left: field('left'),
			offset: field('offset'),
		};
		this.#moveLater();
	}

	#select(key: number): boolean {
		this.#offset = 0;
		const exists = (key & ENTRY_MASK) < MAX_ENTRY;
		this.#key = exists ? key : NOTHING;
		this.#item = (exists && this.#itemOf(key)) || EMPTY;
		trace.select(key, this.#item.length);
		return exists;
	}

	/** Bit 14 once asked for write access and means nothing any more. */
	#itemOf(key: number): Uint8Array | undefined {
		return this.#items.get(key & (fwCfgKey.archLocal | ENTRY_MASK));
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
			this.#guarded('DMA descriptor', () => this.#begin(address));
		}
	}

	/** False if the guest's memory does not reach as far as it says. */
	#guarded(what: string, work: () => void): boolean {
		try {
			work();
			return true;
		} catch (error) {
			if (!(error instanceof GuestFault)) throw error;
			guestError('fw_cfg', `${what}: ${error.message}`);
			return false;
		}
	}

	/** Begins one FWCfgDmaAccess. Throws GuestFault if the descriptor itself is not in RAM. */
	#begin(descriptor: number): void {
		if (this.#transfer) {
			guestError('fw_cfg', 'a DMA access begins before the one before it has ended, and is ignored');
			return;
		}
		const dma = this.#host.dma;
		const access = dma.read(descriptor, DMA_ACCESS_SIZE);
		const view = new DataView(access.buffer, access.byteOffset, DMA_ACCESS_SIZE);
		const control = view.getUint32(0);
		const length = view.getUint32(4);
		const address = view.getUint32(8) * 0x1_0000_0000 + view.getUint32(12);
		trace.dma(control, length, address);
		if (control & DMA_SELECT) this.#select(control >>> 16);

		if (control & DMA_READ) {
			const what = `DMA read of item 0x${this.#key.toString(16)}`;
			if (!this.#guarded(what, () => length > 0 && dma.view(address, length))) {
				this.#end(descriptor, DMA_ERROR);
				return;
			}
			this.#transfer = { descriptor, key: this.#key, address, left: length, offset: this.#offset };
			this.#offset = Math.min(this.#item.length, this.#offset + length);
			this.#move();
			return;
		}
		if (!(control & DMA_WRITE) && control & DMA_SKIP) this.#offset = Math.min(this.#item.length, this.#offset + length);
		// No item is writable.
		this.#end(descriptor, control & DMA_WRITE && length > 0 ? DMA_ERROR : 0);
	}

	#end(descriptor: number, result: number): void {
		this.#host.dma.write(descriptor, Uint8Array.of(0, 0, 0, result));
	}

	/** Moves a piece, and the next one when the guest has run. */
	#move(): void {
		const transfer = this.#transfer;
		if (!transfer) return;
		const item = this.#itemOf(transfer.key) ?? EMPTY;
		let moved = 0;
		while (transfer.left > 0 && moved < MOST_AT_ONCE) {
			const rest = item.subarray(transfer.offset, transfer.offset + transfer.left);
			const piece = (rest.length > 0 ? rest : ZEROS).subarray(0, Math.min(transfer.left, MOST_AT_ONCE - moved));
			this.#host.dma.write(transfer.address, piece);
			transfer.address += piece.length;
			transfer.offset += piece.length;
			transfer.left -= piece.length;
			moved += piece.length;
		}
		this.#host.spent(moved);
		if (transfer.left > 0) {
			this.#moveLater();
		} else {
			this.#transfer = undefined;
			this.#end(transfer.descriptor, 0);
		}
	}

	#moveLater(): void {
		const transfer = this.#transfer;
		this.#host.defer(() => {
			if (transfer === this.#transfer) this.#guarded('DMA', () => this.#move());
		});
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
