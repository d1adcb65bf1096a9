/** The machine's virtio devices: which there are, and in which PCI slots. */
import { randomFillSync } from 'node:crypto';
import {
	type BalloonOptions,
	type BlkOptions,
	type SerialPortOptions,
	VirtioBalloon,
	VirtioBlk,
	VirtioKeyboard,
	type VirtioModel,
	VirtioPci,
	VirtioRng,
	VirtioSerial,
	VirtioTablet,
} from '../../devices/virtio/index.ts';
import type { Host } from '../core/index.ts';
import type { MachineConfig } from './config.ts';
import type { Plan, VirtioPlace } from './plan.ts';

export interface VirtioParts {
	readonly plan: Plan;
	/** In the order of the plan's disks on the virtio bus. */
	readonly disks: readonly BlkOptions[];
	/** Ports of each of the plan's console devices. */
	readonly serials: readonly (readonly SerialPortOptions[])[];
	readonly balloon: BalloonOptions;
	/** Fills what it is given with random bytes. */
	readonly random: (into: Uint8Array) => void;
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
	readonly tablet?: VirtioTablet;
	readonly keyboard?: VirtioKeyboard;
}

/** The devices that a description asks for; their back ends are opened already. */
export function virtioParts(
	config: MachineConfig,
	plan: Plan,
	backends: Pick<VirtioParts, 'disks' | 'serials'>,
): VirtioParts {
	return { plan, ...backends, balloon: config.balloon ?? {}, random: randomBytes(config.clock) };
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

export function createVirtio(host: Host, parts: VirtioParts): VirtioDevices {
	const { plan } = parts;
	const slots: VirtioSlot[] = [];
	const plug = <Model extends VirtioModel>(name: string, { slot, transport }: VirtioPlace, model: Model): Model => {
		slots.push({ name, slot, device: new VirtioPci(host, model, transport) });
		return model;
	};
	for (const [n, place] of plan.serials.entries())
		plug(numbered('virtio-serial', n), place, new VirtioSerial({ ports: parts.serials[n] }));
	const balloon = plan.balloon && plug('virtio-balloon', plan.balloon, new VirtioBalloon(parts.balloon));
	const disks = plan.disks.flatMap(({ virtio }) => virtio ?? []);
	for (const [n, place] of disks.entries()) plug(`virtio-blk${n}`, place, new VirtioBlk(parts.disks[n]));
	for (const [n, place] of plan.rngs.entries()) plug(numbered('virtio-rng', n), place, new VirtioRng(parts.random));
	const tablet = plan.tablet && plug('virtio-tablet', plan.tablet, new VirtioTablet());
	const keyboard = plan.keyboard && plug('virtio-keyboard', plan.keyboard, new VirtioKeyboard());
	return { slots, balloon, tablet, keyboard };
}

/** The first one has the bare name: most machines have one. */
function numbered(name: string, n: number): string {
	return n === 0 ? name : `${name}${n}`;
}
