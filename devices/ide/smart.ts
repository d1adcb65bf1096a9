/**
 * Self-monitoring for a disk that cannot wear out: enough for smartctl and firmware to read "passed".
 * ATA/ATAPI-6 8.55 (SMART); the layout of the data sectors is that of SFF-8035i.
 */
import { SECTOR } from './geometry.ts';

const READ_DATA = 0xd0;
const READ_THRESHOLDS = 0xd1;
const ATTRIBUTE_AUTOSAVE = 0xd2;
const READ_LOG = 0xd5;
const ENABLE = 0xd8;
const DISABLE = 0xd9;
const RETURN_STATUS = 0xda;

interface Attribute {
	readonly id: number;
	readonly flags: number;
	readonly value: number;
	readonly threshold: number;
}
/** Read error rate, spin-up time, reallocated sectors, power-on hours, power cycles. */
const ATTRIBUTES: readonly Attribute[] = [
	{ id: 1, flags: 0x03, value: 100, threshold: 6 },
	{ id: 3, flags: 0x03, value: 100, threshold: 0 },
	{ id: 5, flags: 0x03, value: 100, threshold: 36 },
	{ id: 9, flags: 0x03, value: 100, threshold: 0 },
	{ id: 12, flags: 0x03, value: 100, threshold: 0 },
];
const FIRST_ATTRIBUTE = 2;
const ATTRIBUTE_SIZE = 12;

export class SmartLog {
	enabled = true;

	reset(): void {
		this.enabled = true;
	}

	/** A sector to read, 'done' without data, or 'refused'. */
	run(subcommand: number, nsector: number): Uint8Array | 'done' | 'refused' {
		if (subcommand === ENABLE) {
			this.enabled = true;
			return 'done';
		}
		if (!this.enabled) return 'refused';
		switch (subcommand) {
			case DISABLE:
				this.enabled = false;
				return 'done';
			case ATTRIBUTE_AUTOSAVE:
				return nsector === 0 || nsector === 0xf1 ? 'done' : 'refused';
			case RETURN_STATUS:
				// The key stays in LBA mid and high: no threshold exceeded.
				return 'done';
			case READ_DATA:
				return sealed(data());
			case READ_THRESHOLDS:
				return sealed(thresholds());
			case READ_LOG:
				return nsector === 1 ? new Uint8Array(SECTOR) : 'refused';
			default:
				return 'refused';
		}
	}
}

function data(): Uint8Array {
	const out = new Uint8Array(SECTOR);
	out[0] = 1;
	ATTRIBUTES.forEach(({ id, flags, value }, i) => {
		out.set([id, flags, 0, value, value], FIRST_ATTRIBUTE + i * ATTRIBUTE_SIZE);
	});
	return out;
}

function thresholds(): Uint8Array {
	const out = new Uint8Array(SECTOR);
	out[0] = 1;
	ATTRIBUTES.forEach(({ id, threshold }, i) => {
		out.set([id, threshold], FIRST_ATTRIBUTE + i * ATTRIBUTE_SIZE);
	});
	return out;
}

/** The last byte makes the sum of all zero. */
function sealed(sector: Uint8Array): Uint8Array {
	let sum = 0;
	for (const byte of sector) sum += byte;
	sector[SECTOR - 1] = -sum;
	return sector;
}
