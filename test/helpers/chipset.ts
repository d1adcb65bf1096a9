/** The board's fixed part on fakes: host bridge, ISA bridge, power management, timers, clock, DMA, COM1. */

import { COM_PORTS, Uart16550 } from '../../devices/char/uart16550.ts';
import { fillCmos } from '../../devices/chipset/cmos.ts';
import { Dma8237 } from '../../devices/chipset/dma8237.ts';
import { I440fx } from '../../devices/chipset/i440fx.ts';
import { IsaIrqs } from '../../devices/chipset/isa-irqs.ts';
import { Piix3 } from '../../devices/chipset/piix3.ts';
import { Piix4Pm } from '../../devices/chipset/piix4pm.ts';
import { Pit } from '../../devices/chipset/pit.ts';
import { Port61 } from '../../devices/chipset/port61.ts';
import { Port92 } from '../../devices/chipset/port92.ts';
import { Rtc } from '../../devices/chipset/rtc.ts';
import { PciBus } from '../../devices/pci/bus.ts';
import type { CharBackend } from '../../src/core/index.ts';
import { FakeBoard } from './board.ts';

export const MEMORY = 128 << 20;

export class ChipsetBoard extends FakeBoard {
	/** Resets and power-offs that the guest asked for, in order. */
	readonly asked: string[] = [];
	readonly isa = new IsaIrqs(this.irqs);
	readonly i440fx = new I440fx(MEMORY);
	readonly piix3 = new Piix3(this.isa, (hard) => this.asked.push(hard ? 'hard reset' : 'reset'));
	readonly bus = new PciBus(this.ports, this.mmio, this.piix3.pirq, this.piix3.resetControl);
	readonly pm: Piix4Pm;
	readonly pit = new Pit(this.host, this.ports, this.isa.source(0));
	readonly port61 = new Port61(this.host, this.ports, this.pit.channels[2]);
	readonly port92 = new Port92(this.host, this.ports, () => this.asked.push('port 92h'));
	readonly rtc = new Rtc(this.host, this.ports, this.isa.source(8));
	readonly dma = new Dma8237(this.host, this.ports);
	readonly com1: Uart16550;

	constructor(options: { readonly wall?: number; readonly com1?: CharBackend } = {}) {
		super(options);
		this.pm = new Piix4Pm(this.host, this.ports, this.isa.source(9), {
			onPowerOff: () => this.asked.push('power off'),
			com1: true,
		});
		this.com1 = new Uart16550(this.host, this.ports, this.isa.source(COM_PORTS[0].irq), {
			...COM_PORTS[0],
			backend: options.com1,
		});
		fillCmos(this.rtc, { memory: MEMORY, boot: 'cad' });
		this.bus.plug(0, this.i440fx.pci);
		this.bus.plug(1, this.piix3.pci);
		this.bus.plug(1, this.pm.pci, 3);
	}
}
