/** debian-mini as built: its module index beside depmod's, and a whole life of it on QEMU. */
import { execFile, execFileSync } from 'node:child_process';
import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { promisify } from 'node:util';
import test from 'ava';
import { buildImage, type Image } from '../../images/index.ts';

async function mini(): Promise<Required<Pick<Image, 'kernel' | 'initrd'>> & Image> {
	const image = await buildImage('debian-mini');
	return { ...image, kernel: image.kernel as string, initrd: image.initrd as string };
}

test.serial('it is small, and a second build takes it from the cache', async (t) => {
	t.timeout(300_000);
	const image = await mini();
	t.true((await stat(image.initrd)).size < 16 << 20);
	const start = Date.now();
	const lines: string[] = [];
	t.deepEqual(await buildImage('debian-mini', { progress: (l) => lines.push(l) }), image);
	t.true(Date.now() - start < 1000);
	t.deepEqual(lines, []);
});

test.serial("our modules.dep names what depmod's does", async (t) => {
	t.timeout(300_000);
	const image = await mini();
	const root = await mkdtemp(join(tmpdir(), 'tsvm-mini-'));
	t.teardown(() => rm(root, { recursive: true, force: true }));
	execFileSync('cpio', ['-idm', '--quiet'], { cwd: root, input: await readFile(image.initrd) });
	const release = image.versions[0].split(' ')[0];
	const index = join(root, 'lib/modules', release, 'modules.dep');
	const parse = async () =>
		new Map(
			(await readFile(index, 'utf8'))
				.trim()
				.split('\n')
				.map((line) => line.split(':'))
				.map(([path, needs]) => [path, needs.trim().split(' ').filter(Boolean).sort().join(' ')] as const),
		);
	const ours = await parse();
	execFileSync('/sbin/depmod', ['-b', root, release], { stdio: ['ignore', 'ignore', 'ignore'] });
	const theirs = await parse();
	t.true(ours.size > 60);
	t.deepEqual([...ours].sort(), [...theirs].sort());
	t.true([...ours.keys()].some((path) => basename(path) === 'qxl.ko'));
});

test.serial('on QEMU it boots, finds the devices and powers off', async (t) => {
	t.timeout(300_000);
	const image = await mini();
	const { stdout } = await promisify(execFile)(
		'qemu-system-i386',
		[
			...['-accel', 'tcg', '-cpu', 'pentium3', '-m', '256', '-nodefaults', '-no-user-config', '-display', 'none'],
			...['-machine', 'pc,hpet=off', '-device', 'qxl-vga', '-device', 'AC97', '-device', 'virtio-balloon-pci'],
			...['-device', 'virtio-serial-pci', '-chardev', 'null,id=agent'],
			...['-device', 'virtserialport,chardev=agent,name=com.redhat.spice.0', '-serial', 'stdio', '-no-reboot'],
			...['-kernel', image.kernel, '-initrd', image.initrd, '-append', `${image.append} tsvm.poweroff`],
		],
		{ timeout: 200_000, maxBuffer: 16 << 20 },
	);
	const marks = stdout.match(/^TSVM-[A-Z-]+/gm);
	t.deepEqual(marks, ['TSVM-BOOT-OK', 'TSVM-MODS-OK', 'TSVM-REPORT-OK', 'TSVM-POWEROFF']);
	for (const part of [/1b36:0100 qxl/, /8086:2415 snd_intel8x0/, /virtio_balloon/, /vport\dp1 com\.redhat\.spice\.0/])
		t.regex(stdout, part);
	t.notRegex(stdout, /modprobe:|not found/);
});
