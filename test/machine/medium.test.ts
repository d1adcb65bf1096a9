/** What the operator hears when the host fails a disk, and what it takes to go on. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { type MachineOptions, parseConfig } from '../../src/machine/config.ts';
import { type DriveError, Drives } from '../../src/machine/drives.ts';
import { nativeImageCalls } from '../../src/machine/medium.ts';
import { planDevices } from '../../src/machine/planner.ts';

type Words = Partial<NonNullable<MachineOptions['disks']>[number]>;

/** A virtio disk whose discards end with `errno` of the host: the failure that needs no broken disk. */
async function failing(t: ExecutionContext, words: Words = {}) {
	const folder = mkdtempSync(join(tmpdir(), 'tsvm-medium-'));
	t.teardown(() => rmSync(folder, { recursive: true, force: true }));
	const file = join(folder, 'd.img');
	writeFileSync(file, Buffer.alloc(1 << 20));
	const host = { errno: constants.errno.ENOSPC, lines: [] as string[], events: [] as DriveError[] };
	const drives = await Drives.open(
		planDevices(parseConfig({ disks: [{ file, bus: 'virtio', discard: 'unmap', ...words }] })),
		{
			...nativeImageCalls(),
			punchHole: async () => host.errno,
			warn: (line) => host.lines.push(line),
			resume: 'kill -CONT 7',
		},
	);
	t.teardown(() => drives.close());
	drives.onError = (event) => host.events.push(event);
	const outcomes: string[] = [];
	const discard = async () => {
		drives.virtioDisks[0].image.discard?.(0, 512)?.then(
			() => outcomes.push('done'),
			(error: NodeJS.ErrnoException) => outcomes.push(String(error.code)),
		);
		for (let i = 0; i < 5; i++) await new Promise((resolve) => setImmediate(resolve));
	};
	return { file, host, drives, outcomes, discard };
}

test('no space left: one line that names the file, one event, and all that waited is done once there is room', async (t) => {
	const { file, host, drives, outcomes, discard } = await failing(t);
	for (let i = 0; i < 3; i++) await discard();
	const said = `disk ${file}: no space left on device; the machine is paused: make room, then kill -CONT 7`;
	t.deepEqual(host.lines, [said]);
	const event = { operation: 'write', action: 'stop', nospace: true, reason: 'no space left on device' } as const;
	t.deepEqual(host.events, [{ device: 'virtio0', 'node-name': '#virtio0', ...event }]);
	t.is(drives.list().find(({ device }) => device === 'virtio0')?.ioStatus, 'nospace');
	drives.retry();
	await discard();
	t.deepEqual(host.lines, [said, said], 'there still is none, and it paused again');
	t.deepEqual(outcomes, []);
	host.errno = 0;
	drives.retry();
	await discard();
	t.deepEqual(outcomes, ['done', 'done', 'done', 'done', 'done']);
	t.is(drives.list().find(({ device }) => device === 'virtio0')?.ioStatus, 'ok');
	t.is(host.events.length, 2);
});

test('other failures: the guest is told of each, the operator of the first', async (t) => {
	const { file, host, outcomes, discard } = await failing(t);
	host.errno = constants.errno.EIO;
	for (let i = 0; i < 20; i++) await discard();
	t.deepEqual(outcomes, Array(20).fill('EIO'));
	t.deepEqual(host.lines, [`disk ${file}: writing failed: i/o error; the guest is told, and this is not repeated`]);
	t.like(host.events[0], { action: 'report', nospace: false });
	t.true(host.events.length < 20, 'a guest that fails all the time does not flood the operator');
});

test('werror= of each drive is obeyed', async (t) => {
	const ignored = await failing(t, { werror: 'ignore' });
	await ignored.discard();
	t.deepEqual(ignored.outcomes, ['done']);
	t.regex(ignored.host.lines[0], /ignored, as asked for$/);
	const reported = await failing(t, { werror: 'report' });
	await reported.discard();
	t.deepEqual(reported.outcomes, ['ENOSPC']);
	const stopped = await failing(t, { werror: 'stop' });
	stopped.host.errno = constants.errno.EIO;
	await stopped.discard();
	t.deepEqual(stopped.outcomes, []);
	t.regex(stopped.host.lines[0], /writing failed: .*; the machine is paused: mend that, then kill -CONT 7$/);
	t.is(stopped.drives.list().find(({ device }) => device === 'virtio0')?.ioStatus, 'failed');
});
