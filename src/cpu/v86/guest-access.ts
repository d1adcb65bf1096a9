/**
 * The core's port and memory callbacks: the guest is in the middle of an instruction. Devices answer; what may not happen
 * there waits for the core's next safe place.
 */
import type { GuestRam } from './memory.ts';
import type { Mmio } from './mmio.ts';
import type { Ports } from './ports.ts';

/**
 * The core counts instructions, 100 000 a round, whatever they cost: accesses of a millisecond each would make a round
 * of minutes. So the time is looked at after this many accesses (a power of two), and a round that has lasted for so
 * long ends.
 */
const LOOK_EVERY = 32;
const MOST_MS = 1;
/** What an access counts as where the host's time must not decide anything, ms; and bytes moved that count as one. */
const VIRTUAL_MS = 50e-6;
const BYTES_AN_ACCESS = 128;

export class GuestAccess {
	/** The guest is inside a port or memory access. */
	busy = false;
	/** Such accesses since the core was last at a safe place. */
	#accesses = 0;
	/** Bytes that they have moved beyond answering. */
	#moved = 0;
	readonly #ports: Ports;
	readonly #mmio: Mmio;
	/** When the core was last at a safe place, ms of #now. */
	#since = 0;
	readonly #dma: GuestRam;
	readonly #now: () => number;
	readonly #end: () => void;

	/** `end` is called while accesses have kept the core from a safe place for too long, by the host's time if `real`. */
	constructor(ports: Ports, mmio: Mmio, dma: GuestRam, real: boolean, end: () => void) {
		this.#ports = ports;
		this.#mmio = mmio;
		this.#dma = dma;
		this.#now = real ? () => performance.now() : () => (this.#accesses + this.#moved / BYTES_AN_ACCESS) * VIRTUAL_MS;
		this.#end = end;
	}

	/** The core is between two instructions. */
	rest(): void {
		this.#accesses = 0;
		this.#moved = 0;
		this.#since = this.#now();
	}

	/** Accesses have taken this round more time than it should. */
	get overdue(): boolean {
		return this.busy && this.#now() - this.#since > MOST_MS;
	}

	/** The present access has moved so many bytes beyond answering. */
	spent(bytes: number): void {
		this.#moved += bytes;
		this.#look();
	}

	/** The core has failed in the middle of an access. */
	abandon(): void {
		this.busy = false;
		this.#dma.locked = false;
	}

	#enter(): void {
		this.busy = true;
		if ((++this.#accesses & (LOOK_EVERY - 1)) === 0) this.#look();
	}

	#look(): void {
		if (this.overdue) this.#end();
	}

	portRead8(port: number): number {
		this.#enter();
		const value = this.#ports.read8(port);
		this.busy = false;
		return value;
	}
	portRead16(port: number): number {
		this.#enter();
		const value = this.#ports.read16(port);
		this.busy = false;
		return value;
	}
	portRead32(port: number): number {
		this.#enter();
		const value = this.#ports.read32(port);
		this.busy = false;
		return value;
	}
	portWrite8(port: number, value: number): void {
		this.#enter();
		this.#ports.write8(port, value);
		this.busy = false;
	}
	portWrite16(port: number, value: number): void {
		this.#enter();
		this.#ports.write16(port, value);
		this.busy = false;
	}
	portWrite32(port: number, value: number): void {
		this.#enter();
		this.#ports.write32(port, value);
		this.busy = false;
	}
	memoryRead8(address: number): number {
		this.#enter();
		this.#dma.locked = true;
		const value = this.#mmio.read8(address);
		this.busy = this.#dma.locked = false;
		return value;
	}
	memoryRead32(address: number): number {
		this.#enter();
		this.#dma.locked = true;
		const value = this.#mmio.read32(address);
		this.busy = this.#dma.locked = false;
		return value;
	}
	memoryWrite8(address: number, value: number): void {
		this.#enter();
		this.#mmio.write8(address, value);
		this.busy = false;
	}
	memoryWrite16(address: number, value: number): void {
		this.#enter();
		this.#mmio.write16(address, value);
		this.busy = false;
	}
	memoryWrite32(address: number, value: number): void {
		this.#enter();
		this.#mmio.write32(address, value);
		this.busy = false;
	}
	memoryWrite64(address: number, low: number, high: number): void {
		this.#enter();
		this.#mmio.write64(address, low, high);
		this.busy = false;
	}
	memoryWrite128(address: number, d0: number, d1: number, d2: number, d3: number): void {
		this.#enter();
		this.#mmio.write128(address, d0, d1, d2, d3);
		this.busy = false;
	}
}
