/**
 * tsvm as a library.
 *
 * ```ts
 * import { createMachine } from 'tsvm';
 * const machine = await createMachine({ disks: [{ file: 'disk.img' }], spice: { port: 5930 } });
 * machine.cont();
 * const { cause } = await machine.ended;
 * ```
 */
import { serveConfigured } from './control/qmp/server.ts';
import type { MachineOptions } from './machine/config.ts';
import { Machine, type MachineHost } from './machine/machine.ts';

export {
	buildImage,
	exportImage,
	type Image,
	type ImageInfo,
	type ImageOptions,
	listImages,
} from '../images/index.ts';
export { type QmpServer, serveQmp } from './control/qmp/server.ts';
export {
	type InputEvents,
	listenTrace,
	MouseButton,
	type TraceEvent,
	type TraceListener,
	TsvmError,
	traceNames,
} from './core/index.ts';
export {
	configJsonSchema,
	MachineConfig,
	type MachineOptions,
	parseConfig,
} from './machine/config.ts';
export type {
	BlockInfo,
	MachineControl,
	MachineEnd,
	MachineEventListener,
	PciInfo,
	QtreeBus,
	QtreeDevice,
	RunState,
	Screenshot,
	ShutdownCause,
	SpiceControl,
	SpiceInfo,
} from './machine/control.ts';
export { Machine, type MachineHost } from './machine/machine.ts';
export type { PanicAction } from './machine/panic.ts';
export { encodePng, encodePpm } from './spice/display/screenshot.ts';
export { packageVersion } from './version.ts';

/**
 * A machine with all that its description names: firmware, disks, SPICE server, QMP sockets. It waits for cont().
 * Throws TsvmError, and has then closed whatever it had opened.
 */
export async function createMachine(options: MachineOptions, host: MachineHost = {}): Promise<Machine> {
	const machine = await Machine.create(options, host);
	try {
		const qmp = await serveConfigured(machine);
		void machine.ended.then(() => qmp.close());
	} catch (error) {
		await machine.quit('host-error');
		throw error;
	}
	return machine;
}
