import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import test from 'ava';
import { exportHidden } from '../../src/cpu/v86/hidden.ts';
import { differences, V86_VERSION } from '../../src/cpu/v86/wasm.ts';

const require = createRequire(import.meta.url);
const load = async (name: string) =>
	new WebAssembly.Module(exportHidden(await readFile(require.resolve(`v86/build/${name}`))));

test('the installed core is the one that this was written for', async (t) => {
	t.deepEqual(differences(await load('v86.wasm')), []);
	const { version } = require('v86/package.json') as { version: string };
	t.is(version.split('+')[0], V86_VERSION);
});

test('a build with other imports is refused by name', async (t) => {
	const found = differences(await load('v86-debug.wasm'));
	t.true(
		found.some((line) => /unknown import env\.\w+ \(function\)/.test(line)),
		found.join('; '),
	);
});

test('a module of another kind is refused', (t) => {
	const empty = new WebAssembly.Module(Uint8Array.from([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0]));
	const found = differences(empty);
	t.true(found.includes('import microtick is gone'));
	t.true(found.includes('function main_loop is gone'));
	t.true(found.includes('function trigger_gp is gone'));
	t.true(found.includes('memory is not exported'));
	t.true(found.includes('the stack pointer is not its only global'));
});
