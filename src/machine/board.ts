/**
 * An i440FX board as `qemu -machine pc` wires it: which device sits where, which line goes to which request.
 * Slot 0 host bridge; 1.0 ISA bridge, 1.1 IDE, 1.3 power management; 2 display; virtio.ts says where the others are.
 */
import { Ac97, PcSpeaker } from '../../devices/audio/index.ts';
import { COM_PORTS, Uart16550 } from '../../devices/char/uart16550.ts';
import { fillCmos } from '../../devices/chipset/cmos.ts';
import { Debugcon } from '../../devices/chipset/debugcon.ts';
import { Dma8237 } from '../../devices/chipset/dma8237.ts';
import { FwCfg } from '../../devices/chipset/fwcfg.ts';
import { I440fx } from '../../devices/chipset/i440fx.ts';
import { IsaIrqs } from '../../devices/chipset/isa-irqs.ts';
import { Piix3 } from '../../devices/chipset/piix3.ts';
import { Piix4Pm } from '../../devices/chipset/piix4pm.ts';
import { Pit } from '../../devices/chipset/pit.ts';
import { Port61 } from '../../devices/chipset/port61.ts';
import { Port92 } from '../../devices/chipset/port92.ts';
import { Rtc } from '../../devices/chipset/rtc.ts';
import { QxlVga } from '../../devices/display/qxl/index.ts';
import { AtaDisk, type IdeDrive, Piix3Ide } from '../../devices/ide/index.ts';
import { I8042, Ps2Keyboard, Ps2Mouse, VmMouse, Vmport } from '../../devices/input/index.ts';
import { IsaPvpanic, type PanicEvent, PciPvpanic } from '../../devices/misc/index.ts';
import { PciBus } from '../../devices/pci/bus.ts';
import type { AudioMixer } from '../audio/index.ts';
import type { CharBackend, Device, DeviceState, DisplaySink, FwCfgContents, StateValue } from '../core/index.ts';
import type { CpuBackend } from '../cpu/backend.ts';
import type { MachineConfig } from './config.ts';
import { createVirtio, type VirtioDevices, type VirtioParts } from './virtio.ts';

export interface BoardParts {
	readonly cpu: CpuBackend;
	readonly config: MachineConfig;
	/** System BIOS image; its end is where the CPU starts. */
	readonly bios: Uint8Array;
	readonly vgaBios: Uint8Array;
	readonly fwCfg: FwCfgContents;
	readonly sink: DisplaySink;
	/** Back ends of COM1..COM4; a hole means that the port is not there. */
	readonly serials: readonly (CharBackend | undefined)[];
	/** Primary master and slave, secondary master and slave. */
	readonly drives: readonly (IdeDrive | undefined)[];
	readonly virtio: VirtioParts;
	/** What sound devices play into and record from; without it they are not there. */
	readonly audio?: AudioMixer;
	/** PCI slot of the sound card; 6 if left out. */
	readonly soundSlot?: number;
	/** The guest pulled a reset line or switched its power off. Called in the middle of the guest's access. */
	readonly onReset: () => void;
	readonly onPowerOff: () => void;
	/** The guest's kernel has panicked. Called as those above, and as often as the guest likes. */
	readonly onPanic: (event: PanicEvent) => void;
	/** A line that firmware wrote to the debug port. */
	readonly onDebugLine?: (line: string) => void;
}

/**
 * The low copy of the BIOS ends at 1 MiB and is at most this long. Hardware shows 128 KiB there and SeaBIOS copies the
 * rest; here memory answers from the start, so the whole image is in place (see devices/chipset/i440fx.ts, PAM0).
 */
const LOW_BIOS = 256 << 10;
const MIB = 1 << 20;
export const DISPLAY_SLOT = 2;
const AC97_SLOT = 6;

export class Board {
	readonly cpu: CpuBackend;
	readonly pci: PciBus;
	readonly keyboard = new Ps2Keyboard();
	readonly mouse = new Ps2Mouse();
	readonly pm: Piix4Pm;
	readonly qxl: QxlVga;
	readonly virtio: VirtioDevices;
	/** An absolute pointer that needs no agent, where the CPU lets a port handler see its registers. */
	readonly pointer: VmMouse | undefined;
	/** In the order of reset, save and restore: buses after what sits on them, the CPU last. */
	readonly #devices = new Map<string, Device>();
	readonly #bios: Uint8Array;

	constructor(parts: BoardParts) {
		const { cpu, config } = parts;
		const { ports, mmio } = cpu;
		this.cpu = cpu;
		this.#bios = parts.bios;
		const irqs = new IsaIrqs(Array.from({ length: 16 }, (_, n) => cpu.irq(n)));

		const i440fx = this.#add('i440fx', new I440fx(config.memory));
		const piix3 = this.#add('piix3', new Piix3(irqs, parts.onReset));
		this.pci = new PciBus(ports, mmio, piix3.pirq, piix3.resetControl, (address, data) => cpu.message(address, data));
		this.pm = this.#add(
			'piix4-pm',
			new Piix4Pm(cpu, ports, irqs.source(9), {
				onPowerOff: parts.onPowerOff,
				com1: parts.serials[0] !== undefined,
				com2: parts.serials[1] !== undefined,
			}),
		);

		const pit = this.#add('pit', new Pit(cpu, ports, irqs.source(0)));
		const port61 = this.#add('port61', new Port61(cpu, ports, pit.channels[2]));
		this.#add('port92', new Port92(cpu, ports, parts.onReset));
		this.#add('dma', new Dma8237(cpu, ports));
		const rtc = this.#add('rtc', new Rtc(cpu, ports, irqs.source(8)));
		fillCmos(rtc, {
			memory: config.memory,
			boot: config.boot.once ?? config.boot.order,
			disks: parts.drives.map((drive) => (drive instanceof AtaDisk ? drive.geometry : undefined)),
		});
		this.#add('keyboard', this.keyboard);
		this.#add('mouse', this.mouse);
		this.#add(
			'i8042',
			new I8042({
				ports,
				keyboard: this.keyboard,
				mouse: this.mouse,
				keyboardIrq: irqs.source(1),
				auxIrq: irqs.source(12),
				onReset: parts.onReset,
			}),
		);
		if (cpu.portRegisters) {
			const vmport = new Vmport(ports, cpu.portRegisters);
			this.pointer = this.#add('vmmouse', new VmMouse({ vmport, poke: () => this.mouse.poke() }));
		}
		const ide = this.#add(
			'piix3-ide',
			new Piix3Ide({ host: cpu, ports, irqs: [irqs.source(14), irqs.source(15)], drives: parts.drives }),
		);
		for (const [n, backend] of parts.serials.entries()) {
			const { base, irq } = COM_PORTS[n];
			if (backend) this.#add(`serial${n}`, new Uart16550(cpu, ports, irqs.source(irq), { base, backend }));
		}
		this.qxl = this.#add('qxl-vga', createQxl(parts));
		this.#add('debugcon', new Debugcon(cpu, ports, parts.onDebugLine));
		this.#add('fw-cfg', new FwCfg(cpu, ports, parts.fwCfg));

		const { pvpanic, pvpanicPci } = parts.virtio.plan;
		const { onPanic } = parts;
		if (pvpanic) this.#add('pvpanic', new IsaPvpanic(cpu, ports, { ...pvpanic, onPanic }));

		this.pci.plug(0, i440fx.pci);
		this.pci.plug(1, piix3.pci, 0);
		this.pci.plug(1, ide.pci, 1);
		this.pci.plug(1, this.pm.pci, 3);
		this.pci.plug(DISPLAY_SLOT, this.qxl.pci);
		if (parts.audio) {
			const ac97 = this.#add('AC97', createAc97(cpu, parts.audio));
			this.pci.plug(parts.soundSlot ?? AC97_SLOT, ac97.pci);
			this.#add('pcspk', new PcSpeaker(cpu, pit.channels[2], port61, parts.audio.voice('pc-speaker')));
		}
		this.virtio = createVirtio(cpu, parts.virtio);
		for (const { name, slot, device } of this.virtio.slots) {
			this.#add(name, device);
			this.pci.plug(slot, device.pci);
		}
		if (pvpanicPci)
			this.pci.plug(pvpanicPci.slot, this.#add('pvpanic-pci', new PciPvpanic({ ...pvpanicPci, onPanic })).pci);
		this.#devices.set('pci', this.pci);
		this.#devices.set('cpu', cpu);
		this.#mapBios();
		this.#loadBios();
	}

	/** As the reset line does: every device, then the CPU at the start of firmware. RAM keeps its content. */
	reset(): void {
		for (const device of this.#devices.values()) device.reset();
		this.#loadBios();
	}

	save(): { [name: string]: StateValue } {
		return Object.fromEntries([...this.#devices].map(([name, device]) => [name, device.save() as StateValue]));
	}

	/** Takes the state of a board with the same configuration; throws when a device is missing in it. */
	restore(state: { readonly [name: string]: StateValue }): void {
		// The CPU brings RAM back, which devices look into; the bus says where they answer.
		for (const [name, device] of [...this.#devices].reverse()) {
			const saved = state[name];
			if (!saved) throw new Error(`the saved state has no ${name}`);
			device.restore(saved as DeviceState);
		}
	}

	#add<T extends Device>(name: string, device: T): T {
		this.#devices.set(name, device);
		return device;
	}

	/** The whole image below 4 GiB, where the reset vector points and firmware reads its own data. */
	#mapBios(): void {
		const view = new DataView(this.#bios.buffer, this.#bios.byteOffset, this.#bios.byteLength);
		const { length } = this.#bios;
		this.cpu.mmio.map(
			2 ** 32 - length,
			length,
			{ read8: (at) => view.getUint8(at), read32: (at) => (at + 4 <= length ? view.getUint32(at, true) : 0) },
			'bios',
		);
	}

	/** The copy that code runs from. A reset brings it back as it was: the guest may have written there. */
	#loadBios(): void {
		const low = this.#bios.subarray(Math.max(0, this.#bios.length - LOW_BIOS));
		this.cpu.dma.write(MIB - low.length, low);
	}
}

function createAc97(host: CpuBackend, audio: AudioMixer): Ac97 {
	return new Ac97({
		host,
		out: audio.voice('ac97.po', true),
		in: audio.capture('ac97.pi'),
		mic: audio.capture('ac97.mc'),
	});
}

function createQxl({ cpu, config, sink, vgaBios }: BoardParts): QxlVga {
	const { ram, vram, vgamem, maxOutputs } = config.display;
	return new QxlVga({
		host: cpu,
		ports: cpu.ports,
		mmio: cpu.mmio,
		ram: cpu.allocateVideo(ram),
		vram: cpu.allocateVideo(vram),
		sink,
		sizes: { ramMb: ram / MIB, vramMb: vram / MIB, vgamemMb: vgamem / MIB, revision: 5 },
		maxOutputs,
		vgaBios,
	});
}
