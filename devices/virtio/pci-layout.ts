/**
 * What a virtio function looks like in configuration space: identity, BARs, and the capabilities that say where the
 * structures lie. Virtio 1.2, 4.1.2 to 4.1.4; identity and layout are QEMU's.
 */
import { type IoHandler, Msix, type PciBarSpec, type PciIdentity } from '../../src/core/index.ts';
import { LEGACY_CONFIG, LEGACY_CONFIG_MSIX } from './pci-registers.ts';
import { DeviceType, type VirtioModel } from './virtio.ts';

/** The structures in the modern BAR, a page each, in this order. */
export const Page = { common: 0, isr: 1, config: 2, notify: 3 } as const;
export const PAGE = 4096;
export const NOTIFY_MULTIPLIER = 4;
export const LEGACY_BAR = 0;
export const MSIX_BAR = 1;
export const MODERN_BAR = 4;
export const MODERN_SIZE = 4 * PAGE;

/** 4.1.4 Virtio structure PCI capabilities: cfg_type. */
const CfgType = { common: 1, notify: 2, isr: 3, device: 4, pci: 5 } as const;
const CAP_VENDOR = 0x09;
/** Where the capabilities lie; the list begins with the last one, as QEMU's does. */
const CAP_COMMON = 0x40;
const CAP_ISR = 0x50;
const CAP_DEVICE = 0x60;
const CAP_NOTIFY = 0x70;
const CAP_PCI = 0x84;
const CAP_END = 0x98;

/** 4.1.5.1.2: fields of the PCI configuration access capability. */
export const PciCfg = { bar: CAP_PCI + 4, offset: CAP_PCI + 8, length: CAP_PCI + 12, data: CAP_PCI + 16 } as const;

/** 4.1.2: transitional devices keep the ids of legacy ones, the others have 1040h + type. */
const TRANSITIONAL: Readonly<Record<number, number>> = {
	[DeviceType.block]: 0x1001,
	[DeviceType.balloon]: 0x1002,
	[DeviceType.console]: 0x1003,
	[DeviceType.entropy]: 0x1005,
};

export interface Interfaces {
	/** Registers in BAR 0, or none. */
	readonly legacy?: IoHandler;
	/** Registers in BAR 4 and the capabilities that lead there, or none. */
	readonly modern?: IoHandler;
	/** Table in BAR 1, or none. */
	readonly msix?: Msix;
}

/** Whether a device of this type ever had a legacy interface. */
export function hasLegacy(type: number): boolean {
	return TRANSITIONAL[type] !== undefined;
}

/** Interrupts of QEMU's devices: one for the configuration and one for all queues. Its balloon has none. */
const VECTORS = 2;

/** The MSI-X of a device; behind the modern interface's capabilities, as in QEMU. */
export function msixOf(model: VirtioModel, modern: boolean, vectors?: number): Msix | undefined {
	const count = vectors ?? (model.type === DeviceType.balloon ? 0 : VECTORS);
	return count === 0 ? undefined : new Msix(count, modern ? CAP_END : CAP_COMMON);
}

export function identity(model: VirtioModel, { legacy, modern, msix }: Interfaces): PciIdentity {
	const bars: { [bar: number]: PciBarSpec } = {};
	if (legacy) bars[LEGACY_BAR] = { kind: 'io', size: legacySize(model.configLength, msix), handler: legacy };
	if (modern) bars[MODERN_BAR] = { kind: 'mmio', size: MODERN_SIZE, handler: modern, prefetch: true, is64: true };
	if (msix) bars[MSIX_BAR] = msix.bar;
	return {
		name: model.name,
		vendor: 0x1af4,
		device: legacy ? TRANSITIONAL[model.type] : 0x1040 + model.type,
		revision: legacy ? 0 : 1,
		classCode: model.classCode,
		subsystemVendor: 0x1af4,
		subsystem: legacy ? model.type : 0x1100,
		pin: 1,
		bars,
		...capabilities(modern !== undefined, msix),
	};
}

function legacySize(configLength: number, msix: Msix | undefined): number {
	return 2 ** Math.ceil(Math.log2((msix ? LEGACY_CONFIG_MSIX : LEGACY_CONFIG) + configLength));
}

type Capabilities = Required<Pick<PciIdentity, 'capabilities' | 'capabilityRanges' | 'config' | 'writable'>>;

function capabilities(modern: boolean, msix: Msix | undefined): Partial<Capabilities> {
	const structures = modern ? structureCapabilities() : undefined;
	if (!msix) return structures ?? {};
	const { range, config, writable } = msix.capability(MSIX_BAR, structures?.capabilities ?? 0);
	return {
		capabilities: range[0],
		capabilityRanges: [...(structures?.capabilityRanges ?? []), range],
		config: { ...structures?.config, ...config },
		writable: { ...structures?.writable, ...writable },
	};
}

function structureCapabilities(): Capabilities {
	const structure = (at: number, next: number, type: number, page: number, length = 16) => ({
		...bytes(at, [CAP_VENDOR, next, length, type, MODERN_BAR, 0, 0, 0]),
		...bytes(at + 8, [...le32(page * PAGE), ...le32(PAGE)]),
	});
	return {
		capabilities: CAP_PCI,
		capabilityRanges: [[CAP_COMMON, CAP_END - CAP_COMMON]],
		config: {
			...structure(CAP_COMMON, 0, CfgType.common, Page.common),
			...structure(CAP_ISR, CAP_COMMON, CfgType.isr, Page.isr),
			...structure(CAP_DEVICE, CAP_ISR, CfgType.device, Page.config),
			...structure(CAP_NOTIFY, CAP_DEVICE, CfgType.notify, Page.notify, 20),
			...bytes(CAP_NOTIFY + 16, le32(NOTIFY_MULTIPLIER)),
			...bytes(CAP_PCI, [CAP_VENDOR, CAP_NOTIFY, 20, CfgType.pci]),
		},
		writable: { ...bytes(PciCfg.bar, [0xff]), ...bytes(PciCfg.offset, new Array<number>(12).fill(0xff)) },
	};
}

function bytes(at: number, values: readonly number[]): { [offset: number]: number } {
	return Object.fromEntries(values.map((value, i) => [at + i, value]));
}

function le32(value: number): number[] {
	return [0, 8, 16, 24].map((shift) => (value >>> shift) & 0xff);
}
