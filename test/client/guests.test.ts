/**
 * Real clients on real guests: each shows the firmware's screen and the drm/qxl console pixel for pixel as screendump
 * gives them, what is typed in it reaches the guest's shell, and its pointer moves the guest's mouse.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { Guest } from '../helpers/guest.ts';
import { differingPixels, findPicture, inkShare, keepPng, type Picture } from '../helpers/picture.ts';
import { waitFor } from '../helpers/x11.ts';
import { type Client, clients } from './clients.ts';

interface Seen {
	readonly shown: Picture;
	readonly origin: { readonly x: number; readonly y: number };
}

/** Waits until what the client shows holds exactly what screendump gives; a blinking cursor needs a few tries. */
async function showsTheScreen(client: Client, guest: Guest): Promise<Seen> {
	let seen: Seen | undefined;
	await waitFor(
		async () => {
			const screen = await guest.screendump();
			const shown = await client.picture();
			const origin = findPicture(shown, screen);
			if (origin && inkShare(screen) > 0.001) seen = { shown, origin };
			return seen !== undefined;
		},
		'the client to show what screendump gives',
		30_000,
	);
	return seen as Seen;
}

for (const [name, make] of Object.entries(clients)) {
	test.serial(`${name} shows the firmware's screen`, async (t) => {
		const guest = await Guest.start(['--snapshot', emptyDisk()]);
		const client = make();
		t.teardown(() => guest.stop());
		t.teardown(() => client.stop());
		await client.connect(guest.port);
		try {
			const { shown } = await showsTheScreen(client, guest);
			t.log(`screenshot ${keepPng(`firmware-${name}`, shown)}`);
			const { height } = await guest.screendump();
			t.true(height === 400 || height === 480, 'VGA text');
		} catch (error) {
			keepPng(`failed-firmware-${name}-client`, await client.picture());
			keepPng(`failed-firmware-${name}-screendump`, await guest.screendump());
			throw new Error(`${String(error)}\n${client.log().slice(-3000)}\n${guest.report()}`);
		}
	});

	test.serial(`${name} shows the qxl console, types into the shell and moves the pointer`, async (t) => {
		const guest = await Guest.start();
		const client = make();
		t.teardown(() => guest.stop());
		t.teardown(() => client.stop());
		await guest.until('TSVM-SHELL-READY');
		await waitFor(async () => (await guest.screendump()).width === 1024, 'the qxl console');
		await client.connect(guest.port);
		try {
			const { shown, origin } = await showsTheScreen(client, guest);
			t.log(`screenshot ${keepPng(`console-${name}`, shown)}`);

			const mouse = await guest.shell(
				'grep -A5 "VMware VMMouse" /proc/bus/input/devices | grep -o "event[0-9]*" | head -1',
			);
			await guest.shell(`dd if=/dev/input/${mouse} of=/moved bs=16 count=1 2>/dev/null &`);
			// A client with a relative pointer first takes it, on a click.
			await client.grab(origin);
			let step = 0;
			await waitFor(
				async () => {
					step++;
					await client.point(origin, 420 + (step % 5) * 20, 320 + (step % 3) * 20);
					return (await guest.shell('wc -c < /moved')) === '16';
				},
				"an event of the guest's mouse",
				30_000,
			);
			// No key of this needs Shift, which not every way to type presses.
			await client.type(`mkdir /typed-by-${name}`);
			await client.enter();
			await waitFor(
				async () => (await guest.shell('ls -d /typed*')) === `/typed-by-${name}`,
				'the typed command',
				30_000,
			);
			const after = await showsTheScreen(client, guest);
			t.log(`screenshot ${keepPng(`typed-${name}`, after.shown)}`);
			t.true(differingPixels(shown, after.shown) > 100, 'what was typed is seen');
		} catch (error) {
			keepPng(`failed-console-${name}-client`, await client.picture());
			keepPng(`failed-console-${name}-screendump`, await guest.screendump());
			throw new Error(`${String(error)}\n${client.log().slice(-3000)}\n${guest.report()}`);
		}
	});
}

/** A disk that nothing boots from: SeaBIOS says so and stays. */
function emptyDisk(): string {
	const path = join(process.env.TMPDIR ?? '/tmp', `tsvm-empty-${process.pid}.img`);
	writeFileSync(path, new Uint8Array(1 << 20));
	return path;
}
