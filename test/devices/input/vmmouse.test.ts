import test from 'ava';
import fc from 'fast-check';
import { I8042, Ps2Keyboard, Ps2Mouse, VmMouse, Vmport } from '../../../devices/input/index.ts';
import type { PortRegisters } from '../../../src/core/index.ts';
import { Inputs } from '../../../src/machine/inputs.ts';
import { FakeBoard } from '../../helpers/board.ts';

const MAGIC = 0x564d5868;
const ENABLE = 0x45414552;
const ABSOLUTE = 0x53424152;
const RELATIVE = 0x4c455252;
const DISABLE = 0xf5;

function machine() {
	const board = new FakeBoard();
	const values = new Map<string, number>();
	const registers: PortRegisters = {
		get: (name) => values.get(name) ?? 0,
		set: (name, value) => void values.set(name, value >>> 0),
	};
	const mouse = new Ps2Mouse();
	const keyboard = new Ps2Keyboard();
	new I8042({
		ports: board.ports,
		keyboard,
		mouse,
		keyboardIrq: board.irqs[1],
		auxIrq: board.irqs[12],
		onReset: () => {},
	});
	const vmport = new Vmport(board.ports, registers);
	const pointer = new VmMouse({ vmport, poke: () => mouse.poke() });
	/** `in eax, dx` with these registers: EAX, and the others afterwards. */
	const call = (command: number, argument = 0, magic = MAGIC) => {
		for (const [name, value] of Object.entries({ eax: magic, ebx: argument, ecx: command, edx: 0x5658 }))
			values.set(name, value);
		const eax = board.ports.in32(0x5658);
		const [ebx, ecx, edx] = ['ebx', 'ecx', 'edx'].map((name) => values.get(name));
		return [eax, ebx, ecx, edx];
	};
	const status = () => call(40)[0] ?? -1;
	const packet = () => call(39, 4);
	/** As Linux does: enable, read the version, ask for positions. */
	const enable = () => {
		call(41, ENABLE);
		const version = call(39, 1)[0];
		call(41, ABSOLUTE);
		return version;
	};
	const enableMouse = () => {
		for (const byte of [0xf4]) {
			board.ports.out8(0x64, 0xd4);
			board.ports.out8(0x60, byte);
			board.ports.in8(0x60);
		}
	};
	return { board, pointer, mouse, call, status, packet, enable, enableMouse };
}

test('the backdoor answers to its magic number only', (t) => {
	const { call } = machine();
	t.deepEqual(call(10).slice(0, 3), [6, MAGIC, 2]);
	t.is(call(10, 0, 1)[0], 0xffffffff);
	t.is(call(999)[0], 0xffffffff);
});

test('enable, positions, disable', (t) => {
	const { status, enable, pointer, packet, call } = machine();
	const changes: boolean[] = [];
	pointer.onActive = (active) => changes.push(active);
	t.is(status(), 0xffff0000);
	t.is(enable(), 0x3442554a);
	t.is(status(), 0);
	t.true(pointer.active);
	pointer.position(0, 0, 1024, 768, 0, 0);
	t.is(status(), 4);
	t.deepEqual(packet(), [0, 32, 42, 0]);
	pointer.position(1023, 767, 1024, 768, 1, 1);
	t.deepEqual(packet(), [0x20, 0xffe0, 0xffd5, 1]);
	pointer.position(512, 384, 1024, 768, -1, 6);
	t.deepEqual(packet(), [0x18, 0x8020, 0x802a, 0xffffffff]);
	call(41, DISABLE);
	t.is(status(), 0xffff0000);
	t.deepEqual(changes, [true, false]);
});

test('positions with the same buttons replace each other; clicks and the wheel stay', (t) => {
	const { enable, pointer, status, packet } = machine();
	enable();
	for (let i = 0; i < 1000; i++) pointer.position(i, i, 2000, 2000, 0, 0);
	t.is(status(), 4);
	pointer.position(5, 5, 2000, 2000, 0, 1);
	pointer.position(6, 5, 2000, 2000, 0, 0);
	pointer.position(6, 5, 2000, 2000, 1, 0);
	pointer.position(6, 5, 2000, 2000, 1, 0);
	t.is(status(), 16, 'the release went into the first turn of the wheel');
	for (let i = 0; i < 5000; i++) pointer.position(6, 5, 2000, 2000, 1, 0);
	t.true(status() <= 1024);
	t.is(packet()[0], 0);
	t.is(packet()[0], 0x20);
});

test('each packet makes the PS/2 mouse interrupt', (t) => {
	const { enable, enableMouse, pointer, board } = machine();
	enable();
	pointer.position(1, 1, 10, 10, 0, 0);
	t.false(board.irqs[12].level, 'not while the guest has the mouse switched off');
	enableMouse();
	pointer.position(2, 2, 10, 10, 0, 0);
	t.true(board.irqs[12].level);
	t.deepEqual([board.ports.in8(0x60), board.ports.in8(0x60), board.ports.in8(0x60)], [8, 0, 0]);
	t.is(board.ports.in8(0x64) & 1, 0);
});

test('relative motion travels with the pointer while it is in use', (t) => {
	const { enable, pointer, packet, call } = machine();
	const moved: number[][] = [];
	const inputs = new Inputs();
	inputs.setMouse({ motion: (...args) => void moved.push(args) });
	let changes = 0;
	inputs.onChange(() => changes++);
	inputs.addPointer(pointer);
	t.false(inputs.absolute);
	inputs.motion(1, 2, 0, 0);
	inputs.position(3, 3, 10, 10, 0, 4);
	t.deepEqual(moved, [
		[1, 2, 0, 0],
		[0, 0, 0, 4],
	]);
	enable();
	t.true(inputs.absolute);
	t.is(changes, 1);
	inputs.motion(3, -4, 0, 1);
	t.deepEqual(packet(), [0x10020, 3, 0xfffffffc, 0]);
	inputs.position(-5, 50, 10, 10, 0, 0);
	t.deepEqual(packet(), [0, 3276, 62259, 0]);
	inputs.position(1, 1, 0, 0, 0, 0);
	t.is(moved.length, 2);
	call(41, RELATIVE);
	t.false(inputs.absolute);
});

test('a driver that asks for more than there is starts over', (t) => {
	const { call, status, enable, pointer } = machine();
	enable();
	pointer.position(1, 1, 10, 10, 0, 0);
	t.is(call(39, 6)[0], 0);
	t.is(status(), 0xffff0000);
	t.false(pointer.active);
	t.is(enable(), 0x3442554a);
	t.true(pointer.active);
});

test('save, restore, save again', (t) => {
	const a = machine();
	a.enable();
	a.pointer.position(1, 2, 10, 10, 0, 1);
	const saved = a.pointer.save();
	const b = machine();
	b.pointer.restore(saved);
	t.deepEqual(b.pointer.save(), saved);
	t.deepEqual(b.packet(), a.packet());
	b.pointer.reset();
	t.false(b.pointer.active);
	t.is(b.status(), 0xffff0000);
});

test('random calls never throw', (t) => {
	const request = fc.oneof(fc.constantFrom(0, 1, 4, 6, 7, ENABLE, ABSOLUTE, RELATIVE, DISABLE), fc.nat(0xffffffff));
	fc.assert(
		fc.property(fc.array(fc.tuple(fc.integer({ min: 9, max: 42 }), request), { maxLength: 50 }), (calls) => {
			const { call, pointer } = machine();
			for (const [command, argument] of calls) {
				call(command, argument);
				pointer.position(command, 3, 50, 50, 0, argument & 7);
			}
		}),
	);
	t.pass();
});
