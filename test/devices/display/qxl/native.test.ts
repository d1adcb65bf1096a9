import test from 'ava';
import * as L from '../../../../devices/display/qxl/layout.ts';
import { encode, Ropd, SurfaceFormat } from '../../../../src/core/index.ts';
import { sameBytes } from '../../../helpers/bytes.ts';
import { displayBoard, ROM_BASE } from '../../../helpers/display-board.ts';
import { boardAccess, chunk, concat, NO_MASK, QxlDriver, rectOf, u32, words } from '../../../helpers/qxl-driver.ts';

async function native(width = 640, height = 480) {
	const board = displayBoard();
	const driver = new QxlDriver(boardAccess(board));
	await driver.init();
	const created = await driver.createPrimary(width, height);
	return { board, driver, created };
}

function pattern(width: number, height: number, seed = 1): Uint32Array {
	return Uint32Array.from({ length: width * height }, (_, i) => (i * 2654435761 * seed) & 0xffffff);
}

test('creating a primary surface leaves VGA mode, and completes with an interrupt', async (t) => {
	const { board, created } = await native();
	t.true(created);
	t.is(board.device.mode, 'native');
	t.true(board.interrupt.level);
	t.deepEqual(board.sink.calls.slice(-2), ['reset', 'surfaceCreate 0 640x480']);
});

test('a copy is drawn where it says, and its clip limits it', async (t) => {
	const { board, driver } = await native();
	const pixels = pattern(20, 10);
	await driver.copy(100, 50, 20, 10, pixels);
	await driver.io.settle();
	t.is(board.sink.pixel(103, 57), pixels[7 * 20 + 3]);
	const clip = await driver.place(
		concat(u32(2), chunk(concat(encode(L.Rect, rectOf(0, 0, 5, 5)), encode(L.Rect, rectOf(10, 0, 12, 20))), 0n)),
	);
	const src = await driver.image(20, 20, new Uint32Array(400).fill(0xff00ff));
	const body = { src, srcArea: rectOf(0, 0, 20, 20), rop: Ropd.put, scaleMode: 0, mask: NO_MASK };
	const more = { clip: { type: L.ClipType.rects, data: clip } };
	await driver.push(L.Cmd.draw, await driver.drawable(L.DrawType.copy, rectOf(0, 0, 20, 20), L.Copy, body, more));
	await driver.io.settle();
	t.is(board.sink.pixel(4, 4), 0xff00ff);
	t.is(board.sink.pixel(11, 19), 0xff00ff);
	t.is(board.sink.pixel(6, 4), 0);
});

test('an image in many chunks, one with its bottom row first, one of a direct bitmap', async (t) => {
	const { board, driver } = await native();
	const pixels = pattern(64, 32, 3);
	const put = async (src: bigint, x: number) => {
		const body = { src, srcArea: rectOf(0, 0, 64, 32), rop: Ropd.put, scaleMode: 0, mask: NO_MASK };
		await driver.push(L.Cmd.draw, await driver.drawable(L.DrawType.copy, rectOf(x, 0, x + 64, 32), L.Copy, body));
	};
	const bytes = new Uint8Array(pixels.buffer);
	await put(await driver.image(64, 32, pixels, 100), 0);
	await put(await driver.bitmap({ x: 64, y: 32, stride: 256, flags: 0, data: await driver.chunks(bytes) }), 64);
	const direct = L.BitmapFlags.direct | L.BitmapFlags.topDown;
	await put(await driver.bitmap({ x: 64, y: 32, stride: 256, flags: direct, data: await driver.place(bytes) }), 128);
	await driver.io.settle();
	t.is(board.sink.pixel(5, 9), pixels[9 * 64 + 5]);
	t.is(board.sink.pixel(64 + 5, 9), pixels[22 * 64 + 5]);
	t.is(board.sink.pixel(128 + 5, 9), pixels[9 * 64 + 5]);
});

test('what was copied out does not change when the guest writes its memory again', async (t) => {
	const { board, driver } = await native();
	const data = await driver.chunks(new Uint8Array(64 * 64 * 4).fill(0x11));
	const src = await driver.bitmap({ x: 64, y: 64, stride: 256, data });
	const body = { src, srcArea: rectOf(0, 0, 64, 64), rop: Ropd.put, scaleMode: 0, mask: NO_MASK };
	await driver.push(L.Cmd.draw, await driver.drawable(L.DrawType.copy, rectOf(0, 0, 64, 64), L.Copy, body));
	await driver.io.settle();
	const drawn = board.sink.draws[0];
	board.ram.bytes().fill(0xee);
	t.true(drawn.op === 'copy' && drawn.src.kind === 'bitmap' && drawn.src.data.every((b) => b === 0x11));
});

test('fill, copy_bits, blackness, whiteness, invers, opaque and blend become values', async (t) => {
	const { board, driver } = await native();
	await driver.fill(rectOf(0, 0, 100, 100), 0x00336699);
	await driver.push(
		L.Cmd.draw,
		await driver.drawable(L.DrawType.copyBits, rectOf(200, 200, 250, 250), L.CopyBits, { srcPos: { x: 10, y: 10 } }),
	);
	for (const [type, left] of [
		[L.DrawType.blackness, 0],
		[L.DrawType.whiteness, 10],
		[L.DrawType.invers, 20],
	])
		await driver.push(
			L.Cmd.draw,
			await driver.drawable(type, rectOf(left, 0, left + 10, 10), L.Blackness, { mask: NO_MASK }),
		);
	const src = await driver.image(4, 4, pattern(4, 4));
	const brush = { type: L.BrushType.pattern, pattern: src, pos: { x: 1, y: 2 } };
	const opaque = { src, srcArea: rectOf(0, 0, 4, 4), brush, rop: Ropd.or, scaleMode: 1, mask: NO_MASK };
	await driver.push(L.Cmd.draw, await driver.drawable(L.DrawType.opaque, rectOf(0, 0, 8, 8), L.Opaque, opaque));
	const mask = await driver.bitmap({ format: 2, x: 8, y: 8, stride: 1, data: await driver.chunks(new Uint8Array(8)) });
	const blend = {
		src,
		srcArea: rectOf(0, 0, 4, 4),
		rop: Ropd.xor,
		scaleMode: 0,
		mask: { flags: 1, pos: { x: 3, y: 0 }, bitmap: mask },
	};
	await driver.push(L.Cmd.draw, await driver.drawable(L.DrawType.blend, rectOf(0, 0, 4, 4), L.Copy, blend));
	await driver.io.settle();
	t.deepEqual(
		board.sink.draws.map((d) => d.op),
		['fill', 'copy-bits', 'blackness', 'whiteness', 'invers', 'opaque', 'blend'],
	);
	t.is(board.sink.pixel(220, 220), 0x336699);
	t.deepEqual(
		[5, 15, 25].map((x) => board.sink.pixel(x, 9)),
		[0, 0xffffff, ~0x336699 & 0xffffff],
	);
	const [, , , , , o, b] = board.sink.draws;
	t.true(o.op === 'opaque' && o.brush.kind === 'pattern' && o.brush.pos.y === 2 && o.rop === Ropd.or);
	t.true(b.op === 'blend' && b.mask?.inverse === true && b.mask.pos.x === 3);
});

test('operations that are not executed are dropped, and their resources come back', async (t) => {
	const { board, driver } = await native();
	for (let i = 0; i < 32; i++) {
		const type = [9, 10, 11, 12, 13, 14][i % 6];
		await driver.push(L.Cmd.draw, await driver.drawable(type, rectOf(0, 0, 9, 9), L.Blackness, { mask: NO_MASK }));
	}
	const pushed = [...driver.commands.values()];
	await driver.io.settle();
	t.is(board.sink.draws.length, 0);
	t.deepEqual(await driver.collect(), pushed);
});

test('resources come back in order, in bunches of 32, never into a full ring, and on flush', async (t) => {
	const { driver } = await native();
	const order: bigint[] = [];
	const pixels = pattern(2, 2);
	for (let n = 0; n < 320; n++) {
		await driver.copy(0, 0, 2, 2, pixels);
		if (n % 20 === 19) await driver.io.settle();
	}
	await driver.io.settle();
	order.push(...driver.commands.values());
	const { prod, cons } = await driver.ring(L.Ram.releaseRing);
	t.is(prod - cons, 7, 'seven lists, and one under construction');
	const first = await driver.collect();
	t.is(first.length, 7 * 32);
	await driver.io.out8(L.Io.flushRelease, 0);
	const second = await driver.collect();
	t.deepEqual([...first, ...second], order);
});

test('out of memory flushes the releases, but only when the guest has taken the last ones', async (t) => {
	const { driver } = await native();
	await driver.fill(rectOf(0, 0, 1, 1), 1);
	await driver.io.settle();
	t.is((await driver.ring(L.Ram.releaseRing)).prod, 0);
	await driver.io.out8(L.Io.notifyOom, 0);
	t.is((await driver.ring(L.Ram.releaseRing)).prod, 1);
	await driver.fill(rectOf(0, 0, 1, 1), 2);
	await driver.io.settle();
	await driver.io.out8(L.Io.notifyOom, 0);
	t.is((await driver.ring(L.Ram.releaseRing)).prod, 1);
	t.is((await driver.collect()).length, 1);
	await driver.io.out8(L.Io.notifyOom, 0);
	t.is((await driver.collect()).length, 1);
});

test('the ring asks for the next kick after it was emptied, and says when the guest waits for room', async (t) => {
	const { driver } = await native();
	for (let i = 0; i < 3; i++) await driver.fill(rectOf(0, 0, 1, 1), i);
	await driver.io.settle();
	t.deepEqual(await driver.ring(L.Ram.cmdRing), { prod: 3, notifyOnProd: 4, cons: 3 });
	await driver.ack();
	await driver.writeHeader(L.Ram.cmdRing + L.Ring.notifyOnCons, u32(4));
	await driver.fill(rectOf(0, 0, 1, 1), 9);
	await driver.io.settle();
	t.is((await driver.pending()) & L.Interrupt.display, L.Interrupt.display);
});

test('update_area writes what was drawn back to guest memory, after all commands before it', async (t) => {
	const { board, driver } = await native(320, 200);
	const pixels = pattern(8, 8, 5);
	await driver.copy(16, 24, 8, 8, pixels);
	t.true(await driver.updateArea(0, rectOf(10, 20, 30, 40)));
	const row = words(board.ram.bytes().slice((25 * 320 + 16) * 4, (25 * 320 + 24) * 4));
	t.deepEqual(row, [...pixels.subarray(8, 16)]);
});

test('a primary surface with a negative stride has its bottom row first', async (t) => {
	const board = displayBoard();
	const driver = new QxlDriver(boardAccess(board));
	await driver.init();
	board.ram.bytes().set(u32(0x00abcdef), 99 * 400);
	await driver.createPrimary(100, 100, { stride: -400, flags: L.SURF_FLAG_KEEP_DATA });
	t.is(board.sink.pixel(0, 0), 0xabcdef);
	await driver.fill(rectOf(0, 0, 100, 1), 0x123456);
	await driver.updateArea(0, rectOf(0, 0, 100, 1));
	t.is(words(board.ram.bytes().slice(99 * 400, 99 * 400 + 4))[0], 0x123456);
});

test('off-screen surfaces: created with their pixels, drawn on, used as a source, flushed, destroyed', async (t) => {
	const { board, driver } = await native();
	const at = driver.reserve(64 * 64 * 4);
	board.vram.bytes().fill(0x22, at, at + 64 * 64 * 4);
	const shape = { format: SurfaceFormat.xrgb32, width: 64, height: 64, stride: 256, data: driver.vramAddress(at) };
	await driver.surface(5, L.SurfaceCmdType.create, shape, L.SURF_FLAG_KEEP_DATA);
	await driver.fill(rectOf(0, 0, 8, 8), 0x0055aa, 5);
	const source = await driver.place(
		concat(encode(L.ImageDescriptor, { id: 0n, type: L.ImageType.surface, flags: 0, width: 64, height: 64 }), u32(5)),
	);
	const body = { src: source, srcArea: rectOf(0, 0, 64, 64), rop: Ropd.put, scaleMode: 0, mask: NO_MASK };
	await driver.push(L.Cmd.draw, await driver.drawable(L.DrawType.copy, rectOf(0, 0, 64, 64), L.Copy, body));
	await driver.io.settle();
	t.is(board.sink.pixel(3, 3), 0x0055aa);
	t.is(board.sink.pixel(20, 20), 0x222222);
	t.true(await driver.async(L.Io.flushSurfacesAsync));
	t.is(words(board.vram.bytes().slice(at, at + 4))[0], 0x0055aa);
	await driver.surface(5, L.SurfaceCmdType.destroy);
	await driver.io.settle();
	t.false(board.sink.surfaces.has(5));
	await driver.surface(6, L.SurfaceCmdType.create, shape);
	await driver.io.settle();
	t.true(await driver.async(L.Io.destroySurfaceAsync, 6));
	t.false(board.sink.surfaces.has(6));
	t.true(await driver.async(L.Io.destroyAllSurfacesAsync));
	t.is(board.sink.surfaces.size, 0);
	t.is(board.device.mode, 'undefined');
});

test('the command that created a surface comes back only when the surface is gone', async (t) => {
	const { driver } = await native();
	const shape = { format: SurfaceFormat.xrgb32, width: 8, height: 8, stride: 32, data: driver.vramAddress(0) };
	await driver.surface(1, L.SurfaceCmdType.create, shape);
	await driver.surface(2, L.SurfaceCmdType.create, shape);
	const [first, second] = driver.commands.values();
	await driver.fill(rectOf(0, 0, 8, 8), 1, 1);
	const fill = [...driver.commands.values()][2];
	await driver.io.settle();
	await driver.io.out8(L.Io.flushRelease, 0);
	t.deepEqual(await driver.collect(), [fill]);
	await driver.surface(1, L.SurfaceCmdType.destroy);
	const destroy = [...driver.commands.values()][2];
	await driver.io.settle();
	await driver.io.out8(L.Io.flushRelease, 0);
	t.deepEqual(await driver.collect(), [first, destroy]);
	await driver.async(L.Io.destroyAllSurfacesAsync);
	await driver.io.out8(L.Io.flushRelease, 0);
	t.deepEqual(await driver.collect(), [second]);
});

test('cursors: shape, move, hide, trail', async (t) => {
	const { board, driver } = await native();
	const pixels = new Uint8Array(64 * 64 * 4).map((_, i) => i & 0xff);
	const shape = await driver.place(
		concat(
			encode(L.Cursor, {
				unique: 77n,
				type: 0,
				width: 64,
				height: 64,
				hotSpotX: 3,
				hotSpotY: 4,
				dataSize: pixels.length,
			}),
			chunk(pixels, 0n),
		),
	);
	await driver.pushCursor(L.CursorCmdType.set, L.CursorSet, { position: { x: -5, y: 9 }, visible: 1, shape });
	await driver.io.settle();
	t.is(board.sink.cursor.shape?.unique, 77n);
	t.is(board.sink.cursor.shape?.hotSpotY, 4);
	sameBytes(t, board.sink.cursor.shape?.data, pixels);
	t.deepEqual([board.sink.cursor.x, board.sink.cursor.y], [-5, 9]);
	await driver.pushCursor(L.CursorCmdType.hide, L.CursorMove, { x: 0, y: 0 });
	await driver.io.settle();
	t.false(board.sink.cursor.visible);
	await driver.pushCursor(L.CursorCmdType.move, L.CursorMove, { x: 300, y: 200 });
	await driver.pushCursor(L.CursorCmdType.trail, L.CursorTrail, { length: 2, frequency: 30 });
	await driver.io.settle();
	t.deepEqual([board.sink.cursor.x, board.sink.cursor.visible], [300, true]);
	t.is(board.sink.calls.at(-1), 'cursorTrail 2 30');
});

test('monitors_config tells the heads', async (t) => {
	const { board, driver } = await native();
	const heads = [
		{ id: 0, surfaceId: 0, width: 320, height: 480, x: 0, y: 0, flags: 0 },
		{ id: 1, surfaceId: 0, width: 320, height: 480, x: 320, y: 0, flags: 0 },
	];
	const config = await driver.place(
		concat(encode(L.MonitorsConfig, { count: 2, maxAllowed: 4 }), ...heads.map((h) => encode(L.Head, h))),
	);
	const address = new Uint8Array(8);
	new DataView(address.buffer).setBigUint64(0, config, true);
	await driver.writeHeader(L.Ram.monitorsConfig, address);
	t.true(await driver.async(L.Io.monitorsConfigAsync));
	t.deepEqual(board.sink.heads, heads);
});

test("a client's heads reach the guest through the ROM, with a checksum as Linux computes it", async (t) => {
	const { board, driver } = await native();
	await driver.ack();
	t.true(board.device.clientMonitorsConfig([{ x: 0, y: 0, width: 1280, height: 720 }]));
	t.is((await driver.pending()) & L.Interrupt.clientMonitorsConfig, L.Interrupt.clientMonitorsConfig);
	const rom = await driver.io.read(ROM_BASE, 1160);
	const [crc, count, top, left, bottom, right] = words(rom.slice(128, 152));
	t.deepEqual([count, top, left, bottom, right], [1, 0, 0, 720, 1280]);
	t.is(crc, linuxCrc32(rom.subarray(132, 1160)));
	await driver.ack();
	t.true(board.device.clientMonitorsConfig([{ x: 0, y: 0, width: 1280, height: 720 }]), 'taken again');
	t.is(await driver.pending(), 0, 'but nothing has changed');
	for (const mask of [0, 0xffffffff, 0x1f]) {
		await driver.writeHeader(L.Ram.intMask, u32(mask));
		t.false(board.device.clientMonitorsConfig([{ x: 0, y: 0, width: 800, height: 600 }]));
	}
});

test('clients and their capabilities show in the ROM and raise an interrupt', async (t) => {
	const { board, driver } = await native();
	await driver.ack();
	const capabilities = new Uint8Array(58).fill(0xa5);
	board.device.clientPresent(true, capabilities);
	t.is(await driver.pending(), L.Interrupt.client);
	const rom = await driver.io.read(ROM_BASE + 69, 59);
	t.is(rom[0], 1);
	t.deepEqual(rom.slice(1), capabilities);
	await driver.init();
	t.is((await driver.io.read(ROM_BASE + 69, 1))[0], 1, 'a reset of the guest does not send its viewers away');
});

test('interrupts: the level is pending and mask, and falls when the guest has taken them', async (t) => {
	const { board, driver } = await native();
	await driver.ack();
	t.false(board.interrupt.level);
	await driver.writeHeader(L.Ram.intMask, u32(0));
	t.true(await driver.updateArea(0, rectOf(0, 0, 8, 8)));
	t.false(board.interrupt.level, 'masked');
	await driver.writeHeader(L.Ram.intMask, u32(0xffffffff));
	await driver.io.out8(L.Io.updateIrq, 0);
	t.true(board.interrupt.level);
});

test('save, restore, save is the same; the picture and the cursor come back, and drawing goes on', async (t) => {
	const { board, driver } = await native(320, 200);
	await driver.copy(10, 10, 50, 50, pattern(50, 50, 7));
	const at = driver.reserve(4096);
	const shape = { format: SurfaceFormat.argb32, width: 16, height: 16, stride: 64, data: driver.vramAddress(at) };
	await driver.surface(2, L.SurfaceCmdType.create, shape);
	await driver.io.settle();
	await driver.fill(rectOf(0, 0, 5, 5), 0xabcdef);
	const saved = board.device.save();
	t.true(saved.kicked);
	const other = displayBoard();
	other.ram.bytes().set(board.ram.bytes());
	other.vram.bytes().set(board.vram.bytes());
	other.device.restore(saved);
	t.deepEqual(other.device.save(), saved);
	other.host.settle();
	board.host.settle();
	t.is(other.sink.pixel(0, 0), 0xabcdef);
	sameBytes(t, other.sink.primary.pixels, board.sink.primary.pixels);
	t.true(other.sink.surfaces.has(2));
	t.deepEqual(other.device.save(), board.device.save());
});

test('a driver of interface version 1 sets a mode and draws with addresses of its own', async (t) => {
	const board = displayBoard();
	const driver = new QxlDriver(boardAccess(board));
	const narrow = board.device.rom.modes.findIndex((m) => m.x === 800 && m.y === 600 && m.bits === 16);
	await driver.setMode(narrow);
	t.is(board.device.mode, 'compat');
	t.deepEqual([board.sink.primary.width, board.sink.primary.height], [800, 600]);
	t.is(words(await driver.io.read(ROM_BASE + 20, 4))[0], narrow);
	await driver.compatFill(rectOf(10, 10, 20, 20), 0x7fe0);
	await driver.io.settle();
	t.is(board.sink.pixel(15, 15), 0xffff00);
	const saved = board.device.save();
	const other = displayBoard();
	other.ram.bytes().set(board.ram.bytes());
	other.device.restore(saved);
	t.deepEqual(other.device.save(), saved);
	await driver.setMode(narrow + 1);
	await driver.compatFill(rectOf(0, 0, 5, 5), 0x123456);
	await driver.io.settle();
	t.is(board.sink.pixel(3, 3), 0x123456);
	await driver.io.out8(L.Io.setMode, 255);
	await driver.compatFill(rectOf(0, 0, 5, 5), 0);
	await driver.io.settle();
	t.is(board.sink.pixel(3, 3), 0x123456, 'the error stops the device');
});

test('reset from native mode shows the VGA again', async (t) => {
	const { board, driver } = await native(320, 200);
	await driver.io.out8(L.Io.reset, 0);
	t.is(board.device.mode, 'vga');
	t.is(board.sink.calls.at(-2), 'reset');
	t.deepEqual([board.sink.primary.width, board.sink.primary.height], [720, 400]);
	t.false(board.interrupt.level);
});

test('a reset in VGA mode leaves the picture alone, however often the guest asks', async (t) => {
	const board = displayBoard();
	const driver = new QxlDriver(boardAccess(board));
	const calls = board.sink.calls.length;
	for (let i = 0; i < 1000; i++) await driver.io.out8(L.Io.reset, 0);
	t.is(board.sink.calls.length, calls);
});

test('VGA ports do not leave native mode', async (t) => {
	const { board, driver } = await native(320, 200);
	board.ports.out8(0x3c0, 0x20);
	board.ports.out16(0x1ce, 4);
	board.ports.out16(0x1cf, 0x41);
	board.refresh();
	t.is(board.device.mode, 'native');
	await driver.fill(rectOf(0, 0, 1, 1), 0x777777);
	await driver.io.settle();
	t.is(board.sink.pixel(0, 0), 0x777777);
	t.is(board.sink.primary.width, 320);
});

function linuxCrc32(bytes: Uint8Array): number {
	const table = Uint32Array.from({ length: 256 }, (_, n) => {
		let c = n;
		for (let k = 0; k < 8; k++) c = c & 1 ? 0xedb88320 ^ (c >>> 1) : c >>> 1;
		return c;
	});
	let crc = 0;
	for (const b of bytes) crc = table[(crc ^ b) & 0xff] ^ (crc >>> 8);
	return crc >>> 0;
}
