/** What a device is, and the parts of a machine that it may touch: interrupt lines, guest memory, port and memory space. */
import type { Clock } from './clock.ts';
import type { DeviceState } from './state.ts';

export interface Device {
	/** Power-on and system-reset state. */
	reset(): void;
	save(): DeviceState;
	restore(state: DeviceState): void;
}

/** One interrupt line. Setting the level it already has is free. */
export interface Irq {
	set(level: boolean): void;
}

/** Where message-signalled interrupts end: a write of `data` to `address` by a device. Free to call from anywhere. */
export type MessageSink = (address: number, data: number) => void;

/**
 * Guest RAM, the only door to it. Every method checks its range against RAM and throws GuestFault;
 * addresses are guest-physical. Little-endian throughout.
 */
export interface Dma {
	/** Bytes of guest RAM. */
	readonly size: number;
	/** RAM itself, valid until control returns to the CPU or the event loop: read from it, never keep it. */
	view(address: number, length: number): Uint8Array;
	/** A copy that the caller owns. */
	read(address: number, length: number): Uint8Array;
	/** Writes and tells the CPU, so that code in those pages is translated anew. */
	write(address: number, bytes: Uint8Array): void;
	read8(address: number): number;
	read16(address: number): number;
	read32(address: number): number;
	write8(address: number, value: number): void;
	write16(address: number, value: number): void;
	write32(address: number, value: number): void;
	/**
	 * Gives the host back what it can of memory whose content nobody needs: whole host pages inside the range read as
	 * zeros afterwards, the rest stays. Absent where the host cannot do so.
	 */
	discard?(address: number, length: number): void;
}

/**
 * Accesses to a range of I/O ports or of memory-mapped registers. `offset` is from the start of the range.
 * A width with no method is made of narrower ones, low byte first; a range with none at all reads as all ones.
 * Values are unsigned.
 */
export interface IoHandler {
	read8?(offset: number): number;
	read16?(offset: number): number;
	read32?(offset: number): number;
	write8?(offset: number, value: number): void;
	write16?(offset: number, value: number): void;
	write32?(offset: number, value: number): void;
}

/** A range that something answers at. Overlaps are legal: the one mapped last wins, as QEMU's later regions do. */
export interface Mapping {
	/** Takes the range out. Idempotent. */
	unmap(): void;
}

export interface PortSpace {
	/** Ports `base` .. `base + size - 1`. Throws RangeError outside 0..0xffff. */
	map(base: number, size: number, handler: IoHandler, name?: string): Mapping;
}

/**
 * Memory that the guest reaches at the speed of RAM through a BAR or a fixed window, such as a frame buffer.
 * The bytes live as long as the machine; `bytes()` must be asked anew after control went back to the CPU.
 */
export interface VideoMemory {
	readonly size: number;
	/** The whole memory, valid until control returns to the CPU or the event loop. */
	bytes(): Uint8Array;
	/**
	 * Which 4 KiB pages the guest wrote since the last call with the same range start; clears what it returns.
	 * Fills `into` (one byte a page, 1 = written) for pages `first` .. `first + into.length - 1`; returns how many.
	 */
	takeDirty(first: number, into: Uint8Array): number;
}

export interface MmioSpace {
	/** Device registers at guest-physical `base`. */
	map(base: number, size: number, handler: IoHandler, name?: string): Mapping;
	/** A window on video memory: `length` bytes from `offset`, seen at `base`. `handler`, if given, may be slower but sees each access. */
	mapVideo(base: number, memory: VideoMemory, offset: number, length: number, name?: string): Mapping;
}

/**
 * The CPU's general registers during a port access, for devices that pass more through them than the access carries.
 * Only valid inside a port handler. EAX, AX or AL take the value that a read handler returns, whatever is written here.
 */
export interface PortRegisters {
	get(name: 'eax' | 'ebx' | 'ecx' | 'edx' | 'esi' | 'edi'): number;
	set(name: 'ebx' | 'ecx' | 'edx' | 'esi' | 'edi', value: number): void;
}

/** What every device gets from the board that carries it. */
export interface Host {
	readonly clock: Clock;
	readonly dma: Dma;
	/** Runs `work` soon, at a place where guest memory and interrupt lines may be touched freely, before the guest's next slice. */
	defer(work: () => void): void;
	/**
	 * Inside a guest's access: what the guest's accesses started since the CPU was last between two rounds has cost more
	 * than its share of time. A device that would do much more than answer the access defers that then.
	 */
	readonly overdue: boolean;
	/** Inside a guest's access: it took more than an answer, so many bytes moved or drawn. That counts as its time. */
	spent(bytes: number): void;
	/**
	 * Inside a guest's write to a port: the guest makes the same write again once the rest of the machine has had its turn.
	 * For what must be done before the guest goes on and is too much for one go; interrupts may come in between. A string
	 * instruction comes back with its next element.
	 */
	again(): void;
}
