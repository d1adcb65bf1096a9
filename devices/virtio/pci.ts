/**
 * The PCI transport: one function with the modern interface (capabilities, BAR 4) and, for transitional devices, the
 * legacy one (BAR 0). Virtio 1.2, 4.1; identity and layout are QEMU's with `vectors=0`. There is no MSI-X: this board's
 * interrupt controllers take lines only, so INTA# and the ISR status carry every interrupt.
 */
import {
	checkVersion,
	type Device,
	type DeviceState,
	GuestFault,
	guestError,
	type Host,
	type IoHandler,
	PCI_COMMAND,
	type PciBarSpec,
	PciFunction,
	type PciIdentity,
	RegisterFile,
	registers,
	type StateValue,
	tracePoints,
} from '../../src/core/index.ts';
import { RingError } from './chain.ts';
import { Virtqueue } from './queue.ts';
import { DeviceType, Feature, features, Status, type VirtioBus, type VirtioModel } from './virtio.ts';

/** 4.1.4.3 Common configuration structure layout. */
const commonLayout = registers({
	device_feature_select: { at: 0x00, size: 4, w: 0xffffffff, doc: 'which 32 offered features are shown' },
	device_feature: { at: 0x04, size: 4, doc: 'offered features' },
	driver_feature_select: { at: 0x08, size: 4, w: 0xffffffff, doc: 'which 32 accepted features are written' },
	driver_feature: { at: 0x0c, size: 4, w: 0xffffffff, doc: 'accepted features' },
	config_msix_vector: { at: 0x10, size: 2, reset: 0xffff, doc: 'no vector' },
	num_queues: { at: 0x12, size: 2, doc: 'queues there are' },
	device_status: { at: 0x14, size: 1, w: 0xff, doc: 'device status; 0 resets' },
	config_generation: { at: 0x15, size: 1, doc: 'changes with the configuration' },
	queue_select: { at: 0x16, size: 2, w: 0xffff, doc: 'queue that the following are about' },
	queue_size: { at: 0x18, size: 2, w: 0xffff, doc: 'entries; 0: no such queue' },
	queue_msix_vector: { at: 0x1a, size: 2, reset: 0xffff, doc: 'no vector' },
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

/** 4.1.4.8 Legacy interfaces: layout without MSI-X; the device's configuration follows. */
const legacyLayout = registers({
	device_features: { at: 0x00, size: 4, doc: 'offered features 0..31' },
	driver_features: { at: 0x04, size: 4, w: 0xffffffff, doc: 'accepted features 0..31' },
	queue_address: { at: 0x08, size: 4, w: 0xffffffff, doc: 'page of the selected queue; 0 resets the device' },
	queue_size: { at: 0x0c, size: 2, doc: 'entries; 0: no such queue' },
	queue_select: { at: 0x0e, size: 2, w: 0xffff, doc: 'queue that the others are about' },
	queue_notify: { at: 0x10, size: 2, w: 0xffff, doc: 'kicks this queue' },
	device_status: { at: 0x12, size: 1, w: 0xff, doc: 'device status; 0 resets' },
	isr_status: { at: 0x13, size: 1, doc: '1 queue, 2 configuration; reading acknowledges' },
});
const LEGACY_CONFIG = 0x14;
const PAGE = 4096;

/** Where the structures lie in BAR 4, a page each. */
const COMMON = 0;
const ISR = 1;
const CONFIG = 2;
const NOTIFY = 3;
const NOTIFY_MULTIPLIER = 4;
const MODERN_BAR = 4;
const MODERN_SIZE = 4 * PAGE;

/** 4.1.5.1.2 PCI configuration access capability. */
const PCI_CFG = 0x84;
const PCI_CFG_OFFSET = PCI_CFG + 8;
const PCI_CFG_LENGTH = PCI_CFG + 12;
const PCI_CFG_DATA = PCI_CFG + 16;

const ISR_QUEUE = 1;
const ISR_CONFIG = 2;
const ALL_ONES = { 1: 0xff, 2: 0xffff, 4: 0xffffffff } as const;
type Width = 1 | 2 | 4;

const trace = tracePoints('virtio', {
	reset: ['device'],
	status: ['device', 'status'],
	negotiated: ['device', 'features'],
	queue: ['device', 'queue', 'size'],
	kick: ['device', 'queue'],
	interrupt: ['device', 'isr'],
});

export interface VirtioPciOptions {
	/** Offer packed rings. */
	readonly packed?: boolean;
}

export class VirtioPci implements Device, VirtioBus {
	readonly pci: PciFunction;
	readonly model: VirtioModel;
	readonly host: Host;
	readonly #queues: readonly Virtqueue[];
	readonly #offered: bigint;
	readonly #common: RegisterFile<typeof commonLayout>;
	readonly #legacy: RegisterFile<typeof legacyLayout>;
	/** Features that the driver accepted. */
	#accepted = 0n;
	#status = 0;
	#select = 0;
	#isr = 0;
	#generation = 0;
	/** The driver broke a rule; nothing is done until it resets the device. */
	#broken = false;
	/** Counts resets, so that work for a former life of the device is not done. */
	#life = 0;
	/** Queues that were kicked, in that order. */
	#kicked: number[] = [];
	readonly #touched: Virtqueue[] = [];
	#depth = 0;

	constructor(host: Host, model: VirtioModel, options: VirtioPciOptions = {}) {
		this.host = host;
		this.model = model;
		const modernOnly = model.type === DeviceType.input;
		const { notifyOnEmpty, anyLayout, indirectDesc, eventIdx, bad, version1, ringReset, ringPacked } = Feature;
		this.#offered =
			model.features |
			features(notifyOnEmpty, anyLayout, indirectDesc, eventIdx, version1, ringReset) |
			(modernOnly ? 0n : features(bad)) |
			(options.packed ? features(ringPacked) : 0n);
		this.#queues = model.queueSizes.map((size) => new Virtqueue(host.dma, size, (queue) => this.#touched.push(queue)));
		this.#common = this.#commonRegisters();
		this.#legacy = this.#legacyRegisters();
		this.pci = new PciFunction(identity(model, modernOnly, this.#legacyHandler(), this.#modernHandler()));
		this.pci.onConfigWrite = (offset, size) => this.#configWritten(offset, size);
		this.pci.onConfigRead = (offset, size) => this.#configRead(offset, size);
		model.connect(this);
	}

	has(feature: number): boolean {
		return ((this.#accepted >> BigInt(feature)) & 1n) === 1n;
	}

	queue(n: number): Virtqueue {
		return this.#queues[n];
	}

	get driverReady(): boolean {
		return (this.#status & Status.driverOk) !== 0;
	}

	configChanged(): void {
		this.#generation = (this.#generation + 1) & 0xff;
		if (this.driverReady) this.#interrupt(ISR_QUEUE | ISR_CONFIG);
	}

	run(work: () => void): void {
		if (this.#broken || !this.pci.busMaster) return;
		this.#depth++;
		try {
			work();
			if (this.#depth === 1) this.#signal();
		} catch (error) {
			if (!(error instanceof RingError || error instanceof GuestFault)) throw error;
			this.#break(error.message);
		} finally {
			this.#depth--;
		}
	}

	later(work: () => void): void {
		const life = this.#life;
		this.host.defer(() => {
			if (life === this.#life) this.run(work);
		});
	}

	/** Raises the interrupt if one of the queues that something was pushed to calls for it. */
	#signal(): void {
		if (this.#touched.length === 0) return;
		let due = false;
		for (const queue of this.#touched.splice(0)) due = queue.takeInterrupt() || due;
		if (due) this.#interrupt(ISR_QUEUE);
	}

	#interrupt(cause: number): void {
		this.#isr |= cause;
		trace.interrupt(this.model.name, this.#isr);
		this.pci.irq.set(true);
	}

	#acknowledge(): number {
		const isr = this.#isr;
		this.#isr = 0;
		this.pci.irq.set(false);
		return isr;
	}

	/** 2.1.1: the device says that it needs a reset, to a driver that can know it. */
	#break(message: string): void {
		if (this.#broken) return;
		this.#broken = true;
		guestError(this.model.name, `${message}; the device waits for a reset`);
		if (!this.has(Feature.version1)) return;
		this.#status |= Status.needsReset;
		this.configChanged();
	}

	#kick(n: number): void {
		if (!this.#queues[n]?.enabled || this.#kicked.includes(n)) return;
		trace.kick(this.model.name, n);
		this.#kicked.push(n);
		if (this.#kicked.length === 1) this.host.defer(() => this.#serve());
	}

	#serve(): void {
		for (const n of this.#kicked.splice(0)) this.run(() => this.model.kicked(n));
	}

	/** System reset; configuration space is the bus's to reset. */
	reset(): void {
		this.#resetDevice();
	}

	/** What the driver asks for by writing status 0 (2.1.1). */
	#resetDevice(): void {
		trace.reset(this.model.name);
		this.#life++;
		this.#broken = false;
		this.#status = 0;
		this.#accepted = 0n;
		this.#select = 0;
		this.#generation = 0;
		this.#kicked = [];
		this.#touched.length = 0;
		this.#common.reset();
		this.#legacy.reset();
		for (const queue of this.#queues) queue.reset();
		this.#acknowledge();
		this.model.reset();
	}

	#setStatus(value: number): void {
		trace.status(this.model.name, value);
		if (value === 0) {
			this.#resetDevice();
			return;
		}
		const set = value & ~this.#status;
		// Legacy drivers know nothing of FEATURES_OK and may set it as they like.
		if (set & Status.featuresOk) trace.negotiated(this.model.name, this.#accepted);
		this.#status = value | (this.#status & Status.needsReset);
		if (set & Status.driverOk) this.later(() => this.model.started());
	}

	#accept(features: bigint): void {
		if (this.#status & Status.featuresOk) return;
		this.#accepted = features & this.#offered;
	}

	/** Features that a modern driver sees: what only legacy drivers know is left out. */
	#modernFeatures(): bigint {
		return this.#offered & ~features(Feature.notifyOnEmpty, Feature.anyLayout);
	}

	#enable(queue: Virtqueue, n: number): void {
		try {
			queue.enable({
				size: queue.size,
				desc: queue.desc,
				driver: queue.driver,
				device: queue.device,
				packed: this.has(Feature.ringPacked),
				indirect: this.has(Feature.indirectDesc),
				eventIdx: this.has(Feature.eventIdx),
				notifyOnEmpty: this.has(Feature.notifyOnEmpty),
			});
			trace.queue(this.model.name, n, queue.size);
		} catch (error) {
			if (!(error instanceof RingError)) throw error;
			this.#break(`queue ${n}: ${error.message}`);
		}
	}

	#commonRegisters(): RegisterFile<typeof commonLayout> {
		const selected = () => this.#queues[this.#select] as Virtqueue | undefined;
		const half = (features: bigint, select: number) => {
			return select < 2 ? Number((features >> BigInt(select * 32)) & 0xffffffffn) : 0;
		};
		type Area = 'desc' | 'driver' | 'device';
		const readLow = (area: Area) => (selected()?.[area] ?? 0) % 2 ** 32;
		const readHigh = (area: Area) => Math.floor((selected()?.[area] ?? 0) / 2 ** 32);
		const writeLow = (area: Area) => (value: number) => {
			const queue = selected();
			if (queue) queue[area] = Math.floor(queue[area] / 2 ** 32) * 2 ** 32 + value;
		};
		// Addresses beyond 2^53 lose their lowest bits, which does not matter: no memory is there.
		const writeHigh = (area: Area) => (value: number) => {
			const queue = selected();
			if (queue) queue[area] = (queue[area] % 2 ** 32) + value * 2 ** 32;
		};
		const regs: RegisterFile<typeof commonLayout> = new RegisterFile(commonLayout, {
			read: {
				device_feature: () => {
					regs.device_feature = half(this.#modernFeatures(), regs.device_feature_select);
				},
				driver_feature: () => {
					regs.driver_feature = half(this.#accepted, regs.driver_feature_select);
				},
				num_queues: () => {
					regs.num_queues = this.#queues.length;
				},
				device_status: () => {
					regs.device_status = this.#status;
				},
				config_generation: () => {
					regs.config_generation = this.#generation;
				},
				queue_select: () => {
					regs.queue_select = this.#select;
				},
				queue_size: () => {
					regs.queue_size = selected()?.size ?? 0;
				},
				queue_enable: () => {
					regs.queue_enable = selected()?.enabled ? 1 : 0;
				},
				queue_notify_off: () => {
					regs.queue_notify_off = selected() ? this.#select : 0;
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
					const other = this.#accepted & (select === 0 ? ~0xffffffffn : 0xffffffffn);
					this.#accept(other | (BigInt(value) << BigInt(select * 32)));
				},
				device_status: (value) => this.#setStatus(value),
				queue_select: (value) => {
					this.#select = value;
				},
				queue_size: (value) => {
					const queue = selected();
					if (queue && value >= 1 && value <= queue.maxSize) queue.size = value;
				},
				queue_enable: (value) => {
					const queue = selected();
					if (queue && value === 1) this.#enable(queue, this.#select);
				},
				queue_desc_lo: writeLow('desc'),
				queue_desc_hi: writeHigh('desc'),
				queue_driver_lo: writeLow('driver'),
				queue_driver_hi: writeHigh('driver'),
				queue_device_lo: writeLow('device'),
				queue_device_hi: writeHigh('device'),
				queue_reset: (value) => {
					const queue = selected();
					if (!queue || value !== 1) return;
					queue.reset();
					this.model.queueReset(this.#select);
				},
			},
		});
		return regs;
	}

	#legacyRegisters(): RegisterFile<typeof legacyLayout> {
		const selected = () => this.#queues[this.#select] as Virtqueue | undefined;
		const regs: RegisterFile<typeof legacyLayout> = new RegisterFile(legacyLayout, {
			read: {
				device_features: () => {
					regs.device_features = Number(this.#offered & 0xffffffffn);
				},
				driver_features: () => {
					regs.driver_features = Number(this.#accepted & 0xffffffffn);
				},
				queue_address: () => {
					regs.queue_address = Math.floor((selected()?.desc ?? 0) / PAGE);
				},
				queue_size: () => {
					regs.queue_size = selected()?.size ?? 0;
				},
				queue_select: () => {
					regs.queue_select = this.#select;
				},
				device_status: () => {
					regs.device_status = this.#status;
				},
				isr_status: () => {
					regs.isr_status = this.#acknowledge();
				},
			},
			write: {
				driver_features: (value) => this.#accept(BigInt(value)),
				queue_address: (value) => {
					if (value === 0) this.#resetDevice();
					else this.#placeLegacy(value);
				},
				queue_select: (value) => {
					this.#select = value;
				},
				queue_notify: (value) => this.#kick(value),
				device_status: (value) => this.#setStatus(value),
			},
		});
		return regs;
	}

	/** 2.7.2 Legacy interfaces: layout of a queue in consecutive pages. */
	#placeLegacy(page: number): void {
		const queue = this.#queues[this.#select] as Virtqueue | undefined;
		if (!queue) return;
		queue.desc = page * PAGE;
		queue.driver = queue.desc + 16 * queue.size;
		queue.device = Math.ceil((queue.driver + 6 + 2 * queue.size) / PAGE) * PAGE;
		this.#enable(queue, this.#select);
	}

	#readDeviceConfig(at: number, size: Width): number {
		if (at + size > this.model.configLength) return ALL_ONES[size];
		return this.model.config.read(at, size);
	}

	#writeDeviceConfig(at: number, size: Width, value: number): void {
		if (at + size <= this.model.configLength) this.model.config.write(at, size, value);
	}

	#legacyHandler(): IoHandler {
		const read = (at: number, size: Width) =>
			at < LEGACY_CONFIG ? this.#legacy.read(at, size) : this.#readDeviceConfig(at - LEGACY_CONFIG, size);
		const write = (at: number, size: Width, value: number) => {
			if (at < LEGACY_CONFIG) this.#legacy.write(at, size, value);
			else this.#writeDeviceConfig(at - LEGACY_CONFIG, size, value);
		};
		return handler(read, write);
	}

	#modernHandler(): IoHandler {
		return handler(
			(at, size) => this.#readModern(at, size),
			(at, size, value) => this.#writeModern(at, size, value),
		);
	}

	#readModern(at: number, size: Width): number {
		const offset = at % PAGE;
		switch (Math.floor(at / PAGE)) {
			case COMMON:
				return this.#common.read(offset, size);
			case ISR:
				return this.#acknowledge();
			case CONFIG:
				return this.#readDeviceConfig(offset, size);
			default:
				return 0;
		}
	}

	#writeModern(at: number, size: Width, value: number): void {
		const offset = at % PAGE;
		switch (Math.floor(at / PAGE)) {
			case COMMON:
				this.#common.write(offset, size, value);
				break;
			case CONFIG:
				this.#writeDeviceConfig(offset, size, value);
				break;
			case NOTIFY:
				this.#kick(Math.floor(offset / NOTIFY_MULTIPLIER));
				break;
		}
	}

	/** Offset and width that the PCI configuration access capability names, if it makes sense. */
	#window(): { readonly at: number; readonly size: Width } | undefined {
		const at = this.pci.read(PCI_CFG_OFFSET, 4);
		const size = this.pci.read(PCI_CFG_LENGTH, 4);
		if (size !== 1 && size !== 2 && size !== 4) return undefined;
		return at + size <= MODERN_SIZE && at % size === 0 ? { at, size } : undefined;
	}

	#configRead(offset: number, size: number): void {
		if (offset + size <= PCI_CFG_DATA || offset >= PCI_CFG_DATA + 4) return;
		const window = this.#window();
		if (!window) return;
		const value = this.#readModern(window.at, window.size);
		for (let i = 0; i < window.size; i++) this.pci.config[PCI_CFG_DATA + i] = (value >>> (i * 8)) & 0xff;
	}

	#configWritten(offset: number, size: number): void {
		if (offset <= PCI_COMMAND && offset + size > PCI_COMMAND && !this.pci.busMaster) this.#status &= ~Status.driverOk;
		if (offset + size <= PCI_CFG_DATA || offset >= PCI_CFG_DATA + 4) return;
		const window = this.#window();
		if (!window) return;
		let value = 0;
		for (let i = window.size - 1; i >= 0; i--) value = value * 256 + this.pci.config[PCI_CFG_DATA + i];
		this.#writeModern(window.at, window.size, value);
	}

	save() {
		return {
			version: 1,
			status: this.#status,
			accepted: this.#accepted,
			select: this.#select,
			isr: this.#isr,
			generation: this.#generation,
			broken: this.#broken,
			common: this.#common.save(),
			legacy: this.#legacy.save(),
			queues: this.#queues.map((queue) => queue.save()) as StateValue[],
			model: this.model.save(),
		} satisfies DeviceState;
	}

	restore(state: DeviceState): void {
		checkVersion(this.model.name, state, 1);
		const saved = state as ReturnType<VirtioPci['save']>;
		if (saved.queues.length !== this.#queues.length)
			throw new Error(`${this.model.name}: saved state has ${saved.queues.length} queues`);
		this.#resetDevice();
		this.#status = saved.status;
		this.#accepted = saved.accepted & this.#offered;
		this.#select = saved.select;
		this.#generation = saved.generation;
		this.#broken = saved.broken;
		this.#common.restore(saved.common);
		this.#legacy.restore(saved.legacy);
		for (const [n, queue] of this.#queues.entries()) queue.restore(saved.queues[n] as { [key: string]: StateValue });
		this.#isr = saved.isr;
		this.pci.irq.set(this.#isr !== 0);
		this.model.restore(saved.model);
		// Kicks that were not served are not saved; one too many does no harm.
		for (let n = 0; n < this.#queues.length; n++) this.#kick(n);
	}
}

function handler(
	read: (at: number, size: Width) => number,
	write: (at: number, size: Width, value: number) => void,
): IoHandler {
	return {
		read8: (at) => read(at, 1) & 0xff,
		read16: (at) => read(at, 2),
		read32: (at) => read(at, 4),
		write8: (at, value) => write(at, 1, value),
		write16: (at, value) => write(at, 2, value),
		write32: (at, value) => write(at, 4, value),
	};
}

/** 4.1.2: transitional devices keep the ids of legacy ones, the others have 1040h + type. */
const TRANSITIONAL: Readonly<Record<number, number>> = {
	[DeviceType.block]: 0x1001,
	[DeviceType.balloon]: 0x1002,
	[DeviceType.console]: 0x1003,
	[DeviceType.entropy]: 0x1005,
};

function identity(model: VirtioModel, modernOnly: boolean, legacy: IoHandler, modern: IoHandler): PciIdentity {
	const capability = (at: number, next: number, type: number, page: number, length: number) => ({
		...bytes(at, [0x09, next, length, type, type === 5 ? 0 : MODERN_BAR, 0, 0, 0]),
		...bytes(at + 8, type === 5 ? [] : le32(page * PAGE)),
		...bytes(at + 12, type === 5 ? [] : le32(PAGE)),
	});
	const legacySize = 2 ** Math.ceil(Math.log2(LEGACY_CONFIG + model.configLength));
	const bars: { [bar: number]: PciBarSpec } = {
		[MODERN_BAR]: { kind: 'mmio', size: MODERN_SIZE, handler: modern, prefetch: true, is64: true },
	};
	if (!modernOnly) bars[0] = { kind: 'io', size: legacySize, handler: legacy };
	const writable = { ...bytes(PCI_CFG + 4, [0xff]), ...bytes(PCI_CFG_OFFSET, new Array<number>(12).fill(0xff)) };
	return {
		name: model.name,
		vendor: 0x1af4,
		device: modernOnly ? 0x1040 + model.type : TRANSITIONAL[model.type],
		revision: modernOnly ? 1 : 0,
		classCode: model.classCode,
		subsystemVendor: 0x1af4,
		subsystem: modernOnly ? 0x1100 : model.type,
		pin: 1,
		bars,
		capabilities: PCI_CFG,
		capabilityRanges: [[0x40, 0x58]],
		config: {
			...capability(0x40, 0, 1, COMMON, 16),
			...capability(0x50, 0x40, 3, ISR, 16),
			...capability(0x60, 0x50, 4, CONFIG, 16),
			...capability(0x70, 0x60, 2, NOTIFY, 20),
			...bytes(0x80, le32(NOTIFY_MULTIPLIER)),
			...capability(PCI_CFG, 0x70, 5, 0, 20),
		},
		writable,
	};
}

function bytes(at: number, values: readonly number[]): { [offset: number]: number } {
	return Object.fromEntries(values.map((value, i) => [at + i, value]));
}

function le32(value: number): number[] {
	return [0, 8, 16, 24].map((shift) => (value >>> shift) & 0xff);
}
