/** The recipes' data files, which lie in the package's images/ folder beside the sources, not with the compiled code. */
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Folder of data files of one recipe, from source (images/) or compiled code (dist/images/) alike. */
export function dataFolder(recipe: string): string {
	for (let folder = dirname(fileURLToPath(import.meta.url)); ; folder = dirname(folder)) {
		if (existsSync(join(folder, 'package.json'))) return join(folder, 'images', recipe);
		if (folder === dirname(folder)) throw new Error(`no package around ${fileURLToPath(import.meta.url)}`);
	}
}

/** Changes whenever a data file of the recipe does. */
export function dataHash(recipe: string): string {
	const root = dataFolder(recipe);
	const hash = createHash('sha256');
	for (const name of readdirSync(root, { recursive: true }).map(String).sort()) {
		const path = join(root, name);
		if (!statSync(path).isFile()) continue;
		hash.update(`${name}\0`).update(readFileSync(path)).update('\0');
	}
	return hash.digest('hex');
}
