/**
 * 82371SB (PIIX3) function 0: PCI-to-ISA bridge. Intel 290550, "PCI to ISA bridge registers".
 * Routes PIRQA..PIRQD to ISA interrupt requests and holds the reset control register. The edge/level registers 4D0h and
 * 4D1h belong to the interrupt controllers, which live in the CPU core.
 */
import {
	checkVersion,
	type Device,
	type DeviceState,
	type IoHandler,
	type Irq,
	PciFunction,
	tracePoints,
} from '../../src/core/index.ts';
import type { IsaIrqs } from './isa-irqs.ts';

/** PIRQRC[A:D]: bit 7 set routes nowhere, else bits 3..0 name the ISA request. */
const PIRQRC = 0x60;
const PIRQRC_DISABLED = 0x80;
/** Requests 0, 1, 2, 8 and 13 belong to the board itself; the datasheet reserves them. */
const ROUTABLE = 0b1101_1110_1111_1000;
/** Reset control register bits: system (hard) reset type, and the one whose rise resets. */
const RCR_SRST = 0x02;
const RCR_RCPU = 0x04;

const trace = tracePoints('piix3', { route: ['pirq', 'irq'], reset: ['hard'] });

export class Piix3 implements Device {
	readonly pci: PciFunction;
	/** Inputs PIRQA..PIRQD. */
	readonly pirq: readonly Irq[];
	/** The byte at port 0xcf9. */
	readonly resetControl: IoHandler;
	/** A source of our own on each ISA request that can be routed to. */
	readonly #outputs: readonly (Irq | undefined)[];
	readonly #level = [false, false, false, false];
	readonly #onReset: (hard: boolean) => void;
	#rcr = 0;

	/** `onReset` asks the board for a system reset; it must not happen before the guest's access has ended. */
	constructor(irqs: IsaIrqs, onReset: (hard: boolean) => void) {
		this.pci = new PciFunction({
			name: 'PIIX3',
			vendor: 0x8086,
			device: 0x7000,
			classCode: 0x060100,
			headerType: 0x80,
			config: {
				7: 0x02,
				76: 0x4d,
				78: 0x03,
				[PIRQRC]: PIRQRC_DISABLED,
				[PIRQRC + 1]: PIRQRC_DISABLED,
				[PIRQRC + 2]: PIRQRC_DISABLED,
				[PIRQRC + 3]: PIRQRC_DISABLED,
				105: 0x02,
				112: 0x80,
				118: 0x0c,
				119: 0x0c,
				120: 0x02,
				160: 0x08,
				168: 0x0f,
			},
		});
		this.#onReset = onReset;
		this.#outputs = Array.from({ length: 16 }, (_, n) => (ROUTABLE & (1 << n) ? irqs.source(n) : undefined));
		this.pirq = [0, 1, 2, 3].map((n) => ({ set: (level: boolean) => this.#setPirq(n, level) }));
		this.pci.onConfigWrite = (offset, size) => {
			if (offset < PIRQRC + 4 && offset + size > PIRQRC) this.#drive();
		};
		this.resetControl = { read8: () => this.#rcr, write8: (_offset, value) => this.#writeRcr(value) };
	}

	reset(): void {
		this.pci.reset();
		this.#rcr = 0;
		this.#drive();
	}

	save() {
		return { version: 1, rcr: this.#rcr, level: [...this.#level] };
	}

	/** Restores after the bus, whose configuration space says where the lines go. */
	restore(state: DeviceState): void {
		checkVersion('piix3', state, 1);
		const { rcr, level } = state as ReturnType<Piix3['save']>;
		this.#rcr = rcr;
		for (let n = 0; n < 4; n++) this.#level[n] = level[n] === true;
		this.#drive();
	}

	#setPirq(n: number, level: boolean): void {
		if (this.#level[n] === level) return;
		this.#level[n] = level;
		this.#drive();
	}

	/** ISA request that PIRQ `n` goes to, or -1. */
	#route(n: number): number {
		const value = this.pci.config[PIRQRC + n];
		return value & PIRQRC_DISABLED || !(ROUTABLE & (1 << (value & 15))) ? -1 : value & 15;
	}

	#drive(): void {
		let high = 0;
		for (let n = 0; n < 4; n++) {
			const irq = this.#route(n);
			trace.route(n, irq);
			if (irq >= 0 && this.#level[n]) high |= 1 << irq;
		}
		for (let irq = 0; irq < 16; irq++) this.#outputs[irq]?.set((high & (1 << irq)) !== 0);
	}

	#writeRcr(value: number): void {
		if (value & RCR_RCPU) {
			trace.reset((value & RCR_SRST) !== 0);
			this.#onReset((value & RCR_SRST) !== 0);
			return;
		}
		// Only the reset type is kept; bit 2 clears itself.
		this.#rcr = value & RCR_SRST;
	}
}
