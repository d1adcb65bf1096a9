/**
 * debian-desktop: a bootable disk with Xorg on the qxl driver, a window manager, the SPICE agent and ALSA tools.
 * Packages are unpacked and configured without running anything of them, so neither root nor a 32-bit host is needed.
 */
import { access, cp, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { TsvmError } from '../src/core/index.ts';
import { Apt, mirrorOf, SUITE } from './apt.ts';
import { temporaryFolder } from './cache.ts';
import { Cpio } from './cpio.ts';
import { dataFolder } from './data.ts';
import { DISK_TOOLS, makeDisk } from './ext4-disk.ts';
import { currentKernel, FAST_WORDS, type Kernel, modulesFolder, moduleTree, vmlinuz } from './kernel.ts';
import type { ModuleTree } from './modules.ts';
import type { Recipe } from './recipe.ts';
import { run } from './run.ts';

const PACKAGES = [
	...['busybox-static', 'udev', 'kmod', 'mount', 'util-linux', 'iproute2', 'procps', 'less', 'alsa-utils'],
	...['xserver-xorg-core', 'xserver-xorg-video-qxl', 'xserver-xorg-video-fbdev', 'xserver-xorg-video-vesa'],
	...['xserver-xorg-input-libinput', 'xinit', 'xauth', 'jwm', 'xterm', 'x11-utils', 'x11-apps', 'x11-xserver-utils'],
	...['xclip', 'fonts-dejavu-core', 'xkb-data', 'spice-vdagent'],
	...['spice-webdavd', 'davfs2'],
];
const LEFT_OUT = ['man', 'doc', 'locale', 'info'].map((what) => `--dpkgopt=path-exclude=/usr/share/${what}/*`);

/** Drivers of what tsvm and QEMU can put into a machine, and what a desktop's user may want beside. */
const MODULES = [
	...['qxl', 'bochs', 'cirrus', 'virtio-gpu', 'vga16fb', 'snd-intel8x0', 'snd-pcm-oss', 'snd-mixer-oss', 'snd-seq'],
	...['virtio_pci', 'virtio_console', 'virtio_balloon', 'virtio_blk', 'virtio_scsi', 'virtio_net', 'virtio-rng'],
	...['virtio_input', '9pnet_virtio', '9p', 'ata_piix', 'ahci', 'sd_mod', 'sr_mod', 'sg', 'ext4', 'isofs', 'vfat'],
	...['nls_utf8', 'nls_cp437', 'nls_ascii', 'nls_iso8859-1', 'fuse', 'overlay', 'loop', 'pcspkr', 'button'],
	...['8139cp', '8139too', 'ne2k-pci', 'e1000', 'pcnet32', 'i2c-piix4', 'psmouse', 'evdev', 'uinput', 'joydev'],
	...['uhci-hcd', 'ehci-pci', 'xhci-pci', 'usbhid', 'hid-generic', 'usb-storage', 'uas', 'cdc-acm', 'crc32c_generic'],
];
/** What the boot partition's initramfs loads to reach the root file system. */
const BOOT_MODULES = ['ata_piix', 'sd_mod', 'virtio_pci', 'virtio_blk', 'crc32c_generic', 'ext4'];
const ROOT_MIB = 440;
const BOOT_MIB = 24;
/** Merges /bin, /lib and /sbin into /usr, which maintainer scripts would do. */
const MERGED_USR = '/usr/share/mmdebstrap/hooks/merged-usr/setup00.sh';
/** Time stamps in the disk: fixed, so that the same packages give the same disk. */
const EPOCH = '1700000000';

const SYSLINUX_CFG = `SERIAL 0 115200
DEFAULT tsvm
PROMPT 0
TIMEOUT 0
LABEL tsvm
 KERNEL vmlinuz
 INITRD initrd.gz
 APPEND root=/dev/sda2 rw console=tty0 console=ttyS0,115200 quiet loglevel=3 ${FAST_WORDS}
`;

export const desktop: Recipe = {
	name: 'debian-desktop',
	summary: 'a disk with Xorg, a window manager, the SPICE agent and sound, 465 MiB, about 2 minutes',
	version: 3,
	append: '',
	files: { disk: 'disk.img' },
	tools: ['apt-get', 'apt-cache', 'dpkg-deb', 'mmdebstrap', 'depmod', 'ldconfig', ...DISK_TOOLS],

	async resolve(options) {
		const apt = await Apt.open(options);
		const kernel = await currentKernel(apt);
		const packages = await apt.showAll(PACKAGES);
		return {
			versions: [`${kernel.release} ${kernel.package.version}`, ...packages.map((p) => `${p.name} ${p.version}`)],
			async build(folder, { cache, progress }) {
				await access(MERGED_USR).catch(() => {
					throw new TsvmError(
						'tools-missing',
						`this host's mmdebstrap has no ${MERGED_USR}`,
						'install a newer mmdebstrap',
					);
				});
				const work = await temporaryFolder(join(cache, 'images'));
				try {
					const tree = join(work, 'kernel');
					await apt.unpack(kernel.package, tree);
					const root = join(work, 'root');
					const state = join(work, 'fakeroot.state');
					progress('fetching and unpacking the packages');
					await bootstrap(root, state, (line) => {
						if (line.startsWith('I: ')) progress(line.slice(3));
					});
					progress('configuring the system');
					const configure = join(dataFolder('debian-desktop'), 'configure');
					await run('fakeroot', ['-i', state, '-s', state, '--', 'sh', configure, root]);
					const modules = await moduleTree(tree, kernel);
					await installModules(modules, await modulesFolder(tree, kernel), root, kernel);
					progress('making the disk');
					const boot = join(work, 'boot');
					await mkdir(boot);
					const bootFiles = ['vmlinuz', 'initrd.gz', 'syslinux.cfg'].map((name) => join(boot, name));
					await cp(vmlinuz(tree, kernel), bootFiles[0]);
					await writeFile(bootFiles[1], await bootInitramfs(modules, join(root, 'bin/busybox')));
					await writeFile(bootFiles[2], SYSLINUX_CFG);
					const parts = { root, fakerootState: state, rootMib: ROOT_MIB, bootFiles, bootMib: BOOT_MIB, work };
					await makeDisk(join(folder, 'disk.img'), parts);
				} finally {
					await rm(work, { recursive: true, force: true });
				}
			},
		};
	},
};

/** Unpacks Debian's essential packages and ours into `root`; `state` remembers owners and modes for fakeroot. */
async function bootstrap(root: string, state: string, onLine: (line: string) => void): Promise<void> {
	const { mirror, signedBy } = await mirrorOf();
	const source = `deb ${signedBy ? `[signed-by=${signedBy}] ` : ''}${mirror} ${SUITE} main`;
	const args = [
		...['-s', state, '--', 'mmdebstrap', '--mode=chrootless', '--variant=extract', '--architectures=i386'],
		...LEFT_OUT,
		'--aptopt=Acquire::Languages "none"',
		'--aptopt=APT::Install-Recommends "false"',
		`--include=${PACKAGES.join(',')}`,
		'--include=?essential',
		`--setup-hook=${MERGED_USR} "$1"`,
		...[SUITE, root, source],
	];
	await run('fakeroot', args, { env: { SOURCE_DATE_EPOCH: EPOCH, TMPDIR: dirname(root) }, onLine });
}

async function installModules(modules: ModuleTree, from: string, root: string, kernel: Kernel): Promise<void> {
	const target = join(root, 'lib/modules', kernel.release);
	await mkdir(target, { recursive: true });
	for (const module of modules.closure(MODULES)) {
		const path = join(target, module.path);
		await mkdir(dirname(path), { recursive: true });
		await writeFile(path, await modules.content(module));
	}
	for (const name of ['modules.builtin', 'modules.builtin.modinfo', 'modules.order'])
		await cp(join(from, name), join(target, name));
	await run('depmod', ['-b', root, kernel.release]);
}

/** Compressed, because syslinux reads it through the BIOS, sector by sector. */
async function bootInitramfs(modules: ModuleTree, busybox: string): Promise<Uint8Array> {
	const archive = new Cpio();
	for (const name of ['dev', 'proc', 'sys', 'mnt']) archive.folder(name);
	archive.file('bin/busybox', await readFile(busybox), 0o755);
	archive.file('init', await readFile(join(dataFolder('debian-desktop'), 'boot-init')), 0o755);
	const order: string[] = [];
	for (const module of modules.closure(BOOT_MODULES)) {
		const path = `lib/modules/${module.name}.ko`;
		archive.file(path, await modules.content(module));
		order.push(`/${path}\n`);
	}
	archive.file('modules', order.join(''));
	return gzipSync(archive.bytes(), { level: 9 });
}
