/** What the adapter does in one go is bounded by bytes and pixels; what is left waits for the guest's next turn. */
import test from 'ava';
import * as L from '../../../../devices/display/qxl/layout.ts';
import { listenTrace, Ropd } from '../../../../src/core/index.ts';
import { displayBoard, IO_BASE } from '../../../helpers/display-board.ts';
import { boardAccess, NO_MASK, QxlDriver, rectOf, u32 } from '../../../helpers/qxl-driver.ts';

const MIB = 1 << 20;
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

test('a turn draws some millions of pixels, fewer where each costs more, and goes on after the guest has run', async (t) => {
	for (const [draw, most] of [
		[invert, 1],
		[fill, 2],
	] as const) {
		const { board, driver } = await native();
		await draw(driver, RING);
		const perTurn: number[] = [];
		for (let done = 0; done < RING && perTurn.length < 2 * RING; ) {
			board.host.turn();
			perTurn.push(board.sink.draws.length - done);
			done = board.sink.draws.length;
		}
		t.is(board.sink.draws.length, RING);
		t.true(
			perTurn.every((count) => count <= most),
			String(perTurn),
		);
		board.host.settle();
		const { prod, cons, notifyOnProd } = await driver.ring(L.Ram.cmdRing);
		t.deepEqual([cons, notifyOnProd], [prod, prod + 1], 'empty, and armed for the next command');
		board.ports.out8(IO_BASE + L.Io.flushRelease, 0);
		t.is((await driver.collect()).length, RING, 'all of them were given back');
	}
});

test('what the guest waits for is drawn at once, up to thirty large screens; the rest is given back', async (t) => {
	const { board, driver } = await native();
	await invert(driver, RING);
	const messages: string[] = [];
	const stop = listenTrace(
		(name) => name === 'guest.error',
		(e) => messages.push(String(e.fields.message)),
	);
	await driver.writeHeader(L.Ram.updateSurface, u32(0));
	await driver.updateArea(0, rectOf(0, 0, 1, 1));
	stop();
	const pixels = board.sink.draws.length * WIDTH * HEIGHT;
	t.true(pixels * 16 >= 1024 * MIB && pixels * 16 <= 1024 * MIB + 16 * WIDTH * HEIGHT, `${pixels} pixels`);
	t.is(messages.length, Math.min(10, RING - board.sink.draws.length));
	t.regex(messages[0], /more pixels in the ring than anybody shows/);
	board.host.settle();
	board.ports.out8(IO_BASE + L.Io.flushRelease, 0);
	t.is((await driver.collect()).length, RING);
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
	t.is(board.sink.draws.length, 2);
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
