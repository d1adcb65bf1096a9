/** Copies an image out of the cache, to where the user may write to it. */
import { randomUUID } from 'node:crypto';
import { copyFile, mkdir, rename, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { TsvmError } from '../src/core/index.ts';
import { copySparse } from './ext4-disk.ts';
import type { Image } from './index.ts';

/**
 * A disk goes to the file `out`, sparse; a kernel with its initrd into the folder `out`. Nothing is overwritten unless
 * `overwrite` says so. Returns the paths written. Throws TsvmError if `out` exists or cannot be written.
 */
export async function exportImage(image: Image, out: string, overwrite = false): Promise<string[]> {
	const pairs: (readonly [from: string, to: string])[] = [];
	if (image.disk !== undefined) pairs.push([image.disk, out]);
	for (const file of [image.kernel, image.initrd])
		if (file !== undefined) pairs.push([file, join(out, basename(file))]);
	for (const [, to] of pairs) {
		const there = await stat(to).catch(() => undefined);
		if (there && (!overwrite || there.isDirectory()))
			throw new TsvmError('file-exists', `${to} exists`, 'give another name, or remove it first');
	}
	try {
		if (image.disk === undefined) await mkdir(out, { recursive: true });
		for (const [from, to] of pairs) await copy(from, to, image.disk !== undefined);
	} catch (error) {
		const { code } = error as NodeJS.ErrnoException;
		throw new TsvmError('file-unwritable', `cannot write ${out} (${code})`, 'check the folder and the free space');
	}
	return pairs.map(([, to]) => to);
}

async function copy(from: string, to: string, sparse: boolean): Promise<void> {
	const temporary = `${to}.${randomUUID()}.part`;
	try {
		if (sparse) {
			await writeFile(temporary, '');
			await truncate(temporary, (await stat(from)).size);
			await copySparse(from, temporary);
		} else {
			await copyFile(from, temporary);
		}
		await rename(temporary, to);
	} finally {
		await rm(temporary, { force: true });
	}
}
