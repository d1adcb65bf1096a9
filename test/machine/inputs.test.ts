/** Where keys go when a machine has more than one keyboard, and positions when it has more than one pointer. */
import test from 'ava';
import { VirtioKeyboard, VirtioTablet } from '../../devices/virtio/index.ts';
import { Inputs } from '../../src/machine/inputs.ts';
import { VirtioDriver } from '../helpers/virtio-driver.ts';

test('keys go to the virtio keyboard while the guest reads it, else to the other one', (t) => {
	const inputs = new Inputs();
	const typed: number[][] = [];
	inputs.setKeyboard({ leds: 1, onLeds: undefined, scancodes: (codes) => void typed.push([...codes]) });
	const keyboard = new VirtioKeyboard();
	inputs.addKeyboard(keyboard);
	let changes = 0;
	inputs.onChange(() => changes++);
	inputs.scancodes(Uint8Array.of(0x1e));
	t.is(inputs.leds, 1);

	const guest = new VirtioDriver(keyboard);
	guest.start();
	t.is(changes, 1, 'the LEDs are now those of the other keyboard');
	t.is(inputs.leds, 0);
	guest.queue(0).add({ in: [8] });
	guest.queue(0).add({ in: [8] });
	guest.kick(0);
	inputs.scancodes(Uint8Array.of(0x30));
	t.is(guest.queue(0).used().length, 2);

	guest.status = 0;
	inputs.scancodes(Uint8Array.of(0x2e));
	t.deepEqual(typed, [[0x1e], [0x2e]]);
	t.is(inputs.leds, 1);
});

test('positions go to the first pointer that the guest uses', (t) => {
	const inputs = new Inputs();
	const moved: number[][] = [];
	inputs.setMouse({ motion: (...args) => void moved.push(args) });
	const [first, second] = [new VirtioTablet(), new VirtioTablet()];
	inputs.addPointer(first);
	inputs.addPointer(second);
	const listen = (tablet: VirtioTablet) => {
		const guest = new VirtioDriver(tablet);
		guest.start();
		for (let i = 0; i < 8; i++) guest.queue(0).add({ in: [8] });
		guest.kick(0);
		return guest;
	};
	t.false(inputs.absolute);
	const other = listen(second);
	t.true(inputs.absolute);
	inputs.position(5, 5, 10, 10, 0, 0);
	t.is(other.queue(0).used().length, 3);
	const one = listen(first);
	inputs.position(6, 6, 10, 10, 0, 0);
	t.is(one.queue(0).used().length, 3);
	t.is(other.queue(0).used().length, 0);
	inputs.motion(1, 2, 0, 0);
	t.deepEqual(moved, [[1, 2, 0, 0]], 'a tablet takes no relative motion');
});
