/** memtest86+ from a CD, as people boot it to see whether a machine's memory is sound: 32 bits, PAE with large pages. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { makeMemtestCd } from '../helpers/boot-media.ts';
import { Guest } from '../helpers/guest.ts';
import { keepPng } from '../helpers/picture.ts';
import { waitFor } from '../helpers/x11.ts';

/** Memory, and the test whose beginning is awaited: those that begin earlier have passed by then. */
for (const [memory, last] of [
	['64M', '#9 '],
	['512M', '#4 '],
] as const) {
	test.serial(`memtest86+ finds nothing wrong with ${memory} up to its test ${last.trim()}`, async (t) => {
		const folder = await mkdtemp(join(tmpdir(), 'tsvm-memtest-'));
		t.teardown(() => rm(folder, { recursive: true, force: true }));
		const cd = join(folder, 'memtest.iso');
		await makeMemtestCd(cd, 'ia32');
		const guest = await Guest.start(['--cdrom', cd, '--snapshot', '--memory', memory]);
		t.teardown(() => guest.stop());
		await guest.until('Memtest86+ v6.10');
		await guest.until(`${last} [`, 180_000);
		// The status line is written every other second.
		const from = guest.serial.length;
		const counts = /Errors:\s*(\d+)/;
		await waitFor(() => counts.test(guest.serial.slice(from)), `a count of errors: ${guest.report()}`);
		t.is(counts.exec(guest.serial.slice(from))?.[1], '0');
		t.regex(guest.serial, /\[PAE\]/, 'the memory is reached by PAE');
		t.notRegex(guest.stderr, /tsvm: /, 'nothing to complain of');
		t.log(`screenshot ${keepPng(`memtest-${memory}`, await guest.screendump())}`);
	});
}
