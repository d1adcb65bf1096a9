/**
 * 82441FX PCI and memory controller, the host bridge at slot 0. Intel 290549, "Register description".
 * Memory attribute and DRAM registers keep what is written but change nothing: the core has no ROM or SMM
 * protection, all memory below 640 KiB and from 768 KiB to the top is RAM that can be read and written.
 */
import { checkVersion, type Device, type DeviceState, PciFunction } from '../../src/core/index.ts';

const MIB = 1 << 20;
/** PAM0 (0x59), upper half: what F0000-FFFFF does. 1 = reads go to DRAM. */
const PAM0 = 0x59;
const PAM0_READ_DRAM = 0x10;
/** QEMU's own use of DRB0's last byte: memory size in units of 8 MiB, for coreboot. */
const COREBOOT_RAM_SIZE = 0x57;
const SMRAM = 0x72;
const SMRAM_RESET = 0x02;

export class I440fx implements Device {
	readonly pci: PciFunction;

	/** `memory` is the size of guest RAM, bytes. */
	constructor(memory: number) {
		this.pci = new PciFunction({
			name: 'i440FX',
			vendor: 0x8086,
			device: 0x1237,
			revision: 2,
			classCode: 0x060000,
			config: {
				[COREBOOT_RAM_SIZE]: Math.min(255, Math.floor(memory / (8 * MIB))),
				// SeaBIOS makes its copy in RAM only while this says "ROM"; the core cannot run code from the ROM window
				// at the top of 4 GiB that it would use meanwhile.
				[PAM0]: PAM0_READ_DRAM,
				[SMRAM]: SMRAM_RESET,
			},
		});
	}

	/** The registers are configuration space, which the bus resets and saves. */
	reset(): void {
		this.pci.reset();
	}

	save() {
		return { version: 1 };
	}

	restore(state: DeviceState): void {
		checkVersion('i440fx', state, 1);
	}
}
