/**
 * The PCI bus of an i440FX board: configuration mechanism #1 (PCI Local Bus 2.3, 3.2.2.3.2), base address registers
 * and expansion ROMs put into the port and memory spaces, INTx lines swizzled onto PIRQA..PIRQD.
 * The interrupt wiring is QEMU's (and so SeaBIOS's and the ACPI _PRT's): PIRQ = (pin + slot - 1) mod 4, INTA counted 0.
 */
import {
	checkVersion,
	type Device,
	type DeviceState,
	type IoHandler,
	type Irq,
	type Mapping,
	type MessageSink,
	type MmioSpace,
	PCI_UNMAPPED,
	type PciBarSpec,
	type PciBusPort,
	type PciFunction,
	type PortSpace,
	type StateValue,
	tracePoints,
} from '../../src/core/index.ts';

const CONFIG_ADDRESS = 0xcf8;
const CONFIG_ENABLE = 0x80000000;
const FUNCTIONS = 256;
const BARS = 6;
/** Where the ROM's mapping is kept, behind the six BARs. */
const ROM = 6;

const trace = tracePoints('pci', {
	read: ['function', 'offset', 'size', 'value'],
	write: ['function', 'offset', 'size', 'value'],
	map: ['function', 'bar', 'base', 'size'],
	unmap: ['function', 'bar'],
	intx: ['function', 'pirq', 'level'],
	message: ['function', 'address', 'data'],
});

interface Plugged {
	readonly fn: PciFunction;
	/** Current base and mapping by BAR number, the ROM's at index 6. */
	readonly bases: number[];
	readonly mappings: (Mapping | undefined)[];
}

/** One BAR as `info pci` shows it. */
export interface PciBarInfo {
	readonly bar: number | 'rom';
	readonly kind: 'io' | 'memory';
	/** Guest-visible base, or -1 while the function does not answer there. */
	readonly base: number;
	readonly size: number;
	readonly prefetch: boolean;
	readonly is64: boolean;
}

/** One function as `info pci` shows it. */
export interface PciFunctionInfo {
	readonly name: string;
	readonly bus: number;
	readonly slot: number;
	readonly function: number;
	/** Base class and subclass, 16 bits. */
	readonly classCode: number;
	readonly vendor: number;
	readonly device: number;
	readonly revision: number;
	readonly subsystemVendor: number;
	readonly subsystem: number;
	/** 0 none, 1 INTA# .. 4 INTD#. */
	readonly pin: number;
	/** What firmware or the system wrote to the interrupt line register. */
	readonly line: number;
	readonly bars: readonly PciBarInfo[];
}

export class PciBus implements PciBusPort, Device {
	readonly #ports: PortSpace;
	readonly #mmio: MmioSpace;
	readonly #pirq: readonly Irq[];
	readonly #messages: MessageSink;
	readonly #plugged: (Plugged | undefined)[] = new Array<Plugged | undefined>(FUNCTIONS).fill(undefined);
	/** Number of functions that drive each PIRQ now. */
	readonly #asserted = [0, 0, 0, 0];
	/** CONFIG_ADDRESS as written. */
	#address = 0;

	/**
	 * `pirq` are the four inputs PIRQA..PIRQD of the interrupt router. `resetControl` answers at port 0xcf9, which lies
	 * inside CONFIG_ADDRESS but is decoded only for bytes. `messages` takes message-signalled interrupts; without it they
	 * go nowhere.
	 */
	constructor(
		ports: PortSpace,
		mmio: MmioSpace,
		pirq: readonly Irq[],
		resetControl: IoHandler = {},
		messages: MessageSink = () => {},
	) {
		this.#ports = ports;
		this.#mmio = mmio;
		this.#pirq = pirq;
		this.#messages = messages;
		ports.map(CONFIG_ADDRESS, 8, this.#io(resetControl), 'pci-conf');
	}

	/** Puts `fn` into `slot` (0..31) as `function` (0..7); throws RangeError if there is no such place or it is taken. */
	plug(slot: number, fn: PciFunction, func = 0): void {
		const devfn = slot * 8 + func;
		if (!(slot >= 0 && slot < 32 && func >= 0 && func < 8)) throw new RangeError(`no PCI address ${slot}.${func}`);
		if (this.#plugged[devfn]) throw new RangeError(`PCI address ${slot}.${func} is taken`);
		this.#plugged[devfn] = {
			fn,
			bases: new Array<number>(BARS + 1).fill(PCI_UNMAPPED),
			mappings: new Array<Mapping | undefined>(BARS + 1).fill(undefined),
		};
		fn.attach(this, devfn);
	}

	/** Whether nothing is plugged in anywhere in `slot`. */
	isFree(slot: number): boolean {
		return !this.#plugged.slice(slot * 8, slot * 8 + 8).some((p) => p !== undefined);
	}

	/** CONFIG_ADDRESS and the configuration space of every function; devices reset their own registers. */
	reset(): void {
		this.#address = 0;
		for (const p of this.#plugged) p?.fn.reset();
	}

	/** Configuration space of all functions included, so a device need not save its own. */
	save() {
		const functions: { [devfn: string]: StateValue } = {};
		for (const [devfn, p] of this.#plugged.entries()) if (p) functions[devfn] = p.fn.save();
		return { version: 1, address: this.#address, functions };
	}

	restore(state: DeviceState): void {
		checkVersion('pci', state, 1);
		const { address, functions } = state as ReturnType<PciBus['save']>;
		this.#address = address >>> 0;
		for (const [devfn, p] of this.#plugged.entries()) {
			const saved = functions[devfn];
			if (p && saved) p.fn.restore(saved as ReturnType<PciFunction['save']>);
		}
	}

	/** All functions in order of address. */
	list(): PciFunctionInfo[] {
		return this.#plugged.filter((p) => p !== undefined).map((p) => describe(p));
	}

	#io(resetControl: IoHandler): IoHandler {
		return {
			read8: (at) =>
				at === 1 ? (resetControl.read8?.(0) ?? 0xff) : at < 4 ? lane(this.#address, at) : this.#read(at, 1),
			read16: (at) => (at < 4 ? lane(this.#address, at) + lane(this.#address, at + 1) * 256 : this.#read(at, 2)),
			read32: (at) => (at < 4 ? this.#address : this.#read(at, 4)),
			write8: (at, value) => {
				if (at === 1) resetControl.write8?.(0, value);
				else if (at >= 4) this.#write(at, 1, value);
			},
			write16: (at, value) => {
				if (at >= 4) this.#write(at, 2, value);
			},
			write32: (at, value) => {
				if (at === 0) this.#address = value;
				else if (at >= 4) this.#write(at, 4, value);
			},
		};
	}

	#selected(): PciFunction | undefined {
		// Bus numbers other than 0 have no bridge to reach them by.
		if (this.#address < CONFIG_ENABLE || (this.#address & 0xff0000) !== 0) return undefined;
		return this.#plugged[(this.#address >>> 8) & 0xff]?.fn;
	}

	#read(at: number, size: 1 | 2 | 4): number {
		const fn = this.#selected();
		if (!fn) return size === 4 ? 0xffffffff : size === 2 ? 0xffff : 0xff;
		const offset = (this.#address & 0xff) | (at & 3);
		const value = fn.read(offset, size);
		trace.read(fn.identity.name, offset, size, value);
		return value;
	}

	#write(at: number, size: 1 | 2 | 4, value: number): void {
		const fn = this.#selected();
		if (!fn) return;
		const offset = (this.#address & 0xff) | (at & 3);
		trace.write(fn.identity.name, offset, size, value);
		fn.write(offset, size, value);
	}

	remap(fn: PciFunction): void {
		const plugged = this.#plugged[fn.devfn];
		if (!plugged) return;
		for (let bar = 0; bar < BARS; bar++) {
			const spec = fn.identity.bars?.[bar];
			if (spec) this.#place(plugged, bar, fn.barAddress(bar), spec.size, spec);
		}
		if (fn.romSize > 0) this.#place(plugged, ROM, fn.romAddress(), fn.romSize, undefined);
	}

	/** Moves one window; `spec` undefined is the expansion ROM. */
	#place(plugged: Plugged, index: number, base: number, size: number, spec: PciBarSpec | undefined): void {
		if (plugged.bases[index] === base) return;
		const { fn, mappings, bases } = plugged;
		if (mappings[index]) {
			mappings[index].unmap();
			mappings[index] = undefined;
			trace.unmap(fn.identity.name, index);
		}
		bases[index] = base;
		if (base === PCI_UNMAPPED) return;
		const name = `${fn.identity.name} ${index === ROM ? 'rom' : `bar ${index}`}`;
		trace.map(fn.identity.name, index, base, size);
		if (!spec) mappings[index] = this.#mmio.map(base, size, romHandler(fn.identity.rom ?? new Uint8Array(0)), name);
		else if (spec.kind === 'io') mappings[index] = this.#ports.map(base, size, spec.handler, name);
		else if (spec.kind === 'mmio') mappings[index] = this.#mmio.map(base, size, spec.handler, name);
		else mappings[index] = this.#mmio.mapVideo(base, spec.memory, spec.offset ?? 0, size, name);
	}

	intx(fn: PciFunction, level: boolean): void {
		const pin = fn.identity.pin ?? 0;
		if (pin === 0 || fn.devfn < 0) return;
		const pirq = (pin - 1 + (fn.devfn >> 3) + 3) & 3;
		this.#asserted[pirq] += level ? 1 : -1;
		trace.intx(fn.identity.name, pirq, level);
		this.#pirq[pirq].set(this.#asserted[pirq] > 0);
	}

	message(fn: PciFunction, address: number, data: number): void {
		trace.message(fn.identity.name, address, data);
		this.#messages(address, data);
	}
}

/** Reads from a ROM image; the window's bytes behind the image's end are 0. */
function romHandler(image: Uint8Array): IoHandler {
	const at = (offset: number) => image[offset] ?? 0;
	return {
		read8: at,
		read32: (o) => (at(o) | (at(o + 1) << 8) | (at(o + 2) << 16) | (at(o + 3) << 24)) >>> 0,
	};
}

function lane(value: number, byte: number): number {
	return byte < 4 ? (value >>> (byte * 8)) & 0xff : 0xff;
}

function describe({ fn, bases }: Plugged): PciFunctionInfo {
	const bars: PciBarInfo[] = [];
	for (const [key, spec] of Object.entries(fn.identity.bars ?? {})) {
		const bar = Number(key);
		const memory = spec.kind !== 'io';
		bars.push({
			bar,
			kind: memory ? 'memory' : 'io',
			base: bases[bar],
			size: spec.size,
			prefetch: memory && spec.prefetch === true,
			is64: memory && spec.is64 === true,
		});
	}
	if (fn.romSize > 0)
		bars.push({ bar: 'rom', kind: 'memory', base: bases[ROM], size: fn.romSize, prefetch: false, is64: false });
	return {
		name: fn.identity.name,
		bus: 0,
		slot: fn.devfn >> 3,
		function: fn.devfn & 7,
		classCode: fn.read(0x0a, 2),
		vendor: fn.read(0x00, 2),
		device: fn.read(0x02, 2),
		revision: fn.read(0x08, 1),
		subsystemVendor: fn.read(0x2c, 2),
		subsystem: fn.read(0x2e, 2),
		pin: fn.read(0x3d, 1),
		line: fn.read(0x3c, 1),
		bars,
	};
}
