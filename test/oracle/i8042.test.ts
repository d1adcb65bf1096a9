/** The keyboard controller with keyboard and mouse beside QEMU's: the same walks, the same answers. */
import test, { type ExecutionContext } from 'ava';
import { I8042, Ps2Keyboard, Ps2Mouse } from '../../devices/input/index.ts';
import { ChipsetBoard, MEMORY } from '../helpers/chipset.ts';
import { type DeviceDriver, Pair } from './driver.ts';

async function pair(t: ExecutionContext): Promise<Pair> {
	const board = new ChipsetBoard();
	new I8042({
		ports: board.ports,
		keyboard: new Ps2Keyboard(),
		mouse: new Ps2Mouse(),
		keyboardIrq: board.isa.source(1),
		auxIrq: board.isa.source(12),
		onReset: () => board.asked.push('i8042'),
	});
	const both = await Pair.start(board, { memory: MEMORY });
	t.teardown(() => both.close());
	return both;
}

/** Status, interrupt lines and every byte that comes out. */
async function drain(d: DeviceDriver): Promise<string> {
	const out: string[] = [];
	for (let i = 0; i < 64; i++) {
		const status = await d.in8(0x64);
		const irqs = `${d.level(1) ? 'k' : ''}${d.level(12) ? 'm' : ''}`;
		if (!(status & 1)) {
			out.push(`${status.toString(16)}${irqs}`);
			break;
		}
		out.push(`${status.toString(16)}${irqs}:${(await d.in8(0x60)).toString(16)}`);
	}
	return out.join(' ');
}

/** A step is a byte for port 64h, then bytes for port 60h; the buffer is emptied after each byte. */
type Step = readonly [command: number | undefined, ...data: number[]];

async function walk(t: ExecutionContext, both: Pair, steps: readonly Step[]): Promise<void> {
	for (const [command, ...data] of steps) {
		const [qemu, tsvm] = await both.both(async (d) => {
			const seen: string[] = [];
			if (command !== undefined) {
				await d.out8(0x64, command);
				seen.push(await drain(d));
			}
			for (const byte of data) {
				await d.out8(0x60, byte);
				seen.push(await drain(d));
			}
			return seen;
		});
		const what = [command === undefined ? 'data' : command.toString(16), ...data.map((b) => b.toString(16))].join(' ');
		t.deepEqual(tsvm, qemu, what);
	}
}

test('controller commands', async (t) => {
	const both = await pair(t);
	const [qemu, tsvm] = await both.both(drain);
	t.is(tsvm, qemu, 'reset');
	await walk(t, both, [
		[0x20],
		[0xc0],
		[0xd0],
		[0xaa],
		[0x20],
		[0xab],
		[0xa9],
		[0xa7],
		[0x20],
		[0xa8],
		[0x20],
		[0xad],
		[0x20],
		[0xae],
		[0x20],
		[0x60, 0x65],
		[0x20],
		[0x60, 0x47],
		[0x20],
		[0xd2, 0x5a],
		[0xd3, 0xa5],
		[0xd1, 0xdf],
		[0xd0],
		[0xdd],
		[0xd0],
		[0xdf],
		[0xd0],
		[0xff],
		[0x00],
	]);
});

test('keyboard commands, with and without translation', async (t) => {
	const both = await pair(t);
	const commands: readonly Step[] = [
		[undefined, 0xf2],
		[undefined, 0xee],
		[undefined, 0xed, 0x07],
		[undefined, 0xf0, 0x00],
		[undefined, 0xf0, 0x03],
		[undefined, 0xf0, 0x00],
		[undefined, 0xf0, 0x01],
		[undefined, 0xf0, 0x00],
		[undefined, 0xf0, 0x02],
		[undefined, 0xf0, 0x07],
		[undefined, 0xf3, 0x20],
		[undefined, 0xf4],
		[undefined, 0xf5],
		[undefined, 0xf6],
		[undefined, 0xff],
	];
	await walk(t, both, [[0xaa], [0x60, 0x47], ...commands, [0x60, 0x03], ...commands]);
});

test('mouse commands', async (t) => {
	const both = await pair(t);
	const mouse = (...bytes: number[]): Step[] => bytes.map((byte) => [0xd4, byte]);
	await walk(t, both, [
		[0xaa],
		[0x60, 0x47],
		...mouse(0xff, 0xf2, 0xe9, 0xe8, 0x03, 0xe9, 0xe7, 0xe9, 0xe6, 0xe9),
		...mouse(0xf3, 200, 0xf3, 100, 0xf3, 80, 0xf2, 0xe9),
		...mouse(0xf3, 200, 0xf3, 200, 0xf3, 80, 0xf2),
		...mouse(0xf4, 0xe9, 0xf0, 0xe9, 0xeb, 0xea, 0xe9, 0xf5, 0xe9),
		...mouse(0xee, 0x55, 0xf2, 0xec, 0xf2),
		...mouse(0xf6, 0xe9, 0xf2, 0xff, 0xf2),
	]);
});
