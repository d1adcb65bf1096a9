/**
 * debian-mini: Debian's 686 kernel and an initramfs of busybox and the modules that drive tsvm's devices.
 * Needs apt and dpkg only; runs nothing of what it packs; no root.
 */
import { copyFile, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Apt } from './apt.ts';
import { temporaryFolder } from './cache.ts';
import { Cpio } from './cpio.ts';
import { dataFolder } from './data.ts';
import { ioctlTool } from './ioctl-tool.ts';
import { currentKernel, FAST_WORDS, moduleTree, vmlinuz } from './kernel.ts';
import { modulesAlias, modulesDep } from './modules.ts';
import type { Recipe } from './recipe.ts';

/** What init loads, and what someone at the shell may want. */
const MODULES = [
	...['qxl', 'bochs', 'cirrus', 'snd-intel8x0', 'snd-pcm-oss', 'snd-mixer-oss', 'pcspkr'],
	...['virtio_pci', 'virtio_console', 'virtio_balloon', 'virtio_blk', 'virtio_scsi', 'virtio_net', 'virtio-rng'],
	...['virtio_input', '9pnet_virtio', '9p', 'ata_piix', 'sd_mod', 'sr_mod', 'sg', 'ext4', 'isofs', 'vfat'],
	...[
		'8139cp',
		'ne2k-pci',
		'e1000',
		'psmouse',
		'evdev',
		'uinput',
		'button',
		'i2c-piix4',
		'pvpanic-mmio',
		'pvpanic-pci',
	],
	...['uhci-hcd', 'ehci-pci', 'usbhid', 'hid-generic', 'usb-storage', 'overlay', 'loop'],
];

export const mini: Recipe = {
	name: 'debian-mini',
	summary: "Debian's 686 kernel with busybox in an initramfs, about 30 s from nothing to a shell",
	version: 4,
	// Serial first and screen last would make the screen the console that init's shell reads: the serial line is.
	append: `console=tty0 console=ttyS0,115200 ${FAST_WORDS}`,
	files: { kernel: 'vmlinuz', initrd: 'initrd.cpio' },
	tools: ['apt-get', 'apt-cache', 'dpkg-deb'],

	async resolve(options) {
		const apt = await Apt.open(options);
		const kernel = await currentKernel(apt);
		const busybox = await apt.show('busybox-static');
		return {
			versions: [`${kernel.release} ${kernel.package.version}`, `busybox ${busybox.version}`],
			async build(folder, { cache, progress }) {
				const tree = await temporaryFolder(join(cache, 'images'));
				try {
					await Promise.all([apt.download(kernel.package), apt.download(busybox)]);
					progress('unpacking kernel and busybox');
					await apt.unpack(kernel.package, tree);
					await apt.unpack(busybox, tree);
					progress('packing the initramfs');
					const modules = await moduleTree(tree, kernel);
					const chosen = modules.closure(MODULES);
					const archive = new Cpio();
					for (const name of [
						'dev',
						'proc',
						'sys',
						'mnt',
						'tmp',
						'root',
						'sbin',
						'usr/bin',
						'usr/sbin',
						'var/log',
						'var/run',
					])
						archive.folder(name);
					archive.file('bin/busybox', await readFile(join(tree, 'bin/busybox')), 0o755);
					archive.file('sbin/ioctl', ioctlTool(), 0o755);
					const data = dataFolder('debian-mini');
					archive.file('init', await readFile(join(data, 'init')), 0o755);
					archive.file('etc/profile', await readFile(join(data, 'profile')));
					archive.file('etc/acpi/PWRF/00000080', await readFile(join(data, 'power-button')), 0o755);
					const lib = `lib/modules/${kernel.release}`;
					for (const module of chosen) archive.file(`${lib}/${module.path}`, await modules.content(module));
					archive.file(`${lib}/modules.dep`, modulesDep(chosen));
					archive.file(`${lib}/modules.alias`, modulesAlias(chosen));
					archive.file(`${lib}/modules.symbols`, '');
					// Not compressed: a host copies it in no time, the guest would unpack it for seconds.
					await writeFile(join(folder, 'initrd.cpio'), archive.bytes());
					await copyFile(vmlinuz(tree, kernel), join(folder, 'vmlinuz'));
				} finally {
					await rm(tree, { recursive: true, force: true });
				}
			},
		};
	},
};
