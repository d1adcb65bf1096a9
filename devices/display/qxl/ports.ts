/** What is common to several I/O ports: which work before native mode, and which complete with an interrupt. */
import { Io } from './layout.ts';

/** Ports that a guest may write before it has created a primary surface. */
export const VGA_PORTS: ReadonlySet<number> = new Set([
	Io.reset,
	Io.setMode,
	Io.memslotAdd,
	Io.memslotDel,
	Io.createPrimary,
	Io.updateIrq,
	Io.log,
	Io.memslotAddAsync,
	Io.createPrimaryAsync,
]);

/** The port that does the same at once; flush_surfaces and monitors_config have none and do it themselves. */
const SYNC_OF: ReadonlyMap<number, number> = new Map([
	[Io.updateAreaAsync, Io.updateArea],
	[Io.memslotAddAsync, Io.memslotAdd],
	[Io.createPrimaryAsync, Io.createPrimary],
	[Io.destroyPrimaryAsync, Io.destroyPrimary],
	[Io.destroySurfaceAsync, Io.destroySurfaceWait],
	[Io.destroyAllSurfacesAsync, Io.destroyAllSurfaces],
	[Io.flushSurfacesAsync, Io.flushSurfacesAsync],
	[Io.monitorsConfigAsync, Io.monitorsConfigAsync],
]);

/** Ports for what comes after all commands in the rings. */
export const AFTER_RINGS: ReadonlySet<number> = new Set([
	Io.updateArea,
	Io.updateAreaAsync,
	Io.notifyOom,
	Io.destroyPrimary,
	Io.destroyPrimaryAsync,
	Io.destroySurfaceWait,
	Io.destroySurfaceAsync,
	Io.destroyAllSurfaces,
	Io.destroyAllSurfacesAsync,
	Io.flushSurfacesAsync,
]);

/** What an asynchronous port does, by port; undefined for a synchronous one. */
export function syncOf(port: number): number | undefined {
	return SYNC_OF.get(port);
}
