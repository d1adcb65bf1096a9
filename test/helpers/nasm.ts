/** Boot sectors and programs for guests, assembled by Debian's nasm. */
import { execFileSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Sources are not copied to dist. */
const sources = join(dirname(fileURLToPath(import.meta.url)), '..', '..', '..', 'test');

/** Assembles a file of test/ into the flat binary `output`; `defines` are nasm's -D. */
export function assemble(source: string, output: string, defines: readonly string[] = []): void {
	nasm('bin', source, output, defines);
}

/** The same into a program for i386 Linux, without a library and, by -N, without padding. */
export function assembleProgram(source: string, output: string, defines: readonly string[] = []): void {
	const object = `${output}.o`;
	nasm('elf32', source, object, defines);
	tool('ld', ['-m', 'elf_i386', '-s', '-static', '-N', '-o', output, object]);
	rmSync(object);
}

function nasm(format: string, source: string, output: string, defines: readonly string[]): void {
	tool('nasm', ['-f', format, ...defines.map((define) => `-D${define}`), join(sources, source), '-o', output]);
}

function tool(name: string, args: readonly string[]): void {
	try {
		execFileSync(name, args, { stdio: ['ignore', 'ignore', 'pipe'] });
	} catch (error) {
		if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
		throw new Error(`${name} is not installed (test/packages.txt)`);
	}
}
