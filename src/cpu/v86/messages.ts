/**
 * Message-signalled interrupts. The core has no way in for them, so a message sets its bit in the local APIC's interrupt
 * request register, and the core is brought to the place where it looks there. Intel 64 and IA-32 Architectures Software
 * Developer's Manual, volume 3A, 11.11 "Message Signalled Interrupts" and 11.6.2 "Determining IPI Destination".
 */
import { guestError, type MessageSink } from '../../core/index.ts';
import { APIC_IRR, APIC_TMR } from './layout.ts';
import type { LinearMemory } from './memory.ts';

const APIC_BASE = 0xfee00000;
const APIC_RANGE = 1 << 20;
/** Offsets of registers. */
const Apic = { id: 0x20, logicalDestination: 0xd0, spuriousVector: 0xf0 } as const;
const SOFTWARE_ENABLE = 1 << 8;
/** Message address: destination mode. */
const LOGICAL = 1 << 2;
/** A physical destination that means every processor. */
const BROADCAST = 0xff;
/** Message data, bits 10..8: fixed and lowest priority mean the same to one processor; the others it cannot do. */
const MOST_DELIVERY_MODE = 1;
const FIRST_VECTOR = 16;

export interface MessageInputs {
	/** Linear address of the local APIC's state. */
	get_apic_addr(): number;
	/** Reads guest-physical memory, APIC registers included. */
	read32s(address: number): number;
}

export class Messages {
	readonly #inputs: MessageInputs;
	readonly #memory: LinearMemory;
	readonly #arrived: () => void;
	#complained = false;

	/** `arrived` makes the core look for interrupts soon. */
	constructor(inputs: MessageInputs, memory: LinearMemory, arrived: () => void) {
		this.#inputs = inputs;
		this.#memory = memory;
		this.#arrived = arrived;
	}

	readonly post: MessageSink = (address, data) => {
		const vector = data & 0xff;
		if (!this.#deliverable(address, data, vector)) return;
		// Setting a bit is all that happens here, so it may be in the middle of the guest's instruction.
		const apic = this.#inputs.get_apic_addr() >>> 0;
		const { u32 } = this.#memory;
		const word = vector >>> 5;
		const bit = 1 << (vector & 31);
		u32[(apic + APIC_TMR) / 4 + word] &= ~bit;
		u32[(apic + APIC_IRR) / 4 + word] |= bit;
		this.#arrived();
	};

	#deliverable(address: number, data: number, vector: number): boolean {
		if (address < APIC_BASE || address >= APIC_BASE + APIC_RANGE) return this.#complain(`to ${hex(address)}`);
		if (((data >>> 8) & 7) > MOST_DELIVERY_MODE || vector < FIRST_VECTOR) return this.#complain(`of ${hex(data)}`);
		if ((this.#register(Apic.spuriousVector) & SOFTWARE_ENABLE) === 0) return false;
		const destination = (address >>> 12) & 0xff;
		if ((address & LOGICAL) !== 0) return ((this.#register(Apic.logicalDestination) >>> 24) & destination) !== 0;
		return destination === BROADCAST || destination === this.#register(Apic.id) >>> 24;
	}

	#register(offset: number): number {
		return this.#inputs.read32s(APIC_BASE + offset);
	}

	#complain(what: string): false {
		if (!this.#complained) guestError('apic', `a message-signalled interrupt ${what} is dropped (not said again)`);
		this.#complained = true;
		return false;
	}
}

function hex(value: number): string {
	return `0x${value.toString(16).padStart(8, '0')}`;
}
