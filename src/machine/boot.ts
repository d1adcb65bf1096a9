/** What a machine starts from: firmware images and, for direct boot, a kernel. */
import { join } from 'node:path';
import { type FirmwareImages, findFirmware, type LinuxBoot, loadLinux } from '../../firmware/index.ts';
import { cacheDirectory, fetchSeabios } from '../../images/index.ts';
import type { MachineConfig } from './config.ts';
import type { MachineHost } from './machine.ts';

export interface BootSources {
	readonly firmware: FirmwareImages;
	readonly linux: LinuxBoot | undefined;
}

/** Throws TsvmError when firmware cannot be had or the kernel is not one that this machine can run. */
export async function loadBoot(config: MachineConfig, host: MachineHost): Promise<BootSources> {
	const { kernel, initrd, append, memory } = config;
	const firmware = await findFirmware({
		...config.firmware,
		fetch: () => fetchSeabios({ progress: host.progress }),
	});
	const linux =
		kernel === undefined
			? undefined
			: await loadLinux({ kernel, initrd, append, memory, cache: join(cacheDirectory(), 'kernels') });
	return { firmware, linux };
}
