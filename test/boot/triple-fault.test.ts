/** A triple fault is the last way to reboot a PC, and for some the first: machines under it start again, however often. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { buildImage } from '../../images/index.ts';
import { Guest } from '../helpers/guest.ts';
import { assemble } from '../helpers/nasm.ts';

const TIMES = 20;

/** Waits until `marker` has stood on the serial line so often, and once more for the machine that came after. */
async function comesAgain(t: ExecutionContext, args: readonly string[], marker: string): Promise<Guest> {
	const guest = await Guest.start(args);
	t.teardown(() => guest.stop());
	let at = 0;
	for (let boot = 0; boot <= TIMES; boot++) at = await guest.until(marker, 120_000, at);
	t.is(guest.exitCode, undefined);
	t.notRegex(guest.stderr, /tsvm: /);
	return guest;
}

for (const [name, defines] of [
	['an interrupt that a busy guest has no handler for', []],
	['an interrupt that a halted guest has no handler for', ['HLT']],
	['a breakpoint without a handler', ['INT3']],
] as const) {
	test.serial(`${name} resets the machine, ${TIMES} times`, async (t) => {
		const folder = await mkdtemp(join(tmpdir(), 'tsvm-triple-'));
		t.teardown(() => rm(folder, { recursive: true, force: true }));
		const image = join(folder, 'triple.img');
		assemble('boot/triple.asm', image, defines);
		await comesAgain(t, [image, '--snapshot', '--memory', '32M'], 'boot');
	});
}

test.serial(`Linux with reboot=t reboots ${TIMES} times`, async (t) => {
	const { kernel, initrd, append } = await buildImage('debian-mini');
	const words = `${append} quiet tsvm.nomods tsvm.noreport tsvm.reboot reboot=t`;
	await comesAgain(t, ['--kernel', kernel as string, '--initrd', initrd as string, '--append', words], 'TSVM-REBOOT');
});
