/**
 * Breaks each rule of list.ts in a copy of the project and runs the tests that must notice. Prints a line for each, then
 * `N killed, N survived`; exit code 1 if a rule can be broken unnoticed or a mutant does not build.
 * Usage: node dist/test/mutants/run.js [WORD ...]   (rules and files with all of these words; else all)
 */
import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { MUTANTS, type Mutant } from './list.ts';

const root = fileURLToPath(new URL('../../..', import.meta.url));
/** A mutant that hangs its tests is noticed as well. */
const LONGEST_MS = 120_000;

const copy = mkdtempSync(join(tmpdir(), 'tsvm-mutants-'));
process.on('exit', () => rmSync(copy, { recursive: true, force: true }));
for (const name of ['bench', 'devices', 'dist', 'docs', 'firmware', 'images', 'native', 'src', 'test'])
	cpSync(join(root, name), join(copy, name), { recursive: true });
for (const name of ['package.json', 'tsconfig.base.json', 'tsconfig.json']) cpSync(join(root, name), join(copy, name));
symlinkSync(join(root, 'node_modules'), join(copy, 'node_modules'));

const words = process.argv.slice(2);
const chosen = MUTANTS.filter((m) => words.every((word) => `${m.rule} ${m.file}`.includes(word)));
const unbroken = [...new Set(chosen.flatMap((mutant) => mutant.tests))];
if (!passes(unbroken)) {
	console.error('the tests fail with nothing broken: mend them first');
	process.exit(1);
}
const survivors = chosen.filter((mutant) => {
	const verdict = judge(mutant);
	console.log(`${verdict.padEnd(8)} ${mutant.rule} (${mutant.file})`);
	return verdict !== 'killed';
});
console.log(`${chosen.length - survivors.length} killed, ${survivors.length} survived`);
process.exitCode = survivors.length === 0 && chosen.length > 0 ? 0 : 1;

function judge({ file, find, replace, tests }: Mutant): 'killed' | 'SURVIVED' | 'BROKEN' {
	const path = join(copy, file);
	const original = readFileSync(path, 'utf8');
	try {
		writeFileSync(
			path,
			original.replace(find, () => replace),
		);
		if (!run('tsc', ['-b'])) return 'BROKEN';
		return passes(tests) ? 'SURVIVED' : 'killed';
	} finally {
		writeFileSync(path, original);
	}
}

function passes(tests: readonly string[]): boolean {
	return run('ava', ['--fail-fast', ...tests.map((name) => `dist/test/${name}.test.js`)]);
}

function run(program: string, args: readonly string[]): boolean {
	const path = join(copy, 'node_modules', '.bin', program);
	return spawnSync(path, args, { cwd: copy, stdio: 'ignore', timeout: LONGEST_MS }).status === 0;
}
