/** What the adapter does in one go is bounded by bytes and pixels; what is left waits for the guest's next turn. */
import test from 'ava';
import * as L from '../../../../devices/display/qxl/layout.ts';
import { type Drawable, encode, Ropd } from '../../../../src/core/index.ts';
import { displayBoard, IO_BASE } from '../../../helpers/display-board.ts';
import { boardAccess, NO_MASK, QxlDriver, rectOf, u32 } from '../../../helpers/qxl-driver.ts';

const [WIDTH, HEIGHT] = [2048, 2048];
const RING = L.COMMAND_RING_SIZE;

/** A driver with a large screen, and a sink that only counts. */
async function native() {
	const board = displayBoard();
	board.sink.draw = (drawable) => board.sink.draws.push(drawable);
	const driver = new QxlDriver(boardAccess(board));
	await driver.init();
	await driver.createPrimary(WIDTH, HEIGHT);
	board.host.settle();
	return { board, driver };
}
type Driver = Awaited<ReturnType<typeof native>>['driver'];

const screen = rectOf(0, 0, WIDTH, HEIGHT);
const invert = async (driver: Driver, count: number) => {
	for (let i = 0; i < count; i++)
		await driver.push(L.Cmd.draw, await driver.drawable(L.DrawType.invers, screen, L.Blackness, { mask: NO_MASK }));
};
const fill = async (driver: Driver, count: number) => {
	const body = { brush: { type: L.BrushType.solid, pattern: 5n, pos: { x: 0, y: 0 } }, rop: Ropd.put, mask: NO_MASK };
	for (let i = 0; i < count; i++)
		await driver.push(L.Cmd.draw, await driver.drawable(L.DrawType.fill, screen, L.Fill, body));
};

/** Screens drawn so far, in whole or in bands. */
function screens({ sink }: { readonly sink: { readonly draws: readonly Drawable[] } }): number {
	let pixels = 0;
	for (const { box, clip = [box] } of sink.draws)
		for (const r of clip) pixels += (r.right - r.left) * (r.bottom - r.top);
	return pixels / (WIDTH * HEIGHT);
}

test('a turn draws some millions of pixels, fewer where each costs more, and goes on after the guest has run', async (t) => {
	for (const [draw, most] of [
		[invert, 0.5],
		[fill, 2],
	] as const) {
		const { board, driver } = await native();
		await draw(driver, RING);
		const perTurn: number[] = [];
		for (let done = 0; done < RING && perTurn.length < 8 * RING; ) {
			board.host.turn();
			perTurn.push(screens(board) - done);
			done = screens(board);
		}
		t.is(screens(board), RING);
		t.true(
			perTurn.every((count) => count > 0 && count <= most),
			String(perTurn),
		);
		board.host.settle();
		const { prod, cons, notifyOnProd } = await driver.ring(L.Ram.cmdRing);
		t.deepEqual([cons, notifyOnProd], [prod, prod + 1], 'empty, and armed for the next command');
		board.ports.out8(IO_BASE + L.Io.flushRelease, 0);
		t.is((await driver.collect()).length, RING, 'all of them were given back');
	}
});

test('a drawing in bands is drawn once and in order, within its clip, and given back with its last band', async (t) => {
	const { board, driver } = await native();
	const clip = [rectOf(10, 0, 20, 100), rectOf(0, 1000, WIDTH, HEIGHT)];
	const rects = Buffer.concat(clip.map((r) => encode(L.Rect, r)));
	const chunk = encode(L.DataChunk, { dataSize: rects.length, prevChunk: 0n, nextChunk: 0n });
	const data = await driver.place(Buffer.concat([u32(clip.length), chunk, rects]));
	const more = { clip: { type: L.ClipType.rects, data } };
	const at = await driver.drawable(L.DrawType.invers, screen, L.Blackness, { mask: NO_MASK }, more);
	await driver.push(L.Cmd.draw, at);
	await fill(driver, 1);
	board.host.settle();
	const bands = board.sink.draws.filter(({ op }) => op === 'invers').flatMap((d) => d.clip ?? []);
	t.deepEqual(board.sink.draws.at(-1)?.op, 'fill', 'what comes after it is drawn after it');
	const seen = new Uint8Array(WIDTH * HEIGHT);
	for (const r of bands)
		for (let y = r.top; y < r.bottom; y++) for (let x = r.left; x < r.right; x++) seen[y * WIDTH + x]++;
	t.is(seen[10], 1);
	t.true(seen.every((count, i) => count === (inClip(i % WIDTH, Math.floor(i / WIDTH)) ? 1 : 0)));
	board.ports.out8(IO_BASE + L.Io.flushRelease, 0);
	t.is((await driver.collect()).length, 2);

	function inClip(x: number, y: number): boolean {
		return clip.some((r) => x >= r.left && x < r.right && y >= r.top && y < r.bottom);
	}
});

test('a machine saved between two bands has them all drawn', async (t) => {
	const { board, driver } = await native();
	await invert(driver, 1);
	board.host.turn();
	t.true(screens(board) > 0 && screens(board) < 1);
	board.device.save();
	t.is(screens(board), 1);
	board.host.settle();
	board.ports.out8(IO_BASE + L.Io.flushRelease, 0);
	t.is((await driver.collect()).length, 1);
});

test('what the guest waits for is all drawn, turn by turn, while the guest repeats its write', async (t) => {
	for (const [draw, most] of [
		[invert, 0.5],
		[fill, 2],
	] as const) {
		const { board, driver } = await native();
		await draw(driver, RING);
		await driver.writeHeader(L.Ram.updateSurface, u32(0));
		await driver.updateArea(0, rectOf(0, 0, 1, 1));
		t.is(screens(board), RING);
		t.true(board.host.repeats >= RING / most - 1, `${board.host.repeats} repeats`);
		board.host.settle();
		board.ports.out8(IO_BASE + L.Io.flushRelease, 0);
		t.is((await driver.collect()).length, RING);
	}
});

test('a command that the host cannot carry out is given back, and those behind it are drawn', async (t) => {
	const { board, driver } = await native();
	const { draw } = board.sink;
	board.sink.draw = () => {
		board.sink.draw = draw;
		throw new RangeError('Array buffer allocation failed');
	};
	await fill(driver, 3);
	t.throws(() => board.host.settle(), { message: /allocation failed/ });
	board.host.settle();
	t.is(screens(board), 2);
	board.ports.out8(IO_BASE + L.Io.flushRelease, 0);
	t.is((await driver.collect()).length, 3);
	const { prod, notifyOnProd } = await driver.ring(L.Ram.cmdRing);
	t.is(notifyOnProd, prod + 1);
});

test('what the guest waits for counts as its time', async (t) => {
	const { board, driver } = await native();
	board.host.bytesSpent = 0;
	await driver.updateArea(0, rectOf(0, 0, 100, 50));
	t.is(board.host.bytesSpent, 100 * 50 * 4);
	await fill(driver, 1);
	await driver.updateArea(0, rectOf(0, 0, 10, 10));
	t.is(board.host.bytesSpent, 100 * 50 * 4 + 10 * 10 * 4 + WIDTH * HEIGHT * 4);
	await driver.io.out8(L.Io.notifyCmd, 0);
	t.is(board.host.bytesSpent, 100 * 50 * 4 + 10 * 10 * 4 + WIDTH * HEIGHT * 4, 'each thing once');
});
