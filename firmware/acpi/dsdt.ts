/** The DSDT of an i440FX/PIIX3 board, with the names and values of QEMU 7.2's (hw/i386/acpi-build.c, build_dsdt). */
import {
	type Aml,
	and,
	arg,
	busNumbers,
	concat,
	createDWordField,
	device,
	eisaId,
	field,
	INTERRUPT_OFFSET,
	int,
	interrupts,
	io,
	ioWindow,
	irqNoFlags,
	less,
	local,
	memoryWindow,
	method,
	name,
	operationRegion,
	or,
	pack,
	path,
	resources,
	ret,
	scope,
	store,
	string,
	when,
} from './aml.ts';

export interface AcpiConfig {
	/** Guest RAM, bytes, all below the PCI hole. */
	readonly memory: number;
	/** Bytes behind RAM that are no place for a BAR; none if left out. */
	readonly taken?: number;
	/** Which of COM1..COM4 (1..4) are there. */
	readonly serialPorts: readonly number[];
	/** Whether an i8042 with keyboard and mouse is there. */
	readonly i8042: boolean;
	/** Port of the pvpanic device; none if left out. */
	readonly pvpanic?: number;
}

/** Where the PCI hole ends: the I/O APIC's page. */
const PCI_HOLE_END = 0xfebfffff;
/** PIIX3 PIRQ route control registers, configuration offset 60h (82371SB datasheet, 2.2.11). */
const PIRQ_REGISTERS = 0x60;
const PIRQ_DISABLED = 0x80;
/** The SCI of PIIX4's power management function is wired to IRQ 9. */
const SCI = 9;
/** GPE0 block of QEMU's PIIX4. */
const GPE0 = 0xafe0;

const COM = [
	{ base: 0x3f8, irq: 4 },
	{ base: 0x2f8, irq: 3 },
	{ base: 0x3e8, irq: 4 },
	{ base: 0x2e8, irq: 3 },
];
const LINKS = ['LNKA', 'LNKB', 'LNKC', 'LNKD'];
const LINK_IRQS = [5, 10, 11];

/** AML of the whole table, without its header. */
export function dsdt(config: AcpiConfig): Aml {
	return concat(
		scope('\\_SB', device('PCI0', name('_HID', eisaId('PNP0A03')), name('_ADR', int(0)), name('_UID', int(0)))),
		scope('\\_SB.PCI0', isaBridge(config)),
		scope('\\_SB', scope('PCI0', routing()), ...links()),
		scope('\\_GPE', name('_HID', string('ACPI0006'))),
		scope('\\_SB.PCI0', windows(config.memory + (config.taken ?? 0)), gpeResources()),
		// Soft off is sleep type 0; S3 and S4 are not offered, because the core cannot resume from them.
		scope('\\', name('_S5', pack(int(0), int(0), int(0), int(0)))),
	);
}

function isaBridge(config: AcpiConfig): Aml {
	const devices = [device('RTC', name('_HID', eisaId('PNP0B00')), name('_CRS', resources(io(0x70, 8), irqNoFlags(8))))];
	if (config.pvpanic !== undefined) devices.push(pvpanic(config.pvpanic));
	if (config.i8042) {
		devices.push(
			device(
				'KBD',
				name('_HID', eisaId('PNP0303')),
				name('_STA', int(0x0f)),
				name('_CRS', resources(io(0x60, 1), io(0x64, 1), irqNoFlags(1))),
			),
			device('MOU', name('_HID', eisaId('PNP0F13')), name('_STA', int(0x0f)), name('_CRS', resources(irqNoFlags(12)))),
		);
	}
	for (const n of config.serialPorts) {
		const com = COM[n - 1];
		if (!com) throw new RangeError(`there is no COM${n}`);
		devices.push(
			device(
				`COM${n}`,
				name('_HID', eisaId('PNP0501')),
				name('_UID', int(n)),
				name('_STA', int(0x0f)),
				name('_CRS', resources(io(com.base, 8), irqNoFlags(com.irq))),
			),
		);
	}
	return device('ISA', name('_ADR', int(0x00010000)), operationRegion('PIRQ', 'pci', PIRQ_REGISTERS, 4), ...devices);
}

/** hw/misc/pvpanic-isa.c, build_pvpanic_isa_aml. Linux writes the port of _CRS; RDPT and WRPT are for others. */
function pvpanic(port: number): Aml {
	return device(
		'PEVT',
		name('_HID', string('QEMU0001')),
		name('_CRS', resources(io(port, 1))),
		operationRegion('PEOR', 'io', port, 1),
		field('PEOR', [['PEPT', 8]]),
		name('_STA', int(0x0f)),
		method('RDPT', 0, false, store(path('PEPT'), local(0)), ret(local(0))),
		method('WRPT', 1, false, store(arg(0), path('PEPT'))),
	);
}

/** Slot n's INTA..D go to links (n - 1 + pin) mod 4, but slot 1's INTA, the power management function's, to LNKS. */
function routing(): Aml {
	const entries: Aml[] = [];
	for (let slot = 0; slot < 32; slot++) {
		for (let pin = 0; pin < 4; pin++) {
			const link = slot === 1 && pin === 0 ? 'LNKS' : LINKS[(slot + pin + 3) & 3];
			entries.push(pack(int(slot * 0x10000 + 0xffff), int(pin), path(link), int(0)));
		}
	}
	return name('_PRT', pack(...entries));
}

function links(): Aml[] {
	const route = ['PRQ0', 'PRQ1', 'PRQ2', 'PRQ3'];
	const out = [
		field(
			'PCI0.ISA.PIRQ',
			route.map((id) => [id, 8] as const),
		),
		method('IQST', 1, false, when(and(int(PIRQ_DISABLED), arg(0)), ret(int(0x09))), ret(int(0x0b))),
		method(
			'IQCR',
			1,
			true,
			name('PRR0', resources(interrupts(0))),
			createDWordField(path('PRR0'), INTERRUPT_OFFSET, 'PRRI'),
			when(less(arg(0), int(PIRQ_DISABLED)), store(arg(0), path('PRRI'))),
			ret(path('PRR0')),
		),
	];
	LINKS.forEach((id, i) => {
		const reg = path(route[i]);
		out.push(
			device(
				id,
				name('_HID', eisaId('PNP0C0F')),
				name('_UID', int(i)),
				name('_PRS', resources(interrupts(...LINK_IRQS))),
				method('_STA', 0, false, ret(concat(path('IQST'), reg))),
				method('_DIS', 0, false, or(reg, int(PIRQ_DISABLED), reg)),
				method('_CRS', 0, false, ret(concat(path('IQCR'), reg))),
				method('_SRS', 1, false, createDWordField(arg(0), INTERRUPT_OFFSET, 'PRRI'), store(path('PRRI'), reg)),
			),
		);
	});
	out.push(
		device(
			'LNKS',
			name('_HID', eisaId('PNP0C0F')),
			name('_UID', int(LINKS.length)),
			name('_PRS', resources(interrupts(SCI))),
			method('_STA', 0, false, ret(int(0x0b))),
			method('_DIS', 0, false),
			method('_CRS', 0, false, ret(path('_PRS'))),
			method('_SRS', 1, false),
		),
	);
	return out;
}

/** `hole` is where the PCI hole begins. */
function windows(hole: number): Aml {
	return name(
		'_CRS',
		resources(
			busNumbers(0, 0xff),
			io(0xcf8, 8),
			ioWindow(0, 0xcf7),
			ioWindow(0xd00, 0xffff),
			memoryWindow(0xa0000, 0xbffff, true),
			memoryWindow(hole, PCI_HOLE_END, false),
		),
	);
}

function gpeResources(): Aml {
	return device(
		'GPE0',
		name('_HID', string('PNP0A06')),
		name('_UID', string('GPE0 resources')),
		name('_STA', int(0x0b)),
		name('_CRS', resources(io(GPE0, 4))),
	);
}
