/**
 * The ATA command block registers ("task file") of one drive, and the bits in them.
 * ATA/ATAPI-6 (T13/1410D) 7, "Interface register definitions and descriptions".
 */
import type { StateValue } from '../../src/core/index.ts';

/** Status register, 7.15. */
export const Status = {
	err: 0x01,
	drq: 0x08,
	/** Seek complete; obsolete since ATA-4, expected by all the same. */
	dsc: 0x10,
	df: 0x20,
	drdy: 0x40,
	bsy: 0x80,
} as const;
export const READY = Status.drdy | Status.dsc;

/** Error register, 7.9. */
export const ErrorBit = { abrt: 0x04, idnf: 0x10, unc: 0x40 } as const;

/** Device/head register, 7.10. Bits 7 and 5 read as ones. */
export const Select = { always: 0xa0, lba: 0x40, dev: 0x10 } as const;

/** ATAPI interrupt reason, in the sector count register: SFF-8020i 5.11. */
export const Reason = { cd: 0x01, io: 0x02 } as const;

/** Command block registers by port offset. */
export const Reg = { data: 0, error: 1, nsector: 2, lbaLow: 3, lbaMid: 4, lbaHigh: 5, select: 6, status: 7 } as const;

/** Each of registers 1..5 keeps the value written before: "previous content", for 48-bit addresses. */
export class TaskFile {
	error = 0;
	status = 0;
	select: number = Select.always;
	/** Registers 1..5 (1 is Features as written); slot 0 is unused. */
	readonly now = new Uint8Array(6);
	readonly before = new Uint8Array(6);

	get features(): number {
		return this.now[Reg.error];
	}
	get nsector(): number {
		return this.now[Reg.nsector];
	}
	set nsector(value: number) {
		this.now[Reg.nsector] = value;
	}
	/** LBA mid and high together: ATAPI's byte count. */
	get byteCount(): number {
		return this.now[Reg.lbaMid] | (this.now[Reg.lbaHigh] << 8);
	}
	set byteCount(value: number) {
		this.now[Reg.lbaMid] = value;
		this.now[Reg.lbaHigh] = value >> 8;
	}

	/** The guest writes register 1..5. */
	write(reg: number, value: number): void {
		this.before[reg] = this.now[reg];
		this.now[reg] = value;
	}

	/** Device signature, 9.12: 0000h a disk, EB14h a packet device, FFFFh nothing there. */
	sign(signature: number): void {
		this.select = Select.always;
		this.now[Reg.nsector] = 1;
		this.now[Reg.lbaLow] = 1;
		this.byteCount = signature;
		this.before.fill(0);
	}

	/** Sectors asked for: 0 means all that the width can count. */
	count(ext: boolean): number {
		if (!ext) return this.nsector || 256;
		return this.nsector | (this.before[Reg.nsector] << 8) || 65536;
	}

	/** Sectors still to go, as far as the register shows them. */
	setCount(ext: boolean, count: number): void {
		this.nsector = count;
		if (ext) this.before[Reg.nsector] = count >> 8;
	}

	save(): { [key: string]: StateValue } {
		return {
			error: this.error,
			status: this.status,
			select: this.select,
			now: this.now.slice(),
			before: this.before.slice(),
		};
	}

	restore(state: { readonly [key: string]: StateValue | undefined }): void {
		this.error = Number(state.error);
		this.status = Number(state.status);
		this.select = Number(state.select);
		if (state.now instanceof Uint8Array) this.now.set(state.now.subarray(0, 6));
		if (state.before instanceof Uint8Array) this.before.set(state.before.subarray(0, 6));
	}
}
