/** tsvm's own version. */
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The version in package.json, the nearest one above this file both in the source tree and in dist/. */
export function packageVersion(): string {
	for (let folder = dirname(fileURLToPath(import.meta.url)); ; folder = dirname(folder)) {
		try {
			const { name, version } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
			if (name === 'tsvm') return version;
		} catch {
			if (dirname(folder) === folder) return '0.0.0';
		}
	}
}
