/** Where BIOS images come from. */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { BIOS_FILE, findFirmware, VGA_BIOS_FILE } from '../../firmware/index.ts';
import { TsvmError } from '../../src/core/index.ts';

async function folder(t: ExecutionContext): Promise<string> {
	const path = await mkdtemp(join(tmpdir(), 'tsvm-bios-'));
	t.teardown(() => rm(path, { recursive: true, force: true }));
	return path;
}
async function fill(path: string): Promise<string> {
	await mkdir(path, { recursive: true });
	await writeFile(join(path, BIOS_FILE), new Uint8Array(262144));
	await writeFile(join(path, VGA_BIOS_FILE), Uint8Array.of(0x55, 0xaa, ...new Uint8Array(1022)));
	return path;
}
const code = async (t: ExecutionContext, run: Promise<unknown>) =>
	((await t.throwsAsync(run, { instanceOf: TsvmError })) as TsvmError).code;

test("Debian's SeaBIOS is found where it is installed", async (t) => {
	const found = await findFirmware();
	t.is(found.bios.length, 262144);
	t.true(found.vgaBiosPath.endsWith(VGA_BIOS_FILE));
});

test('folders are searched in order, and nothing is fetched that is there', async (t) => {
	const path = await folder(t);
	const second = await fill(join(path, 'b'));
	const fetch = () => Promise.reject(new Error('must not be called'));
	const found = await findFirmware({ folders: [join(path, 'a'), second], fetch });
	t.is(found.biosPath, join(second, BIOS_FILE));
});

test('what no folder has is fetched, once', async (t) => {
	const path = await folder(t);
	let calls = 0;
	const fetch = async () => {
		calls++;
		return fill(join(path, 'fetched'));
	};
	const found = await findFirmware({ folders: [], fetch });
	t.is(found.vgaBiosPath, join(path, 'fetched', VGA_BIOS_FILE));
	t.is(calls, 1);
});

test('a path that was given is used, and nothing else is looked for in its place', async (t) => {
	const path = await fill(await folder(t));
	const own = join(path, 'own.bin');
	await writeFile(own, new Uint8Array(131072));
	t.is((await findFirmware({ bios: own, folders: [path] })).bios.length, 131072);
	t.is(await code(t, findFirmware({ bios: join(path, 'none'), folders: [path] })), 'firmware-unreadable');
	t.is(await code(t, findFirmware({ bios: path, folders: [path] })), 'firmware-unreadable');
});

test('nothing anywhere, or what cannot be firmware, is told in one line with a hint', async (t) => {
	const path = await fill(await folder(t));
	t.is(await code(t, findFirmware({ folders: [] })), 'firmware-missing');
	const bad = join(path, 'bad');
	await writeFile(bad, new Uint8Array(1000));
	t.is(await code(t, findFirmware({ bios: bad, folders: [path] })), 'firmware-format');
	t.is(await code(t, findFirmware({ vgaBios: bad, folders: [path] })), 'firmware-format');
});
