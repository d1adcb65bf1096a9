import test from 'ava';
import { IsaPvpanic, PciPvpanic } from '../../../devices/misc/index.ts';
import { PciBus } from '../../../devices/pci/bus.ts';
import { FakeBoard } from '../../helpers/board.ts';

const BAR = 0xfe000000;

function rig(options: { port?: number; events?: number } = {}) {
	const board = new FakeBoard();
	const told: string[] = [];
	const onPanic = (event: string) => void told.push(event);
	new IsaPvpanic(board.host, board.ports, { ...options, onPanic });
	const pci = new PciPvpanic({ ...options, onPanic });
	new PciBus(board.ports, board.mmio, [], {}).plug(5, pci.pci);
	pci.pci.write(0x10, 4, BAR);
	pci.pci.write(0x04, 2, 2);
	return { ...board, told };
}

test('each bit tells of its event, and a panic counts before a crash kernel', (t) => {
	const { ports, mmio, told } = rig();
	for (const events of [1, 2, 3, 0]) ports.out8(0x505, events);
	t.deepEqual(told.splice(0), ['panicked', 'crash-loaded', 'panicked']);
	for (const events of [1, 2, 3, 0]) mmio.write8(BAR + 1, events);
	t.deepEqual(told.splice(0), ['panicked', 'crash-loaded', 'panicked']);
});

test('unknown bits tell of nothing', (t) => {
	const { ports, told } = rig();
	ports.out8(0x505, 0xfc);
	t.deepEqual(told, []);
	ports.out8(0x505, 0xfe);
	t.deepEqual(told, ['crash-loaded'], 'known ones beside them count');
});

test('a guest reads which events there are, and its writes do not change that', (t) => {
	const { ports, mmio } = rig();
	ports.out8(0x505, 1);
	t.deepEqual([ports.in8(0x505), ports.in8(0x506), mmio.read8(BAR), mmio.read8(BAR + 1)], [3, 0xff, 3, 3]);
	const other = rig({ port: 0x1234, events: 1 });
	t.deepEqual([other.ports.in8(0x505), other.ports.in8(0x1234), other.mmio.read8(BAR)], [0xff, 1, 1]);
});
