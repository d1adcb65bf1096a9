/**
 * The IDE function of the PIIX3 south bridge: two legacy channels with bus master DMA.
 * Intel 82371SB (PIIX3) datasheet, "IDE controller registers" (function 1) and "Bus Master IDE I/O registers".
 */
import {
	checkVersion,
	type Device,
	type DeviceState,
	type Host,
	type IoHandler,
	type Irq,
	PciFunction,
	type PortSpace,
} from '../../src/core/index.ts';
import { IdeChannel } from './channel.ts';
import type { IdeDrive } from './drive.ts';

/** Legacy resources of the two channels: command block, control port. */
const CHANNELS = [
	{ command: 0x1f0, control: 0x3f6 },
	{ command: 0x170, control: 0x376 },
] as const;
const BUS_MASTER_BAR = 4;

/** 40h up to the end hold the timings, which have no effect here; QEMU lets the guest write all of it. */
const timings: { [offset: number]: number } = {};
for (let at = 0x40; at < 0x100; at++) timings[at] = 0xff;

export interface Piix3IdeOptions {
	readonly host: Host;
	readonly ports: PortSpace;
	/** ISA interrupts 14 and 15. */
	readonly irqs: readonly [Irq, Irq];
	/** Primary master and slave, secondary master and slave. */
	readonly drives: readonly (IdeDrive | undefined)[];
}

export class Piix3Ide implements Device {
	readonly pci: PciFunction;
	readonly channels: readonly [IdeChannel, IdeChannel];

	constructor({ host, ports, irqs, drives }: Piix3IdeOptions) {
		const handler: IoHandler = {
			read8: (at) => this.channels[at >> 3].dma.read(at & 7, 1),
			read16: (at) => this.channels[at >> 3].dma.read(at & 7, 2),
			read32: (at) => this.channels[at >> 3].dma.read(at & 7, 4),
			write8: (at, value) => this.channels[at >> 3].dma.write(at & 7, 1, value),
			write16: (at, value) => this.channels[at >> 3].dma.write(at & 7, 2, value),
			write32: (at, value) => this.channels[at >> 3].dma.write(at & 7, 4, value),
		};
		this.pci = new PciFunction({
			name: 'piix3-ide',
			vendor: 0x8086,
			device: 0x7010,
			classCode: 0x010180,
			bars: { [BUS_MASTER_BAR]: { kind: 'io', size: 16, handler } },
			// Fast back-to-back capable, medium DEVSEL timing.
			config: { 6: 0x80, 7: 0x02 },
			writable: timings,
		});
		const channel = (index: 0 | 1) =>
			new IdeChannel({
				index,
				host,
				ports,
				irq: irqs[index],
				...CHANNELS[index],
				mayMaster: () => this.pci.busMaster,
				drives: [drives[index * 2], drives[index * 2 + 1]],
			});
		this.channels = [channel(0), channel(1)];
	}

	/** The machine's reset; configuration space is the bus's to reset. */
	reset(): void {
		for (const channel of this.channels) channel.reset();
	}

	save() {
		return { version: 1, pci: this.pci.save(), channels: this.channels.map((c) => c.save()) } satisfies DeviceState;
	}

	restore(state: DeviceState): void {
		checkVersion('piix3-ide', state, 1);
		const saved = state as ReturnType<Piix3Ide['save']>;
		this.pci.restore(saved.pci);
		for (const [i, channel] of this.channels.entries()) channel.restore(saved.channels[i]);
	}
}
