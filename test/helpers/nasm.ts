/** Boot sectors and other flat binaries for guests, assembled by Debian's nasm. */
import { execFileSync } from 'node:child_process';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Sources are not copied to dist. */
const sources = join(dirname(fileURLToPath(import.meta.url)), '..', '..', '..', 'test');

/** Assembles a file of test/ into `output`; `defines` are nasm's -D. */
export function assemble(source: string, output: string, defines: readonly string[] = []): void {
	const words = ['-f', 'bin', ...defines.map((define) => `-D${define}`), join(sources, source), '-o', output];
	try {
		execFileSync('nasm', words, { stdio: ['ignore', 'ignore', 'pipe'] });
	} catch (error) {
		if ((error as NodeJS.ErrnoException).code === 'ENOENT')
			throw new Error('nasm is not installed (test/packages.txt)');
		throw error;
	}
}
