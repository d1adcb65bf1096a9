/**
 * The ACPI tables and the script by which firmware places them: QEMU's linker/loader (hw/acpi/bios-linker-loader.c
 * describes the commands). Firmware picks the addresses, adds them to our pointers and makes the checksums.
 */
import { concat } from './aml.ts';
import { type AcpiConfig, dsdt } from './dsdt.ts';

const TABLES_FILE = 'etc/acpi/tables';
const RSDP_FILE = 'etc/acpi/rsdp';
const HEADER_SIZE = 36;
const CHECKSUM_AT = 9;

/** PIIX4 power management as SeaBIOS sets it up: PMBASE 0x600. */
const PM_BASE = 0x600;
const SMI_COMMAND = 0xb2;
const ACPI_ENABLE = 0xf1;
const ACPI_DISABLE = 0xf0;
const GPE0_BLOCK = 0xafe0;
const SCI = 9;
const LAPIC_ADDRESS = 0xfee00000;
const IOAPIC_ADDRESS = 0xfec00000;
/** PIIX3 reset control register, and the value that resets the whole machine. */
const RESET_PORT = 0xcf9;
const RESET_VALUE = 0x0f;

/** The three files that SeaBIOS reads: tables, root pointer, and the script. */
export function acpiFiles(config: AcpiConfig): Map<string, Uint8Array> {
	const tables = new TableBlob();
	const linker = new Linker();
	linker.allocate(RSDP_FILE, 16, 'fseg');
	linker.allocate(TABLES_FILE, 64, 'high');

	const facsAt = tables.append(facs());
	const dsdtAt = tables.append(table('DSDT', 1, dsdt(config)));
	const fadtAt = tables.append(table('FACP', 3, fadt(facsAt, dsdtAt)));
	const madtAt = tables.append(table('APIC', 1, madt()));
	const waetAt = tables.append(table('WAET', 1, u32(WAET_RTC_GOOD | WAET_PM_TIMER_GOOD)));
	const listed = [fadtAt, madtAt, waetAt];
	const rsdtAt = tables.append(table('RSDT', 1, concat(...listed.map(u32))));

	linker.pointer(TABLES_FILE, fadtAt + HEADER_SIZE, 4, TABLES_FILE);
	linker.pointer(TABLES_FILE, fadtAt + HEADER_SIZE + 4, 4, TABLES_FILE);
	listed.forEach((_, i) => {
		linker.pointer(TABLES_FILE, rsdtAt + HEADER_SIZE + 4 * i, 4, TABLES_FILE);
	});
	for (const at of [dsdtAt, ...listed, rsdtAt]) linker.checksum(TABLES_FILE, at + CHECKSUM_AT, at, tables.lengthAt(at));

	const rsdp = concat(text('RSD PTR ', 8), u8(0), text(OEM_ID, 6), u8(0), u32(rsdtAt));
	linker.pointer(RSDP_FILE, 16, 4, TABLES_FILE);
	linker.checksum(RSDP_FILE, 8, 0, rsdp.length);
	return new Map([
		[RSDP_FILE, rsdp],
		[TABLES_FILE, tables.bytes()],
		['etc/table-loader', linker.bytes()],
	]);
}

const OEM_ID = 'BOCHS ';
/** WAET: the RTC needs no re-read after an interrupt; the PM timer reads right the first time. */
const WAET_RTC_GOOD = 1;
const WAET_PM_TIMER_GOOD = 2;

/** A table with its header (ACPI 6.4, 5.2.6); the checksum is firmware's work. Identified as QEMU's are. */
function table(signature: string, revision: number, body: Uint8Array): Uint8Array {
	return concat(
		text(signature, 4),
		u32(HEADER_SIZE + body.length),
		u8(revision),
		u8(0),
		text(OEM_ID, 6),
		text('BXPC    ', 8),
		u32(1),
		text('BXPC', 4),
		u32(1),
		body,
	);
}

/** 5.2.10: no waking vector, no global lock. */
function facs(): Uint8Array {
	return concat(text('FACS', 4), u32(64), new Uint8Array(56));
}

/**
 * 5.2.9. QEMU's i440FX has a revision 1 table; ours is revision 3 for the one field it lacks, the reset register,
 * which Linux prefers for a reboot.
 */
function fadt(facsAt: number, dsdtAt: number): Uint8Array {
	/** WBINVD works, C1 works, power button is a fixed event, no sleep button, RTC wakes from S4, reset register. */
	const flags = 0x01 | 0x04 | 0x20 | 0x80 | 0x400 | 0x8000;
	return concat(
		u32(facsAt),
		u32(dsdtAt),
		u8(1),
		u8(0),
		u16(SCI),
		u32(SMI_COMMAND),
		u8(ACPI_ENABLE),
		u8(ACPI_DISABLE),
		u8(0),
		u8(0),
		u32(PM_BASE),
		u32(0),
		u32(PM_BASE + 4),
		u32(0),
		u32(0),
		u32(PM_BASE + 8),
		u32(GPE0_BLOCK),
		u32(0),
		// lengths: PM1 event, PM1 control, PM2, PM timer, GPE0, GPE1; then GPE1 base, _CST
		Uint8Array.of(4, 2, 0, 4, 4, 0, 0, 0),
		// C2 and C3 latencies that say "not there"
		u16(0x0fff),
		u16(0x0fff),
		u16(0),
		u16(0),
		// duty offset and width, day and month alarm, century
		Uint8Array.of(0, 0, 0, 0, 0x32),
		// IAPC_BOOT_ARCH: legacy devices, 8042
		u16(0x0003),
		u8(0),
		u32(flags),
		gas('io', RESET_PORT, 8, 1),
		u8(RESET_VALUE),
		new Uint8Array(3),
		// 64-bit addresses of FACS and DSDT: the 32-bit ones count
		new Uint8Array(16),
		gas('io', PM_BASE, 32, 2),
		gas('none', 0, 0, 0),
		gas('io', PM_BASE + 4, 16, 2),
		gas('none', 0, 0, 0),
		gas('none', 0, 0, 0),
		gas('io', PM_BASE + 8, 32, 3),
		gas('io', GPE0_BLOCK, 32, 1),
		gas('none', 0, 0, 0),
	);
}

/** Generic Address Structure (5.2.3.2). `access`: 1 byte, 2 word, 3 dword. */
function gas(space: 'io' | 'none', address: number, bits: number, access: number): Uint8Array {
	return concat(Uint8Array.of(space === 'io' ? 1 : 0, bits, 0, access), u32(address), u32(0));
}

/** 5.2.12. No override of IRQ 0: this board's PIT reaches I/O APIC pin 0 as well as the PIC. */
function madt(): Uint8Array {
	const PCAT_COMPAT = 1;
	const LEVEL_ACTIVE_HIGH = 0x000d;
	return concat(
		u32(LAPIC_ADDRESS),
		u32(PCAT_COMPAT),
		// processor 0, local APIC 0, enabled
		Uint8Array.of(0, 8, 0, 0),
		u32(1),
		// I/O APIC 0, pins from 0
		Uint8Array.of(1, 12, 0, 0),
		u32(IOAPIC_ADDRESS),
		u32(0),
		...[5, 9, 10, 11].map((irq) => concat(Uint8Array.of(2, 10, 0, irq), u32(irq), u16(LEVEL_ACTIVE_HIGH))),
		// NMI at LINT1 of every local APIC
		Uint8Array.of(4, 6, 0xff, 0, 0, 1),
	);
}

class TableBlob {
	readonly #parts: Uint8Array[] = [];
	#length = 0;
	/** Returns the offset in the file. */
	append(bytes: Uint8Array): number {
		const at = this.#length;
		this.#parts.push(bytes);
		this.#length += bytes.length;
		return at;
	}
	lengthAt(at: number): number {
		let start = 0;
		for (const part of this.#parts) {
			if (start === at) return part.length;
			start += part.length;
		}
		throw new RangeError(`no table at ${at}`);
	}
	bytes(): Uint8Array {
		return concat(...this.#parts);
	}
}

/** Commands of 128 bytes each; file names take 56. */
class Linker {
	readonly #commands: Uint8Array[] = [];

	allocate(file: string, align: number, zone: 'high' | 'fseg'): void {
		this.#add(1, text(file, 56), u32(align), u8(zone === 'high' ? 1 : 2));
	}
	/** Adds the address of `target` to the pointer of `size` bytes at `offset` of `file`. */
	pointer(file: string, offset: number, size: number, target: string): void {
		this.#add(2, text(file, 56), text(target, 56), u32(offset), u8(size));
	}
	/** Makes the bytes `start`..`start + length - 1` add up to 0 by the byte at `offset`. */
	checksum(file: string, offset: number, start: number, length: number): void {
		this.#add(3, text(file, 56), u32(offset), u32(start), u32(length));
	}
	bytes(): Uint8Array {
		return concat(...this.#commands);
	}
	#add(command: number, ...fields: readonly Uint8Array[]): void {
		const entry = new Uint8Array(128);
		entry.set(concat(u32(command), ...fields));
		this.#commands.push(entry);
	}
}

function u8(v: number): Uint8Array {
	return Uint8Array.of(v);
}
function u16(v: number): Uint8Array {
	return Uint8Array.of(v & 0xff, (v >>> 8) & 0xff);
}
function u32(v: number): Uint8Array {
	return Uint8Array.of(v & 0xff, (v >>> 8) & 0xff, (v >>> 16) & 0xff, (v >>> 24) & 0xff);
}
/** ASCII, padded with zeros to `size`. */
function text(value: string, size: number): Uint8Array {
	const out = new Uint8Array(size);
	out.set(new TextEncoder().encode(value));
	return out;
}
