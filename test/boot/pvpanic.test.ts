/** Debian's kernel on both pvpanic devices: its drivers find them by themselves, and its panic is told. */
import test from 'ava';
import { Guest } from '../helpers/guest.ts';

for (const [device, driver] of [
	['pvpanic', '/sys/bus/platform/drivers/pvpanic-mmio/QEMU0001:00'],
	['pvpanic-pci', '/sys/bus/pci/drivers/pvpanic-pci/0000:*'],
] as const)
	test.serial(`${device}: a kernel that panics stops the machine, and system_reset boots it again`, async (t) => {
		const guest = await Guest.start(['--device', device, '--action', 'panic=pause']);
		t.teardown(() => guest.stop());
		const first = await guest.until('TSVM-SHELL-READY');
		t.is(await guest.shell(`cat ${driver}/capability`), '3', 'what the device knows');
		const events = await guest.events();
		guest.send('echo c > /proc/sysrq-trigger\n');
		t.deepEqual(await events.next('GUEST_PANICKED'), { action: 'pause' });
		await events.next('STOP');
		t.like(await guest.qmp('query-status'), { status: 'guest-panicked', running: false });
		t.regex(guest.serial, /sysrq triggered crash/i);
		t.regex(guest.stderr, /the guest has panicked; the machine is paused until cont/);
		t.true((await guest.screendump()).width > 0, 'there is something to look at');
		await guest.qmp('system_reset');
		await guest.qmp('cont');
		await guest.until('TSVM-SHELL-READY', 120_000, first);
		events.close();
	});

test.serial('a panic ends tsvm with exit code 0 unless it is told otherwise', async (t) => {
	const guest = await Guest.start(['--device', 'pvpanic']);
	t.teardown(() => guest.stop());
	await guest.until('TSVM-SHELL-READY');
	guest.send('echo c > /proc/sysrq-trigger\n');
	t.is(await guest.exited(), 0);
	t.regex(guest.stderr, /tsvm: warning: the guest has panicked, which ends its machine\n$/);
});
