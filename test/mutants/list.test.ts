/** The list of mutants fits the code as it is: `npm run test:mutants` says whether the tests notice them. */
import { existsSync, readFileSync } from 'node:fs';
import test from 'ava';
import { MUTANTS } from './list.ts';

test('each mutant changes one place that is there, and has tests', (t) => {
	for (const { rule, file, find, replace, tests } of MUTANTS) {
		t.is(readFileSync(file, 'utf8').split(find).length, 2, `${rule}: "${find}" in ${file}`);
		t.not(find, replace, rule);
		t.true(tests.length > 0 && tests.every((name) => existsSync(`test/${name}.test.ts`)), rule);
	}
	t.is(new Set(MUTANTS.map((m) => m.rule)).size, MUTANTS.length);
});
