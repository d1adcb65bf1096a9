/**
 * The registers of both interfaces of the PCI transport, over one state: the modern common configuration structure and
 * the legacy header. Virtio 1.2, 4.1.4.3 and 4.1.4.8.
 */
import { RegisterFile, registers } from '../../src/core/index.ts';
import type { PciInterrupts } from './pci-interrupts.ts';
import type { Virtqueue } from './queue.ts';

export const commonLayout = registers({
	device_feature_select: { at: 0x00, size: 4, w: 0xffffffff, doc: 'which 32 offered features are shown' },
	device_feature: { at: 0x04, size: 4, doc: 'offered features' },
	driver_feature_select: { at: 0x08, size: 4, w: 0xffffffff, doc: 'which 32 accepted features are written' },
	driver_feature: { at: 0x0c, size: 4, w: 0xffffffff, doc: 'accepted features' },
	config_msix_vector: { at: 0x10, size: 2, w: 0xffff, doc: 'message of a changed configuration' },
	num_queues: { at: 0x12, size: 2, doc: 'queues there are' },
	device_status: { at: 0x14, size: 1, w: 0xff, doc: 'device status; 0 resets' },
	config_generation: { at: 0x15, size: 1, doc: 'changes with the configuration' },
	queue_select: { at: 0x16, size: 2, w: 0xffff, doc: 'queue that the following are about' },
	queue_size: { at: 0x18, size: 2, w: 0xffff, doc: 'entries; 0: no such queue' },
	queue_msix_vector: { at: 0x1a, size: 2, w: 0xffff, doc: 'message of the selected queue' },
	queue_enable: { at: 0x1c, size: 2, w: 0xffff, doc: '1 starts the queue' },
	queue_notify_off: { at: 0x1e, size: 2, doc: 'place in the notification structure' },
	queue_desc_lo: { at: 0x20, size: 4, w: 0xffffffff, doc: 'descriptor area' },
	queue_desc_hi: { at: 0x24, size: 4, w: 0xffffffff, doc: 'descriptor area, upper half' },
	queue_driver_lo: { at: 0x28, size: 4, w: 0xffffffff, doc: 'driver area' },
	queue_driver_hi: { at: 0x2c, size: 4, w: 0xffffffff, doc: 'driver area, upper half' },
	queue_device_lo: { at: 0x30, size: 4, w: 0xffffffff, doc: 'device area' },
	queue_device_hi: { at: 0x34, size: 4, w: 0xffffffff, doc: 'device area, upper half' },
	queue_notify_data: { at: 0x38, size: 2, doc: 'not offered' },
	queue_reset: { at: 0x3a, size: 2, w: 0xffff, doc: '1 resets the queue' },
});

/** The device's configuration follows: behind the two vectors while MSI-X is enabled, in their place while it is not. */
export const legacyLayout = registers({
	device_features: { at: 0x00, size: 4, doc: 'offered features 0..31' },
	driver_features: { at: 0x04, size: 4, w: 0xffffffff, doc: 'accepted features 0..31' },
	queue_address: { at: 0x08, size: 4, w: 0xffffffff, doc: 'page of the selected queue; 0 resets the device' },
	queue_size: { at: 0x0c, size: 2, doc: 'entries; 0: no such queue' },
	queue_select: { at: 0x0e, size: 2, w: 0xffff, doc: 'queue that the others are about' },
	queue_notify: { at: 0x10, size: 2, w: 0xffff, doc: 'kicks this queue' },
	device_status: { at: 0x12, size: 1, w: 0xff, doc: 'device status; 0 resets' },
	isr_status: { at: 0x13, size: 1, doc: '1 queue, 2 configuration; reading acknowledges' },
	config_msix_vector: { at: 0x14, size: 2, w: 0xffff, doc: 'message of a changed configuration' },
	queue_msix_vector: { at: 0x16, size: 2, w: 0xffff, doc: 'message of the selected queue' },
});
export const LEGACY_CONFIG = 0x14;
export const LEGACY_CONFIG_MSIX = 0x18;
const PAGE = 4096;

/** What the registers show and change. */
export interface RegisterTarget {
	readonly queues: readonly Virtqueue[];
	readonly interrupts: PciInterrupts;
	/** What is offered over the modern interface, and over the legacy one. */
	readonly offered: { readonly modern: bigint; readonly legacy: bigint };
	readonly accepted: bigint;
	readonly status: number;
	readonly generation: number;
	/** Number of the queue that queue registers are about; there need not be one. */
	select: number;
	accept(features: bigint): void;
	/** `modern`: by the common configuration structure, whose drivers know FEATURES_OK. */
	setStatus(value: number, modern: boolean): void;
	/** Starts queue `n`, which exists, where its addresses say. */
	enable(n: number): void;
	resetQueue(n: number): void;
	kick(n: number): void;
	reset(): void;
}

type Area = 'desc' | 'driver' | 'device';
const LOW = 2 ** 32;

export function commonRegisters(target: RegisterTarget): RegisterFile<typeof commonLayout> {
	const selected = () => target.queues[target.select] as Virtqueue | undefined;
	const half = (features: bigint, select: number) =>
		select < 2 ? Number((features >> BigInt(select * 32)) & 0xffffffffn) : 0;
	const readLow = (area: Area) => (selected()?.[area] ?? 0) % LOW;
	const readHigh = (area: Area) => Math.floor((selected()?.[area] ?? 0) / LOW);
	const writeLow = (area: Area) => (value: number) => {
		const queue = selected();
		if (queue) queue[area] = Math.floor(queue[area] / LOW) * LOW + value;
	};
	// Addresses beyond 2^53 lose their lowest bits, which does not matter: no memory is there.
	const writeHigh = (area: Area) => (value: number) => {
		const queue = selected();
		if (queue) queue[area] = (queue[area] % LOW) + value * LOW;
	};
	const regs: RegisterFile<typeof commonLayout> = new RegisterFile(commonLayout, {
		read: {
			device_feature: () => {
				regs.device_feature = half(target.offered.modern, regs.device_feature_select);
			},
			driver_feature: () => {
				regs.driver_feature = half(target.accepted, regs.driver_feature_select);
			},
			config_msix_vector: () => {
				regs.config_msix_vector = target.interrupts.configVector;
			},
			queue_msix_vector: () => {
				regs.queue_msix_vector = target.interrupts.queueVector(target.select);
			},
			num_queues: () => {
				regs.num_queues = target.queues.length;
			},
			device_status: () => {
				regs.device_status = target.status;
			},
			config_generation: () => {
				regs.config_generation = target.generation;
			},
			queue_select: () => {
				regs.queue_select = target.select;
			},
			queue_size: () => {
				regs.queue_size = selected()?.size ?? 0;
			},
			queue_enable: () => {
				regs.queue_enable = selected()?.enabled ? 1 : 0;
			},
			queue_notify_off: () => {
				regs.queue_notify_off = target.select;
			},
			queue_desc_lo: () => {
				regs.queue_desc_lo = readLow('desc');
			},
			queue_desc_hi: () => {
				regs.queue_desc_hi = readHigh('desc');
			},
			queue_driver_lo: () => {
				regs.queue_driver_lo = readLow('driver');
			},
			queue_driver_hi: () => {
				regs.queue_driver_hi = readHigh('driver');
			},
			queue_device_lo: () => {
				regs.queue_device_lo = readLow('device');
			},
			queue_device_hi: () => {
				regs.queue_device_hi = readHigh('device');
			},
			queue_reset: () => {
				regs.queue_reset = 0;
			},
		},
		write: {
			driver_feature: (value) => {
				const select = regs.driver_feature_select;
				if (select > 1) return;
				const other = target.accepted & (select === 0 ? ~0xffffffffn : 0xffffffffn);
				target.accept(other | (BigInt(value) << BigInt(select * 32)));
			},
			config_msix_vector: (value) => {
				target.interrupts.configVector = value;
			},
			queue_msix_vector: (value) => {
				if (selected()) target.interrupts.setQueueVector(target.select, value);
			},
			device_status: (value) => target.setStatus(value, true),
			queue_select: (value) => {
				target.select = value;
			},
			queue_size: (value) => {
				const queue = selected();
				if (queue && value >= 1 && value <= queue.maxSize) queue.size = value;
			},
			queue_enable: (value) => {
				if (selected() && value === 1) target.enable(target.select);
			},
			queue_desc_lo: writeLow('desc'),
			queue_desc_hi: writeHigh('desc'),
			queue_driver_lo: writeLow('driver'),
			queue_driver_hi: writeHigh('driver'),
			queue_device_lo: writeLow('device'),
			queue_device_hi: writeHigh('device'),
			queue_reset: (value) => {
				if (selected() && value === 1) target.resetQueue(target.select);
			},
		},
	});
	return regs;
}

export function legacyRegisters(target: RegisterTarget): RegisterFile<typeof legacyLayout> {
	const selected = () => target.queues[target.select] as Virtqueue | undefined;
	const regs: RegisterFile<typeof legacyLayout> = new RegisterFile(legacyLayout, {
		read: {
			device_features: () => {
				regs.device_features = Number(target.offered.legacy & 0xffffffffn);
			},
			driver_features: () => {
				regs.driver_features = Number(target.accepted & 0xffffffffn);
			},
			queue_address: () => {
				regs.queue_address = Math.floor((selected()?.desc ?? 0) / PAGE);
			},
			queue_size: () => {
				regs.queue_size = selected()?.size ?? 0;
			},
			queue_select: () => {
				regs.queue_select = target.select;
			},
			device_status: () => {
				regs.device_status = target.status;
			},
			config_msix_vector: () => {
				regs.config_msix_vector = target.interrupts.configVector;
			},
			queue_msix_vector: () => {
				regs.queue_msix_vector = target.interrupts.queueVector(target.select);
			},
			isr_status: () => {
				regs.isr_status = target.interrupts.acknowledge();
			},
		},
		write: {
			driver_features: (value) => target.accept(BigInt(value)),
			queue_address: (value) => {
				const queue = selected();
				if (value === 0) target.reset();
				else if (queue) {
					place(queue, value);
					target.enable(target.select);
				}
			},
			queue_select: (value) => {
				target.select = value;
			},
			queue_notify: (value) => target.kick(value),
			config_msix_vector: (value) => {
				target.interrupts.configVector = value;
			},
			queue_msix_vector: (value) => {
				if (selected()) target.interrupts.setQueueVector(target.select, value);
			},
			device_status: (value) => target.setStatus(value, false),
		},
	});
	return regs;
}

/** 2.7.2 Legacy interfaces: layout of a queue in consecutive pages. */
function place(queue: Virtqueue, page: number): void {
	queue.desc = page * PAGE;
	queue.driver = queue.desc + 16 * queue.size;
	queue.device = Math.ceil((queue.driver + 6 + 2 * queue.size) / PAGE) * PAGE;
}
