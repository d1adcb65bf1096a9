/** All that SeaBIOS is told about one machine, as QEMU 7.2's `pc` tells it (hw/i386/fw_cfg.c, hw/i386/pc.c). */
import { type FwCfgContents, fwCfgKey } from '../src/core/index.ts';
import { acpiFiles } from './acpi/index.ts';
import { e820 } from './e820.ts';
import type { LinuxBoot } from './linux/load.ts';

export interface FwCfgConfig {
	/** Guest RAM, bytes, all below the PCI hole. */
	readonly memory: number;
	/** Bytes behind RAM that answer as RAM and are none: reserved, and no place for a BAR. None if left out. */
	readonly taken?: number;
	/** 16 bytes, as SMBIOS shows it; zeros if left out. */
	readonly uuid?: Uint8Array;
	/** Which of COM1..COM4 (1..4) are there. */
	readonly serialPorts: readonly number[];
	/** Whether an i8042 is there; yes if left out. */
	readonly i8042?: boolean;
	/** Port of the pvpanic device on the ISA bus; none if left out. */
	readonly pvpanic?: number;
	/** A kernel to boot; it goes before every device. */
	readonly linux?: LinuxBoot;
	/** Devices to boot from, best first, as Open Firmware paths: see `bootPath`. */
	readonly bootOrder?: readonly string[];
	/** Show the boot menu prompt, for `wait` milliseconds (0: SeaBIOS's own 2.5 s). */
	readonly bootMenu?: { readonly wait: number };
	/** Milliseconds until SeaBIOS tries again after nothing could be booted; never if left out. */
	readonly bootFailWait?: number;
	/** More files by name, such as `opt/…`. */
	readonly files?: ReadonlyMap<string, Uint8Array>;
}

/** How SeaBIOS names what it can boot (src/boot.c, bootprio_find_*). `slot` is the PCI device number. */
export const bootPath = {
	/** A drive of PIIX3's IDE function: channel 0 or 1, unit 0 (master) or 1 (slave); disks and CD-ROMs alike. */
	ide: (channel: number, unit: number): string => `/pci@i0cf8/ide@1,1/drive@${channel}/disk@${unit}`,
	virtioBlk: (slot: number): string => `/pci@i0cf8/scsi@${slot.toString(16)}/disk@0,0`,
} as const;

export function fwCfgContents(config: FwCfgConfig): FwCfgContents {
	const items = new Map<number, Uint8Array>([
		[fwCfgKey.uuid, config.uuid ?? new Uint8Array(16)],
		[fwCfgKey.ramSize, le(config.memory, 8)],
		[fwCfgKey.nographic, le(0, 2)],
		[fwCfgKey.nbCpus, le(1, 2)],
		[fwCfgKey.maxCpus, le(1, 2)],
		[fwCfgKey.bootMenu, le(config.bootMenu ? 1 : 0, 2)],
		// The PIT's output is wired to I/O APIC pin 0 here, so firmware must not tell of a detour to pin 2.
		[fwCfgKey.irq0Override, le(0, 4)],
		...(config.linux?.items ?? []),
	]);

	const order = [...(config.linux ? [config.linux.bootOrder] : []), ...(config.bootOrder ?? [])];
	const files = new Map<string, Uint8Array>();
	if (order.length > 0) files.set('bootorder', new TextEncoder().encode(`${order.join('\n')}\0`));
	for (const [name, bytes] of acpiFiles({ ...config, i8042: config.i8042 ?? true })) files.set(name, bytes);
	files.set('etc/boot-fail-wait', le(config.bootFailWait ?? -1, 4));
	if (config.bootMenu && config.bootMenu.wait > 0) files.set('etc/boot-menu-wait', le(config.bootMenu.wait, 2));
	files.set('etc/e820', e820(config.memory, config.taken ?? 0));
	if (config.pvpanic !== undefined) files.set('etc/pvpanic-port', le(config.pvpanic, 2));
	files.set('etc/system-states', systemStates());
	for (const [name, bytes] of config.linux?.files ?? []) files.set(name, bytes);
	for (const [name, bytes] of config.files ?? []) files.set(name, bytes);
	return { items, files };
}

/** Sleep types by state S0..S5; bit 7 says that the state is there (hw/acpi/piix4.c). S3 and S4 are not. */
function systemStates(): Uint8Array {
	return Uint8Array.of(0x80, 0, 0, 1, 2, 0x80);
}

function le(value: number, size: 2 | 4 | 8): Uint8Array {
	const out = new Uint8Array(8);
	new DataView(out.buffer).setBigInt64(0, BigInt(value), true);
	return out.slice(0, size);
}
