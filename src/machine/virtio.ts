/** The machine's virtio devices: which there are, and in which PCI slots. */
import { randomFillSync } from 'node:crypto';
import {
	type BalloonOptions,
	type BlkOptions,
	type SerialPortOptions,
	VirtioBalloon,
	VirtioBlk,
	VirtioKeyboard,
	VirtioPci,
	VirtioRng,
	VirtioSerial,
	VirtioTablet,
} from '../../devices/virtio/index.ts';
import type { Host } from '../core/index.ts';
import type { MachineConfig } from './config.ts';

export interface VirtioParts {
	readonly balloon?: BalloonOptions;
	/** The console device is there when this is, without ports too. */
	readonly serial?: { readonly ports: readonly SerialPortOptions[] };
	readonly disks?: readonly BlkOptions[];
	/** Fills what it is given with random bytes; the entropy device is there when this is. */
	readonly rng?: (into: Uint8Array) => void;
	readonly tablet?: boolean;
	readonly keyboard?: boolean;
	/** Offer packed rings. */
	readonly packed?: boolean;
}

export interface VirtioSlot {
	/** Name in saved states, such as `virtio-blk0`. */
	readonly name: string;
	/** PCI slot. */
	readonly slot: number;
	readonly device: VirtioPci;
}

export interface VirtioDevices {
	readonly slots: readonly VirtioSlot[];
	readonly balloon?: VirtioBalloon;
	readonly serial?: VirtioSerial;
	readonly disks: readonly VirtioBlk[];
	readonly tablet?: VirtioTablet;
	readonly keyboard?: VirtioKeyboard;
}

const SERIAL_SLOT = 3;
const BALLOON_SLOT = 4;
/** Slots of the others in the order that they are made; 6 is the sound card's. */
const FURTHER_SLOTS = [5, ...Array.from({ length: 25 }, (_, i) => 7 + i)];

/** The devices that a description asks for. */
export function virtioParts(
	config: MachineConfig,
	disks: readonly BlkOptions[],
	ports: readonly SerialPortOptions[] = [],
): VirtioParts {
	return {
		balloon: config.balloon ?? undefined,
		serial: { ports },
		disks,
		rng: config.rng ? randomBytes(config.clock) : undefined,
		tablet: config.tablet,
		packed: config.packedRings,
	};
}

/** With virtual time the same machine gives the same run, random numbers included. */
function randomBytes(clock: MachineConfig['clock']): (into: Uint8Array) => void {
	if (clock === 'real') return (into) => void randomFillSync(into);
	let state = 0x2545f491;
	return (into) => {
		for (let i = 0; i < into.length; i++) {
			// Xorshift: G. Marsaglia, "Xorshift RNGs", 2003.
			state ^= state << 13;
			state ^= state >>> 17;
			state ^= state << 5;
			into[i] = state >>> 24;
		}
	};
}

/** PCI slot of the `n`th disk. */
export function diskSlot(n: number): number {
	return FURTHER_SLOTS[n];
}

/** Makes the devices; throws RangeError when there are more than slots. */
export function createVirtio(host: Host, parts: VirtioParts): VirtioDevices {
	const { packed = false } = parts;
	const slots: VirtioSlot[] = [];
	const further = FURTHER_SLOTS.values();
	const plug = (name: string, model: ConstructorParameters<typeof VirtioPci>[1], fixed?: number) => {
		const slot = fixed ?? further.next().value;
		if (slot === undefined) throw new RangeError(`no PCI slot is left for ${name}`);
		slots.push({ name, slot, device: new VirtioPci(host, model, { packed }) });
	};
	const serial = parts.serial && new VirtioSerial(parts.serial);
	if (serial) plug('virtio-serial', serial, SERIAL_SLOT);
	const balloon = parts.balloon && new VirtioBalloon(parts.balloon);
	if (balloon) plug('virtio-balloon', balloon, BALLOON_SLOT);
	const disks = (parts.disks ?? []).map((options) => new VirtioBlk(options));
	for (const [n, disk] of disks.entries()) plug(`virtio-blk${n}`, disk);
	if (parts.rng) plug('virtio-rng', new VirtioRng(parts.rng));
	const tablet = parts.tablet ? new VirtioTablet() : undefined;
	if (tablet) plug('virtio-tablet', tablet);
	const keyboard = parts.keyboard ? new VirtioKeyboard() : undefined;
	if (keyboard) plug('virtio-keyboard', keyboard);
	return { slots, balloon, serial, disks, tablet, keyboard };
}
