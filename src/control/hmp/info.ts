/** What `info` shows, in QEMU's layout (QEMU's hmp-commands-info.hx; block/monitor, hw/pci, softmmu/qdev-monitor). */
import type { CpuRegisters } from '../../cpu/backend.ts';
import {
	type BlockInfo,
	nodeName,
	type PciInfo,
	type PciRegion,
	type QtreeBus,
	type QtreeDevice,
	type SpiceInfo,
} from '../../machine/control.ts';
import { pciClassName } from '../../machine/pci-classes.ts';
import { queryBalloon } from '../balloon.ts';
import { packageText, QEMU_VERSION } from '../qmp/context.ts';
import { COMPILED_VERSION } from '../qmp/views.ts';
import type { HmpCommand } from './command.ts';

function info(name: string, help: string, run: HmpCommand['run'], args = '', params = ''): HmpCommand {
	return { name, args, params, help, run };
}

export const INFO: readonly HmpCommand[] = [
	info('balloon', 'show balloon information', ({ machine }) => `balloon: actual=${queryBalloon(machine) >> 20}\n`),
	info(
		'block',
		'show info of one block device or all block devices (-v: show details)',
		({ machine }, { device, verbose }) => {
			const blocks = machine.blocks().filter((block) => device === undefined || block.device === device);
			return blocks.map((block) => blockText(block, verbose === true)).join('\n');
		},
		'verbose:-v,device:B?',
		'[-v] [device]',
	),
	info('cpus', 'show infos for each CPU', () => `* CPU #0: thread_id=${process.pid}\n`),
	info('kvm', 'show KVM information', () => 'kvm support: disabled\n'),
	info('mice', 'show which guest mouse is receiving events', ({ input }) => {
		const pointer = input.absolute ? '* Mouse #3: vmmouse (absolute)\n' : '';
		return `${pointer}${input.absolute ? ' ' : '*'} Mouse #2: QEMU PS/2 Mouse\n`;
	}),
	info('name', 'show the current VM name', ({ machine }) => (machine.name === '' ? '' : `${machine.name}\n`)),
	info('pci', 'show PCI info', ({ machine }) => machine.pciTree().map(pciText).join('')),
	info('qtree', 'show device tree', ({ machine }) => busText(machine.deviceTree(), 0)),
	info('registers', 'show the cpu registers', ({ machine }) => registersText(machine.registers())),
	info('spice', 'show the spice server status', ({ machine }) => spiceText(machine.spice?.info())),
	info('status', 'show the current VM status (running|paused)', ({ machine }) => {
		const detail = machine.status === 'running' || machine.status === 'paused' ? '' : ` (${machine.status})`;
		return `VM status: ${machine.status === 'running' ? 'running' : 'paused'}${detail}\n`;
	}),
	info('uuid', 'show the current VM UUID', ({ machine }) => `${machine.uuid}\n`),
	info('version', 'show the version of QEMU', ({ version }) => {
		const { major, minor, micro } = QEMU_VERSION;
		return `${major}.${minor}.${micro}${packageText(version)}\n`;
	}),
];

function blockText(block: BlockInfo, verbose: boolean): string {
	const { device, qdev, inserted, removable, locked, trayOpen } = block;
	const lines = [`${device}: [not inserted]`];
	if (inserted) {
		const flags = [inserted.driver, ...(inserted.readOnly ? ['read-only'] : [])].join(', ');
		lines[0] = `${device} (${nodeName(device)}): ${inserted.file} (${flags})`;
	}
	if (qdev !== undefined) lines.push(`    Attached to:      ${qdev}`);
	if (removable)
		lines.push(`    Removable device: ${locked ? '' : 'not '}locked, tray ${trayOpen ? 'open' : 'closed'}`);
	if (inserted) {
		lines.push(`    Cache mode:       writeback${inserted.snapshot ? ', ignore flushes' : ''}`);
		if (verbose) {
			const size = `${humanSize(inserted.size)} (${inserted.size} bytes)`;
			lines.push('', 'Images:', `image: ${inserted.file}`, `file format: ${inserted.driver}`, `virtual size: ${size}`);
		}
	}
	return `${lines.join('\n')}\n`;
}

/** QEMU's size_to_str: three significant digits and a binary unit. */
function humanSize(bytes: number): string {
	const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
	let value = bytes;
	let unit = 0;
	while (value >= 1000 && unit < units.length - 1) {
		value /= 1024;
		unit++;
	}
	return `${Number(value.toPrecision(3))} ${units[unit]}`;
}

function pciText(fn: PciInfo): string {
	const name = pciClassName(fn.class) ?? `Class ${String(fn.class).padStart(4, '0')}`;
	const lines = [
		`  Bus ${pad(fn.bus, 2)}, device ${pad(fn.slot, 3)}, function ${fn.function}:`,
		`    ${name}: PCI device ${hex(fn.vendor, 4)}:${hex(fn.device, 4)}`,
		`      PCI subsystem ${hex(fn.subsystemVendor, 4)}:${hex(fn.subsystem, 4)}`,
	];
	if (fn.irqPin > 0) lines.push(`      IRQ ${fn.irqLine}, pin ${'ABCD'[fn.irqPin - 1]}`);
	for (const region of fn.regions) lines.push(`      BAR${region.bar}: ${regionText(region)}`);
	lines.push(`      id "${fn.id}"`);
	return `${lines.join('\n')}\n`;
}

/** An unmapped region has address -1, in all its 64 bits. */
function regionText({ type, address, size, prefetch, mem64 }: PciRegion): string {
	const start = BigInt.asUintN(64, BigInt(address));
	const end = BigInt.asUintN(64, start + BigInt(size) - 1n);
	if (type === 'io') return `I/O at 0x${hex(start, 4)} [0x${hex(end, 4)}].`;
	const kind = `${mem64 ? 64 : 32} bit${prefetch ? ' prefetchable' : ''} memory`;
	return `${kind} at 0x${hex(start, 8)} [0x${hex(end, 8)}].`;
}

function busText(bus: QtreeBus, indent: number): string {
	const margin = ' '.repeat(indent);
	const devices = bus.devices.map((device) => deviceText(device, indent + 2));
	return `${margin}bus: ${bus.name}\n${margin}  type ${bus.type}\n${devices.join('')}`;
}

function deviceText(device: QtreeDevice, indent: number): string {
	const inner = ' '.repeat(indent + 2);
	const lines = [`${' '.repeat(indent)}dev: ${device.type}, id "${device.id}"\n`];
	for (const [name, value] of device.properties ?? []) lines.push(`${inner}${name} = ${value}\n`);
	for (const line of device.lines ?? []) lines.push(`${inner}${line}\n`);
	for (const bus of device.buses ?? []) lines.push(busText(bus, indent + 2));
	return lines.join('');
}

function spiceText(info: SpiceInfo | undefined): string {
	if (!info) return 'Server: disabled\n';
	const lines = ['Server:'];
	if (info.port !== undefined) lines.push(`     address: ${info.host}:${info.port}`);
	if (info.tlsPort !== undefined) lines.push(`     address: ${info.host}:${info.tlsPort} [tls]`);
	lines.push('    migrated: false', `        auth: ${info.auth}`, `    compiled: ${COMPILED_VERSION}`);
	lines.push(`  mouse-mode: ${info.mouseMode === 'unknown' ? 'server' : info.mouseMode}`);
	if (info.channels.length === 0) lines.push('Channels: none');
	for (const channel of info.channels) {
		lines.push('Channel:');
		lines.push(`     address: ${channel.host}:${channel.port}${channel.tls ? ' [tls]' : ''}`);
		lines.push(`     session: ${channel.connectionId}`);
		const name = CHANNEL_NAMES[channel.channelType] ?? 'unknown';
		lines.push(`     channel: ${channel.channelType}:${channel.channelId}`, `     channel name: ${name}`);
	}
	return `${lines.join('\n')}\n`;
}

/** spice-protocol, enums.h: SPICE_CHANNEL_*. */
const CHANNEL_NAMES: readonly string[] = [
	'unknown',
	'main',
	'display',
	'inputs',
	'cursor',
	'playback',
	'record',
	'tunnel',
	'smartcard',
	'usbredir',
	'port',
	'webdav',
];

/** QEMU's first lines; bases and limits are the core's own. */
function registersText(registers: CpuRegisters): string {
	const { general: r, segments, eflags, eip, cr0, cr2, cr3, cr4, halted } = registers;
	const word = (name: string, value: number) => `${name}=${hex(value, 8)}`;
	const flags = [...'DOSZAPC'].map((letter, i) => (eflags & FLAG_BITS[i] ? letter : '-')).join('');
	const lines = [
		'',
		'CPU#0',
		[word('EAX', r.eax), word('EBX', r.ebx), word('ECX', r.ecx), word('EDX', r.edx)].join(' '),
		[word('ESI', r.esi), word('EDI', r.edi), word('EBP', r.ebp), word('ESP', r.esp)].join(' '),
		`${word('EIP', eip)} ${word('EFL', eflags)} [${flags}] CPL=${cr0 & 1 ? segments.cs & 3 : 0} II=0 A20=1 SMM=0 HLT=${halted ? 1 : 0}`,
		...(['es', 'cs', 'ss', 'ds', 'fs', 'gs'] as const).map(
			(name) => `${name.toUpperCase()} =${hex(segments[name], 4)}`,
		),
		[word('CR0', cr0), word('CR2', cr2), word('CR3', cr3), word('CR4', cr4)].join(' '),
	];
	return `${lines.join('\n')}\n`;
}

/** EFLAGS bits in the order of `[DOSZAPC]`. */
const FLAG_BITS = [0x400, 0x800, 0x80, 0x40, 0x10, 0x04, 0x01];

function hex(value: number | bigint, digits: number): string {
	const unsigned = typeof value === 'bigint' ? value : value >>> 0;
	return unsigned.toString(16).padStart(digits, '0');
}

function pad(value: number, width: number): string {
	return String(value).padStart(width);
}
