/** A console of a real guest on a real terminal. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import test from 'ava';
import { buildImage } from '../../images/index.ts';
import { cli } from '../helpers/guest.ts';

const script = join(dirname(fileURLToPath(import.meta.url)), '..', '..', '..', 'test', 'boot', 'terminal.py');

test('a console on a terminal has its size, at once and when it changes', async (t) => {
	const { kernel, initrd, append } = await buildImage('debian-mini');
	if (!kernel || !initrd) throw new Error('debian-mini has no kernel');
	const folder = mkdtempSync(join(tmpdir(), 'tsvm-terminal-'));
	t.teardown(() => rmSync(folder, { recursive: true, force: true }));
	const socket = join(folder, 'serial');
	const linux = ['--kernel', kernel, '--initrd', initrd, '--append', append ?? ''];
	const console = ['--chardev', 'stdio,id=term', '--device', 'virtconsole,chardev=term'];
	const machine = ['run', ...linux, ...console, '--spice', 'none', '--serial', `unix:${socket}`];
	const { stdout, stderr } = spawnSync('/usr/bin/python3', [script, socket, process.execPath, cli, ...machine], {
		encoding: 'utf8',
		timeout: 110_000,
	});
	t.deepEqual(stdout.trim().split('\n'), ['30 100', '43 132'], stderr);
});
