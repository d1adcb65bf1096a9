/**
 * What a guest has flushed is in the image, whenever tsvm is killed. The guest writes numbered blocks all over its disk
 * and tells each flush on the serial line; the host kills tsvm with SIGKILL at a random moment and looks into the file.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { cli } from '../helpers/guest.ts';
import { BLOCK, blockContent, type Initramfs, WrittenBlocks, withIo } from '../helpers/guest-io.ts';

const BLOCKS = 2048;
const LIMIT_MS = 90_000;
/** After the first flush, so long at most. */
const LONGEST_MS = 600;
const folder = fs.mkdtempSync(join(tmpdir(), 'tsvm-durability-'));
test.after.always(() => fs.rmSync(folder, { recursive: true, force: true }));

/** Straight to the writer: what the full init does besides would take most of the time. */
const start = (modules: string, disk: string) => `#!/bin/busybox sh
/bin/busybox mount -t devtmpfs dev /dev
exec </dev/ttyS0 >/dev/ttyS0 2>&1
for m in ${modules}; do /bin/busybox modprobe $m; done
while [ ! -b ${disk} ]; do /bin/busybox usleep 20000; done
exec /bin/io write ${disk} $seed ${BLOCKS}
`;

interface Life {
	readonly guest: Initramfs;
	readonly seed: number;
	readonly path: string;
	/** Flags that plug the disk in. */
	readonly plug: (path: string) => readonly string[];
}

/** Runs the writer and kills tsvm in the middle; returns the number of the last batch that was told as flushed. */
async function killedAt({ guest, seed, path, plug }: Life, delayMs: number): Promise<number> {
	fs.writeFileSync(path, '');
	fs.truncateSync(path, BLOCKS * BLOCK);
	const append = `console=ttyS0,115200 quiet ${guest.append} rdinit=/start seed=${seed}`;
	const machine = ['--memory', '64M', '--spice', 'none', '--serial', 'stdio', '--no-sound', ...plug(path)];
	const boot = ['--kernel', guest.kernel, '--initrd', guest.initrd, '--append', append];
	const child = spawn(process.execPath, [cli, 'run', ...machine, ...boot], { stdio: ['ignore', 'pipe', 'pipe'] });
	let text = '';
	let errors = '';
	let begun = () => {};
	const first = new Promise<void>((resolve) => {
		begun = resolve;
	});
	child.stdout.on('data', (data: Buffer) => {
		text += data.toString('latin1');
		if (text.includes('F 1\r\n')) begun();
	});
	child.stderr.on('data', (data: Buffer) => {
		errors += data.toString();
	});
	const ended = new Promise<void>((resolve) => child.once('close', () => resolve()));
	await Promise.race([first, ended, timeout(LIMIT_MS)]);
	if (!text.includes('F 1\r\n')) {
		child.kill('SIGKILL');
		throw new Error(`the writer did not begin: ${text.slice(-1000)}\n${errors.slice(-1000)}`);
	}
	await timeout(delayMs);
	await kill(child, ended);
	// The last line may have been cut off in the middle of its number.
	return Number([...text.matchAll(/^F (\d+)\r\n/gm)].at(-1)?.[1]);
}

function timeout(ms: number): Promise<void> {
	return new Promise((resolve) => setTimeout(resolve, ms));
}

async function kill(child: ChildProcess, ended: Promise<void>): Promise<void> {
	child.kill('SIGKILL');
	await ended;
}

/** How many blocks of flushed batches are on the disk; throws when one is not as it was flushed. */
function check(path: string, seed: number, flushed: number): number {
	const last = new Map<number, number>();
	const written = new WrittenBlocks(seed, BLOCKS);
	for (let n = 0; n < flushed; n++) {
		const { batch, blocks } = written.batch();
		for (const block of blocks) last.set(block, batch);
	}
	// What was written after the last flush that was told may be there, or may not.
	const open = new Set([1, 2, 3].flatMap(() => written.batch().blocks));
	const content = fs.readFileSync(path);
	let checked = 0;
	for (const [block, batch] of last) {
		if (open.has(block)) continue;
		const found = content.subarray(block * BLOCK, (block + 1) * BLOCK);
		if (Buffer.compare(found, blockContent(batch, block)) !== 0)
			throw new Error(`block ${block} of batch ${batch} is lost: it begins ${found.subarray(0, 16).toString('hex')}`);
		checked++;
	}
	return checked;
}

async function killOften(t: ExecutionContext, name: string, kills: number, life: Omit<Life, 'seed' | 'path'>) {
	const first = Math.floor(Math.random() * 1e9) + 1;
	t.log(`${name}: seeds ${first}..${first + kills - 1}`);
	let next = 0;
	let [batches, blocks] = [0, 0];
	// Two at a time: most of a life is the boot, and that keeps one core busy.
	const lane = async () => {
		while (next < kills) {
			const seed = first + next++;
			const path = join(folder, `${name}-${seed}.img`);
			const flushed = await killedAt({ ...life, seed, path }, Math.random() * LONGEST_MS);
			batches += flushed;
			blocks += check(path, seed, flushed);
			fs.rmSync(path);
		}
	};
	await Promise.all([lane(), lane()]);
	t.log(`${name}: ${kills} kills, ${batches} flushes, ${blocks} blocks found`);
	t.true(blocks > kills);
}

test.serial('virtio-blk: killed 50 times', async (t) => {
	t.timeout(1_200_000);
	const guest = await withIo(folder, start('virtio_pci virtio_blk', '/dev/vda'));
	const plug = (path: string) => ['--drive', `file=${path},if=virtio,format=raw`];
	await killOften(t, 'virtio', 50, { guest, plug });
});

test.serial('IDE: killed 5 times', async (t) => {
	t.timeout(300_000);
	const guest = await withIo(folder, start('ata_piix sd_mod', '/dev/sda'));
	await killOften(t, 'ide', 5, { guest, plug: (path) => ['--drive', `file=${path},if=ide,format=raw`] });
});

test('the check finds a block that is missing, and one that is older than it may be', (t) => {
	const path = join(folder, 'check.img');
	const content = new Uint8Array(BLOCKS * BLOCK);
	const written = new WrittenBlocks(9, BLOCKS);
	const batches = Array.from({ length: 40 }, () => written.batch());
	for (const { batch, blocks } of batches)
		for (const block of blocks) content.set(blockContent(batch, block), block * BLOCK);
	fs.writeFileSync(path, content);
	t.true(check(path, 9, 40) > 100);
	const open = new Set([1, 2, 3].flatMap(() => written.batch().blocks));
	const lost = batches[39].blocks.find((block) => !open.has(block));
	if (lost === undefined) throw new Error('another seed is needed');
	content.set(blockContent(39, lost), lost * BLOCK);
	fs.writeFileSync(path, content);
	t.throws(() => check(path, 9, 40), { message: new RegExp(`block ${lost} of batch 40 is lost`) });
});
