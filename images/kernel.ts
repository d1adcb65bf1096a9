/** Debian's 686 kernel package: which one is current, and its unpacked tree. */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { TsvmError } from '../src/core/index.ts';
import type { Apt, Package } from './apt.ts';
import { ModuleTree } from './modules.ts';

export interface Kernel {
	readonly package: Package;
	/** As `uname -r` shows it. */
	readonly release: string;
}

/** Words that shorten a boot on an emulated CPU by a third; none of them changes what works. */
export const FAST_WORDS = [
	'nokaslr',
	'mitigations=off',
	'tsc=reliable',
	'cryptomgr.notests=1',
	'initcall_blacklist=crypto_kdf108_init,load_system_certificate_list,init_kprobe_trace,isapnp_init',
	'no_timer_check',
	'random.trust_cpu=on',
].join(' ');

/** The kernel that the metapackage linux-image-686 asks for: its ABI changes with each security update. */
export async function currentKernel(apt: Apt): Promise<Kernel> {
	const meta = await apt.show('linux-image-686');
	const name = /\blinux-image-(\d\S*-686)\b/.exec(meta.depends)?.[0];
	if (name === undefined)
		throw new TsvmError('package-unknown', `linux-image-686 names no kernel: ${meta.depends}`, 'report this as a bug');
	return { package: await apt.show(name), release: name.slice('linux-image-'.length) };
}

export function vmlinuz(tree: string, kernel: Kernel): string {
	return join(tree, 'boot', `vmlinuz-${kernel.release}`);
}

/** /lib/modules/RELEASE of an unpacked tree, wherever /usr merges put it. */
export async function modulesFolder(tree: string, kernel: Kernel): Promise<string> {
	for (const lib of ['lib', 'usr/lib']) {
		const path = join(tree, lib, 'modules', kernel.release);
		if ((await readdir(path).catch((): string[] => [])).includes('modules.builtin')) return path;
	}
	throw new TsvmError('package-damaged', `${kernel.package.name} holds no modules`, 'report this as a bug');
}

export async function moduleTree(tree: string, kernel: Kernel): Promise<ModuleTree> {
	return ModuleTree.read(await modulesFolder(tree, kernel));
}
