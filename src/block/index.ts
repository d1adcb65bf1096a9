/** Host files as the guest's disks. */
import type { BlockImage } from '../core/index.ts';
import { overlay } from './overlay.ts';
import { openRaw, type RawOptions } from './raw.ts';

export { type ErrorPolicy, type IoError, type OnError, PolicedImage } from './on-error.ts';
export { overlay } from './overlay.ts';
export type { ByteLocks } from './qemu-lock.ts';
export { openRaw, type PunchHole, type RawOptions } from './raw.ts';

export interface ImageOptions extends RawOptions {
	/** The guest may write, and nothing of it is kept. */
	readonly snapshot?: boolean;
}

/** Opens a disk or CD image as the machine's configuration describes it. Rejects with TsvmError. */
export async function openImage(path: string, options: ImageOptions = {}): Promise<BlockImage> {
	if (!options.snapshot) return openRaw(path, options);
	const base = await openRaw(path, { ...options, readOnly: true });
	try {
		return await overlay(base);
	} catch (error) {
		await base.close();
		throw error;
	}
}
