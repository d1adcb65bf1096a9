import test from 'ava';
import fc from 'fast-check';
import * as L from '../../../../devices/display/qxl/layout.ts';
import { encode, listenTrace, Ropd } from '../../../../src/core/index.ts';
import { displayBoard, IO_BASE, RAM_BASE, ROM_BASE, VRAM_BASE } from '../../../helpers/display-board.ts';
import { boardAccess, chunk, concat, NO_MASK, QxlDriver, rectOf, u32 } from '../../../helpers/qxl-driver.ts';

async function native(width = 640, height = 480) {
	const board = displayBoard();
	const driver = new QxlDriver(boardAccess(board));
	await driver.init();
	await driver.createPrimary(width, height);
	return { board, driver };
}

/** Runs `work` and returns the guest errors that were logged. */
async function errors(work: () => Promise<unknown>): Promise<string[]> {
	const lines: string[] = [];
	const stop = listenTrace(
		(name) => name === 'guest.error',
		(e) => lines.push(String(e.fields.message)),
	);
	await work();
	stop();
	return lines;
}

const copyOf = (src: bigint, width: number, height: number) => ({
	src,
	srcArea: rectOf(0, 0, width, height),
	rop: Ropd.put,
	scaleMode: 0,
	mask: NO_MASK,
});

/** Commands that a broken driver may push; each is to be dropped, with one line that says why, and released. */
const MALFORMED: readonly [string, RegExp, (d: QxlDriver) => Promise<bigint>][] = [
	[
		'upside down',
		/rectangle 9,0\.\.3,9/,
		(d) => d.drawable(L.DrawType.whiteness, rectOf(9, 0, 3, 9), L.Blackness, { mask: NO_MASK }),
	],
	[
		'on a surface that is not there',
		/surface 7, which does not exist/,
		(d) => d.drawable(L.DrawType.whiteness, rectOf(0, 0, 9, 9), L.Blackness, { mask: NO_MASK }, { surfaceId: 7 }),
	],
	[
		'with an image outside its slot',
		/memslots: 18 bytes .* out of range/,
		(d) => d.drawable(L.DrawType.copy, rectOf(0, 0, 4, 4), L.Copy, copyOf(d.ramAddress(0x7fffffff), 4, 4)),
	],
	[
		'with an image in no slot',
		/memslots: 18 bytes .* out of range/,
		(d) => d.drawable(L.DrawType.copy, rectOf(0, 0, 4, 4), L.Copy, copyOf(0x05n << 56n, 4, 4)),
	],
	[
		'with an image of another generation',
		/memslots: 18 bytes .* out of range/,
		async (d) => {
			const src = (await d.image(4, 4, new Uint32Array(16))) | (1n << 48n);
			return d.drawable(L.DrawType.copy, rectOf(0, 0, 4, 4), L.Copy, copyOf(src, 4, 4));
		},
	],
	[
		'without an image',
		/without its image/,
		(d) => d.drawable(L.DrawType.copy, rectOf(0, 0, 4, 4), L.Copy, copyOf(0n, 4, 4)),
	],
	[
		'with an image larger than memory',
		/more than the video memory holds/,
		async (d) => {
			const src = await d.bitmap({ x: 8192, y: 8192, stride: 0x7fffffff, data: d.ramAddress(0) });
			return d.drawable(L.DrawType.copy, rectOf(0, 0, 4, 4), L.Copy, copyOf(src, 4, 4));
		},
	],
	[
		'with an image of too many pixels',
		/bitmap of 4294967295x1/,
		async (d) => {
			const src = await d.bitmap({ x: 0xffffffff, y: 1, stride: 4, data: d.ramAddress(0) });
			return d.drawable(L.DrawType.copy, rectOf(0, 0, 4, 4), L.Copy, copyOf(src, 4, 4));
		},
	],
	[
		'with a stride shorter than its rows',
		/stride 4 of 64 pixels/,
		async (d) => {
			const src = await d.bitmap({ x: 64, y: 64, stride: 4, data: d.ramAddress(0) });
			return d.drawable(L.DrawType.copy, rectOf(0, 0, 4, 4), L.Copy, copyOf(src, 4, 4));
		},
	],
	[
		'with a source outside its image',
		/source 0,0\.\.9,9 leaves 4x4/,
		async (d) =>
			d.drawable(L.DrawType.copy, rectOf(0, 0, 9, 9), L.Copy, copyOf(await d.image(4, 4, new Uint32Array(16)), 9, 9)),
	],
	[
		'with a bitmap of an unknown format',
		/bitmap of format 99/,
		async (d) => {
			const src = await d.bitmap({ format: 99, x: 4, y: 4, stride: 16, data: d.ramAddress(0) });
			return d.drawable(L.DrawType.copy, rectOf(0, 0, 4, 4), L.Copy, copyOf(src, 4, 4));
		},
	],
	[
		'with a palette too long',
		/palette of 65535 colours/,
		async (d) => {
			const palette = await d.place(encode(L.Palette, { unique: 1n, numEnts: 0xffff }));
			const src = await d.bitmap({ format: 5, x: 4, y: 4, stride: 4, palette, data: d.ramAddress(0) });
			return d.drawable(L.DrawType.copy, rectOf(0, 0, 4, 4), L.Copy, copyOf(src, 4, 4));
		},
	],
	[
		'with chunks in a ring that hold nothing',
		/chain of more than 8192 chunks/,
		async (d) => {
			const data = await d.place(chunk(new Uint8Array(0), 0n));
			await d.overwrite(data, chunk(new Uint8Array(0), data));
			const src = await d.bitmap({ x: 4, y: 4, stride: 16, data });
			return d.drawable(L.DrawType.copy, rectOf(0, 0, 4, 4), L.Copy, copyOf(src, 4, 4));
		},
	],
	[
		'with chunks that end too early',
		/data ends 1 bytes before 64/,
		async (d) => {
			const src = await d.bitmap({ x: 4, y: 4, stride: 16, data: await d.chunks(new Uint8Array(63)) });
			return d.drawable(L.DrawType.copy, rectOf(0, 0, 4, 4), L.Copy, copyOf(src, 4, 4));
		},
	],
	[
		'with a million clip rectangles',
		/1048576 clip rectangles/,
		async (d) => {
			const clip = { type: L.ClipType.rects, data: await d.place(concat(u32(1 << 20), chunk(new Uint8Array(16), 0n))) };
			return d.drawable(L.DrawType.whiteness, rectOf(0, 0, 9, 9), L.Blackness, { mask: NO_MASK }, { clip });
		},
	],
	[
		'copying bits from outside',
		/source of copy_bits .* leaves 640x480/,
		(d) => d.drawable(L.DrawType.copyBits, rectOf(0, 0, 9, 9), L.CopyBits, { srcPos: { x: 0x7fffffff, y: -1 } }),
	],
	[
		'masked by colours',
		/mask that is not a 1-bit bitmap/,
		async (d) => {
			const mask = { flags: 0, pos: { x: 0, y: 0 }, bitmap: await d.image(4, 4, new Uint32Array(16)) };
			return d.drawable(L.DrawType.whiteness, rectOf(0, 0, 4, 4), L.Blackness, { mask });
		},
	],
];

for (const [what, why, make] of MALFORMED) {
	test.serial(`a drawing ${what} is dropped with one line, and the next one is drawn`, async (t) => {
		const { board, driver } = await native();
		const bad = await make(driver);
		const lines = await errors(async () => {
			await driver.push(L.Cmd.draw, bad);
			await driver.io.settle();
		});
		t.is(lines.length, 1, lines.join('\n'));
		t.regex(lines[0], why);
		t.is(board.sink.draws.length, 0);
		await driver.fill(rectOf(0, 0, 1, 1), 0x010203);
		await driver.io.out8(L.Io.notifyCmd, 0);
		await driver.io.settle();
		t.is(board.sink.pixel(0, 0), 0x010203);
		await driver.io.out8(L.Io.flushRelease, 0);
		t.is((await driver.collect())[0], bad, 'the guest gets it back all the same');
	});
}

test.serial(
	'a drawing that leaves its surface is passed over without a word: Linux makes one on every start',
	async (t) => {
		const { board, driver } = await native();
		const lines = await errors(async () => {
			await driver.fill(rectOf(600, 0, 641, 9), 1);
			await driver.fill(rectOf(-1, 0, 9, 9), 1);
			await driver.io.settle();
		});
		t.deepEqual(lines, []);
		t.is(board.sink.draws.length, 0);
	},
);

test.serial('cursors and surfaces out of all proportion are dropped', async (t) => {
	const { board, driver } = await native();
	const shape = await driver.place(
		encode(L.Cursor, {
			unique: 0n,
			type: 0,
			width: 60000,
			height: 60000,
			hotSpotX: 0,
			hotSpotY: 0,
			dataSize: 0xffffffff,
		}),
	);
	const lines = await errors(async () => {
		await driver.pushCursor(L.CursorCmdType.set, L.CursorSet, { position: { x: 0, y: 0 }, visible: 1, shape });
		for (const wrong of [
			{ width: 65536, height: 65536, stride: 4, format: 32 },
			{ width: 64, height: 64, stride: 4, format: 32 },
			{ width: 64, height: 64, stride: -0x80000000, format: 32 },
			{ width: 64, height: 64, stride: 256, format: 33 },
			{ width: 8192, height: 8192, stride: 32768, format: 32 },
		])
			await driver.surface(3, L.SurfaceCmdType.create, { ...wrong, data: driver.vramAddress(0) });
		await driver.surface(5000, L.SurfaceCmdType.create, { width: 4, height: 4, stride: 16, format: 32, data: 0n });
		await driver.surface(9, L.SurfaceCmdType.destroy);
		await driver.io.settle();
	});
	t.is(lines.length, 8);
	t.is(board.sink.surfaces.size, 1);
});

test.serial('a cursor has 1024 pixels a side at most, however much data comes with it', async (t) => {
	const { board, driver } = await native();
	for (const [width, height] of [
		[1025, 1],
		[1, 1025],
		[1024, 1024],
	]) {
		const size = width * height * 4;
		const header = { unique: 0n, type: 0, width, height, hotSpotX: 0, hotSpotY: 0, dataSize: size };
		const chunk = encode(L.DataChunk, { dataSize: size, prevChunk: 0n, nextChunk: 0n });
		const head = encode(L.Cursor, header).subarray(0, L.Cursor.min);
		const shape = await driver.place(Buffer.concat([head, chunk, new Uint8Array(size)]));
		const lines = await errors(async () => {
			await driver.pushCursor(L.CursorCmdType.set, L.CursorSet, { position: { x: 0, y: 0 }, visible: 1, shape });
			await driver.io.settle();
		});
		t.deepEqual(
			lines.map((line) => line.replace(/ \(dropped.*/, '')),
			width * height > 1025 ? [] : [`cursor command: cursor of ${width}x${height}`],
		);
	}
	t.is(board.sink.cursor.shape?.width, 1024);
});

test.serial('many surfaces on the same memory: together they take no more than there is', async (t) => {
	const { board, driver } = await native();
	const shape = { width: 2048, height: 2048, stride: 8192, format: 32, data: driver.vramAddress(0) };
	const fill = () =>
		errors(async () => {
			for (let id = 1; id < 32; id++) await driver.surface(id, L.SurfaceCmdType.create, shape);
			await driver.io.settle();
		});
	const refused = await fill();
	t.true(refused.length > 0);
	for (const line of refused) t.regex(line, /surfaces larger than video memory/);
	let bytes = 0;
	for (const s of board.sink.surfaces.values()) bytes += s.raw.length;
	t.true(bytes <= 96 << 20, `${bytes}`);
	const made = [...board.sink.surfaces.keys()];
	for (const id of made.slice(1)) await driver.surface(id, L.SurfaceCmdType.destroy);
	await driver.io.settle();
	t.is(board.sink.surfaces.size, 1);
	await fill();
	t.deepEqual([...board.sink.surfaces.keys()], made, 'what is given back can be used again');
});

const BUGS: readonly [string, (d: QxlDriver) => Promise<unknown>][] = [
	[
		'a second async before the first has completed',
		async (d) => {
			await d.io.out8(L.Io.flushSurfacesAsync, 0);
			await d.io.out8(L.Io.flushSurfacesAsync, 0);
		},
	],
	['an unknown port', async (d) => d.io.out8(25, 0)],
	['detach, which nobody uses', async (d) => d.io.out8(L.Io.detachPrimary, 0)],
	['memslot 8', async (d) => d.io.out8(L.Io.memslotAdd, 8)],
	['a memslot twice', async (d) => d.io.out8(L.Io.memslotAdd, 1)],
	['deleting memslot 200', async (d) => d.io.out8(L.Io.memslotDel, 200)],
	['a memslot in RAM', async (d) => d.addSlot(4, 0x100000, 0x200000)],
	['a memslot across two BARs', async (d) => d.addSlot(4, RAM_BASE, VRAM_BASE + 4096)],
	['a primary surface twice', async (d) => d.createPrimary(640, 480)],
	['a primary surface larger than its memory', async (d) => d.createPrimary(8000, 8000)],
	['primary surface 1', async (d) => d.io.out8(L.Io.createPrimary, 1)],
	['an update of a rectangle upside down', async (d) => d.updateArea(0, rectOf(9, 0, 0, 9))],
	['an update of a surface out of range', async (d) => d.updateArea(4096, rectOf(0, 0, 1, 1))],
	[
		'a ring with more commands than it has room for',
		async (d) => {
			await d.writeHeader(L.Ram.cmdRing + L.Ring.prod, u32(1000));
			await d.io.out8(L.Io.notifyCmd, 0);
			await d.io.settle();
		},
	],
];

for (const [what, make] of BUGS) {
	test.serial(`${what}: one line, the error interrupt, silence until a reset`, async (t) => {
		const { board, driver } = await native();
		await driver.ack();
		const lines = await errors(() => make(driver));
		t.is(lines.length, 1, lines.join('\n'));
		t.is((await driver.pending()) & L.Interrupt.error, L.Interrupt.error);
		t.true(board.interrupt.level);
		const more = await errors(async () => {
			await driver.fill(rectOf(0, 0, 1, 1), 5);
			await driver.io.out8(L.Io.notifyCmd, 0);
			await driver.io.out8(L.Io.memslotAdd, 9);
			await driver.io.settle();
		});
		t.deepEqual(more, []);
		t.is(board.sink.draws.length, 0);
		await driver.init();
		t.true(await driver.createPrimary(640, 480));
	});
}

test.serial('a driver that waits for an answer in VGA mode gets one', async (t) => {
	const board = displayBoard();
	const driver = new QxlDriver(boardAccess(board));
	await driver.init();
	t.true(await driver.async(L.Io.destroyPrimaryAsync));
	t.is(board.device.mode, 'vga');
});

test.serial('commands that make the device write on its own ring do not hold the host', async (t) => {
	const { board, driver } = await native();
	// A slot over the RAM header: the release_info of each command is the ring's own consumer index.
	const header = RAM_BASE + (64 << 20) - L.RAM_HEADER_SIZE;
	await driver.addSlot(5, header, header + L.RAM_HEADER_SIZE);
	const onRing = (5n << 56n) | BigInt(L.Ram.cmdRing + L.Ring.cons);
	for (let i = 0; i < 32; i++) await driver.push(L.Cmd.message, onRing);
	const lines = await errors(async () => {
		for (let i = 0; i < 20; i++) {
			await driver.io.out8(L.Io.notifyOom, 0);
			await driver.io.out8(L.Io.destroySurfaceWait, 1);
		}
	});
	t.true(lines.length < 100);
	t.is(board.sink.draws.length, 0);
});

/** Any mixture of port writes, memory writes and commands. */
const step = fc.oneof(
	{ weight: 4, arbitrary: fc.record({ kind: fc.constant('port' as const), port: fc.nat(31), value: fc.nat(255) }) },
	{
		weight: 4,
		arbitrary: fc.record({
			kind: fc.constant('header' as const),
			at: fc.oneof(fc.constantFrom(...Object.values(L.Ram)), fc.nat(L.RAM_HEADER_SIZE - 65)),
			bytes: fc.uint8Array({ minLength: 1, maxLength: 64 }),
		}),
	},
	{
		weight: 6,
		arbitrary: fc.record({
			kind: fc.constant('command' as const),
			ring: fc.constantFrom(L.Ram.cmdRing, L.Ram.cursorRing),
			type: fc.nat(7),
			slot: fc.constantFrom(0n, 1n, 2n, 5n, 255n),
			offset: fc.nat(0x3fff),
			bytes: fc.uint8Array({ minLength: 0, maxLength: 256 }),
		}),
	},
	{ weight: 1, arbitrary: fc.record({ kind: fc.constant('vga' as const), port: fc.nat(0x2f), value: fc.nat(0xffff) }) },
	{ weight: 1, arbitrary: fc.record({ kind: fc.constant('window' as const), at: fc.nat(0x1fffc), value: fc.nat() }) },
	{ weight: 1, arbitrary: fc.record({ kind: fc.constant('time' as const), ms: fc.nat(300) }) },
	{ weight: 1, arbitrary: fc.record({ kind: fc.constant('setup' as const) }) },
);

test.serial('random ports, headers, rings and commands: no exception, no hang, nothing written outside', async (t) => {
	const sizes = { ramMb: 16, vramMb: 1, vgamemMb: 8, revision: 5 };
	const parameters = { numRuns: 150, verbose: 1 };
	await t.notThrowsAsync(
		fc.assert(
			fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 60 }), async (steps) => {
				const board = displayBoard(sizes);
				const driver = new QxlDriver(boardAccess(board), 16 << 20, 1 << 20, 8 << 20);
				await driver.init();
				for (const s of steps) {
					if (s.kind === 'port') board.ports.out8(IO_BASE + s.port, s.value);
					else if (s.kind === 'header') await driver.writeHeader(s.at, s.bytes);
					else if (s.kind === 'vga') board.ports.out16(s.port < 4 ? 0x1ce + s.port : 0x3b0 + s.port, s.value);
					else if (s.kind === 'window') board.mmio.write32(0xa0000 + s.at, s.value);
					else if (s.kind === 'time') board.host.advance(s.ms * 1e6);
					else if (s.kind === 'setup') {
						board.ports.out8(IO_BASE + L.Io.reset, 0);
						await driver.init();
						await driver.createPrimary(320, 200);
					} else {
						board.ram.bytes().set(s.bytes, (8 << 20) + s.offset);
						await driver.push(s.type, (s.slot << 56n) | BigInt((8 << 20) + s.offset), s.ring);
						board.ports.out8(IO_BASE, 0);
					}
					board.host.settle();
				}
				board.device.restore(board.device.save());
			}),
			parameters,
		),
	);
});

/** A drawing whose every field may be anything, in memory that is otherwise sound. */
test.serial('sound rings with drawings made of random fields', async (t) => {
	const { board, driver } = await native(320, 200);
	const stop = listenTrace(
		() => false,
		() => {},
	);
	const edge = fc.oneof(fc.integer({ min: -10, max: 400 }), fc.constantFrom(-0x80000000, 0x7fffffff));
	const rect = fc.record({ top: edge, left: edge, bottom: edge, right: edge });
	const base = 20 << 20;
	const address = fc.oneof(
		fc.nat(0xffff).map((o) => driver.ramAddress(base + o)),
		fc.constantFrom(0n, driver.ramAddress(0x3ffdfff), driver.vramAddress(0), 0xffffffffffffffffn),
	);
	const fields = fc.record({
		type: fc.nat(15),
		bbox: rect,
		effect: fc.nat(9),
		selfBitmap: fc.nat(1),
		selfBitmapArea: rect,
		clip: fc.record({ type: fc.nat(3), data: address }),
		body: fc.uint8Array({ minLength: 90, maxLength: 90 }),
		src: address,
		junk: fc.uint8Array({ minLength: 2048, maxLength: 2048 }),
	});
	await t.notThrowsAsync(
		fc.assert(
			fc.asyncProperty(fields, async ({ body, src, junk, ...header }) => {
				board.ram.bytes().set(junk, base);
				new DataView(body.buffer, body.byteOffset).setBigUint64(0, src, true);
				const bytes = concat(
					encode(L.Drawable, {
						releaseInfo: 1n,
						surfaceId: 0,
						mmTime: 0,
						surfacesDest: [0, 0, 0],
						surfacesRects: [rectOf(0, 0, 0, 0), rectOf(0, 0, 0, 0), rectOf(0, 0, 0, 0)],
						...header,
					}),
					body,
				);
				board.ram.bytes().set(bytes, base + 0x20000);
				await driver.push(L.Cmd.draw, driver.ramAddress(base + 0x20000));
				board.ports.out8(IO_BASE, 0);
				board.host.settle();
			}),
			{ numRuns: 500, verbose: 1 },
		),
	);
	stop();
});

test.serial('the ROM is not writable, and reads at any offset and width', (t) => {
	const board = displayBoard();
	board.mmio.write32(ROM_BASE, 0);
	t.is(board.mmio.read32(ROM_BASE), 0x4f525851);
	for (let at = 0; at < 8192; at += 3)
		for (const read of ['read8', 'read16', 'read32'] as const) board.mmio[read](ROM_BASE + at);
	board.host.advance(5e9);
	t.is(board.mmio.read32(ROM_BASE + 48), 5000, 'mm_clock counts milliseconds');
});
