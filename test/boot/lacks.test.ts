/** Guests that need what the CPU does not have: what they see, and the line on stderr that tells the user why. */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { makeMemtestCd } from '../helpers/boot-media.ts';
import { Guest } from '../helpers/guest.ts';
import { assemble, assembleProgram } from '../helpers/nasm.ts';
import { waitFor } from '../helpers/x11.ts';

async function folder(t: ExecutionContext): Promise<string> {
	const path = await mkdtemp(join(tmpdir(), 'tsvm-lacks-'));
	t.teardown(() => rm(path, { recursive: true, force: true }));
	return path;
}
async function start(t: ExecutionContext, ...args: string[]): Promise<Guest> {
	const guest = await Guest.start(args);
	t.teardown(() => guest.stop());
	return guest;
}
/** What has been said of the guest so far. */
const said = (guest: Guest) => guest.stderr.split('\n').filter((line) => line.startsWith('tsvm: '));

test.serial('the 64-bit memtest86+ needs another CPU, which is said once', async (t) => {
	const cd = join(await folder(t), 'memtest.iso');
	await makeMemtestCd(cd, 'x64');
	const guest = await start(t, '--cdrom', cd);
	await guest.until('Loading /memtest... ok');
	await waitFor(() => said(guest).length > 0, 'the line');
	t.is(
		said(guest)[0],
		'tsvm: guest: cpu: the guest needs a 64-bit CPU (long mode), which this machine does not have; use a 32-bit image (not said again)',
	);
	// With this much memory it runs into a triple fault without long mode, and starts again.
	const again = guest.serial.length;
	await guest.until('Loading /memtest... ok', 60_000, again);
	await guest.until('ISOLINUX', 60_000, guest.serial.length);
	t.is(said(guest).length, 1);
});

test.serial('a boot sector that single-steps and sets a breakpoint runs on, and each is said once', async (t) => {
	const image = join(await folder(t), 'trap-flag.img');
	assemble('boot/trap-flag.asm', image);
	const guest = await start(t, image, '--snapshot');
	await guest.until('STEPS=0 HWBP=0');
	const lines = said(guest);
	t.is(lines.length, 2);
	t.regex(lines[0], /single-steps by the trap flag/);
	t.regex(lines[1], /hardware breakpoint/);
});

/** -DT= of exceptions.asm, and the exit code that a shell shows: 128 and the signal's number, or 0 if none came. */
const SIGNALS: Record<string, readonly [t: number, code: number]> = {
	'x87 1 / 0, unmasked': [1, 0],
	'SSE 1 / 0, unmasked': [2, 0],
	'a division by zero': [3, 136],
	UD2: [4, 132],
	'a misaligned MOVAPS': [5, 0],
	'the trap flag': [6, 0],
	INT3: [7, 133],
	INTO: [8, 139],
	'a misaligned access with EFLAGS.AC': [9, 0],
	'x87 0 / 0, unmasked': [10, 0],
	CLI: [11, 139],
	'a quotient too large': [12, 136],
	ICEBP: [13, 0],
	SSSE3: [15, 132],
	'a jump out of the program': [16, 139],
};

test.serial('Linux programs get the signals of what the CPU has, and none of what it has not', async (t) => {
	const path = await folder(t);
	const guest = await start(t, '--append', 'console=ttyS0 quiet tsvm.nomods tsvm.noreport');
	await guest.until('TSVM-SHELL-READY');
	const run = async (source: string, ...defines: string[]) => {
		const program = join(path, 'program');
		assembleProgram(source, program, defines);
		const text = (await readFile(program)).toString('base64').match(/.{1,200}/g) ?? [];
		await guest.shell('rm -f /p.b64');
		for (const line of text) await guest.shell(`echo ${line} >> /p.b64`);
		await guest.shell('base64 -d /p.b64 > /p; chmod +x /p');
		return await guest.shell('/p 2>/dev/null; echo "code $?"');
	};
	for (const [name, [number, code]] of Object.entries(SIGNALS)) {
		const out = await run('boot/exceptions.asm', `T=${number}`);
		t.is(out.split('\n').at(-1), `code ${code}`, name);
	}
	t.regex(await run('boot/single-step.asm'), /STEP none/, 'PTRACE_SINGLESTEP does not stop');
	t.is(said(guest).filter((line) => line.includes('trap flag')).length, 1);
});
