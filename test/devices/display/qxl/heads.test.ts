/** Monitors: what the guest says of its heads and what clients wish, with counts and sizes that make no sense. */
import test from 'ava';
import fc from 'fast-check';
import * as L from '../../../../devices/display/qxl/layout.ts';
import { crc32 } from '../../../../devices/display/qxl/rom.ts';
import { encode, listenTrace } from '../../../../src/core/index.ts';
import { displayBoard, ROM_BASE } from '../../../helpers/display-board.ts';
import { boardAccess, concat, QxlDriver } from '../../../helpers/qxl-driver.ts';

const HEADS_AT = 132;
const ROM_END = 1160;

async function native(maxOutputs?: number) {
	const board = displayBoard(undefined, undefined, maxOutputs);
	const driver = new QxlDriver(boardAccess(board));
	await driver.init();
	await driver.createPrimary(640, 480);
	return { board, driver };
}
type Driver = Awaited<ReturnType<typeof native>>['driver'];

const head = (id: number, x: number) => ({ id, surfaceId: 0, width: 320, height: 480, x, y: 0, flags: 0 });
const TWO = [head(0, 0), head(1, 320)];

async function setHeads(driver: Driver, address: bigint): Promise<void> {
	const bytes = new Uint8Array(8);
	new DataView(bytes.buffer).setBigUint64(0, address, true);
	await driver.writeHeader(L.Ram.monitorsConfig, bytes);
	if (!(await driver.async(L.Io.monitorsConfigAsync))) throw new Error('the guest would wait for ever');
}

test('heads that make no sense leave those before, with a line in the log and the answer that the guest waits for', async (t) => {
	const { board, driver } = await native();
	const place = (count: number, maxAllowed: number) =>
		driver.place(concat(encode(L.MonitorsConfig, { count, maxAllowed }), ...TWO.map((h) => encode(L.Head, h))));
	await setHeads(driver, await place(2, 4));
	t.deepEqual(board.sink.heads, TWO);
	const bad: readonly bigint[] = [
		await place(0, 4),
		await place(65, 65),
		await place(65535, 0),
		await place(2, 1),
		driver.ramAddress(0x7ffffff0),
		0x05n << 56n,
	];
	for (const address of bad) {
		const lines: string[] = [];
		const stop = listenTrace(
			(name) => name === 'guest.error',
			(e) => lines.push(String(e.fields.message)),
		);
		await setHeads(driver, address);
		stop();
		t.is(lines.length, 1, `${address}`);
		t.deepEqual(board.sink.heads, TWO);
	}
	await setHeads(driver, await place(1, 0));
	t.deepEqual(board.sink.heads, [TWO[0]]);
});

test('any number of heads of any size that a client may wish for fits the ROM', async (t) => {
	const { board, driver } = await native();
	const i32 = fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 });
	const u32 = fc.nat({ max: 0xffffffff });
	const any = fc.record({ x: i32, y: i32, width: u32, height: u32 });
	await fc.assert(
		fc.asyncProperty(fc.array(any, { maxLength: 256, size: 'max' }), async (heads) => {
			t.true(board.device.clientMonitorsConfig(heads));
			const rom = await driver.io.read(ROM_BASE, ROM_END + 4);
			const view = new DataView(rom.buffer, rom.byteOffset, rom.byteLength);
			t.is(view.getUint16(HEADS_AT, true), Math.min(heads.length, 64));
			t.is(view.getUint32(128, true), crc32(rom.slice(HEADS_AT, ROM_END)));
			for (const [i, { x, y, width, height }] of heads.slice(0, 64).entries()) {
				const rect = [0, 4, 8, 12].map((at) => view.getUint32(HEADS_AT + 4 + 16 * i + at, true));
				t.deepEqual(
					rect,
					[y, x, y + height, x + width].map((value) => value >>> 0),
				);
			}
			t.not(view.getUint32(ROM_END, true), 0, 'the list of modes behind it is whole');
		}),
		{ numRuns: 30 },
	);
});

test('max_outputs bounds the heads that a client may ask for and those of the guest that it sees; 0 does not', async (t) => {
	const wish = { x: 0, y: 0, width: 640, height: 480 };
	const three = [...TWO, head(2, 640)];
	const cases = [
		{ maxOutputs: 1, published: 1, seen: 1, allowed: [1, 1] },
		{ maxOutputs: 2, published: 2, seen: 2, allowed: [2, 2] },
		{ maxOutputs: 5, published: 5, seen: 3, allowed: [4, 5] },
		{ maxOutputs: 0, published: 64, seen: 3, allowed: [4, 0] },
		{ maxOutputs: 65535, published: 64, seen: 3, allowed: [4, 0] },
	];
	for (const { maxOutputs, published, seen, allowed } of cases) {
		const { board, driver } = await native(maxOutputs);
		t.true(board.device.clientMonitorsConfig(Array.from({ length: 70 }, () => wish)));
		const count = await driver.io.read(ROM_BASE + HEADS_AT, 2);
		t.is(count[0] | (count[1] << 8), published, `max_outputs=${maxOutputs}`);
		for (const [i, maxAllowed] of [4, 0].entries()) {
			const config = encode(L.MonitorsConfig, { count: 3, maxAllowed });
			await setHeads(driver, await driver.place(concat(config, ...three.map((h) => encode(L.Head, h)))));
			t.deepEqual(board.sink.heads, three.slice(0, seen));
			t.is(
				board.sink.calls.at(-1),
				`monitorsConfig ${allowed[i]}`,
				`max_outputs=${maxOutputs}, the guest allows ${maxAllowed}`,
			);
		}
	}
});
