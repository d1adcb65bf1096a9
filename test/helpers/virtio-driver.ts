/**
 * A virtio driver in miniature on a fake PCI board: it finds the device's structures, negotiates, places rings, makes
 * requests and takes what comes back, over the modern or the legacy interface, with split or packed rings.
 *
 *     const driver = new VirtioDriver(new VirtioRng(fill));
 *     driver.start();
 *     const { written, bytes } = driver.request(0, { in: [64] });
 */
import { PciBus } from '../../devices/pci/bus.ts';
import { VirtioPci, type VirtioPciOptions } from '../../devices/virtio/pci.ts';
import { Feature, Status, type VirtioModel } from '../../devices/virtio/virtio.ts';
import { type DeviceState, listenTrace } from '../../src/core/index.ts';
import { FakeBoard, FakeIrq } from './board.ts';
import {
	Arena,
	type Buffers,
	type DriverQueue,
	PackedDriverQueue,
	SplitDriverQueue,
	type Used,
} from './virtio-rings.ts';

export type { Buffers, Descriptor, Used, Wish } from './virtio-rings.ts';
export { type DriverQueue, INDIRECT, NEXT, PackedDriverQueue, SplitDriverQueue, WRITE } from './virtio-rings.ts';

export interface DriverOptions {
	/** Use the legacy interface. */
	readonly legacy?: boolean;
	/** Use packed rings (and have the device offer them). */
	readonly packed?: boolean;
	/** Guest memory, bytes. */
	readonly memory?: number;
	/** Calendar time at power-on, ms since 1970. */
	readonly wall?: number;
	/** Feature bits that this driver does not know. */
	readonly without?: readonly number[];
	/** More for the device. */
	readonly device?: VirtioPciOptions;
}

/** Offsets of the common configuration structure (4.1.4.3). */
export const Common = {
	deviceFeatureSelect: 0x00,
	deviceFeature: 0x04,
	driverFeatureSelect: 0x08,
	driverFeature: 0x0c,
	configMsixVector: 0x10,
	numQueues: 0x12,
	deviceStatus: 0x14,
	configGeneration: 0x15,
	queueSelect: 0x16,
	queueSize: 0x18,
	queueMsixVector: 0x1a,
	queueEnable: 0x1c,
	queueNotifyOff: 0x1e,
	queueDesc: 0x20,
	queueDriver: 0x28,
	queueDevice: 0x30,
	queueReset: 0x3a,
} as const;

/** Offsets of the legacy structure (4.1.4.8). */
export const Legacy = {
	deviceFeatures: 0x00,
	driverFeatures: 0x04,
	queueAddress: 0x08,
	queueSize: 0x0c,
	queueSelect: 0x0e,
	queueNotify: 0x10,
	deviceStatus: 0x12,
	isrStatus: 0x13,
	config: 0x14,
} as const;

/** cfg_type of a capability (4.1.4). */
export const CapType = { common: 1, notify: 2, isr: 3, device: 4, pci: 5 } as const;

export interface Capability {
	readonly type: number;
	/** Where it lies in configuration space. */
	readonly at: number;
	readonly bar: number;
	readonly offset: number;
	readonly length: number;
}

/** A message-signalled interrupt. */
export interface Message {
	readonly address: number;
	readonly data: number;
}

type Width = 1 | 2 | 4;
const SLOT = 5;
const IO_BASE = 0xc000;
const MMIO_BASE = 0xfe000000;
/** Where BAR 1 goes: MSI-X table and pending bits. */
export const MSIX_BASE = 0xfe100000;

function build(model: VirtioModel, { memory = 1 << 20, wall, packed = false, device: more }: DriverOptions) {
	const board = new FakeBoard({ memory, wall });
	const irq = new FakeIrq();
	const messages: Message[] = [];
	const post = (address: number, data: number) => messages.push({ address, data });
	const bus = new PciBus(board.ports, board.mmio, [irq, irq, irq, irq], {}, post);
	const device = new VirtioPci(board.host, model, { packed, ...more });
	bus.plug(SLOT, device.pci);
	return { board, bus, device, irq, messages };
}

/** Runs `work`; returns the guest's errors that were logged meanwhile, as `device: message`. */
export function guestErrors(work: () => void): string[] {
	const lines: string[] = [];
	const stop = listenTrace(
		(name) => name === 'guest.error',
		({ fields }) => lines.push(`${fields.device}: ${fields.message}`),
	);
	try {
		work();
	} finally {
		stop();
	}
	return lines;
}

export class VirtioDriver {
	/** These five are others after migrate(). */
	board: FakeBoard;
	bus: PciBus;
	device: VirtioPci;
	/** The line that INTA# ends in. */
	irq: FakeIrq;
	/** Messages that the device has sent so far. */
	messages: Message[];
	readonly arena: Arena;
	readonly legacy: boolean;
	readonly packed: boolean;
	readonly capabilities: readonly Capability[];
	readonly #options: DriverOptions;
	readonly #without: readonly number[];
	readonly #queues = new Map<number, DriverQueue>();
	#accepted = 0n;

	constructor(model: VirtioModel, options: DriverOptions = {}) {
		const { legacy = false, packed = false, without = [] } = options;
		this.#options = options;
		const built = build(model, options);
		({ board: this.board, bus: this.bus, device: this.device, irq: this.irq, messages: this.messages } = built);
		this.arena = new Arena(this.board.host.dma);
		this.legacy = legacy;
		this.packed = packed;
		this.#without = without;
		this.assign();
		this.capabilities = this.#findCapabilities();
	}

	/**
	 * The machine is saved, and restored with `model`, which is new, in the place of the old one. Returns the device's
	 * state as it was saved.
	 */
	migrate(model: VirtioModel): DeviceState {
		const state = structuredClone({ bus: this.bus.save(), device: this.device.save() });
		const { host } = this.board;
		const built = build(model, this.#options);
		({ board: this.board, bus: this.bus, device: this.device, irq: this.irq, messages: this.messages } = built);
		this.arena.dma = this.board.host.dma;
		this.board.host.dma.bytes.set(host.dma.bytes);
		this.board.host.clock.advance(host.clock.now());
		this.bus.restore(state.bus);
		this.device.restore(state.device);
		return state.device;
	}

	/** What firmware does: gives the BARs addresses and switches them and bus mastering on. */
	assign(): void {
		this.configWrite(0x10, 4, IO_BASE);
		this.configWrite(0x14, 4, MSIX_BASE);
		this.configWrite(0x20, 4, MMIO_BASE);
		this.configWrite(0x24, 4, 0);
		this.configWrite(0x04, 2, 7);
	}

	configRead(offset: number, width: Width): number {
		const { ports } = this.board;
		ports.out32(0xcf8, 0x80000000 + (SLOT << 11) + (offset & 0xfc));
		const at = 0xcfc + (offset & 3);
		return width === 1 ? ports.in8(at) : width === 2 ? ports.in16(at) : ports.in32(at);
	}

	configWrite(offset: number, width: Width, value: number): void {
		const { ports } = this.board;
		ports.out32(0xcf8, 0x80000000 + (SLOT << 11) + (offset & 0xfc));
		const at = 0xcfc + (offset & 3);
		if (width === 1) ports.out8(at, value);
		else if (width === 2) ports.out16(at, value);
		else ports.out32(at, value);
	}

	#findCapabilities(): Capability[] {
		const found: Capability[] = [];
		for (let at = this.configRead(0x34, 1); at !== 0; at = this.configRead(at + 1, 1)) {
			if (this.configRead(at, 1) !== 9) continue;
			found.push({
				type: this.configRead(at + 3, 1),
				at,
				bar: this.configRead(at + 4, 1),
				offset: this.configRead(at + 8, 4),
				length: this.configRead(at + 12, 4),
			});
		}
		return found;
	}

	capability(type: number): Capability {
		const capability = this.capabilities.find((each) => each.type === type);
		if (!capability) throw new Error(`the device has no capability ${type}`);
		return capability;
	}

	/** Reads the structure that the capability points to. */
	read(type: number, offset: number, width: Width): number {
		return this.mmioRead(this.capability(type).offset + offset, width);
	}

	write(type: number, offset: number, width: Width, value: number): void {
		this.mmioWrite(this.capability(type).offset + offset, width, value);
	}

	/** Anywhere in BAR 4. */
	mmioRead(offset: number, width: Width): number {
		const { mmio } = this.board;
		const at = MMIO_BASE + offset;
		return width === 1 ? mmio.read8(at) : width === 2 ? mmio.read16(at) : mmio.read32(at);
	}

	mmioWrite(offset: number, width: Width, value: number): void {
		const { mmio } = this.board;
		const at = MMIO_BASE + offset;
		if (width === 1) mmio.write8(at, value);
		else if (width === 2) mmio.write16(at, value);
		else mmio.write32(at, value);
	}

	legacyRead(offset: number, width: Width): number {
		const { ports } = this.board;
		const at = IO_BASE + offset;
		return width === 1 ? ports.in8(at) : width === 2 ? ports.in16(at) : ports.in32(at);
	}

	legacyWrite(offset: number, width: Width, value: number): void {
		const { ports } = this.board;
		const at = IO_BASE + offset;
		if (width === 1) ports.out8(at, value);
		else if (width === 2) ports.out16(at, value);
		else ports.out32(at, value);
	}

	/** Lets the device do what it has put off. */
	settle(): void {
		this.board.host.settle();
	}

	get status(): number {
		return this.legacy ? this.legacyRead(Legacy.deviceStatus, 1) : this.read(CapType.common, Common.deviceStatus, 1);
	}

	set status(value: number) {
		if (this.legacy) this.legacyWrite(Legacy.deviceStatus, 1, value);
		else this.write(CapType.common, Common.deviceStatus, 1, value);
		this.settle();
	}

	/** Takes the interrupt: reads the ISR status, which lowers the line. */
	takeIsr(): number {
		return this.legacy ? this.legacyRead(Legacy.isrStatus, 1) : this.read(CapType.isr, 0, 1);
	}

	/** Features that the device offers. */
	get offered(): bigint {
		if (this.legacy) return BigInt(this.legacyRead(Legacy.deviceFeatures, 4));
		let all = 0n;
		for (const half of [0, 1]) {
			this.write(CapType.common, Common.deviceFeatureSelect, 4, half);
			all |= BigInt(this.read(CapType.common, Common.deviceFeature, 4)) << BigInt(32 * half);
		}
		return all;
	}

	/** Writes the features that the driver accepts. */
	accept(features: bigint): void {
		this.#accepted = features;
		if (this.legacy) {
			this.legacyWrite(Legacy.driverFeatures, 4, Number(features & 0xffffffffn));
			return;
		}
		for (const half of [0, 1]) {
			this.write(CapType.common, Common.driverFeatureSelect, 4, half);
			this.write(CapType.common, Common.driverFeature, 4, Number((features >> BigInt(32 * half)) & 0xffffffffn));
		}
	}

	/** Features that were accepted. */
	has(feature: number): boolean {
		return ((this.#accepted >> BigInt(feature)) & 1n) === 1n;
	}

	get numQueues(): number {
		return this.device.model.queueSizes.length;
	}

	/** 3.1.1 up to DRIVER_OK: everything that is offered is accepted, all queues are set up in their full size. */
	start(): void {
		this.negotiate();
		for (let n = 0; n < this.numQueues; n++) this.setUp(n);
		this.status = this.status | Status.driverOk;
	}

	/** Reset, ACKNOWLEDGE, DRIVER, features and, on the modern interface, FEATURES_OK. */
	negotiate(): void {
		this.status = 0;
		this.#queues.clear();
		this.arena.clear();
		this.status = Status.acknowledge;
		this.status = Status.acknowledge | Status.driver;
		const unknown = [
			Feature.bad,
			Feature.notifyOnEmpty,
			...(this.packed ? [] : [Feature.ringPacked]),
			...this.#without,
		];
		this.accept(unknown.reduce((rest, bit) => rest & ~(1n << BigInt(bit)), this.offered));
		if (this.legacy) return;
		this.status = this.status | Status.featuresOk;
		if (!(this.status & Status.featuresOk)) throw new Error('the device does not accept these features');
	}

	/** Places a ring for queue `n`, of `size` entries where the interface lets the driver choose. */
	setUp(n: number, size?: number): DriverQueue {
		const queue = this.legacy ? this.#placeLegacy(n) : this.#placeModern(n, size);
		this.#queues.set(n, queue);
		return queue;
	}

	#placeLegacy(n: number): DriverQueue {
		this.legacyWrite(Legacy.queueSelect, 2, n);
		const queue = new SplitDriverQueue(this.arena, this.legacyRead(Legacy.queueSize, 2));
		this.legacyWrite(Legacy.queueAddress, 4, queue.areas[0] / 4096);
		return queue;
	}

	#placeModern(n: number, size: number | undefined): DriverQueue {
		const { common } = CapType;
		this.write(common, Common.queueSelect, 2, n);
		if (size !== undefined) this.write(common, Common.queueSize, 2, size);
		const entries = this.read(common, Common.queueSize, 2);
		const queue = this.has(Feature.ringPacked)
			? new PackedDriverQueue(this.arena, entries)
			: new SplitDriverQueue(this.arena, entries);
		for (const [i, at] of [Common.queueDesc, Common.queueDriver, Common.queueDevice].entries()) {
			this.write(common, at, 4, queue.areas[i]);
			this.write(common, at + 4, 4, 0);
		}
		this.write(common, Common.queueEnable, 2, 1);
		return queue;
	}

	queue(n: number): DriverQueue {
		const queue = this.#queues.get(n);
		if (!queue) throw new Error(`queue ${n} was not set up`);
		return queue;
	}

	/** Tells the device that there is something in queue `n`, and lets it do what it puts off. */
	kick(n: number): void {
		this.notify(n);
		this.settle();
	}

	/** Tells the device that there is something in queue `n`. */
	notify(n: number): void {
		if (this.legacy) this.legacyWrite(Legacy.queueNotify, 2, n);
		else {
			const { at } = this.capability(CapType.notify);
			this.write(CapType.common, Common.queueSelect, 2, n);
			const offset = this.read(CapType.common, Common.queueNotifyOff, 2) * this.configRead(at + 16, 4);
			this.write(CapType.notify, offset, 2, n);
		}
	}

	/** Makes requests available, kicks once, returns what came back. */
	send(n: number, ...requests: readonly Buffers[]): Used[] {
		for (const request of requests) this.queue(n).add(request);
		this.kick(n);
		return this.queue(n).used();
	}

	/** One request that the device answers at once; throws when it does not. */
	request(n: number, buffers: Buffers): Used {
		const [used, ...more] = this.send(n, buffers);
		if (!used || more.length > 0) throw new Error(`one request, ${used ? more.length + 1 : 0} answers`);
		return used;
	}

	/** Reads the device's own configuration. */
	readConfig(offset: number, width: Width): number {
		return this.legacy ? this.legacyRead(Legacy.config + offset, width) : this.read(CapType.device, offset, width);
	}

	writeConfig(offset: number, width: Width, value: number): void {
		if (this.legacy) this.legacyWrite(Legacy.config + offset, width, value);
		else this.write(CapType.device, offset, width, value);
		this.settle();
	}
}
