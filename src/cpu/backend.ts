/** What a machine needs of a CPU core. Nothing outside a backend's own folder knows which core runs. */
import type { Device, Dma, Host, Irq, MmioSpace, PortRegisters, PortSpace, VideoMemory } from '../core/index.ts';

export interface CpuOptions {
	/** Guest RAM, bytes; a multiple of 1 MiB. */
	readonly memory: number;
	/** Room for all video memories together, bytes; a multiple of 64 KiB. */
	readonly videoMemory: number;
	/** Real time, or time derived from the instruction counter: the same inputs give the same run. */
	readonly time: 'real' | 'virtual';
	/** False forces video memory through plain MMIO callbacks: slow, correct, and the fallback. */
	readonly fastVideo: boolean;
	/**
	 * Gives the host back the whole pages inside a range of `memory`, which read as zeros afterwards. Without it devices
	 * find no Dma.discard, and what a guest gives up stays with the process.
	 */
	readonly discard?: (memory: ArrayBuffer, offset: number, length: number) => void;
}

export interface CpuRegisters {
	readonly eip: number;
	readonly eflags: number;
	readonly general: Readonly<Record<'eax' | 'ecx' | 'edx' | 'ebx' | 'esp' | 'ebp' | 'esi' | 'edi', number>>;
	readonly segments: Readonly<Record<'es' | 'cs' | 'ss' | 'ds' | 'fs' | 'gs', number>>;
	readonly cr0: number;
	readonly cr2: number;
	readonly cr3: number;
	readonly cr4: number;
	readonly halted: boolean;
}

/** The core can no longer run: the guest did what real hardware would shut down on, or the core itself failed. */
export interface CpuFailure {
	readonly reason: string;
	readonly registers: CpuRegisters;
}

/** A CPU with its interrupt controllers (8259 pair, local APIC, I/O APIC), its RAM, and the two address spaces around it. */
export interface CpuBackend extends Host, Device {
	readonly dma: Dma;
	readonly ports: PortSpace;
	readonly mmio: MmioSpace;
	/** The guest's registers inside a port handler; absent on a core that cannot show them there. */
	readonly portRegisters?: PortRegisters;
	/** Whether video memory runs at RAM speed; false after the start-up self-test failed or when switched off. */
	readonly fastVideo: boolean;

	/** A zeroed piece of the room asked for in CpuOptions; throws RangeError when it is used up. */
	allocateVideo(size: number): VideoMemory;
	/** ISA interrupt request 0..15, into the PICs and the I/O APIC. Safe to call from anywhere, memory callbacks included. */
	irq(line: number): Irq;
	/**
	 * A message-signalled interrupt: a device's write to the local APIC's range. One that no APIC takes is dropped. Safe to
	 * call from anywhere.
	 */
	message(address: number, data: number): void;

	/** Runs the guest for about a millisecond. Returns ms until it must run again: 0 at once, more while it is halted. */
	runSlice(): number;
	/** Called when an interrupt ends a halt between slices: run the next slice at once. */
	onWake: (() => void) | undefined;
	/** Called once when the core is dead; runSlice then does nothing. */
	onFailure: ((failure: CpuFailure) => void) | undefined;

	/** Machine time stands still until resume(). */
	pause(): void;
	resume(): void;

	/** Instructions executed since power-on. */
	readonly instructions: number;
	registers(): CpuRegisters;
	/** Puts the CPU in flat 32-bit protected mode at `eip` with interrupts off, for bare-metal tests. */
	startFlat(eip: number, general?: Partial<CpuRegisters['general']>): void;
	/** Frees what the core holds; the backend is unusable afterwards. */
	dispose(): void;
}
