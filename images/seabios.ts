/** SeaBIOS from Debian's package, for hosts that do not have it installed. */
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { Apt } from './apt.ts';
import { cacheDirectory, makeFolder } from './cache.ts';
import type { ImageOptions } from './index.ts';

const INSIDE = 'usr/share/seabios';

/** Folder with SeaBIOS's images, fetched into the cache if it is not there yet. Throws TsvmError without network. */
export async function fetchSeabios(options: ImageOptions = {}): Promise<string> {
	const { cache = cacheDirectory(), progress = () => {} } = options;
	const folder = join(cache, 'seabios');
	const there = await stat(folder).then(
		() => true,
		() => false,
	);
	if (!there) {
		const apt = await Apt.open({ cache, progress });
		const seabios = await apt.show('seabios');
		await makeFolder(folder, (temporary) => apt.unpack(seabios, temporary));
	}
	return join(folder, INSIDE);
}
