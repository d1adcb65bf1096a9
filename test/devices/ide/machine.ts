/** A board with nothing but an IDE function on it, and the accesses that drivers make. */
import { AtaDisk, type IdeDrive, Piix3Ide } from '../../../devices/ide/index.ts';
import type { PciFunction } from '../../../src/core/index.ts';
import { FakeBoard } from '../../helpers/board.ts';
import { MemoryImage } from '../../helpers/memory-image.ts';

export const BUS_MASTER = 0xc000;

export class IdeMachine {
	readonly board = new FakeBoard();
	readonly ide: Piix3Ide;
	readonly base: number;
	readonly control: number;

	/** `channel` chooses which one the methods below speak to. */
	constructor(drives: readonly (IdeDrive | undefined)[], channel = 0) {
		const { host, ports, irqs } = this.board;
		this.ide = new Piix3Ide({ host, ports, irqs: [irqs[14], irqs[15]], drives });
		this.base = channel === 0 ? 0x1f0 : 0x170;
		this.control = channel === 0 ? 0x3f6 : 0x376;
		const bar = this.ide.pci.identity.bars?.[4];
		if (bar?.kind !== 'io') throw new Error('BAR 4 is gone');
		ports.map(BUS_MASTER, 16, bar.handler);
		this.ide.pci.write(4, 2, 5);
	}

	get pci(): PciFunction {
		return this.ide.pci;
	}
	get irq() {
		return this.board.irqs[this.base === 0x1f0 ? 14 : 15];
	}
	reg(at: number): number {
		return this.board.ports.in8(this.base + at);
	}
	set(at: number, value: number): void {
		this.board.ports.out8(this.base + at, value);
	}
	get altStatus(): number {
		return this.board.ports.in8(this.control);
	}
	/** All eight registers but data, status last. */
	regs(): number[] {
		return [1, 2, 3, 4, 5, 6, 7].map((at) => this.reg(at));
	}

	/** A command with a 28-bit address. */
	command(opcode: number, lba = 0, count = 1, features = 0): void {
		this.set(1, features);
		this.set(2, count & 0xff);
		this.set(3, lba & 0xff);
		this.set(4, (lba >> 8) & 0xff);
		this.set(5, (lba >> 16) & 0xff);
		this.set(6, 0xe0 | ((lba >> 24) & 15));
		this.set(7, opcode);
	}

	commandExt(opcode: number, lba: number, count: number, features = 0): void {
		const byte = (value: number, n: number) => Math.floor(value / 2 ** (n * 8)) & 0xff;
		this.set(6, 0xe0);
		this.set(1, byte(features, 1));
		this.set(1, byte(features, 0));
		this.set(2, byte(count, 1));
		this.set(2, byte(count, 0));
		for (const [at, n] of [
			[3, 3],
			[3, 0],
			[4, 4],
			[4, 1],
			[5, 5],
			[5, 2],
		])
			this.set(at, byte(lba, n));
		this.set(7, opcode);
	}

	dataIn(bytes: number): Uint8Array {
		const out = new Uint8Array(bytes);
		for (let i = 0; i < bytes; i += 2) {
			const word = this.board.ports.in16(this.base);
			out[i] = word;
			out[i + 1] = word >> 8;
		}
		return out;
	}

	dataOut(bytes: Uint8Array): void {
		for (let i = 0; i < bytes.length; i += 2) this.board.ports.out16(this.base, bytes[i] | ((bytes[i + 1] ?? 0) << 8));
	}

	/** Writes a descriptor table at `table`: pairs of address and length. */
	descriptors(table: number, regions: readonly (readonly [address: number, length: number])[]): void {
		const { dma } = this.board.host;
		regions.forEach(([address, length], i) => {
			dma.write32(table + i * 8, address);
			dma.write32(table + i * 8 + 4, ((length & 0xffff) | (i === regions.length - 1 ? 0x80000000 : 0)) >>> 0);
		});
	}

	get bm(): number {
		return BUS_MASTER + (this.base === 0x1f0 ? 0 : 8);
	}
	/** As drivers do it: table address, direction, clear the status, the command, then start. */
	dma(table: number, toMemory: boolean, issue: () => void): void {
		const { ports } = this.board;
		ports.out32(this.bm + 4, table);
		ports.out8(this.bm, toMemory ? 8 : 0);
		ports.out8(this.bm + 2, 6);
		issue();
		ports.out8(this.bm, toMemory ? 9 : 1);
		this.board.host.settle();
	}
	get bmStatus(): number {
		return this.board.ports.in8(this.bm + 2);
	}
	stopDma(): void {
		this.board.ports.out8(this.bm, 0);
	}
}

export function withDisk(size = 1 << 20) {
	const image = MemoryImage.patterned(size);
	const disk = new AtaDisk({ image });
	return { image, disk, m: new IdeMachine([disk]) };
}

/** Status: ready, seek complete. */
export const READY = 0x50;
/** What an image holds from sector `lba` on. */
export const sector = (image: MemoryImage, lba: number, count = 1) => image.bytes.slice(lba * 512, (lba + count) * 512);
/** Bytes that differ from place to place. */
export const filled = (length: number, seed: number) => Uint8Array.from({ length }, (_, i) => seed + i * 3 + (i >> 8));
