import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { WavFile } from '../../src/audio/index.ts';
import { HOST_AUDIO } from '../../src/core/index.ts';
import { readWav } from '../helpers/sound.ts';

const folder = mkdtempSync(join(tmpdir(), 'tsvm-wav-'));
test.after.always(() => rmSync(folder, { recursive: true }));

test('a file holds every sample, and says so', async (t) => {
	const path = join(folder, 'a.wav');
	const warnings: string[] = [];
	const file = await WavFile.create(path, (line) => warnings.push(line));
	file.start(HOST_AUDIO);
	for (let block = 0; block < 500; block++)
		file.write(Int16Array.from({ length: 960 }, (_, i) => ((block * 480 + (i >> 1)) % 20000) * (i % 2 ? -1 : 1)));
	file.stop();
	await file.close();
	const { rate, channels } = readWav(path);
	t.is(rate, 48000);
	t.is(channels[0].length, 240_000);
	t.true(channels[0].every((x, n) => x === n % 20000));
	t.true(channels[1].every((x, n) => x === 0 - (n % 20000)));
	t.deepEqual(warnings, []);
	t.is(readFileSync(path).readUInt32LE(4), 36 + 960_000);
});

test('a file with no sound is a whole one', async (t) => {
	const path = join(folder, 'b.wav');
	await (await WavFile.create(path, () => {})).close();
	t.is(readWav(path).channels[0].length, 0);
});

test('a place that cannot be written is one clear error', async (t) => {
	await t.throwsAsync(
		WavFile.create(join(folder, 'no/such/c.wav'), () => {}),
		{ message: /cannot write .*c\.wav/, code: 'audio' },
	);
	await t.throwsAsync(
		WavFile.create('/dev/full', () => {}),
		{ message: /cannot write .dev.full: .*ENOSPC/, code: 'audio' },
	);
});
