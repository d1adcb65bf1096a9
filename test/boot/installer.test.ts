/** Debian's graphical installer: its kernel has no driver for QXL and draws where `vga=` told the setup code to. */
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import { Guest } from '../helpers/guest.ts';
import { keepPng, type Picture } from '../helpers/picture.ts';
import { waitFor } from '../helpers/x11.ts';

/** Debian's package debian-installer-12-netboot-i386. */
const IMAGES = '/usr/lib/debian-installer/images/12/i386/gtk/debian-installer/i386';
/** The chosen language's row in the list, and a column in it where no text is. */
const CHOSEN = [0x29, 0x86, 0x7b] as const;
const COLUMN = 600;

/** Where the row of the chosen language begins; -1 without one. */
function chosenRow({ width, height, rgba }: Picture): number {
	for (let y = 0; y < height; y++) {
		const at = (y * width + COLUMN) * 4;
		if (CHOSEN.every((value, i) => Math.abs(rgba[at + i] - value) < 16)) return y;
	}
	return -1;
}

test.serial('vga=788: the installer comes up in 800x600 and takes keys', async (t) => {
	t.timeout(240_000);
	const kernel = ['--kernel', join(IMAGES, 'linux'), '--initrd', join(IMAGES, 'initrd.gz'), '--memory', '512M'];
	// With less than 534 MiB the installer chooses its text screens by itself.
	const guest = await Guest.start([...kernel, '--append', 'vga=788 DEBIAN_FRONTEND=gtk --- quiet']);
	t.teardown(() => guest.stop());
	let shown = await guest.screendump();
	/** Once a second: pictures cost the guest time. */
	const look = async () => {
		await sleep(1000);
		shown = await guest.screendump();
		return shown;
	};
	await waitFor(async () => (await look()).width === 800, 'the setup code to set the mode', 30_000);
	/** The list scrolls to it at first. */
	const listed = async () => {
		const was = chosenRow(shown);
		return chosenRow(await look()) === was && was > 0;
	};
	await waitFor(listed, 'the list of languages', 180_000).catch((error: Error) => {
		throw new Error(`${error.message}; screenshot ${keepPng('installer', shown)}`);
	});
	t.log(`screenshot ${keepPng('installer', shown)}`);
	t.deepEqual([shown.width, shown.height], [800, 600]);
	const first = chosenRow(shown);
	await guest.qmp('send-key', { keys: [{ type: 'qcode', data: 'down' }] });
	await waitFor(async () => chosenRow(await look()) > first, 'the next language to be chosen', 20_000);
});
