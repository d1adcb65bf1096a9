/** What the commands of QMP and of the human monitor work with. */
import type { MachineControl } from '../../machine/control.ts';
import type { InputQueue } from '../input.ts';

export interface ControlContext {
	readonly machine: MachineControl;
	readonly input: InputQueue;
	/** tsvm's own version, `0.1.0`. */
	readonly version: string;
}

/** The release of QEMU whose QMP this is; clients choose by it what to ask. */
export const QEMU_VERSION = { major: 7, minor: 2, micro: 0 } as const;

export function packageText(version: string): string {
	return ` (tsvm ${version})`;
}
