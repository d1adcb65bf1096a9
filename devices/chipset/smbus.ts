/**
 * SMBus host controller of the 82371AB (PIIX4), with nothing on its bus: every transaction ends with "no acknowledge".
 * Intel 290562, "SMBus I/O space registers". Guests look here for temperature sensors and memory module EEPROMs.
 */
import {
	checkVersion,
	type Device,
	type DeviceState,
	type IoHandler,
	RegisterFile,
	registers,
	tracePoints,
} from '../../src/core/index.ts';

const HOST_BUSY = 0x01;
const INTR = 0x02;
const DEV_ERR = 0x04;
const BUS_ERR = 0x08;
const FAILED = 0x10;
const KILL = 0x02;
const START = 0x40;

export const smbusBlock = registers({
	hststs: { at: 0, size: 1, w1c: INTR | DEV_ERR | BUS_ERR | FAILED, doc: 'host status' },
	hstcnt: { at: 2, size: 1, w: 0x1f, doc: 'host control: interrupt enable, kill, protocol; start reads 0' },
	hstcmd: { at: 3, size: 1, w: 0xff, doc: 'host command' },
	hstadd: { at: 4, size: 1, w: 0xff, doc: 'host address: bits 7..1 slave, bit 0 read' },
	hstdat0: { at: 5, size: 1, w: 0xff, doc: 'host data 0, block length' },
	hstdat1: { at: 6, size: 1, w: 0xff, doc: 'host data 1' },
	blkdat: { at: 7, size: 1, doc: 'block data' },
});
const trace = tracePoints('smbus', { start: ['address', 'protocol'] });

export class Smbus implements Device {
	readonly regs = new RegisterFile(smbusBlock);
	/** For the ports that the power management function maps. */
	readonly handler: IoHandler = {
		read8: (at) => this.#read(at),
		write8: (at, value) => this.#write(at, value),
	};

	reset(): void {
		this.regs.reset();
	}
	save() {
		return { version: 1, regs: this.regs.save() };
	}
	restore(state: DeviceState): void {
		checkVersion('smbus', state, 1);
		this.regs.restore((state as ReturnType<Smbus['save']>).regs);
	}

	/** A transaction is seen busy once, as a driver that waits for it to begin expects, and is over by the next look. */
	#read(at: number): number {
		const value = this.regs.read(at, 1);
		if (at === 0 && value & HOST_BUSY) this.regs.hststs = (value & ~HOST_BUSY) | DEV_ERR;
		return value;
	}

	#write(at: number, value: number): void {
		this.regs.write(at, 1, value);
		if (at !== smbusBlock.hstcnt.at) return;
		if (value & KILL) this.regs.hststs = (this.regs.hststs & ~HOST_BUSY) | FAILED;
		else if (value & START) {
			trace.start(this.regs.hstadd, (value >> 2) & 7);
			this.regs.hststs |= HOST_BUSY;
		}
	}
}
