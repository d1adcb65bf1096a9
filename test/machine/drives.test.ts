/** Which disk firmware tries first, what becomes of discards, and that images are let go of. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { bootPath } from '../../firmware/index.ts';
import { type MachineOptions, parseConfig } from '../../src/machine/config.ts';
import { Drives } from '../../src/machine/drives.ts';
import { nativeImageCalls } from '../../src/machine/medium.ts';
import { planDevices } from '../../src/machine/planner.ts';

const folder = mkdtempSync(join(tmpdir(), 'tsvm-drives-'));
test.after.always(() => rmSync(folder, { recursive: true, force: true }));

let files = 0;
function image(): string {
	const path = join(folder, `${files++}.img`);
	writeFileSync(path, Buffer.alloc(1 << 20));
	return path;
}

async function order(options: MachineOptions, letters = 'cd'): Promise<string[]> {
	const drives = await Drives.open(planDevices(parseConfig(options)));
	const paths = drives.bootOrder(letters);
	await drives.close();
	return paths;
}

const CDROM = bootPath.ide(1, 0);

test('disks and CD-ROM drive in the order of the letters; what has no letter is not tried', async (t) => {
	const options = { disks: [{ file: image() }] };
	t.deepEqual(await order(options, 'cd'), [bootPath.ide(0, 0), CDROM]);
	t.deepEqual(await order(options, 'dc'), [CDROM, bootPath.ide(0, 0)]);
	t.deepEqual(await order(options, 'd'), [CDROM]);
});

test('a data disk on the virtio bus comes after those on IDE', async (t) => {
	const options = { drives: [{ file: image(), if: 'virtio' as const }], disks: [{ file: image() }] };
	t.deepEqual(await order(options), [bootPath.ide(0, 0), bootPath.virtioBlk(5), CDROM]);
});

test('a bootindex goes before all letters, the lowest first', async (t) => {
	const drives = ['a', 'b'].map((id) => ({ file: image(), if: 'none' as const, id }));
	const devices = [
		{ driver: 'virtio-blk-pci' as const, drive: 'a', bootindex: 2 },
		{ driver: 'ide-hd' as const, drive: 'b', bootindex: 1 },
	];
	t.deepEqual(await order({ drives, devices }, 'd'), [bootPath.ide(0, 0), bootPath.virtioBlk(5), CDROM]);
});

test('discards reach the files of those disks that say so', async (t) => {
	const punched: string[] = [];
	const punchHole = (_fd: number, offset: number, length: number) => {
		punched.push(`${offset}+${length}`);
		return Promise.resolve(0);
	};
	const options = (): MachineOptions => ({
		disks: [
			{ file: image(), discard: 'unmap', bus: 'virtio' },
			{ file: image(), bus: 'virtio' },
		],
		drives: [
			{ file: image(), if: 'virtio', discard: 'on' },
			{ file: image(), if: 'virtio', discard: 'off' },
		],
	});
	const plan = () => planDevices(parseConfig(options()));
	const warnings: string[] = [];
	const warn = (line: string) => warnings.push(line);
	const { byteLocks } = nativeImageCalls();
	const drives = await Drives.open(plan(), { punchHole, byteLocks, warn });
	for (const [n, { image }] of drives.virtioDisks.entries()) await image.discard?.(n * 512, 512);
	await drives.close();
	t.deepEqual(punched, ['0+512', '1024+512']);
	t.deepEqual(warnings, []);
	const without = await Drives.open(plan(), { byteLocks, warn });
	t.true(without.virtioDisks.every(({ image }) => image.discard === undefined));
	await without.close();
	t.is(warnings.length, 1);
	t.regex(warnings[0], /^discard=unmap does nothing without the native addon/);
	await (await Drives.open(planDevices(parseConfig({ disks: [{ file: image() }] })), { byteLocks, warn })).close();
	t.is(warnings.length, 1, 'nobody asked for it');
	await (
		await Drives.open(planDevices(parseConfig({ disks: [{ file: image() }, { file: image() }] })), { warn })
	).close();
	t.is(warnings.length, 2, 'once, however many images');
	t.regex(warnings[1], /^QEMU does not see which images are in use without the native addon/);
});
