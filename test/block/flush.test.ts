/** After a flush that failed nobody can know what is on the disk, and none is told that all is well. */
import fs, { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { openRaw } from '../../src/block/index.ts';

test('a flush that failed once fails ever after, even if fdatasync then says yes', async (t) => {
	const folder = mkdtempSync(join(tmpdir(), 'tsvm-flush-'));
	const { fdatasync } = fs;
	t.teardown(() => {
		fs.fdatasync = fdatasync;
		syncBuiltinESMExports();
		rmSync(folder, { recursive: true });
	});
	const path = join(folder, 'd.img');
	writeFileSync(path, Buffer.alloc(4096));
	const image = await openRaw(path);
	await image.flush();
	const full = Object.assign(new Error('ENOSPC: no space left on device, fdatasync'), { code: 'ENOSPC' });
	fs.fdatasync = Object.assign((_: number, done: fs.NoParamCallback) => process.nextTick(done, full), {
		__promisify__: fdatasync.__promisify__,
	});
	syncBuiltinESMExports();
	await t.throwsAsync(async () => image.flush(), { code: 'ENOSPC' });
	fs.fdatasync = fdatasync;
	syncBuiltinESMExports();
	await t.throwsAsync(async () => image.flush(), { code: 'EIO', message: /an earlier flush failed/ });
	t.is(image.write(0, new Uint8Array(512)), undefined, 'reads and writes go on');
	await image.close();
});
