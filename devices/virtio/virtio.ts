/**
 * What every virtio device, transport and driver share: feature bits, status bits, and the seam between a device model
 * and the transport that carries it. Virtual I/O Device (VIRTIO) 1.2, chapters 2, 3 and 6.
 */
import type { Host, StateValue } from '../../src/core/index.ts';
import type { Virtqueue } from './queue.ts';

/** 2.1 Device Status Field. */
export const Status = {
	acknowledge: 1,
	driver: 2,
	driverOk: 4,
	featuresOk: 8,
	needsReset: 64,
	failed: 128,
} as const;

/** Bit numbers. Chapter 6 Reserved Feature Bits, 6.3 Legacy Interface; `bad` is what QEMU offers to catch legacy drivers. */
export const Feature = {
	notifyOnEmpty: 24,
	anyLayout: 27,
	indirectDesc: 28,
	eventIdx: 29,
	bad: 30,
	version1: 32,
	ringPacked: 34,
	ringReset: 40,
} as const;

/** Device types. Chapter 5. */
export const DeviceType = { block: 2, console: 3, entropy: 4, balloon: 5, input: 18 } as const;

/** The set of features with these bit numbers. */
export function features(...bits: readonly number[]): bigint {
	return bits.reduce((set, bit) => set | (1n << BigInt(bit)), 0n);
}

/** A device's configuration space; a RegisterFile is one. Accesses lie within `configLength`. */
export interface ConfigSpace {
	read(offset: number, size: 1 | 2 | 4): number;
	write(offset: number, size: 1 | 2 | 4, value: number): void;
}

/** What a transport does for the model that it carries. */
export interface VirtioBus {
	readonly host: Host;
	/** The driver accepted the feature with this bit number. */
	has(feature: number): boolean;
	/** Queue `n` of the model's `queueSizes`. */
	queue(n: number): Virtqueue;
	/** The driver has said DRIVER_OK. */
	readonly driverReady: boolean;
	/** The configuration space has changed: counts its generation and tells the driver once that is ready. */
	configChanged(): void;
	/**
	 * Runs `work` that uses queues, then raises the interrupts that its pushes call for. What the guest did wrong (RingError,
	 * GuestFault) puts the device into the state "needs reset" with one line in the log. Only at places where guest memory
	 * may be touched; may be nested.
	 */
	run(work: () => void): void;
	/** run() at the next such place, unless the device is reset before. */
	later(work: () => void): void;
}

/** A device behind a transport: its identity, its queues and what it does with them. */
export interface VirtioModel {
	/** As in logs and traces: `virtio-balloon`. */
	readonly name: string;
	readonly type: number;
	/** PCI class code, 24 bits. */
	readonly classCode: number;
	/** Features of the device type that are offered. */
	readonly features: bigint;
	/** Largest size of each queue. */
	readonly queueSizes: readonly number[];
	readonly config: ConfigSpace;
	readonly configLength: number;
	/** Called once, before anything else. */
	connect(bus: VirtioBus): void;
	/** The driver kicked queue `n`, or may have. Called from run(). */
	kicked(n: number): void;
	/** The driver is ready: features are settled. Called from run(). */
	started(): void;
	/** Queue `n` is gone with all that was taken from it. */
	queueReset(n: number): void;
	/** As after power-on; queues have gone already. */
	reset(): void;
	save(): { [key: string]: StateValue };
	/** Queues and features are as saved when this is called. */
	restore(state: { readonly [key: string]: StateValue | undefined }): void;
}
