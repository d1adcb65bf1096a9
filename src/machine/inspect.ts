/** The machine as `info pci` and `info qtree` show it. */
import type { PciBus, PciFunctionInfo } from '../../devices/pci/bus.ts';
import type { MachineConfig } from './config.ts';
import type { BlockInfo, PciInfo, PciRegion, QtreeBus, QtreeDevice } from './control.ts';
import { pciClassName } from './pci-classes.ts';

/** QEMU's type names of the functions that are there, by identity name. */
const TYPES: Readonly<Record<string, string>> = {
	i440FX: 'i440FX',
	PIIX3: 'PIIX3',
	'piix3-ide': 'piix3-ide',
	PIIX4_PM: 'PIIX4_PM',
	'qxl-vga': 'qxl-vga',
	AC97: 'AC97',
	'virtio-serial': 'virtio-serial-pci',
	'virtio-balloon': 'virtio-balloon-pci',
	'virtio-blk': 'virtio-blk-pci',
	'virtio-rng': 'virtio-rng-pci',
	'virtio-tablet': 'virtio-tablet-pci',
	'virtio-keyboard': 'virtio-keyboard-pci',
	'pvpanic-pci': 'pvpanic-pci',
};
const ISA_BRIDGE = 0x0601;
const IDE = 0x0101;

export function pciTree(bus: PciBus): PciInfo[] {
	return bus.list().map((fn) => ({
		bus: fn.bus,
		slot: fn.slot,
		function: fn.function,
		vendor: fn.vendor,
		device: fn.device,
		subsystemVendor: fn.subsystemVendor,
		subsystem: fn.subsystem,
		class: fn.classCode,
		irqPin: fn.pin,
		irqLine: fn.line,
		id: '',
		regions: regions(fn),
	}));
}

/** The system bus: the PCI host bridge, on its bus every function, on the bridges' buses what hangs there. */
export function deviceTree(bus: PciBus, config: MachineConfig, blocks: readonly BlockInfo[]): QtreeBus {
	const functions = bus.list().map((fn) => pciDevice(fn, config, blocks));
	const host: QtreeDevice = {
		type: 'i440FX-pcihost',
		id: '',
		buses: [{ name: 'pci.0', type: 'PCI', devices: functions }],
	};
	return { name: 'main-system-bus', type: 'System', devices: [host] };
}

function regions(fn: PciFunctionInfo): PciRegion[] {
	return fn.bars.map((bar) => ({
		bar: bar.bar === 'rom' ? 6 : bar.bar,
		type: bar.kind,
		address: bar.base,
		size: bar.size,
		prefetch: bar.prefetch,
		mem64: bar.is64,
	}));
}

function pciDevice(fn: PciFunctionInfo, config: MachineConfig, blocks: readonly BlockInfo[]): QtreeDevice {
	const hex = (value: number, digits: number) => value.toString(16).padStart(digits, '0');
	const at = `${hex(fn.slot, 2)}.${fn.function}`;
	const identity = `${hex(fn.vendor, 4)}:${hex(fn.device, 4)}`;
	const subsystem = `${hex(fn.subsystemVendor, 4)}:${hex(fn.subsystem, 4)}`;
	const lines = [
		`class ${pciClassName(fn.classCode) ?? `Class ${hex(fn.classCode, 4)}`}, addr 00:${at}, pci id ${identity} (sub ${subsystem})`,
	];
	for (const region of regions(fn)) {
		const kind = region.type === 'io' ? 'i/o' : 'mem';
		const from = region.address < 0 ? 0xffffffffffffffffn : BigInt(region.address);
		const to = region.address < 0 ? BigInt(region.size) - 2n : from + BigInt(region.size) - 1n;
		lines.push(`bar ${region.bar}: ${kind} at 0x${from.toString(16)} [0x${to.toString(16)}]`);
	}
	const buses: QtreeBus[] = [];
	if (fn.classCode === ISA_BRIDGE) buses.push({ name: 'isa.0', type: 'ISA', devices: isaDevices(config) });
	if (fn.classCode === IDE) {
		for (const channel of [0, 1]) {
			const devices = blocks.filter((b) => b.device.startsWith(`ide${channel}-`)).map(ideDevice);
			buses.push({ name: `ide.${channel}`, type: 'IDE', devices });
		}
	}
	return { type: TYPES[fn.name] ?? fn.name, id: '', properties: [['addr', at]], lines, buses };
}

function isaDevices(config: MachineConfig): QtreeDevice[] {
	const plain = ['fw_cfg_io', 'i8042', 'i8257', 'i8257', 'isa-debugcon', 'isa-pit', 'mc146818rtc', 'port92'];
	const serials = Math.max(1, config.serials.length);
	return [
		...plain.map((type) => ({ type, id: '' })),
		...Array.from(
			{ length: serials },
			(_, index): QtreeDevice => ({
				type: 'isa-serial',
				id: '',
				properties: [['index', number(index)]],
			}),
		),
		...config.devices.flatMap(({ driver }) => (driver === 'pvpanic' ? [{ type: driver, id: '' }] : [])),
	];
}

/** A number as QEMU's property printer writes it. */
function number(value: number): string {
	return `${value} (0x${value.toString(16)})`;
}

function ideDevice(block: BlockInfo): QtreeDevice {
	return {
		type: block.removable ? 'ide-cd' : 'ide-hd',
		id: '',
		properties: [
			['drive', `"${block.device}"`],
			['unit', number(Number(block.device.at(-1)))],
		],
	};
}
