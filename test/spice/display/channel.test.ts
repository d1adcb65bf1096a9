/** The display channel as a client sees it. */
import { setTimeout as sleep } from 'node:timers/promises';
import test, { type ExecutionContext } from 'ava';
import { BitmapFormat, Ropd, SurfaceFormat } from '../../../src/core/index.ts';
import { CapSet } from '../../../src/spice/caps.ts';
import { createDisplayChannel, guestCapabilities } from '../../../src/spice/channels/display.ts';
import { Display } from '../../../src/spice/display/display.ts';
import { ImageCompression } from '../../../src/spice/display/select.ts';
import { DisplayCap, ImageType, display as protocol } from '../../../src/spice/protocol/display.ts';
import { encodeBody } from '../../../src/spice/protocol/kit.ts';
import { DisplayClient } from '../../helpers/display-client.ts';
import { bitmap, drawPattern, rect, solid } from '../../helpers/pattern.ts';

/** As spice-gtk 0.42 and spice-html5 0.3 were seen to send them. */
const gtk = CapSet.of(0, 1, 2, 3, 4, 5, 7, 8, 9, 10, 13);
const html5 = CapSet.of(DisplayCap.sizedStream, DisplayCap.streamReport, DisplayCap.multiCodec, DisplayCap.codecMjpeg);
const base = { surfaceId: 0, mmTime: 0 };

function prefer(client: DisplayClient, imageCompression: number): void {
	const [type, codec] = protocol.client.preferredCompression;
	client.send(type, encodeBody(codec, { imageCompression }));
}

function shows(client: DisplayClient, display: Display): boolean {
	const { primary } = display;
	if (primary === undefined || !client.marked || primary.pixels.length !== client.pixels.length) return false;
	return primary.pixels.every((v, i) => (v & 0xffffff) === client.pixels[i]);
}

/** Waits until the client has the server's picture. */
async function settle(t: ExecutionContext, client: DisplayClient, display: Display): Promise<void> {
	for (let i = 0; i < 200 && !shows(client, display); i++) await sleep(10);
	t.true(shows(client, display));
	t.deepEqual(client.warnings, []);
}

test('first picture: the measured order, in one drawing', async (t) => {
	const display = new Display();
	drawPattern(display);
	const client = new DisplayClient(createDisplayChannel(display), gtk);
	t.deepEqual(client.log, [], 'nothing before the client says init');
	client.init();
	await settle(t, client, display);
	await sleep(20);
	t.deepEqual(client.log, ['invalAllPalettes', 'surfaceCreate', 'drawCopy', 'monitorsConfig', 'mark']);
	client.init();
	await sleep(20);
	t.is(client.log.length, 5, 'a second init changes nothing');
});

test('a client that comes before the surface gets it when it is there; heads as the guest says', async (t) => {
	const display = new Display();
	const client = new DisplayClient(createDisplayChannel(display), gtk);
	client.init();
	await sleep(20);
	t.deepEqual(client.log, ['invalAllPalettes']);
	drawPattern(display);
	await settle(t, client, display);
	await sleep(20);
	t.true(client.marked);
	const head = { id: 0, surfaceId: 0, width: 640, height: 480, x: 0, y: 0, flags: 0 };
	display.monitorsConfig(4, [head, { ...head, id: 1, x: 640 }]);
	await sleep(20);
	t.is(client.log.at(-1), 'monitorsConfig');
	display.reset();
	await sleep(20);
	t.is(client.log.at(-1), 'surfaceDestroy');
});

for (const [name, caps] of Object.entries({ gtk, html5 })) {
	for (const [wish, value] of Object.entries(ImageCompression)) {
		test(`${name} that prefers ${wish} shows every operation and change of mode`, async (t) => {
			const display = new Display();
			const client = new DisplayClient(createDisplayChannel(display), caps);
			client.init();
			prefer(client, value);
			for (const format of [SurfaceFormat.xrgb32, SurfaceFormat.rgb555, SurfaceFormat.rgb565]) {
				drawPattern(display, format);
				await settle(t, client, display);
			}
			const allowed: Partial<Record<string, number[]>> = {
				off: [ImageType.bitmap],
				quic: [ImageType.quic, ImageType.bitmap],
				lz: [ImageType.lzRgb, ImageType.bitmap],
				lz4: [caps === gtk ? ImageType.lz4 : ImageType.lzRgb, ImageType.bitmap],
			};
			const seen = new Set(client.imageTypes);
			for (const type of seen)
				t.true((allowed[wish] ?? [ImageType.quic, ImageType.lzRgb, ImageType.bitmap]).includes(type), `type ${type}`);
			if (caps === html5) t.false(client.log.includes('monitorsConfig'));
		});
	}
}

test('photos go as QUIC, text as LZ, and to decoders in JavaScript always as LZ', async (t) => {
	const photo = bitmap(BitmapFormat.xrgb32, 120, 90, (x, y) => ((x * 2) << 16) | ((y * 2 + (x & 3)) << 8) | (x + y));
	const text = bitmap(BitmapFormat.xrgb32, 120, 90, (x, y) => (((x >> 2) ^ (y >> 3)) % 3 ? 0xffffff : 0));
	for (const [caps, expected] of [
		[gtk, [ImageType.quic, ImageType.lzRgb]],
		[html5, [ImageType.lzRgb, ImageType.lzRgb]],
	] as const) {
		const display = new Display();
		display.surfaceCreate({ id: 0, width: 300, height: 200, format: SurfaceFormat.xrgb32 });
		const client = new DisplayClient(createDisplayChannel(display), caps);
		client.init();
		await settle(t, client, display);
		client.imageTypes.length = 0;
		for (const [i, src] of [photo, text].entries())
			display.draw({
				...base,
				op: 'copy',
				box: rect(i * 150, 0, 120, 90),
				src,
				srcArea: rect(0, 0, 120, 90),
				rop: Ropd.put,
				scaleMode: 0,
			});
		await settle(t, client, display);
		t.deepEqual(client.imageTypes, [...expected]);
	}
});

test('an operation that can be said in few bytes is', async (t) => {
	const display = new Display();
	display.surfaceCreate({ id: 0, width: 1024, height: 768, format: SurfaceFormat.xrgb32 });
	const client = new DisplayClient(createDisplayChannel(display), gtk);
	client.init();
	await settle(t, client, display);
	client.log.length = 0;
	client.bytes = 0;
	display.draw({ ...base, op: 'fill', box: rect(0, 700, 1024, 68), brush: solid(0x123456), rop: Ropd.put });
	await settle(t, client, display);
	display.draw({ ...base, op: 'copy-bits', box: rect(0, 0, 1024, 752), srcPos: { x: 0, y: 16 } });
	await settle(t, client, display);
	t.deepEqual(client.log, ['drawFill', 'copyBits']);
	t.true(client.bytes < 100);
});

test('a small change is sent within the turn that drew it', async (t) => {
	const display = new Display();
	display.surfaceCreate({ id: 0, width: 720, height: 400, format: SurfaceFormat.xrgb32 });
	const client = new DisplayClient(createDisplayChannel(display), gtk);
	client.init();
	await settle(t, client, display);
	const src = bitmap(BitmapFormat.xrgb32, 9, 16, (x, y) => ((x ^ y) & 1 ? 0xaaaaaa : 0));
	display.draw({
		...base,
		op: 'copy',
		box: rect(90, 160, 9, 16),
		src,
		srcArea: rect(0, 0, 9, 16),
		rop: Ropd.put,
		scaleMode: 0,
	});
	await Promise.resolve();
	t.true(shows(client, display));
});

test('a client that stalls gets the picture as it is when it reads again, and costs little meanwhile', async (t) => {
	const display = new Display();
	drawPattern(display);
	const client = new DisplayClient(createDisplayChannel(display), gtk);
	client.init();
	await settle(t, client, display);
	await sleep(20);
	client.open(0);
	for (let round = 0; round < 30; round++) drawPattern(display);
	for (let i = 0; i < 3000; i++)
		display.draw({
			...base,
			op: 'fill',
			box: rect((i * 37) % 700, (i * 91) % 500, 60, 60),
			brush: solid(i * 77),
			rop: Ropd.put,
		});
	client.log.length = 0;
	client.bytes = 0;
	for (let i = 0; i < 400 && !shows(client, display); i++) {
		client.open(3);
		await sleep(5);
	}
	t.true(shows(client, display));
	t.true(client.log.length < 60, `${client.log.length} messages`);
	t.true(client.bytes < 4 << 20, `${client.bytes} bytes`);
});

test('a client may leave while its picture is being made', async (t) => {
	const display = new Display();
	drawPattern(display);
	const client = new DisplayClient(createDisplayChannel(display), gtk);
	client.init();
	await Promise.resolve();
	client.behaviour.closed?.();
	const sent = client.log.length;
	drawPattern(display);
	await sleep(100);
	t.is(client.log.length, sent);
});

test("what the client's side cannot be is refused", (t) => {
	const client = new DisplayClient(createDisplayChannel(new Display()), gtk);
	t.throws(() => client.send(101, [new Uint8Array(13)]), { name: 'WireError' });
	t.throws(() => client.send(150, []), { name: 'WireError' });
	prefer(client, 77);
});

test('the guest is not invited to what the server cannot draw', (t) => {
	const told = new CapSet([new DataView(guestCapabilities(gtk.bytes(58)).buffer).getUint32(0, true)]);
	t.deepEqual(
		[...Array(32).keys()].filter((cap) => told.has(cap)),
		[0, 1, 4, 5, 7, 8, 9, 10, 13],
	);
});
