/** SeaBIOS fetched as on a host that has none. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { findFirmware } from '../../firmware/index.ts';
import { fetchSeabios } from '../../images/index.ts';

test("Debian's package is fetched into the cache once, and holds what findFirmware looks for", async (t) => {
	t.timeout(200_000);
	const cache = await mkdtemp(join(tmpdir(), 'tsvm-cache-'));
	t.teardown(() => rm(cache, { recursive: true, force: true }));
	const lines: string[] = [];
	const fetch = () => fetchSeabios({ cache, progress: (line) => lines.push(line) });
	const found = await findFirmware({ folders: [], fetch });
	t.true(found.biosPath.startsWith(cache));
	t.is(found.bios.length, 262144);
	t.regex(Buffer.from(found.bios).toString('latin1'), /SeaBIOS/);
	t.true(lines.some((line) => line.startsWith('fetching seabios ')));
	lines.length = 0;
	t.is((await findFirmware({ folders: [], fetch })).vgaBiosPath, found.vgaBiosPath);
	t.deepEqual(lines, []);
});
