/**
 * pvpanic: a port by which a guest tells that its kernel has panicked. QEMU docs/specs/pvpanic.rst, hw/misc/pvpanic*.c.
 * There are two of them with the same byte: on the ISA bus at a port that ACPI names, and on PCI behind BAR 0.
 */
import {
	type Device,
	type DeviceState,
	guestError,
	type Host,
	type IoHandler,
	PciFunction,
	type PortSpace,
	tracePoints,
} from '../../src/core/index.ts';

/** A kernel panicked, or it did and another one, loaded before for that case, looks at what is left. */
export type PanicEvent = 'panicked' | 'crash-loaded';

/** Bits of the byte: read, those that the device knows; written, what has happened. */
export const PVPANIC_PANICKED = 1;
export const PVPANIC_CRASH_LOADED = 2;
export const PVPANIC_EVENTS = PVPANIC_PANICKED | PVPANIC_CRASH_LOADED;
export const PVPANIC_PORT = 0x505;

const trace = tracePoints('pvpanic', { write: ['events'] });

export interface PvpanicOptions {
	/** What the guest reads; the byte's bits work whether they are named here or not, as in QEMU. */
	readonly events?: number;
	/** Called in the middle of the guest's access, and as often as it likes. */
	readonly onPanic: (event: PanicEvent) => void;
}

export class IsaPvpanic implements Device {
	constructor(_host: Host, ports: PortSpace, options: PvpanicOptions & { readonly port?: number }) {
		ports.map(options.port ?? PVPANIC_PORT, 1, eventByte(options), 'pvpanic');
	}

	reset(): void {}
	save() {
		return { version: 1 } satisfies DeviceState;
	}
	restore(): void {}
}

export class PciPvpanic implements Device {
	readonly pci: PciFunction;

	constructor(options: PvpanicOptions) {
		this.pci = new PciFunction({
			name: 'pvpanic-pci',
			vendor: 0x1b36,
			device: 0x0011,
			revision: 1,
			classCode: 0x088000,
			bars: { 0: { kind: 'mmio', size: 2, handler: eventByte(options) } },
		});
	}

	reset(): void {}
	save() {
		return { version: 1 } satisfies DeviceState;
	}
	restore(): void {}
}

/** Each byte of the range is the same one. */
function eventByte({ events = PVPANIC_EVENTS, onPanic }: PvpanicOptions): IoHandler {
	return {
		read8: () => events,
		write8: (_offset, written) => {
			trace.write(written);
			if (written & ~PVPANIC_EVENTS) guestError('pvpanic', `event 0x${written.toString(16)} is unknown`);
			if (written & PVPANIC_PANICKED) onPanic('panicked');
			else if (written & PVPANIC_CRASH_LOADED) onPanic('crash-loaded');
		},
	};
}
