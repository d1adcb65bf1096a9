/**
 * What is plugged in where: the devices that every machine has, those that a description has words of its own for, and
 * those in QEMU's words, each with its place. Checked as part of the description.
 */
import type { ErrorPolicy } from '../block/index.ts';
import type { Chardev, Device, Drive } from './devices.ts';

/** How a virtio device shows itself. */
export interface Transport {
	readonly packed: boolean;
	readonly disableModern: boolean;
	/** Left out: as fits the device. */
	readonly disableLegacy?: boolean;
	/** Messages of MSI-X; left out: as many as QEMU gives the device. */
	readonly vectors?: number;
}

export interface VirtioPlace {
	/** PCI slot. */
	readonly slot: number;
	readonly transport: Transport;
}

export interface DiskPlan extends ErrorPolicy {
	/** Back-end name as QMP shows it. */
	readonly device: string;
	readonly file: string;
	readonly readonly: boolean;
	readonly snapshot: boolean;
	readonly discard: 'ignore' | 'unmap';
	readonly serial?: string;
	readonly bootindex?: number;
	/** On the virtio bus; else on IDE, in order. */
	readonly virtio?: VirtioPlace & {
		readonly logicalBlockSize?: number;
		readonly physicalBlockSize?: number;
		readonly minIoSize?: number;
		readonly optIoSize?: number;
	};
}

/** What a virtio port's bytes go to: an opened back end by id, the agent's, a SPICE port channel by name, nobody. */
export type PortEnd =
	| { readonly kind: 'chardev'; readonly id: string }
	| { readonly kind: 'agent' }
	| { readonly kind: 'spice'; readonly name: string }
	| { readonly kind: 'nobody' };

export interface PortPlan {
	readonly name: string;
	readonly console: boolean;
	readonly number?: number;
	readonly end: PortEnd;
}

export interface Plan {
	readonly disks: readonly DiskPlan[];
	/** The CD-ROM drive, which is there without a medium too. */
	readonly cdrom: { readonly device: string; readonly file?: string; readonly bootindex?: number };
	readonly serials: readonly (VirtioPlace & { readonly ports: readonly PortPlan[] })[];
	readonly balloon?: VirtioPlace;
	readonly rngs: readonly VirtioPlace[];
	readonly tablet?: VirtioPlace;
	readonly keyboard?: VirtioPlace;
	readonly soundSlot: number;
	readonly pvpanic?: { readonly port: number; readonly events?: number };
	readonly pvpanicPci?: { readonly slot: number; readonly events?: number };
	/** Back ends to open, each used once. */
	readonly chardevs: readonly Chardev[];
}

/** What of a description the plan is made from. */
export interface Pluggable {
	readonly disks: readonly (ErrorPolicy & {
		readonly file: string;
		readonly readonly: boolean;
		readonly snapshot: boolean;
		readonly discard: 'ignore' | 'unmap';
		readonly bus: 'ide' | 'virtio';
		readonly serial?: string;
	})[];
	readonly cdrom?: string;
	readonly drives: readonly Drive[];
	readonly chardevs: readonly Chardev[];
	readonly devices: readonly Device[];
	readonly serials: readonly { readonly kind: string; readonly id?: string }[];
	readonly sound: boolean;
	readonly balloon: object | null;
	readonly rng: boolean;
	readonly tablet: boolean;
	readonly packedRings: boolean;
	readonly spice: object | null;
	readonly agent: object | null;
	readonly spicePorts: readonly string[];
}

/** The description makes no sense; `path` says where. */
export class PlanError extends Error {
	readonly path: PropertyKey[];
	readonly hint: string;

	constructor(path: PropertyKey[], message: string, hint = '') {
		super(message);
		this.name = 'PlanError';
		this.path = path;
		this.hint = hint;
	}
}
