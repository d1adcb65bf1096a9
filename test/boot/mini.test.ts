/** Debian's own kernel and drivers on our board: they find every device, the shell works, power and reset do. */
import test from 'ava';
import { Guest } from '../helpers/guest.ts';
import { differingPixels, inkShare, keepPng } from '../helpers/picture.ts';
import { waitFor } from '../helpers/x11.ts';

/** Kernel messages that mean that a driver did not like what it found. */
const COMPLAINTS = /WARNING:|BUG:|Oops|nobody cared|timed out|Call Trace|qxl.*(error|fail)|ata\d.*(error|failed)/i;

test.serial('the kernel boots to a shell, its drivers bind to every device, and none of them complains', async (t) => {
	const guest = await Guest.start();
	t.teardown(() => guest.stop());
	await guest.until('TSVM-SHELL-READY');
	const { serial } = guest;
	t.regex(serial, /1b36:0100 qxl/, 'drm/qxl has the display');
	t.regex(serial, /8086:7010 ata_piix/);
	t.regex(serial, /qxldrmfb/);
	t.regex(serial, /AT Translated Set 2 keyboard/);
	t.regex(serial, /VirtualPS\/2 VMware VMMouse/, 'the absolute pointer');
	const dmesg = await guest.shell('dmesg');
	const complaints = dmesg.split('\n').filter((line) => COMPLAINTS.test(line));
	t.deepEqual(complaints, []);
	t.regex(dmesg, /IOAPIC\[0\]/, 'interrupts go through the I/O APIC');
	t.regex(await guest.shell('cat /proc/interrupts'), /IO-APIC/);
});

test.serial('the console is 1024x768 on drm/qxl, and typed keys reach it', async (t) => {
	const guest = await Guest.start();
	t.teardown(() => guest.stop());
	await guest.until('TSVM-SHELL-READY');
	await waitFor(async () => (await guest.screendump()).width === 1024, 'the qxl console');
	const before = await guest.screendump();
	t.deepEqual([before.width, before.height], [1024, 768]);
	t.true(inkShare(before) > 0.005, 'there is text');
	for (const key of ['e', 'c', 'h', 'o', 'spc', 'h', 'i', 'spc', 'shift-dot', 'spc', 'slash', 'h', 'i', 'ret'])
		await guest.qmp('send-key', { keys: key.split('-').map((data) => ({ type: 'qcode', data })) });
	await waitFor(async () => (await guest.shell('cat /hi')) === 'hi', 'what was typed');
	const after = await guest.screendump();
	t.true(differingPixels(before, after) > 50);
	t.log(`screenshot ${keepPng('mini-console', after)}`);
});

test.serial('vga= sets the mode that the kernel starts in, through the VGA BIOS', async (t) => {
	const guest = await Guest.start(['--append', 'tsvm.nomods vga=0x317']);
	t.teardown(() => guest.stop());
	await guest.until('TSVM-SHELL-READY');
	t.is(await guest.shell('cat /proc/fb'), '0 VESA VGA');
	const { width, height } = await guest.screendump();
	t.deepEqual([width, height], [1024, 768]);
});

test.serial('power-off by the guest ends tsvm with exit code 0', async (t) => {
	const guest = await Guest.start();
	t.teardown(() => guest.stop());
	await guest.until('TSVM-SHELL-READY');
	guest.send('poweroff -f\n');
	t.is(await guest.exited(), 0);
});

test.serial('a reboot by the guest boots it again, as does system_reset', async (t) => {
	const guest = await Guest.start();
	t.teardown(() => guest.stop());
	const first = await guest.until('TSVM-SHELL-READY');
	guest.send('reboot -f\n');
	const second = await guest.until('TSVM-SHELL-READY', 120_000, first);
	await guest.qmp('system_reset');
	await guest.until('TSVM-SHELL-READY', 120_000, second);
	t.is(guest.exitCode, undefined);
});

test.serial('the guest sees the power button that system_powerdown presses', async (t) => {
	const guest = await Guest.start();
	t.teardown(() => guest.stop());
	await guest.until('TSVM-SHELL-READY');
	const event = await guest.shell('grep -A5 "Power Button" /proc/bus/input/devices | grep -o "event[0-9]*"');
	t.regex(event, /^event\d+$/);
	// Otherwise it would power the guest off.
	await guest.shell('killall acpid');
	await guest.shell(`dd if=/dev/input/${event} of=/pressed bs=16 count=1 2>/dev/null &`);
	await guest.qmp('system_powerdown');
	await waitFor(async () => (await guest.shell('wc -c < /pressed')) === '16', "an event of the power button's");
	// struct input_event on 32 bits: type EV_KEY at 8, code KEY_POWER at 10.
	t.is(await guest.shell('dd if=/pressed bs=1 skip=8 count=4 2>/dev/null | hexdump -e \'2/2 "%d "\''), '1 116');
});

test.serial('a guest that minds its power button ends tsvm with exit code 0 on system_powerdown', async (t) => {
	const guest = await Guest.start();
	t.teardown(() => guest.stop());
	await guest.until('TSVM-SHELL-READY');
	await guest.qmp('system_powerdown');
	await guest.until('TSVM-POWERDOWN');
	t.is(await guest.exited(), 0);
});

test.serial('stop freezes the guest and its clock, cont lets it go on', async (t) => {
	const guest = await Guest.start();
	t.teardown(() => guest.stop());
	await guest.until('TSVM-SHELL-READY');
	await guest.qmp('stop');
	t.like(await guest.qmp('query-status'), { running: false, status: 'paused' });
	const frozen = guest.serial.length;
	guest.send("echo a''wake\n");
	await new Promise((done) => setTimeout(done, 1000));
	t.is(guest.serial.length, frozen);
	await guest.qmp('cont');
	await guest.until('awake', 20_000, frozen);
});
