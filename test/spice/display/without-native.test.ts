/** Without the addon pictures are plain pixels, and everything else is as ever. */
import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import { BitmapFormat } from '../../../src/core/index.ts';
import { CapSet } from '../../../src/spice/caps.ts';
import { createDisplayChannel } from '../../../src/spice/channels/display.ts';
import { canEncode, encodeLater, encodeNow, ensureNative, native } from '../../../src/spice/codecs/index.ts';
import { Display } from '../../../src/spice/display/display.ts';
import { ImageType } from '../../../src/spice/protocol/display.ts';
import { DisplayClient } from '../../helpers/display-client.ts';
import { drawPattern } from '../../helpers/pattern.ts';

test.before(() => {
	process.env.TSVM_NATIVE = '0';
});

test('the reason is told, and nothing is built behind the back of who switched it off', async (t) => {
	const state = native();
	t.is(state.addon, undefined);
	t.regex('reason' in state ? state.reason : '', /TSVM_NATIVE=0/);
	t.is(await ensureNative(), undefined);
	t.false(canEncode('lz', BitmapFormat.xrgb32));
	const pixels = { format: BitmapFormat.xrgb32, width: 1, height: 1, stride: 4, data: new Uint8Array(4) };
	t.throws(() => encodeNow('lz', pixels), { message: /needs the native addon/ });
	await t.throwsAsync(encodeLater('quic', pixels), { message: /needs the native addon/ });
});

test('a client shows the picture from plain bitmaps', async (t) => {
	const display = new Display();
	drawPattern(display);
	const client = new DisplayClient(createDisplayChannel(display), CapSet.of(1, 5));
	client.init();
	await sleep(20);
	drawPattern(display);
	await sleep(50);
	t.deepEqual(
		client.pixels,
		display.primary?.pixels.map((v) => v & 0xffffff),
	);
	t.deepEqual(new Set(client.imageTypes), new Set([ImageType.bitmap]));
});
