/** What the documentation says that can be looked up. UPDATE_DOCS=1 writes docs/cli.md anew. */
import { readFileSync, writeFileSync } from 'node:fs';
import test from 'ava';
import { BEGIN, cliReference, END } from '../helpers/cli-reference.ts';

const file = new URL('../../../docs/cli.md', import.meta.url);

test('docs/cli.md lists every command and flag as the program has them', (t) => {
	const text = readFileSync(file, 'utf8');
	const [from, to] = [text.indexOf(BEGIN), text.indexOf(END)];
	t.true(from >= 0 && to > from, 'both marks are there');
	const fresh = `${text.slice(0, from)}${BEGIN}\n\n${cliReference()}\n${text.slice(to)}`;
	if (process.env.UPDATE_DOCS) writeFileSync(file, fresh);
	t.is(readFileSync(file, 'utf8'), fresh);
});

test('every test that docs/security.md names is there', (t) => {
	const named = [...readFileSync('docs/security.md', 'utf8').matchAll(/\| `([^`]+)`: (.+?) \|$/gm)];
	t.true(named.length > 20);
	for (const [, path, title] of named)
		t.true(readFileSync(`test/${path}.test.ts`, 'utf8').includes(`'${title}'`), `${path}: ${title}`);
});
