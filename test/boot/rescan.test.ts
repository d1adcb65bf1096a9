/** Devices that Linux takes away and finds again get BARs in places of its own choice, and work there. */
import test from 'ava';
import { buildImage } from '../../images/index.ts';
import { Guest } from '../helpers/guest.ts';

for (const memory of ['256M', '1G']) {
	test(`virtio devices removed and found again bind to their drivers, with ${memory}`, async (t) => {
		const { kernel, initrd, append } = await buildImage('debian-mini');
		if (!kernel || !initrd) throw new Error('debian-mini has no kernel');
		const boot = ['--kernel', kernel, '--initrd', initrd, '--append', `${append} tsvm.noreport`];
		const guest = await Guest.start([...boot, '--memory', memory]);
		t.teardown(() => guest.stop());
		await guest.until('TSVM-SHELL-READY');
		for (const [slot, driver, found] of [
			['04', 'virtio_balloon', 'ls /sys/bus/virtio/drivers/virtio_balloon | grep -c virtio'],
			['03', 'virtio_console', 'ls /sys/class/virtio-ports | grep -c vport'],
		]) {
			const device = `/sys/bus/pci/devices/0000:00:${slot}.0`;
			t.is(await guest.shell(found), '1', `${driver} before`);
			await guest.shell(`dmesg -c >/dev/null; echo 1 > ${device}/remove; echo 1 > /sys/bus/pci/rescan; sleep 1`);
			const log = await guest.shell('dmesg');
			t.regex(log, /BAR 4: assigned \[mem|BAR 4 \[mem .*: assigned/, 'Linux chose a place');
			t.notRegex(log, /failed|VIRTIO_F_VERSION_1/);
			t.is(await guest.shell(found), '1', `${driver} after:\n${log}`);
		}
	});
}
