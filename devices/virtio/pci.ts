/**
 * The PCI transport: one function with the modern interface (capabilities, BAR 4) and, for transitional devices, the
 * legacy one (BAR 0). Virtio 1.2, 4.1.
 */
import {
	checkVersion,
	type Device,
	type DeviceState,
	GuestFault,
	guestError,
	type Host,
	PCI_COMMAND,
	PCI_COMMAND_MASTER,
	PciFunction,
	type RegisterFile,
	type StateValue,
	tracePoints,
} from '../../src/core/index.ts';
import { RingError } from './chain.ts';
import { PciInterrupts } from './pci-interrupts.ts';
import { hasLegacy, identity, msixOf, NOTIFY_MULTIPLIER, PAGE, Page } from './pci-layout.ts';
import {
	type commonLayout,
	commonRegisters,
	LEGACY_CONFIG,
	LEGACY_CONFIG_MSIX,
	type legacyLayout,
	legacyRegisters,
	type RegisterTarget,
} from './pci-registers.ts';
import { PciWindow, type WideHandler, type Width, wideHandler } from './pci-window.ts';
import { Virtqueue } from './queue.ts';
import { Feature, features, Status, type VirtioBus, type VirtioModel } from './virtio.ts';

const ALL_ONES = { 1: 0xff, 2: 0xffff, 4: 0xffffffff } as const;

const trace = tracePoints('virtio', {
	reset: ['device'],
	status: ['device', 'status'],
	negotiated: ['device', 'features'],
	queue: ['device', 'queue', 'size'],
	kick: ['device', 'queue'],
});

/** In QEMU's words. */
export interface VirtioPciOptions {
	/** Offer packed rings. */
	readonly packed?: boolean;
	/** Without the modern interface: a device from before virtio 1.0. */
	readonly disableModern?: boolean;
	/** Without the legacy interface. */
	readonly disableLegacy?: boolean;
	/** Messages of MSI-X, 0 for none; left out: as many as QEMU gives the device. */
	readonly vectors?: number;
}

export class VirtioPci implements Device, VirtioBus {
	readonly pci: PciFunction;
	readonly model: VirtioModel;
	readonly host: Host;
	readonly #queues: readonly Virtqueue[];
	readonly #offered: RegisterTarget['offered'];
	readonly #common: RegisterFile<typeof commonLayout>;
	readonly #legacy: RegisterFile<typeof legacyLayout>;
	/** Features that the driver accepted; the same in 32-bit halves, since devices look at them all the time. */
	#accepted = 0n;
	#acceptedLow = 0;
	#acceptedHigh = 0;
	/** The driver accepted features that it was not offered. */
	#overreached = false;
	#status = 0;
	#select = 0;
	readonly #interrupts: PciInterrupts;
	#generation = 0;
	/** The driver broke a rule; nothing is done until it resets the device. */
	#broken = false;
	/** Counts resets, so that work for a former life of the device is not done. */
	#life = 0;
	/** Queues whose kick waits for the end of the guest's access. */
	readonly #late = new Set<number>();
	/** Numbers of queues that something was pushed to. */
	readonly #touched: number[] = [];
	#depth = 0;
	/** Counts outermost calls of run(). */
	#turn = 0;

	/** Throws RangeError when no interface would be left. */
	constructor(host: Host, model: VirtioModel, options: VirtioPciOptions = {}) {
		const { packed = false, disableModern = false } = options;
		const disableLegacy = options.disableLegacy === true || !hasLegacy(model.type);
		if (disableModern && disableLegacy)
			throw new RangeError(`${model.name} has only a modern interface, which cannot be disabled`);
		this.host = host;
		this.model = model;
		this.#offered = offers(model, { packed, disableModern, disableLegacy });
		this.#queues = model.queueSizes.map(
			(size, n) =>
				new Virtqueue(host.dma, size, {
					touched: () => this.#touched.push(n),
					turn: () => this.#turn,
					unfinished: () => this.#kickLate(n),
				}),
		);
		const target = this.#registerTarget();
		this.#common = commonRegisters(target);
		this.#legacy = legacyRegisters(target);
		const modern = this.#modernHandler();
		const msix = msixOf(model, !disableModern, options.vectors);
		this.pci = new PciFunction(
			identity(model, {
				legacy: disableLegacy ? undefined : this.#legacyHandler(),
				modern: disableModern ? undefined : modern,
				msix,
			}),
		);
		this.#interrupts = new PciInterrupts(this.pci, msix, this.#queues.length);
		const window = disableModern ? undefined : new PciWindow(this.pci, modern);
		this.pci.onConfigRead = window && ((offset, size) => window.read(offset, size));
		this.pci.onConfigWrite = (offset, size) => {
			if (offset <= PCI_COMMAND && offset + size > PCI_COMMAND) this.#commandWritten();
			window?.write(offset, size);
			msix?.configWritten(offset, size);
		};
		model.connect(this);
	}

	has(feature: number): boolean {
		return (feature < 32 ? (this.#acceptedLow >>> feature) & 1 : (this.#acceptedHigh >>> (feature - 32)) & 1) === 1;
	}

	#setAccepted(accepted: bigint): void {
		this.#accepted = accepted;
		this.#acceptedLow = Number(BigInt.asUintN(32, accepted));
		this.#acceptedHigh = Number(BigInt.asUintN(32, accepted >> 32n));
	}

	queue(n: number): Virtqueue {
		return this.#queues[n];
	}

	get driverReady(): boolean {
		return (this.#status & Status.driverOk) !== 0;
	}

	configChanged(): void {
		this.#generation = (this.#generation + 1) & 0xff;
		if (this.driverReady) this.#interrupts.configuration();
	}

	run(work: () => void): void {
		if (this.#broken || !this.pci.busMaster) return;
		if (this.#depth === 0) this.#turn++;
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

	/** Interrupts for those queues that something was pushed to and whose driver wants to know. */
	#signal(): void {
		if (this.#touched.length === 0) return;
		const due = this.#touched.splice(0).filter((n) => this.#queues[n].takeInterrupt());
		if (due.length > 0) this.#interrupts.queues(due);
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

	/**
	 * 3.1.1: modern drivers kick from DRIVER_OK on; legacy ones do so while they set the device up. Served at once, in the
	 * middle of the guest's access: Linux's console driver does nothing but wait for its buffer after each kick. A guest
	 * that kicks without end waits for the rest of the machine.
	 */
	#kick(n: number): void {
		if (!this.#queues[n]?.enabled || (this.has(Feature.version1) && !this.driverReady)) return;
		trace.kick(this.model.name, n);
		if (this.host.overdue) this.#kickLate(n);
		else this.run(() => this.model.kicked(n));
	}

	#kickLate(n: number): void {
		if (this.#late.has(n)) return;
		this.#late.add(n);
		const life = this.#life;
		this.host.defer(() => {
			if (life !== this.#life) return;
			this.#late.delete(n);
			this.run(() => this.model.kicked(n));
		});
	}

	/** System reset; configuration space is the bus's to reset. */
	reset(): void {
		this.#resetDevice();
		this.#interrupts.msix?.reset();
	}

	/** What the driver asks for by writing status 0 (2.1.1). */
	#resetDevice(): void {
		trace.reset(this.model.name);
		this.#life++;
		this.#broken = false;
		this.#status = 0;
		this.#setAccepted(0n);
		this.#overreached = false;
		this.#select = 0;
		this.#generation = 0;
		this.#touched.length = 0;
		this.#late.clear();
		this.#common.reset();
		this.#legacy.reset();
		for (const queue of this.#queues) queue.reset();
		this.#interrupts.reset();
		this.model.reset();
	}

	#setStatus(value: number, modern: boolean): void {
		trace.status(this.model.name, value);
		if (value === 0) {
			this.#resetDevice();
			return;
		}
		const set = value & ~this.#status;
		this.#status = value | (this.#status & Status.needsReset);
		// Legacy drivers know nothing of FEATURES_OK and may set it as they like.
		if (modern && set & Status.featuresOk) this.#checkFeatures();
		// Linux before 2.6.34 leaves bus mastering off; QEMU switches it on for drivers of that age at this point.
		if (!modern && value === (Status.acknowledge | Status.driver))
			this.pci.write(PCI_COMMAND, 1, this.pci.config[PCI_COMMAND] | PCI_COMMAND_MASTER);
		if (set & Status.driverOk) this.later(() => this.#started());
	}

	/** 2.2.2, 6.2: features that were not offered are refused, and so is a driver of the modern interface without VERSION_1. */
	#checkFeatures(): void {
		trace.negotiated(this.model.name, this.#accepted);
		const wrong = this.#overreached ? 'features that were not offered' : 'no VIRTIO_F_VERSION_1';
		if (!this.#overreached && this.has(Feature.version1)) return;
		this.#status &= ~Status.featuresOk;
		guestError(this.model.name, `the driver accepts ${wrong}; FEATURES_OK is refused`);
	}

	/** What was made available before is served now. */
	#started(): void {
		this.model.started();
		for (const [n, queue] of this.#queues.entries()) if (queue.enabled) this.model.kicked(n);
	}

	#accept(accepted: bigint): void {
		if (this.#status & Status.featuresOk) return;
		const offered = this.#offered.modern | this.#offered.legacy;
		this.#overreached = (accepted & ~offered) !== 0n;
		this.#setAccepted(accepted & offered);
	}

	#enable(n: number): void {
		const queue = this.#queues[n];
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

	#registerTarget(): RegisterTarget {
		const device = this;
		return {
			queues: this.#queues,
			get interrupts() {
				return device.#interrupts;
			},
			offered: this.#offered,
			get accepted() {
				return device.#accepted;
			},
			get status() {
				return device.#status;
			},
			get generation() {
				return device.#generation;
			},
			get select() {
				return device.#select;
			},
			set select(n: number) {
				device.#select = n;
			},
			accept: (accepted) => this.#accept(accepted),
			setStatus: (value, modern) => this.#setStatus(value, modern),
			enable: (n) => this.#enable(n),
			resetQueue: (n) => {
				this.#queues[n].reset();
				this.#interrupts.resetQueue(n);
				this.model.queueReset(n);
			},
			kick: (n) => this.#kick(n),
			reset: () => this.#resetDevice(),
		};
	}

	#readDeviceConfig(at: number, size: Width): number {
		if (at + size > this.model.configLength) return ALL_ONES[size];
		return this.model.config.read(at, size);
	}

	#writeDeviceConfig(at: number, size: Width, value: number): void {
		if (at + size <= this.model.configLength) this.model.config.write(at, size, value);
	}

	#legacyHandler(): WideHandler {
		// 4.1.4.8: the two vectors are there only while MSI-X is enabled.
		const header = () => (this.#interrupts.messages ? LEGACY_CONFIG_MSIX : LEGACY_CONFIG);
		const read = (at: number, size: Width) =>
			at < header() ? this.#legacy.read(at, size) : this.#readDeviceConfig(at - header(), size);
		const write = (at: number, size: Width, value: number) => {
			if (at < header()) this.#legacy.write(at, size, value);
			else this.#writeDeviceConfig(at - header(), size, value);
		};
		return wideHandler(read, write);
	}

	#modernHandler(): WideHandler {
		return wideHandler(
			(at, size) => this.#readModern(at, size),
			(at, size, value) => this.#writeModern(at, size, value),
		);
	}

	#readModern(at: number, size: Width): number {
		const offset = at % PAGE;
		switch (Math.floor(at / PAGE)) {
			case Page.common:
				return this.#common.read(offset, size);
			case Page.isr:
				return this.#interrupts.acknowledge();
			case Page.config:
				return this.#readDeviceConfig(offset, size);
			default:
				return 0;
		}
	}

	#writeModern(at: number, size: Width, value: number): void {
		const offset = at % PAGE;
		switch (Math.floor(at / PAGE)) {
			case Page.common:
				this.#common.write(offset, size, value);
				break;
			case Page.config:
				this.#writeDeviceConfig(offset, size, value);
				break;
			case Page.notify:
				this.#kick(Math.floor(offset / NOTIFY_MULTIPLIER));
				break;
		}
	}

	#commandWritten(): void {
		if (!this.pci.busMaster) this.#status &= ~Status.driverOk;
	}

	save() {
		return {
			version: 2,
			status: this.#status,
			accepted: this.#accepted,
			overreached: this.#overreached,
			select: this.#select,
			interrupts: this.#interrupts.save(),
			generation: this.#generation,
			broken: this.#broken,
			common: this.#common.save(),
			legacy: this.#legacy.save(),
			queues: this.#queues.map((queue) => queue.save()) as StateValue[],
			model: this.model.save(),
		} satisfies DeviceState;
	}

	restore(state: DeviceState): void {
		checkVersion(this.model.name, state, 2);
		const saved = state as ReturnType<VirtioPci['save']>;
		if (saved.queues.length !== this.#queues.length)
			throw new Error(`${this.model.name}: saved state has ${saved.queues.length} queues`);
		this.#resetDevice();
		this.#status = saved.status;
		this.#setAccepted(saved.accepted & (this.#offered.modern | this.#offered.legacy));
		this.#overreached = saved.overreached;
		this.#select = saved.select;
		this.#generation = saved.generation;
		this.#broken = saved.broken;
		this.#common.restore(saved.common);
		this.#legacy.restore(saved.legacy);
		for (const [n, queue] of this.#queues.entries()) queue.restore(saved.queues[n] as { [key: string]: StateValue });
		this.#interrupts.restore(saved.interrupts);
		this.model.restore(saved.model);
		// What was made available just before the machine was saved; one kick too many does no harm.
		this.later(() => {
			for (let n = 0; n < this.#queues.length; n++) this.#kick(n);
		});
	}
}

/** 6.3: what only legacy drivers know is not shown to modern ones. */
function offers(model: VirtioModel, options: Required<Omit<VirtioPciOptions, 'vectors'>>): RegisterTarget['offered'] {
	const { notifyOnEmpty, anyLayout, indirectDesc, eventIdx, bad, version1, ringReset, ringPacked } = Feature;
	const both = model.features | features(indirectDesc, eventIdx);
	const modern = both | features(version1, ringReset) | (options.packed ? features(ringPacked) : 0n);
	const legacy = both | features(notifyOnEmpty, anyLayout, bad);
	return {
		modern: options.disableModern ? 0n : modern,
		legacy: options.disableLegacy ? 0n : legacy,
	};
}
