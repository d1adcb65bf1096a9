import { spawn, spawnSync } from 'node:child_process';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import test, { type ExecutionContext } from 'ava';
import fc from 'fast-check';
import { openImage, overlay } from '../../src/block/index.ts';
import type { TsvmError } from '../../src/core/index.ts';
import { sameBytes } from '../helpers/bytes.ts';
import { MemoryImage } from '../helpers/memory-image.ts';

const MODULE = new URL('../../src/block/index.js', import.meta.url).href;
const root = fs.mkdtempSync(join(tmpdir(), 'tsvm-block-'));
test.after.always(() => fs.rmSync(root, { recursive: true, force: true }));

let files = 0;
function file(content: Uint8Array | number): string {
	const path = join(root, `image${files++}.raw`);
	fs.writeFileSync(path, typeof content === 'number' ? new Uint8Array(content) : content);
	return path;
}
const bytes = (length: number, seed = 0) => Uint8Array.from({ length }, (_, i) => seed + i * 7 + (i >> 8));

/** Another process that opens the image, says what came of it, and stays. */
function other(path: string, options: object) {
	const script = `
		const { openImage } = await import(${JSON.stringify(MODULE)});
		try { await openImage(${JSON.stringify(path)}, ${JSON.stringify(options)}); console.log('open'); }
		catch (error) { console.log(error.code + ': ' + error.message); }
		setInterval(() => {}, 1000);`;
	const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
		stdio: ['ignore', 'pipe', 'inherit'],
	});
	const said = new Promise<string>((resolve) => child.stdout.once('data', (data) => resolve(String(data).trim())));
	const gone = new Promise<void>((resolve) => child.once('exit', () => resolve()));
	return { said, gone, kill: () => child.kill('SIGKILL') };
}

/** Opens an image that has just been let go of: what another thread starts meanwhile holds its lock until it execs. */
async function openFreed(path: string) {
	for (let attempt = 0; ; attempt++) {
		try {
			return await openImage(path);
		} catch (error) {
			if ((error as TsvmError).code !== 'image-in-use' || attempt === 50) throw error;
			await sleep(20);
		}
	}
}

async function refused(t: ExecutionContext, path: string, code: string, options = {}) {
	const error = await t.throwsAsync<TsvmError>(openImage(path, options));
	t.is(error?.code, code);
	t.is(error?.name, 'TsvmError');
	t.false(error?.message.includes('\n'));
	return error;
}

test('what is written is in the file, and read back', async (t) => {
	const path = file(1 << 20);
	const image = await openImage(path);
	t.is(image.size, 1 << 20);
	t.false(image.readOnly);
	const data = bytes(70000);
	t.is(image.write(4096, data), undefined, 'done at once');
	const back = new Uint8Array(70000);
	t.is(image.read(4096, back), undefined);
	sameBytes(t, back, data);
	await image.flush();
	await image.close();
	sameBytes(t, new Uint8Array(fs.readFileSync(path).subarray(4096, 74096)), data);
});

test('a size that is no multiple of 512 ends in zeros', async (t) => {
	const path = file(bytes(1000));
	const image = await openImage(path);
	t.is(image.size, 1024);
	const back = new Uint8Array(512).fill(0xee);
	image.read(512, back);
	sameBytes(t, back.subarray(0, 488), bytes(1000).subarray(512));
	sameBytes(t, back.subarray(488), new Uint8Array(24));
	t.is(fs.statSync(path).size, 1000);
	image.write(512, bytes(512, 1));
	image.read(512, back);
	sameBytes(t, back, bytes(512, 1));
	await image.close();
});

test('what cannot be a disk is refused in one line', async (t) => {
	await refused(t, join(root, 'missing.img'), 'image-missing');
	await refused(t, root, 'image-directory');
	await refused(t, root, 'image-directory', { readOnly: true });
	const empty = file(0);
	await refused(t, empty, 'image-empty');
	t.is(fs.statSync(empty).size, 0);
	await refused(t, '/dev/zero', 'image-kind');
	const pipe = join(root, 'pipe');
	t.is(spawnSync('mkfifo', [pipe]).status, 0);
	await refused(t, pipe, 'image-kind', { readOnly: true });
	const qcow2 = file(Buffer.concat([Buffer.from('QFI\xfb', 'latin1'), Buffer.alloc(1020)]));
	const error = await refused(t, qcow2, 'image-format');
	t.regex(error?.hint ?? '', /qemu-img convert/);
	const forced = await openImage(qcow2, { force: true });
	await forced.close();
});

test('a file that may not be written', async (t) => {
	const path = file(4096);
	fs.chmodSync(path, 0o444);
	fs.chmodSync(root, 0o755);
	// Root may write anything, so somebody else tries.
	const isRoot = process.getuid?.() === 0;
	const script = `
		const { openImage } = await import(${JSON.stringify(MODULE)});
		const say = (options) => openImage(${JSON.stringify(path)}, options).then(
			async (image) => { await image.close(); console.log('open'); }, (error) => console.log(error.code, error.hint));
		await say({}); await say({ readOnly: true }); await say({ snapshot: true });`;
	const result = spawnSync(process.execPath, ['--input-type=module', '-e', script], {
		encoding: 'utf8',
		env: { ...process.env, TMPDIR: '/var/tmp' },
		cwd: '/',
		...(isRoot ? { uid: 65534, gid: 65534 } : {}),
	});
	const lines = result.stdout.trim().split('\n');
	t.regex(lines[0], /^image-permission .*--snapshot/, result.stderr);
	t.deepEqual(lines.slice(1), ['open', 'open']);
});

test('one writer: the second is refused, in this process and in another', async (t) => {
	const path = file(4096);
	const image = await openImage(path);
	await refused(t, path, 'image-in-use');
	await refused(t, path, 'image-in-use', { readOnly: true });
	const link = join(root, 'link.raw');
	fs.symlinkSync(path, link);
	await refused(t, link, 'image-in-use');
	const process2 = other(path, {});
	t.regex(await process2.said, /^image-in-use: disk .* is in use by another tsvm$/);
	process2.kill();
	await image.close();
	const again = await openFreed(path);
	await again.close();
});

test('readers share, and keep writers out', async (t) => {
	const path = file(4096);
	const one = await openImage(path, { readOnly: true });
	const two = await openImage(path, { snapshot: true });
	const three = other(path, { readOnly: true });
	t.is(await three.said, 'open');
	await refused(t, path, 'image-in-use');
	await one.close();
	await two.close();
	await refused(t, path, 'image-in-use');
	three.kill();
	await three.gone;
	const writer = await openFreed(path);
	await writer.close();
});

test('SIGKILL leaves no lock behind', async (t) => {
	const path = file(4096);
	const holder = other(path, {});
	t.is(await holder.said, 'open');
	await refused(t, path, 'image-in-use');
	holder.kill();
	await holder.gone;
	const image = await openImage(path);
	t.pass();
	await image.close();
	t.deepEqual(
		fs.readdirSync(root).filter((name) => /lock/i.test(name)),
		[],
	);
});

test('a flushed write survives SIGKILL', async (t) => {
	const path = file(1 << 20);
	// writeSync waits for room in the pipe; what process.stdout holds back when the reader is slow would die unsaid.
	const script = `
		const { writeSync } = await import('node:fs');
		const { openImage } = await import(${JSON.stringify(MODULE)});
		const image = await openImage(${JSON.stringify(path)});
		for (let n = 1; ; n++) {
			image.write((n % 2000) * 512, new Uint8Array(512).fill(n));
			await image.flush();
			writeSync(1, n + '\\n');
		}`;
	const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
		stdio: ['ignore', 'pipe', 'inherit'],
	});
	let said = '';
	child.stdout.on('data', (data) => {
		said += data;
	});
	while (said.split('\n').length < 50) await sleep(5);
	child.kill('SIGKILL');
	await new Promise((resolve) => child.once('close', resolve));
	const last = Number(said.split('\n').at(-2));
	const content = fs.readFileSync(path);
	for (let n = Math.max(1, last - 40); n <= last; n++) t.is(content[(n % 2000) * 512], n & 0xff);
});

test('a closed image touches no file', async (t) => {
	const path = file(4096);
	for (const options of [{}, { snapshot: true }]) {
		const image = await openImage(path, options);
		await image.close();
		await image.close();
		await t.throwsAsync(async () => image.write(0, bytes(512)), { message: /closed/ });
		await t.throwsAsync(async () => image.read(0, bytes(512)), { message: /closed/ });
	}
});

test('a snapshot changes nothing below', async (t) => {
	const content = bytes(300_000, 3);
	const path = file(content);
	const image = await openImage(path, { snapshot: true });
	image.write(1000, bytes(200_000, 99));
	const back = new Uint8Array(image.size);
	image.read(0, back);
	sameBytes(t, back.subarray(1000, 201_000), bytes(200_000, 99));
	sameBytes(t, back.subarray(0, 1000), content.subarray(0, 1000));
	sameBytes(t, back.subarray(201_000, 300_000), content.subarray(201_000));
	t.is(image.flush(), undefined);
	await image.close();
	sameBytes(t, new Uint8Array(fs.readFileSync(path)), content);
});

test('an overlay is a disk like any other: random reads and writes', async (t) => {
	const size = 400 * 1024 + 512;
	await fc.assert(
		fc.asyncProperty(
			fc.array(fc.record({ write: fc.boolean(), at: fc.nat(size - 1), length: fc.integer({ min: 1, max: 150_000 }) }), {
				maxLength: 12,
			}),
			async (steps) => {
				const base = MemoryImage.patterned(size);
				const model = base.bytes.slice();
				const before = model.slice();
				const image = await overlay(base);
				for (const [n, { write, at, length }] of steps.entries()) {
					const count = Math.min(length, size - at);
					if (write) {
						const data = bytes(count, n * 31);
						model.set(data, at);
						await image.write(at, data);
					} else {
						const got = new Uint8Array(count);
						await image.read(at, got);
						if (Buffer.compare(got, model.subarray(at, at + count)) !== 0) return false;
					}
				}
				const all = new Uint8Array(size);
				await image.read(0, all);
				await image.close();
				return Buffer.compare(all, model) === 0 && Buffer.compare(base.bytes, before) === 0;
			},
		),
		{ numRuns: 60 },
	);
	t.pass();
});

test('an overlay over an image that takes its time', async (t) => {
	const base = MemoryImage.patterned(256 * 1024);
	const image = await overlay(base);
	base.slow = true;
	const one = image.write(100, bytes(10, 1));
	const two = image.write(200, bytes(10, 2));
	t.is(base.waiting, 1, 'the cluster is copied once');
	await base.release();
	await one;
	await two;
	const back = new Uint8Array(400);
	t.is(image.read(0, back), undefined);
	sameBytes(t, back.subarray(100, 110), bytes(10, 1));
	sameBytes(t, back.subarray(200, 210), bytes(10, 2));
	sameBytes(t, back.subarray(210), base.bytes.subarray(210, 400));
	await image.close();
});
