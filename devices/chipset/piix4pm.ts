/**
 * 82371AB (PIIX4) function 3: power management, and the place of the SMBus host controller. Intel 290562, "Power management";
 * ACPI 6.3, 4.8 "ACPI register model". Registers behave as QEMU's PIIX4_PM, whose ports SeaBIOS and the ACPI tables know:
 * PM block where PMBASE says (SeaBIOS: 0x600), GPE0 at 0xafe0, APM ports 0xb2 and 0xb3, SCI on IRQ 9.
 */
import {
	type Clock,
	checkVersion,
	type Device,
	type DeviceState,
	type Host,
	type IoHandler,
	type Irq,
	type Mapping,
	PciFunction,
	type PortSpace,
	RegisterFile,
	registers,
	type Timer,
	tracePoints,
} from '../../src/core/index.ts';
import { Smbus } from './smbus.ts';

/** Configuration registers. */
const PMBASE = 0x40;
const DEVACTB = 0x58;
const DEVRESB = 0x5f;
const DEVRESC = 0x63;
const DEVRESD = 0x67;
const PMREGMISC = 0x80;
const SMBBA = 0x90;
const SMBHSTCFG = 0xd2;
/** DEVACTB bit 25, in its last byte: writes to APMC raise SMI#. */
const DEVACTB_APMC_EN = 0x02;

/** PM1 status and enable (ACPI 4.8.3.1). */
export const PM1 = {
	tmr: 0x0001,
	bm: 0x0010,
	gbl: 0x0020,
	pwrbtn: 0x0100,
	slpbtn: 0x0200,
	rtc: 0x0400,
	wak: 0x8000,
} as const;
const PM1_CLEARABLE = PM1.tmr | PM1.bm | PM1.gbl | PM1.pwrbtn | PM1.slpbtn | PM1.rtc | PM1.wak;
/** Events that raise SCI. */
const PM1_SCI = PM1.rtc | PM1.pwrbtn | PM1.gbl | PM1.tmr;
const SCI_EN = 0x0001;
const SLP_TYP_SHIFT = 10;
const SLP_EN = 0x2000;
/** SLP_TYP values that the ACPI tables of this board name. */
const SLP_TYP_S5 = 0;
const SLP_TYP_S4 = 2;
const ACPI_ENABLE = 0xf1;
const ACPI_DISABLE = 0xf0;

/** Hz; the counter has 24 bits and TMR_STS follows its highest. */
const PM_TIMER_HZ = 3579545;
const HALF_RANGE = 0x800000;

/** The block decodes 64 ports; nothing answers behind the timer. */
const PM_SIZE = 0x0c;
const SMBUS_SIZE = 0x10;
const GPE0_BASE = 0xafe0;

export const pmBlock = registers({
	sts: { at: 0x00, size: 2, w1c: PM1_CLEARABLE, doc: 'PM1 status' },
	en: { at: 0x02, size: 2, w: 0xffff, doc: 'PM1 enable' },
	cnt: { at: 0x04, size: 2, w: 0xffff, doc: 'PM1 control: SCI_EN, SLP_TYP, SLP_EN' },
	tmr: { at: 0x08, size: 4, doc: 'power management timer, 24 bits' },
});
export const gpe0Block = registers({
	sts: { at: 0, size: 2, w1c: 0xffff, doc: 'GPE0 status' },
	en: { at: 2, size: 2, w: 0xffff, doc: 'GPE0 enable' },
});

const trace = tracePoints('piix4pm', {
	sci: ['level', 'sts', 'en'],
	sleep: ['type'],
	powerButton: ['enabled'],
	acpi: ['enabled'],
});

export interface Piix4PmOptions {
	/** The guest went to S5 (or S4): power the machine off. Called from a guest's access. */
	readonly onPowerOff: () => void;
	/** Serial ports that the board has, for DEVRESD. */
	readonly com1?: boolean;
	readonly com2?: boolean;
	/** For DEVRESB. */
	readonly parallel?: boolean;
}

export class Piix4Pm implements Device {
	readonly pci: PciFunction;
	readonly regs: RegisterFile<typeof pmBlock>;
	readonly gpe: RegisterFile<typeof gpe0Block>;
	readonly #clock: Clock;
	readonly #sci: Irq;
	readonly #timer: Timer;
	readonly #onPowerOff: () => void;
	/** Timer ticks (not wrapped) at which TMR_STS rises next. */
	#overflow = 0;
	#apmc = 0;
	#apms = 0;
	readonly smbus = new Smbus();
	readonly #windows: { readonly pm: Window; readonly smbus: Window };

	/** `sci` is a source on ISA request 9. */
	constructor(host: Host, ports: PortSpace, sci: Irq, options: Piix4PmOptions) {
		this.#clock = host.clock;
		this.#sci = sci;
		this.#onPowerOff = options.onPowerOff;
		this.#timer = host.clock.timer(() => this.#update());
		this.pci = new PciFunction({
			name: 'PIIX4_PM',
			vendor: 0x8086,
			device: 0x7113,
			revision: 3,
			classCode: 0x068000,
			pin: 1,
			config: {
				6: 0x80,
				7: 0x02,
				[PMBASE]: 0x01,
				// The core has no system management mode; firmware that finds this bit set does not try to use it.
				[DEVACTB + 3]: DEVACTB_APMC_EN,
				[DEVRESB]: 0x10 | (options.parallel ? 0x80 : 0),
				[DEVRESC]: 0x60,
				[DEVRESD]: (options.com1 ? 0x08 : 0) | (options.com2 ? 0x90 : 0),
				[SMBBA]: 0x01,
				[SMBBA + 1]: 0xb1,
				[SMBHSTCFG]: 0x09,
			},
		});
		this.pci.onConfigWrite = () => this.#place();
		this.regs = new RegisterFile(pmBlock, {
			read: {
				sts: () => this.#update(),
				tmr: () => {
					this.regs.tmr = this.#ticks() % (2 * HALF_RANGE);
				},
			},
			write: {
				sts: (now, was) => this.#clearStatus(now, was),
				en: () => this.#update(),
				cnt: (now) => this.#control(now),
			},
		});
		this.gpe = new RegisterFile(gpe0Block, { write: { sts: () => this.#drive(), en: () => this.#drive() } });
		const pmHandler = fileHandler(this.regs, (offset, size, value) => this.#writePm(offset, size, value));
		this.#windows = {
			pm: new Window(ports, PM_SIZE, pmHandler, 'piix4-pm'),
			smbus: new Window(ports, SMBUS_SIZE, this.smbus.handler, 'piix4-smbus'),
		};
		this.#place();
		ports.map(GPE0_BASE, 4, fileHandler(this.gpe), 'acpi-gpe0');
		ports.map(0xb2, 2, { read8: (at) => this.#readApm(at), write8: (at, value) => this.#writeApm(at, value) }, 'apm');
	}

	reset(): void {
		this.pci.reset();
		this.regs.reset();
		this.gpe.reset();
		this.smbus.reset();
		this.#apmc = 0;
		this.#apms = 0;
		// As in QEMU the status bit is up after reset; a guest clears it before it enables the event.
		this.#overflow = 0;
		this.#place();
		this.#update();
	}

	save() {
		this.#update();
		return {
			version: 1,
			regs: this.regs.save(),
			gpe: this.gpe.save(),
			smbus: this.smbus.save(),
			overflow: this.#overflow,
			apmc: this.#apmc,
			apms: this.#apms,
		};
	}

	/** Restores after the bus, whose configuration space says where the PM block lies. */
	restore(state: DeviceState): void {
		checkVersion('piix4pm', state, 1);
		const s = state as ReturnType<Piix4Pm['save']>;
		this.regs.restore(s.regs);
		this.gpe.restore(s.gpe);
		this.smbus.restore(s.smbus);
		this.#overflow = s.overflow;
		this.#apmc = s.apmc;
		this.#apms = s.apms;
		this.#place();
		this.#update();
	}

	/** Somebody pressed the power button. False if the guest does not listen to it (QEMU ignores the press as well). */
	powerButton(): boolean {
		const enabled = (this.regs.en & PM1.pwrbtn) !== 0;
		trace.powerButton(enabled);
		if (enabled) {
			this.regs.sts |= PM1.pwrbtn;
			this.#drive();
		}
		return enabled;
	}

	/** Puts both blocks where configuration space says. */
	#place(): void {
		const { config } = this.pci;
		const base = (at: number) => (config[at] & 0xc0) | (config[at + 1] << 8);
		this.#windows.pm.place(config[PMREGMISC] & 1 ? base(PMBASE) : -1);
		this.#windows.smbus.place(config[SMBHSTCFG] & 1 ? base(SMBBA) : -1);
	}

	#ticks(): number {
		return Math.floor((this.#clock.now() * PM_TIMER_HZ) / 1e9);
	}

	/** The highest counter bit changes, either way, every 2^23 ticks. */
	#nextOverflow(): number {
		return (Math.floor(this.#ticks() / HALF_RANGE) + 1) * HALF_RANGE;
	}

	/** TMR_STS, the SCI line, and the timer that raises it. */
	#update(): void {
		if (this.#ticks() >= this.#overflow) this.regs.sts |= PM1.tmr;
		this.#drive();
		if (this.regs.en & PM1.tmr && !(this.regs.sts & PM1.tmr))
			this.#timer.arm(Math.ceil((this.#overflow * 1e9) / PM_TIMER_HZ) + 1);
		else this.#timer.cancel();
	}

	#clearStatus(now: number, was: number): void {
		if (was & ~now & PM1.tmr) this.#overflow = this.#nextOverflow();
		this.#update();
	}

	#drive(): void {
		const pending = this.regs.sts & this.regs.en & PM1_SCI;
		const level = pending !== 0 || (this.gpe.sts & this.gpe.en) !== 0;
		trace.sci(level, this.regs.sts, this.regs.en);
		this.#sci.set(level);
	}

	#writePm(offset: number, size: 1 | 2 | 4, value: number): void {
		// Status that the timer has raised unseen must be there before the guest clears it.
		if (offset < 2) this.#update();
		this.regs.write(offset, size, value);
	}

	/** PM1 control. SLP_EN acts and reads as 0. */
	#control(now: number): void {
		if (!(now & SLP_EN)) return;
		this.regs.cnt = now & ~SLP_EN;
		const type = (now >> SLP_TYP_SHIFT) & 7;
		trace.sleep(type);
		// S3 is not offered by the ACPI tables: a guest that asks for it none the less stays awake.
		if (type === SLP_TYP_S5 || type === SLP_TYP_S4) this.#onPowerOff();
	}

	#readApm(at: number): number {
		return at === 0 ? this.#apmc : this.#apms;
	}

	/** Where an SMI handler would switch ACPI on and off, the switch is made here. */
	#writeApm(at: number, value: number): void {
		if (at === 1) {
			this.#apms = value;
			return;
		}
		this.#apmc = value;
		if (value !== ACPI_ENABLE && value !== ACPI_DISABLE) return;
		const enabled = value === ACPI_ENABLE;
		trace.acpi(enabled);
		this.regs.cnt = enabled ? this.regs.cnt | SCI_EN : this.regs.cnt & ~SCI_EN;
	}
}

/** A range of ports that a register moves about. */
class Window {
	readonly #ports: PortSpace;
	readonly #size: number;
	readonly #handler: IoHandler;
	readonly #name: string;
	#base = -1;
	#mapping: Mapping | undefined;

	constructor(ports: PortSpace, size: number, handler: IoHandler, name: string) {
		this.#ports = ports;
		this.#size = size;
		this.#handler = handler;
		this.#name = name;
	}

	/** `base` -1 takes it away. */
	place(base: number): void {
		if (base === this.#base) return;
		this.#mapping?.unmap();
		this.#base = base;
		this.#mapping = base < 0 ? undefined : this.#ports.map(base, this.#size, this.#handler, this.#name);
	}
}

function fileHandler(
	file: { read(o: number, s: 1 | 2 | 4): number; write(o: number, s: 1 | 2 | 4, v: number): void },
	write: (offset: number, size: 1 | 2 | 4, value: number) => void = (o, s, v) => file.write(o, s, v),
): IoHandler {
	return {
		read8: (at) => file.read(at, 1),
		read16: (at) => file.read(at, 2),
		read32: (at) => file.read(at, 4),
		write8: (at, value) => write(at, 1, value),
		write16: (at, value) => write(at, 2, value),
		write32: (at, value) => write(at, 4, value),
	};
}
