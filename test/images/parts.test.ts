/** The pieces that images are made of: archive, module index, folders that appear whole, tools that are missing. */
import { execFileSync } from 'node:child_process';
import { mkdir, mkdtemp, readdir, readFile, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { cacheDirectory, makeFolder } from '../../images/cache.ts';
import { Cpio } from '../../images/cpio.ts';
import { copySparse } from '../../images/ext4-disk.ts';
import { buildImage, exportImage, listImages } from '../../images/index.ts';
import { ModuleTree, modulesAlias, modulesDep } from '../../images/modules.ts';
import { requireTools, run } from '../../images/run.ts';
import { TsvmError } from '../../src/core/index.ts';
import { sameBytes } from '../helpers/bytes.ts';

async function folder(t: ExecutionContext): Promise<string> {
	const path = await mkdtemp(join(tmpdir(), 'tsvm-images-'));
	t.teardown(() => rm(path, { recursive: true, force: true }));
	return path;
}
const failure = async (t: ExecutionContext, promise: Promise<unknown>) =>
	(await t.throwsAsync(promise, { instanceOf: TsvmError })) as TsvmError;

test('cpio itself reads our archive: folders made as needed, modes, links, contents of any length', (t) => {
	const archive = new Cpio()
		.file('a/b/c', 'text\n')
		.file('a/run', Uint8Array.of(1, 2, 3), 0o755)
		.link('sbin', 'usr/sbin')
		.folder('empty', 0o700)
		.file('four', 'xxxx');
	const bytes = archive.bytes();
	t.is(bytes.length % 512, 0);
	const list = execFileSync('cpio', ['-itv', '--quiet', '--numeric-uid-gid'], { input: bytes, encoding: 'utf8' })
		.trim()
		.split('\n')
		.map((line) => line.split(/\s+/))
		.map((f) => [f[0], f[2], f[3], f[4], f.slice(8).join(' ')].join(' '));
	t.deepEqual(list, [
		'drwxr-xr-x 0 0 0 a',
		'drwxr-xr-x 0 0 0 a/b',
		'-rw-r--r-- 0 0 5 a/b/c',
		'-rwxr-xr-x 0 0 3 a/run',
		'drwx------ 0 0 0 empty',
		'-rw-r--r-- 0 0 4 four',
		'lrwxrwxrwx 0 0 8 sbin -> usr/sbin',
	]);
	t.is(execFileSync('cpio', ['-i', '--quiet', '--to-stdout', 'a/b/c'], { input: bytes, encoding: 'utf8' }), 'text\n');
	sameBytes(t, archive.bytes(), bytes, 'the same every time');
});

/** A relocatable ELF object with nothing but a .modinfo section. */
function moduleObject(info: readonly string[]): Uint8Array {
	const text = Buffer.from(info.map((line) => `${line}\0`).join(''));
	const names = Buffer.from('\0.modinfo\0.shstrtab\0');
	const sections = 52 + text.length + names.length;
	const elf = Buffer.alloc(sections + 3 * 40);
	elf.set([0x7f, 0x45, 0x4c, 0x46, 1, 1, 1]);
	elf.writeUInt32LE(sections, 32);
	elf.writeUInt16LE(40, 46);
	elf.writeUInt16LE(3, 48);
	elf.writeUInt16LE(2, 50);
	elf.set(text, 52);
	elf.set(names, 52 + text.length);
	const header = (n: number, name: number, offset: number, size: number) => {
		elf.writeUInt32LE(name, sections + 40 * n);
		elf.writeUInt32LE(offset, sections + 40 * n + 16);
		elf.writeUInt32LE(size, sections + 40 * n + 20);
	};
	header(1, 1, 52, text.length);
	header(2, 10, 52 + text.length, names.length);
	return elf;
}

test('modules come after what they need, soft dependencies and aliases included', async (t) => {
	const root = await folder(t);
	const put = async (path: string, ...info: string[]) => {
		await mkdir(join(root, 'kernel', path, '..'), { recursive: true });
		await writeFile(join(root, 'kernel', path), moduleObject(info));
	};
	await put('fs/disk-fs.ko', 'depends=journal,cache', 'softdep=pre: checksum', 'alias=fs-disk');
	await put('fs/journal.ko', 'depends=base-lib');
	await put('fs/cache.ko', 'depends=');
	await put('lib/base-lib.ko', 'depends=');
	await put('crypto/sum_fast.ko', 'depends=', 'alias=checksum');
	await put('crypto/sum_slow.ko', 'depends=', 'alias=checksum');
	await put('unused.ko', 'depends=gone');
	await writeFile(join(root, 'modules.builtin'), 'kernel/drivers/core/built-in.ko\n');
	const tree = await ModuleTree.read(root);
	const chosen = tree.closure(['disk_fs', 'built_in', 'cache']);
	t.deepEqual(
		chosen.map((m) => m.name),
		['sum_fast', 'sum_slow', 'base_lib', 'journal', 'cache', 'disk_fs'],
	);
	t.deepEqual(modulesDep(chosen).trim().split('\n').sort(), [
		'kernel/crypto/sum_fast.ko:',
		'kernel/crypto/sum_slow.ko:',
		'kernel/fs/cache.ko:',
		'kernel/fs/disk-fs.ko: kernel/fs/cache.ko kernel/fs/journal.ko kernel/lib/base-lib.ko',
		'kernel/fs/journal.ko: kernel/lib/base-lib.ko',
		'kernel/lib/base-lib.ko:',
	]);
	t.true(modulesAlias(chosen).includes('alias fs-disk disk_fs\n'));
	t.throws(() => tree.closure(['renamed']), { message: /no module renamed/ });
	t.throws(() => tree.closure(['unused']), { message: /needs gone/ });
});

test('a folder appears whole or not at all, also when two make it at once', async (t) => {
	const parent = await folder(t);
	const target = join(parent, 'made');
	await t.throwsAsync(
		makeFolder(target, async (path) => {
			await writeFile(join(path, 'half'), '');
			throw new Error('broken off');
		}),
	);
	t.deepEqual(await readdir(parent), []);
	const make = (text: string) =>
		makeFolder(target, async (path) => {
			await writeFile(join(path, 'file'), text);
			await new Promise((done) => setTimeout(done, 20));
			await writeFile(join(path, 'end'), text);
		});
	await Promise.all([make('one'), make('two')]);
	t.deepEqual(await readdir(parent), ['made']);
	t.is(await readFile(join(target, 'file'), 'utf8'), await readFile(join(target, 'end'), 'utf8'));
});

test('what a dead process left behind is swept away after a day, not before', async (t) => {
	const parent = await folder(t);
	const day = 24 * 3600 * 1000;
	const [old, young] = [1.1 * day, 0.9 * day].map((age) => `.new-${Math.floor(Date.now() - age)}-00`);
	for (const name of [old, young]) await mkdir(join(parent, name));
	// A package unpacked there sets the folder's own time to whatever the package says.
	await utimes(join(parent, young), 0, 0);
	await makeFolder(join(parent, 'made'), async () => {});
	t.deepEqual(await readdir(parent), [young, 'made']);
});

test('the cache is where the environment says', (t) => {
	t.is(cacheDirectory({ TSVM_CACHE: '/a', XDG_CACHE_HOME: '/b' }), '/a');
	t.is(cacheDirectory({ XDG_CACHE_HOME: '/b' }), '/b/tsvm');
	t.regex(cacheDirectory({}), /\/\.cache\/tsvm$/);
});

test('a cache that cannot be written is told as such', async (t) => {
	const parent = await folder(t);
	await writeFile(join(parent, 'file'), '');
	t.is(
		(
			await failure(
				t,
				makeFolder(join(parent, 'file', 'x'), async () => {}),
			)
		).code,
		'cache-unwritable',
	);
});

test('all missing tools are named at once, with the packages to install', async (t) => {
	const error = await failure(t, requireTools(['sh', 'no-such-tool', 'nor-this-one']));
	t.is(error.message, 'this host lacks no-such-tool, nor-this-one');
	t.regex(error.hint, /apt-get install no-such-tool nor-this-one/);
	await t.notThrowsAsync(requireTools(['sh']));
});

test('a tool that fails is quoted with its last words', async (t) => {
	t.is(await run('sh', ['-c', 'echo out']), 'out\n');
	const lines: string[] = [];
	const error = await failure(
		t,
		run('sh', ['-c', 'echo first; echo wrong >&2; exit 3'], { onLine: (l) => lines.push(l) }),
	);
	t.is(error.message, 'sh failed (3): wrong');
	t.deepEqual(lines.sort(), ['first', 'wrong']);
	t.is((await failure(t, run('/no/such/tool', []))).code, 'tools-missing');
});

test('an unknown image is wrong usage; the known ones are listed', async (t) => {
	const cache = await folder(t);
	const error = await failure(t, buildImage('windows', { cache }));
	t.is(error.exitCode, 2);
	t.regex(error.hint, /debian-mini, debian-desktop/);
	const list = await listImages({ cache });
	t.deepEqual(
		list.map((i) => [i.name, i.built]),
		[
			['debian-mini', false],
			['debian-desktop', false],
		],
	);
});

test('an image leaves the cache as a sparse file, and nothing is overwritten unasked', async (t) => {
	const path = await folder(t);
	const disk = join(path, 'disk');
	const content = new Uint8Array(4 << 20);
	content.fill(1, 1 << 20, (1 << 20) + 5000);
	await writeFile(disk, content);
	const out = join(path, 'out.img');
	const image = { name: 'x', versions: [], append: '', disk };
	t.deepEqual(await exportImage(image, out), [out]);
	sameBytes(t, await readFile(out), Buffer.from(content));
	t.true((await stat(out)).blocks * 512 < 1 << 20, 'holes stay holes');
	t.is((await failure(t, exportImage(image, out))).code, 'file-exists');
	await writeFile(out, 'mine');
	await exportImage(image, out, true);
	t.is((await stat(out)).size, content.length);
	t.is((await failure(t, exportImage(image, join(path, 'none', 'out')))).code, 'file-unwritable');
	t.deepEqual((await readdir(path)).sort(), ['disk', 'out.img'], 'no pieces are left');
	await copySparse(disk, out, 1 << 20);
	t.is((await readFile(out))[2 << 20], 1);
});
