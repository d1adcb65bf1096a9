/** Where fetched packages, built images and unpacked kernels are kept, and how they get there whole or not at all. */
import { randomBytes } from 'node:crypto';
import { mkdir, readdir, rename, rm } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { TsvmError } from '../src/core/index.ts';

/** $TSVM_CACHE, else $XDG_CACHE_HOME/tsvm, else ~/.cache/tsvm. Not created here. */
export function cacheDirectory(env: NodeJS.ProcessEnv = process.env): string {
	if (env.TSVM_CACHE) return env.TSVM_CACHE;
	return join(env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'tsvm');
}

/** What is left by a process that died while building is swept away after this long, ms. */
const ABANDONED = 24 * 3600 * 1000;

/**
 * Fills `target`, a folder, by `fill`, which works in a temporary folder beside it. Two processes may do so at the same
 * time: the first to finish wins, the other's work is thrown away. Nothing is left behind on failure.
 */
export async function makeFolder(target: string, fill: (folder: string) => Promise<void>): Promise<void> {
	const temporary = await temporaryFolder(join(target, '..'));
	try {
		await fill(temporary);
		await rename(temporary, target).catch((error: NodeJS.ErrnoException) => {
			if (error.code !== 'ENOTEMPTY' && error.code !== 'EEXIST') throw error;
		});
	} finally {
		await rm(temporary, { recursive: true, force: true });
	}
}

/** A new empty folder in `parent`, which is created if need be. Throws TsvmError if that cannot be. */
export async function temporaryFolder(parent: string): Promise<string> {
	const path = join(parent, `.new-${Date.now()}-${randomBytes(4).toString('hex')}`);
	try {
		await mkdir(path, { recursive: true });
		await sweep(parent);
	} catch (error) {
		const { code } = error as NodeJS.ErrnoException;
		throw new TsvmError(
			'cache-unwritable',
			`cannot write to the cache ${parent} (${code})`,
			'set TSVM_CACHE to a writable folder',
		);
	}
	return path;
}

/** The name tells the age: what is unpacked into a folder brings time stamps of its own. */
async function sweep(parent: string): Promise<void> {
	for (const name of await readdir(parent)) {
		const made = /^\.new-(\d+)-/.exec(name)?.[1];
		if (made !== undefined && Date.now() - Number(made) > ABANDONED)
			await rm(join(parent, name), { recursive: true, force: true });
	}
}
