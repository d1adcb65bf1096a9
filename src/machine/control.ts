/**
 * What the outside may ask of a running machine: the face that QMP, the human monitor, the command line and the
 * public API share. Words are QEMU's (qapi/run-state.json, block-core.json, pci.json, ui.json), so that its clients
 * find what they know; the machine behind it knows nothing of sockets or JSON.
 */
import { type BalloonStatistics, STATISTICS } from '../../devices/virtio/index.ts';
import type { AudioInfo } from '../audio/index.ts';
import type { InputEvents } from '../core/index.ts';
import type { CpuRegisters } from '../cpu/backend.ts';
import type { MachineConfig } from './config.ts';
import type { PanicAction } from './panic.ts';

/** qapi/run-state.json, enum RunState, those that this machine can be in. */
export type RunState =
	| 'prelaunch'
	| 'running'
	| 'paused'
	| 'io-error'
	| 'shutdown'
	| 'guest-panicked'
	| 'internal-error';

/** qapi/run-state.json, enum ShutdownCause, those that occur. */
export type ShutdownCause =
	| 'host-error'
	| 'host-qmp-quit'
	| 'host-qmp-system-reset'
	| 'host-signal'
	| 'host-ui'
	| 'guest-shutdown'
	| 'guest-reset'
	| 'guest-panic';

/** How a machine ended. `failure` says why when the CPU or the host could not go on. */
export interface MachineEnd {
	readonly cause: ShutdownCause;
	readonly failure?: string;
}

/** An event as QMP sends it: name and data of qapi. */
export type MachineEventListener = (event: string, data: Readonly<Record<string, unknown>>) => void;

/** Pixels as shown, rows top down, 3 bytes a pixel in the order red, green, blue. */
export interface Screenshot {
	readonly width: number;
	readonly height: number;
	readonly rgb: Uint8Array;
}

/** Node names are ours to choose; they are the same for the life of the machine. */
export function nodeName(device: string): string {
	return `#${device}`;
}

/** One drive, with or without a medium. */
export interface BlockInfo {
	/** Back-end name as QEMU gives it: `ide0-hd0`, `ide1-cd0`. */
	readonly device: string;
	/** Where the drive sits in the machine, if it is plugged in. */
	readonly qdev?: string;
	readonly removable: boolean;
	/** The guest keeps the tray locked. */
	readonly locked: boolean;
	/** For removable drives. */
	readonly trayOpen?: boolean;
	/** Why the machine stands still, if that is by this drive: QEMU's io-status. */
	readonly ioStatus?: 'ok' | 'nospace' | 'failed';
	readonly inserted?: {
		readonly file: string;
		/** Format driver: `raw` so far. */
		readonly driver: string;
		readonly readOnly: boolean;
		/** Writes go to a throw-away overlay over `file`. */
		readonly snapshot: boolean;
		/** Bytes. */
		readonly size: number;
	};
}

export interface PciRegion {
	/** 0..5, or 6 for the expansion ROM. */
	readonly bar: number;
	readonly type: 'io' | 'memory';
	/** Guest-physical or port address; -1 while not mapped. */
	readonly address: number;
	/** Bytes. */
	readonly size: number;
	readonly prefetch?: boolean;
	readonly mem64?: boolean;
}

/** One PCI function as the guest has configured it. */
export interface PciInfo {
	readonly bus: number;
	readonly slot: number;
	readonly function: number;
	readonly vendor: number;
	readonly device: number;
	readonly subsystemVendor: number;
	readonly subsystem: number;
	/** 16 bits: base class and subclass. */
	readonly class: number;
	/** 0 none, 1 INTA# .. 4 INTD#. */
	readonly irqPin: number;
	/** The interrupt line register. */
	readonly irqLine: number;
	/** Device id (`-device id=`), or ''. */
	readonly id: string;
	readonly regions: readonly PciRegion[];
}

/** A device in the tree of `info qtree`. */
export interface QtreeDevice {
	/** QEMU's type name: `qxl-vga`, `isa-serial`. */
	readonly type: string;
	readonly id: string;
	/** Property lines as `name = value`. */
	readonly properties?: readonly (readonly [name: string, value: string])[];
	/** Lines that the bus adds below the properties: class, address, BARs. */
	readonly lines?: readonly string[];
	readonly buses?: readonly QtreeBus[];
}
export interface QtreeBus {
	readonly name: string;
	/** `System`, `PCI`, `ISA`, `IDE`, `i2c-bus`. */
	readonly type: string;
	readonly devices: readonly QtreeDevice[];
}

/** One channel of one SPICE client (qapi/ui.json, SpiceChannel). */
export interface SpiceChannelInfo {
	readonly host: string;
	readonly port: string;
	readonly family: 'ipv4' | 'ipv6' | 'unix' | 'unknown';
	readonly connectionId: number;
	readonly channelType: number;
	readonly channelId: number;
	readonly tls: boolean;
}
/** qapi/ui.json, SpiceInfo. Ports are those listened on, after `auto` was settled. */
export interface SpiceInfo {
	readonly host: string;
	readonly port?: number;
	readonly tlsPort?: number;
	readonly auth: 'none' | 'spice';
	readonly mouseMode: 'client' | 'server' | 'unknown';
	readonly channels: readonly SpiceChannelInfo[];
	/** PEM of the certificate authority that a client needs, and the subject that it must see, on a TLS port. */
	readonly ca?: string;
	readonly hostSubject?: string;
}

export interface SpiceControl {
	/** `connected` says what happens to a client that is there: qapi/ui.json, SetPasswordAction. */
	setPassword(password: string, connected: 'keep' | 'fail' | 'disconnect'): void;
	/** `now`, `never`, `+SECONDS` or seconds since the Unix epoch. */
	expirePassword(time: string): void;
	info(): SpiceInfo;
}

/** Memory statistics of the guest (virtio 1.2, 5.5.6.3), in QEMU's words; counts and bytes. */
export const BALLOON_STATISTICS = STATISTICS;

/** The memory balloon. Bytes. */
export interface BalloonControl {
	/** What the guest has now. */
	readonly actual: number;
	/** What it should have. */
	target: number;
	/** The latest statistics by name, and when they came, seconds since 1970 (0: never). */
	readonly statistics: BalloonStatistics;
	/** Seconds between two questions for statistics; 0 asks none. */
	pollingInterval: number;
	/** Takes back what the guest does not use now; false if its driver cannot. `done` gets the number of bytes. */
	hintFreePages(done: (bytes: number) => void): boolean;
}

export interface MachineControl {
	readonly name: string;
	/** All zeros when none was given. */
	readonly uuid: string;
	readonly config: MachineConfig;
	readonly status: RunState;
	/** What a panic of the guest makes of the machine. */
	panicAction: PanicAction;
	/** Settles once, when the machine has ended and its disks are closed. Never rejects. */
	readonly ended: Promise<MachineEnd>;

	cont(): void;
	stop(): void;
	/** System reset, as the button on the case. */
	reset(): void;
	/** Presses the ACPI power button. */
	powerdown(): void;
	/** Ends the machine: no more guest, disks flushed and closed, sockets gone. `failure`: why it could not go on. */
	quit(cause?: ShutdownCause, failure?: string): Promise<void>;

	/** Returns the way to stop listening. */
	onEvent(listener: MachineEventListener): () => void;

	/** What a client would see now; undefined while the display has no picture. */
	screenshot(head?: number): Screenshot | undefined;
	readonly inputs: InputEvents;

	blocks(): readonly BlockInfo[];
	/** Rejects with TsvmError: no such device, not removable, locked without `force`. */
	eject(device: string, force: boolean): Promise<void>;
	/** `readOnlyMode` as qapi's BlockdevChangeReadOnlyMode; rejects with TsvmError when the file cannot be opened. */
	changeMedium(
		device: string,
		file: string,
		options: { readonly force: boolean; readonly readOnlyMode: 'retain' | 'read-only' | 'read-write' },
	): Promise<void>;

	/** Absent in a machine without one. */
	readonly balloon?: BalloonControl;
	/** How sound is going; absent in a machine without sound. */
	readonly audio?: { info(): AudioInfo };
	/** Absent without a SPICE server. */
	readonly spice?: SpiceControl;
	pciTree(): readonly PciInfo[];
	/** The main system bus and what hangs on it. */
	deviceTree(): QtreeBus;
	registers(): CpuRegisters;
}
