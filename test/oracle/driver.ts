/** One face for two machines, so that one test asks the same of QEMU and of our devices. */
import type { FakeBoard } from '../helpers/board.ts';
import { Qtest, type QtestOptions } from './qtest.ts';

export type Width = 1 | 2 | 4;
const LETTER = { 1: 'b', 2: 'w', 4: 'l' } as const;

/** Port, memory and configuration accesses as the CPU of the machine would make them, and time. */
export abstract class DeviceDriver {
	abstract readonly name: string;
	abstract in(port: number, width: Width): Promise<number>;
	abstract out(port: number, width: Width, value: number): Promise<void>;
	abstract read(address: number, width: Width): Promise<number>;
	abstract write(address: number, width: Width, value: number): Promise<void>;
	/** Machine time moves on by about `ns`; returns by how much. */
	abstract step(ns: number): Promise<number>;
	/** Rising edges on ISA request `line` since the start. */
	abstract rises(line: number): number;
	abstract level(line: number): boolean;
	abstract close(): Promise<void>;

	in8(port: number): Promise<number> {
		return this.in(port, 1);
	}
	in16(port: number): Promise<number> {
		return this.in(port, 2);
	}
	in32(port: number): Promise<number> {
		return this.in(port, 4);
	}
	out8(port: number, value: number): Promise<void> {
		return this.out(port, 1, value);
	}
	out16(port: number, value: number): Promise<void> {
		return this.out(port, 2, value);
	}
	out32(port: number, value: number): Promise<void> {
		return this.out(port, 4, value);
	}

	async configRead(slot: number, fn: number, offset: number, width: Width): Promise<number> {
		await this.out32(0xcf8, configAddress(slot, fn, offset));
		return this.in(0xcfc + (offset & 3), width);
	}
	async configWrite(slot: number, fn: number, offset: number, width: Width, value: number): Promise<void> {
		await this.out32(0xcf8, configAddress(slot, fn, offset));
		await this.out(0xcfc + (offset & 3), width, value);
	}
}

function configAddress(slot: number, fn: number, offset: number): number {
	return 0x80000000 + (slot << 11) + (fn << 8) + (offset & 0xfc);
}

export class QemuDriver extends DeviceDriver {
	readonly name = 'QEMU';
	readonly qtest: Qtest;
	private constructor(qtest: Qtest) {
		super();
		this.qtest = qtest;
	}
	static async start(options: QtestOptions = {}): Promise<QemuDriver> {
		const driver = new QemuDriver(await Qtest.start(options));
		await driver.qtest.interceptIrqs();
		return driver;
	}
	async in(port: number, width: Width): Promise<number> {
		return this.qtest.value(`in${LETTER[width]} ${port}`);
	}
	async out(port: number, width: Width, value: number): Promise<void> {
		await this.qtest.command(`out${LETTER[width]} ${port} ${value}`);
	}
	async read(address: number, width: Width): Promise<number> {
		return this.qtest.value(`read${LETTER[width]} ${address}`);
	}
	async write(address: number, width: Width, value: number): Promise<void> {
		await this.qtest.command(`write${LETTER[width]} ${address} ${value}`);
	}
	step(ns: number): Promise<number> {
		return this.qtest.step(ns);
	}
	rises(line: number): number {
		return this.qtest.rises.get(line) ?? 0;
	}
	level(line: number): boolean {
		return this.qtest.levels.get(line) ?? false;
	}
	close(): Promise<void> {
		return this.qtest.close();
	}
}

export class TsvmDriver extends DeviceDriver {
	readonly name = 'tsvm';
	readonly board: FakeBoard;
	constructor(board: FakeBoard) {
		super();
		this.board = board;
	}
	async in(port: number, width: Width): Promise<number> {
		const { ports, host } = this.board;
		const value = width === 1 ? ports.in8(port) : width === 2 ? ports.in16(port) : ports.in32(port);
		host.settle();
		return value;
	}
	async out(port: number, width: Width, value: number): Promise<void> {
		const { ports, host } = this.board;
		if (width === 1) ports.out8(port, value);
		else if (width === 2) ports.out16(port, value);
		else ports.out32(port, value);
		host.settle();
	}
	async read(address: number, width: Width): Promise<number> {
		const { mmio, host } = this.board;
		const value = width === 1 ? mmio.read8(address) : width === 2 ? mmio.read16(address) : mmio.read32(address);
		host.settle();
		return value;
	}
	async write(address: number, width: Width, value: number): Promise<void> {
		const { mmio, host } = this.board;
		if (width === 1) mmio.write8(address, value);
		else if (width === 2) mmio.write16(address, value);
		else mmio.write32(address, value);
		host.settle();
	}
	async step(ns: number): Promise<number> {
		this.board.host.advance(ns);
		return ns;
	}
	rises(line: number): number {
		return this.board.irqs[line].edges;
	}
	level(line: number): boolean {
		return this.board.irqs[line].level;
	}
	async close(): Promise<void> {}
}

/** Both machines, driven in step. */
export class Pair {
	readonly qemu: QemuDriver;
	readonly tsvm: TsvmDriver;
	constructor(qemu: QemuDriver, tsvm: TsvmDriver) {
		this.qemu = qemu;
		this.tsvm = tsvm;
	}
	static async start(board: FakeBoard, options: QtestOptions = {}): Promise<Pair> {
		return new Pair(await QemuDriver.start(options), new TsvmDriver(board));
	}
	/** Writes a port of both. */
	async out(port: number, value: number, width: Width = 1): Promise<void> {
		await this.qemu.out(port, width, value);
		await this.tsvm.out(port, width, value);
	}
	/** Reads a port of both: QEMU's answer, then ours. */
	async in(port: number, width: Width = 1): Promise<[qemu: number, tsvm: number]> {
		return [await this.qemu.in(port, width), await this.tsvm.in(port, width)];
	}
	/** Both machines' time moves on by the same amount, about `ns`. */
	async step(ns: number): Promise<number> {
		return this.tsvm.step(await this.qemu.step(ns));
	}
	/** One question to both: QEMU's answer, then ours. */
	async both<T>(ask: (driver: DeviceDriver) => Promise<T>): Promise<[qemu: T, tsvm: T]> {
		return [await ask(this.qemu), await ask(this.tsvm)];
	}
	close(): Promise<void> {
		return this.qemu.close();
	}
}

/** A byte of configuration space that is not the same as QEMU's, and why. */
export interface ConfigDifference {
	readonly offset: number;
	readonly reason: string;
}

/**
 * Everything about one function's configuration space that is not the same on both machines: reset values, what
 * sticks after writing ones and zeros to each byte (BAR sizes and masks included). Empty when all is well; a
 * difference listed as known but not found is reported as well. The function is left at its reset values.
 */
export async function compareConfig(
	pair: Pair,
	slot: number,
	fn: number,
	known: readonly ConfigDifference[] = [],
): Promise<string[]> {
	const found = new Map<number, string>();
	for (let offset = 0; offset < 256; offset++) {
		const [qemu, tsvm] = await pair.both(async (d) => {
			const reset = await d.configRead(slot, fn, offset, 1);
			await d.configWrite(slot, fn, offset, 1, 0xff);
			const ones = await d.configRead(slot, fn, offset, 1);
			await d.configWrite(slot, fn, offset, 1, 0);
			const zeros = await d.configRead(slot, fn, offset, 1);
			await d.configWrite(slot, fn, offset, 1, reset);
			return [reset, ones, zeros].map((v) => v.toString(16).padStart(2, '0')).join(' ');
		});
		if (qemu !== tsvm) found.set(offset, `+0x${offset.toString(16)}: QEMU ${qemu}, tsvm ${tsvm} (reset, ones, zeros)`);
	}
	for (const { offset, reason } of known)
		if (!found.delete(offset)) found.set(-offset, `+0x${offset.toString(16)}: no difference, but listed: ${reason}`);
	return [...found.values()];
}
