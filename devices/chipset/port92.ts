/**
 * System control port A (92h): bit 0 resets the processor, bit 1 gates address line 20. PS/2 technical reference.
 * The core has no A20 gate (the line is always on), so bit 1 is only remembered.
 */
import {
	checkVersion,
	type Device,
	type DeviceState,
	type Host,
	type PortSpace,
	RegisterFile,
	registers,
	tracePoints,
} from '../../src/core/index.ts';

export const port92 = registers({
	control: { at: 0, size: 1, w: 0xfe, doc: 'bit 0 fast reset (reads 0), bit 1 A20' },
});
const FAST_RESET = 1;
const trace = tracePoints('port92', { reset: [] });

export class Port92 implements Device {
	readonly regs = new RegisterFile(port92);

	/** `onReset` asks the board for a system reset. */
	constructor(_host: Host, ports: PortSpace, onReset: () => void) {
		ports.map(
			0x92,
			1,
			{
				read8: () => this.regs.control,
				write8: (_offset, value) => {
					// Only a rising bit 0 resets; it is never stored, so each write of 1 is a rise.
					this.regs.write(0, 1, value);
					if (value & FAST_RESET) {
						trace.reset();
						onReset();
					}
				},
			},
			'port92',
		);
	}

	reset(): void {
		this.regs.reset();
	}
	save() {
		return { version: 1, regs: this.regs.save() };
	}
	restore(state: DeviceState): void {
		checkVersion('port92', state, 1);
		this.regs.restore((state as ReturnType<Port92['save']>).regs);
	}
}
