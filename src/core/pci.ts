/**
 * One PCI function: its 256 bytes of configuration space, base address registers and interrupt pin.
 * PCI Local Bus 2.3, chapter 6. The bus that it is plugged into maps its BARs and carries its INTx line.
 */
import type { IoHandler, Irq, VideoMemory } from './device.ts';
import type { StateValue } from './state.ts';

export type PciBarSpec =
	/** Ports: `size` a power of two, 4..256 by the specification. */
	| { readonly kind: 'io'; readonly size: number; readonly handler: IoHandler }
	/** Device registers. */
	| {
			readonly kind: 'mmio';
			readonly size: number;
			readonly handler: IoHandler;
			readonly prefetch?: boolean;
			readonly is64?: boolean;
	  }
	/** A window of `size` bytes at RAM speed on `memory`, from `offset` (0 if left out). */
	| {
			readonly kind: 'video';
			readonly size: number;
			readonly memory: VideoMemory;
			readonly offset?: number;
			readonly prefetch?: boolean;
			readonly is64?: boolean;
	  };

export interface PciIdentity {
	readonly name: string;
	readonly vendor: number;
	readonly device: number;
	readonly revision?: number;
	/** 24 bits: base class, subclass, programming interface. */
	readonly classCode: number;
	readonly subsystemVendor?: number;
	readonly subsystem?: number;
	/** Interrupt pin: 0 none, 1 INTA# .. 4 INTD#. */
	readonly pin?: number;
	/** Header type byte (offset 0x0e); 0x80 marks a multi-function device. */
	readonly headerType?: number;
	/** BARs by number 0..5. A 64-bit one takes two. */
	readonly bars?: { readonly [bar: number]: PciBarSpec };
	/** Expansion ROM image; its size is rounded up to a power of two. */
	readonly rom?: Uint8Array;
	/** Further bytes of configuration space after reset, by byte offset; they win over everything above. */
	readonly config?: { readonly [offset: number]: number };
	/**
	 * Writable bits by byte offset, in place of the usual ones. Bytes 0x40 and up are plain storage unless said
	 * otherwise here or by `capabilityRanges`, as QEMU keeps them.
	 */
	readonly writable?: { readonly [offset: number]: number };
	/** Further write-1-to-clear bits by byte offset. */
	readonly w1c?: { readonly [offset: number]: number };
	/** The status register's capability list starts here, if it has one. */
	readonly capabilities?: number;
	/** Where capabilities lie, as [offset, length]: read-only but for bits in `writable`. */
	readonly capabilityRanges?: readonly (readonly [offset: number, length: number])[];
}

export const PCI_COMMAND = 0x04;
export const PCI_COMMAND_IO = 1;
export const PCI_COMMAND_MEMORY = 2;
export const PCI_COMMAND_MASTER = 4;
export const PCI_COMMAND_INTX_DISABLE = 0x400;
export const PCI_STATUS = 0x06;
export const PCI_STATUS_INTERRUPT = 0x08;
export const PCI_ROM_ADDRESS = 0x30;
/** Base address that means "not mapped". */
export const PCI_UNMAPPED = -1;

/** What a bus does for a function plugged into it. */
export interface PciBusPort {
	/** Command, a BAR or the ROM address has changed: map anew. */
	remap(fn: PciFunction): void;
	intx(fn: PciFunction, level: boolean): void;
	/** A memory write by the function that is meant as an interrupt (6.8). */
	message(fn: PciFunction, address: number, data: number): void;
}

export class PciFunction {
	readonly identity: PciIdentity;
	readonly config = new Uint8Array(256);
	readonly #config = new DataView(this.config.buffer);
	/** Set by the bus. Device in bits 7..3, function in bits 2..0; -1 while unplugged. */
	devfn = -1;
	/** The INTx line; a no-op level is free. Honours the command register's disable bit. */
	readonly irq: Irq = { set: (level) => this.#setIntx(level) };
	/** Called after a guest's write to configuration space, with the range written. */
	onConfigWrite: ((offset: number, size: number) => void) | undefined;
	/** Called before a guest's read of configuration space, with the range; may update `config`. */
	onConfigRead: ((offset: number, size: number) => void) | undefined;

	readonly #writable = new Uint8Array(256);
	readonly #w1c = new Uint8Array(256);
	readonly #resetConfig = new Uint8Array(256);
	#bus: PciBusPort | undefined;
	#asserted = false;
	#driven = false;

	constructor(identity: PciIdentity) {
		this.identity = identity;
		const c = new DataView(this.#resetConfig.buffer);
		const w = new DataView(this.#writable.buffer);
		c.setUint16(0x00, identity.vendor, true);
		c.setUint16(0x02, identity.device, true);
		c.setUint32(0x08, ((identity.classCode << 8) | (identity.revision ?? 0)) >>> 0, true);
		c.setUint8(0x0e, identity.headerType ?? 0);
		c.setUint16(0x2c, identity.subsystemVendor ?? 0x1af4, true);
		c.setUint16(0x2e, identity.subsystem ?? 0x1100, true);
		c.setUint8(0x3d, identity.pin ?? 0);
		if (identity.capabilities) {
			c.setUint8(0x34, identity.capabilities);
			c.setUint16(PCI_STATUS, 0x10, true);
		}
		// I/O, memory, master, SERR# and INTx-disable: what QEMU 7.2 lets a guest set in any conventional function.
		w.setUint16(PCI_COMMAND, 0x0507, true);
		w.setUint8(0x0c, 0xff);
		w.setUint8(0x3c, 0xff);
		this.#w1c[PCI_STATUS + 1] = 0xf9;
		this.#writable.fill(0xff, 0x40);
		for (const [at, length] of identity.capabilityRanges ?? []) this.#writable.fill(0, at, at + length);
		for (const [index, bar] of Object.entries(identity.bars ?? {})) {
			const at = 0x10 + Number(index) * 4;
			c.setUint32(at, barFlags(bar), true);
			w.setUint32(at, ~(bar.size - 1) >>> 0, true);
			if (bar.kind !== 'io' && bar.is64)
				w.setUint32(at + 4, bar.size > 0xffffffff ? ~(bar.size / 2 ** 32 - 1) >>> 0 : 0xffffffff, true);
		}
		if (identity.rom) w.setUint32(PCI_ROM_ADDRESS, (~(this.romSize - 1) | 1) >>> 0, true);
		for (const [at, value] of Object.entries(identity.config ?? {})) this.#resetConfig[Number(at)] = value;
		for (const [at, mask] of Object.entries(identity.writable ?? {})) this.#writable[Number(at)] = mask;
		for (const [at, mask] of Object.entries(identity.w1c ?? {})) this.#w1c[Number(at)] = mask;
		this.config.set(this.#resetConfig);
	}

	/** Size of the expansion ROM window, bytes; 0 without one. */
	get romSize(): number {
		const length = this.identity.rom?.length ?? 0;
		return length === 0 ? 0 : 2 ** Math.ceil(Math.log2(Math.max(length, 2048)));
	}

	/** Whether the guest lets this function reach memory by itself. */
	get busMaster(): boolean {
		return (this.config[PCI_COMMAND] & PCI_COMMAND_MASTER) !== 0;
	}

	/** Sends a message-signalled interrupt; a function that may not reach memory sends none. */
	message(address: number, data: number): void {
		if (this.busMaster) this.#bus?.message(this, address, data);
	}

	/** Guest-visible base of a BAR, or PCI_UNMAPPED while its space is off or the value cannot be decoded. */
	barAddress(bar: number): number {
		const spec = this.identity.bars?.[bar];
		if (!spec) return PCI_UNMAPPED;
		const at = 0x10 + bar * 4;
		const raw = this.#config.getUint32(at, true);
		const enabled = this.config[PCI_COMMAND] & (spec.kind === 'io' ? PCI_COMMAND_IO : PCI_COMMAND_MEMORY);
		if (!enabled) return PCI_UNMAPPED;
		if (spec.kind === 'io') {
			const base = (raw & ~3) >>> 0;
			return base === 0 || base + spec.size > 0x10000 ? PCI_UNMAPPED : base;
		}
		if (spec.is64 && this.#config.getUint32(at + 4, true) !== 0) return PCI_UNMAPPED;
		const base = (raw & ~15) >>> 0;
		return base === 0 || base + spec.size > 0xffffffff ? PCI_UNMAPPED : base;
	}

	/** Guest-visible base of the expansion ROM, or PCI_UNMAPPED. */
	romAddress(): number {
		const raw = this.#config.getUint32(PCI_ROM_ADDRESS, true);
		if (this.romSize === 0 || !(raw & 1) || !(this.config[PCI_COMMAND] & PCI_COMMAND_MEMORY)) return PCI_UNMAPPED;
		const base = (raw & ~0x7ff) >>> 0;
		return base === 0 || base + this.romSize > 0xffffffff ? PCI_UNMAPPED : base;
	}

	read(offset: number, size: 1 | 2 | 4): number {
		this.onConfigRead?.(offset, size);
		let value = 0;
		for (let i = size - 1; i >= 0; i--) value = value * 256 + (offset + i < 256 ? this.config[offset + i] : 0xff);
		return value;
	}

	write(offset: number, size: 1 | 2 | 4, value: number): void {
		for (let i = 0; i < size && offset + i < 256; i++) {
			const at = offset + i;
			const byte = (value >>> (i * 8)) & 0xff;
			const w = this.#writable[at];
			this.config[at] = ((this.config[at] & ~w) | (byte & w)) & ~(byte & this.#w1c[at]);
		}
		const touches = (from: number, to: number) => offset < to && offset + size > from;
		if (touches(PCI_COMMAND, PCI_COMMAND + 2)) this.#driveIntx();
		if (touches(PCI_COMMAND, PCI_COMMAND + 2) || touches(0x10, 0x28) || touches(PCI_ROM_ADDRESS, PCI_ROM_ADDRESS + 4))
			this.#bus?.remap(this);
		this.onConfigWrite?.(offset, size);
	}

	/** Called by the bus, once. */
	attach(bus: PciBusPort, devfn: number): void {
		this.#bus = bus;
		this.devfn = devfn;
		bus.remap(this);
	}

	/** Configuration space back to its reset values; the device resets its own registers. */
	reset(): void {
		this.#asserted = false;
		this.config.set(this.#resetConfig);
		this.#driveIntx();
		this.#bus?.remap(this);
	}

	save(): { [key: string]: StateValue } {
		return { config: this.config.slice(), intx: this.#asserted };
	}

	restore(state: { readonly [key: string]: StateValue | undefined }): void {
		if (state.config instanceof Uint8Array && state.config.length === 256) this.config.set(state.config);
		this.#asserted = state.intx === true;
		this.#driveIntx();
		this.#bus?.remap(this);
	}

	#setIntx(level: boolean): void {
		if (level === this.#asserted) return;
		this.#asserted = level;
		if (level) this.config[PCI_STATUS] |= PCI_STATUS_INTERRUPT;
		else this.config[PCI_STATUS] &= ~PCI_STATUS_INTERRUPT;
		this.#driveIntx();
	}

	#driveIntx(): void {
		const disabled = (this.config[PCI_COMMAND + 1] & (PCI_COMMAND_INTX_DISABLE >> 8)) !== 0;
		const level = this.#asserted && !disabled;
		if (level === this.#driven) return;
		this.#driven = level;
		this.#bus?.intx(this, level);
	}
}

function barFlags(bar: PciBarSpec): number {
	if (bar.kind === 'io') return 1;
	return (bar.is64 ? 4 : 0) | (bar.prefetch ? 8 : 0);
}
