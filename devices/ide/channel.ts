/**
 * One IDE channel: two drives share a cable, eight command block ports, one control port and an interrupt line.
 * ATA/ATAPI-6 7 and 9.16 ("Single device configurations").
 */
import type { Host, IoHandler, Irq, PortSpace, StateValue } from '../../src/core/index.ts';
import { BusMaster } from './busmaster.ts';
import type { IdeBus, IdeDrive } from './drive.ts';
import { Reg, Select, Status, TaskFile } from './taskfile.ts';

/** Device control register, 7.8. */
const Control = { interruptsOff: 0x02, softReset: 0x04, highOrder: 0x80 } as const;

/** What the registers of a drive that is not there show. */
const NO_DEVICE = 0xffff;

export interface ChannelOptions {
	/** 0 primary, 1 secondary. */
	readonly index: number;
	readonly host: Host;
	readonly ports: PortSpace;
	readonly irq: Irq;
	/** First of the eight command block ports, and the control port. */
	readonly command: number;
	readonly control: number;
	readonly mayMaster: () => boolean;
	readonly drives: readonly [IdeDrive | undefined, IdeDrive | undefined];
}

export class IdeChannel implements IdeBus {
	readonly dma: BusMaster;
	readonly drives: readonly [IdeDrive | undefined, IdeDrive | undefined];
	readonly #irq: Irq;
	readonly #files: readonly [TaskFile, TaskFile];
	#unit: 0 | 1 = 0;
	#control = 0;
	#interrupt = false;

	constructor(options: ChannelOptions) {
		this.dma = new BusMaster(options.index, options.host, options.mayMaster);
		this.drives = options.drives;
		this.#irq = options.irq;
		this.#files = [this.drives[0]?.regs ?? new TaskFile(), this.drives[1]?.regs ?? new TaskFile()];
		for (const [unit, drive] of this.drives.entries()) {
			if (!drive) continue;
			drive.bus = this;
			drive.name = `ide${options.index}-${unit}`;
		}
		const block: IoHandler = {
			read8: (reg) => this.#read(reg),
			read16: (reg) => (reg === Reg.data ? this.#data16() : this.#read(reg) | (this.#read(reg + 1) << 8)),
			read32: (reg) => (reg === Reg.data ? (this.drives[this.#unit]?.read32() ?? 0) : this.#read32(reg)),
			write8: (reg, value) => this.#write(reg, value),
			write16: (reg, value) => {
				if (reg === Reg.data) this.drives[this.#unit]?.write16(value);
				else for (let i = 0; i < 2; i++) this.#write(reg + i, (value >>> (i * 8)) & 0xff);
			},
			write32: (reg, value) => {
				if (reg === Reg.data) this.drives[this.#unit]?.write32(value);
				else for (let i = 0; i < 4; i++) this.#write(reg + i, (value >>> (i * 8)) & 0xff);
			},
		};
		const control: IoHandler = { read8: () => this.#status(), write8: (_, value) => this.#writeControl(value) };
		options.ports.map(options.command, 8, block, `ide${options.index}`);
		options.ports.map(options.control, 1, control, `ide${options.index}-control`);
		this.reset();
	}

	reset(): void {
		this.dma.reset();
		this.#unit = 0;
		this.#control = 0;
		this.clearInterrupt();
		for (const [unit, drive] of this.drives.entries()) {
			if (drive) {
				drive.reset();
				continue;
			}
			const file = this.#files[unit];
			file.now.fill(0);
			file.error = 0;
			file.status = 0;
			file.sign(NO_DEVICE);
		}
	}

	save() {
		return {
			unit: this.#unit as number,
			control: this.#control,
			interrupt: this.#interrupt,
			dma: this.dma.save(),
			drives: this.drives.map((drive, unit) => drive?.save() ?? { version: 0, regs: this.#files[unit].save() }),
		} satisfies { [key: string]: StateValue };
	}

	restore(state: ReturnType<IdeChannel['save']>): void {
		this.#unit = state.unit === 1 ? 1 : 0;
		this.#control = state.control;
		this.dma.restore(state.dma);
		for (const [unit, saved] of state.drives.entries()) {
			const drive = this.drives[unit];
			if (drive) drive.restore(saved);
			else this.#files[unit].restore(saved.regs as { [key: string]: StateValue });
		}
		this.#interrupt = state.interrupt;
		this.#irq.set(this.#interrupt);
	}

	interrupt(): void {
		if (this.#control & Control.interruptsOff) return;
		this.dma.interrupt();
		this.#interrupt = true;
		this.#irq.set(true);
	}

	clearInterrupt(): void {
		this.#interrupt = false;
		this.#irq.set(false);
	}

	diagnose(): void {
		for (const drive of this.drives) drive?.softReset();
		this.#unit = 0;
		this.interrupt();
	}

	get #empty(): boolean {
		return this.drives[0] === undefined && this.drives[1] === undefined;
	}

	#status(): number {
		return this.drives[this.#unit]?.regs.status ?? 0;
	}

	#data16(): number {
		return this.drives[this.#unit]?.read16() ?? 0;
	}

	#read32(reg: number): number {
		let value = 0;
		for (let i = 3; i >= 0; i--) value = value * 256 + this.#read(reg + i);
		return value;
	}

	#read(reg: number): number {
		if (this.#empty) return 0;
		const file = this.#files[this.#unit];
		switch (reg) {
			case Reg.data:
				// Byte reads take a whole word, as the boot loaders that do this expect.
				return this.#data16() & 0xff;
			case Reg.error:
				return this.drives[this.#unit] ? file.error : 0;
			case Reg.select:
				return file.select;
			case Reg.status:
				this.clearInterrupt();
				return this.#status();
			default:
				return (this.#control & Control.highOrder ? file.before : file.now)[reg];
		}
	}

	#write(reg: number, value: number): void {
		this.#control &= ~Control.highOrder;
		if (reg === Reg.data) {
			this.drives[this.#unit]?.write16(value);
			return;
		}
		if (reg === Reg.status) {
			this.clearInterrupt();
			this.drives[this.#unit]?.command(value);
			return;
		}
		// A drive that works on a command does not look at its registers.
		if (this.#status() & (Status.bsy | Status.drq)) return;
		if (reg === Reg.select) {
			for (const file of this.#files) file.select = value | Select.always;
			this.#unit = value & Select.dev ? 1 : 0;
		} else {
			for (const file of this.#files) file.write(reg, value);
		}
	}

	#writeControl(value: number): void {
		const was = this.#control;
		this.#control = value;
		if (!((was ^ value) & Control.softReset)) return;
		if (value & Control.softReset) {
			for (const drive of this.drives) drive?.holdReset();
		} else {
			this.#unit = 0;
			for (const [unit, file] of this.#files.entries()) if (!this.drives[unit]) file.sign(NO_DEVICE);
			for (const drive of this.drives) drive?.softReset();
		}
	}
}
