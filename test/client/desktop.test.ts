/** The whole desktop: a boot loader, Debian, Xorg on the qxl driver, a window manager, remote-viewer. */
import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import { buildImage } from '../../images/index.ts';
import { Guest } from '../helpers/guest.ts';
import { differingPixels, findPicture, keepPng, type Picture } from '../helpers/picture.ts';
import { Qemu } from '../helpers/qemu.ts';
import { waitFor } from '../helpers/x11.ts';
import { clients } from './clients.ts';

const MEMORY_MIB = 512;
/** What tells the time or follows the pointer: xclock, xeyes, the tray's clock. Guest coordinates. */
const RESTLESS = [
	{ left: 850, top: 15, right: 1010, bottom: 185 },
	{ left: 850, top: 195, right: 1010, bottom: 320 },
	{ left: 955, top: 740, right: 1024, bottom: 768 },
] as const;

/** The picture with the restless parts painted over. */
function atRest(picture: Picture): Picture {
	const rgba = picture.rgba.slice();
	for (const { left, top, right, bottom } of RESTLESS) {
		for (let y = top; y < bottom; y++) rgba.fill(0, (y * picture.width + left) * 4, (y * picture.width + right) * 4);
	}
	return { ...picture, rgba };
}

test.serial('Debian boots from disk to a desktop that remote-viewer shows, keyboard and mouse drive it', async (t) => {
	const { disk } = await buildImage('debian-desktop', { progress: (line) => console.error(line) });
	if (disk === undefined) throw new Error('debian-desktop has no disk');
	const guest = await Guest.start([disk, '--snapshot', '--memory', `${MEMORY_MIB}M`]);
	const viewer = clients['remote-viewer']();
	t.teardown(() => guest.stop());
	t.teardown(() => viewer.stop());
	await viewer.connect(guest.port);
	await guest.until('TSVM-DESKTOP-OK', 180_000);
	t.regex(guest.serial, /TSVM-X-START driver=qxl/);

	let origin: { readonly x: number; readonly y: number } | undefined;
	await waitFor(
		async () => {
			const shown = await viewer.picture();
			origin = findPicture(shown, await guest.screendump());
			if (origin) t.log(`screenshot ${keepPng('desktop-remote-viewer', shown)}`);
			return origin !== undefined;
		},
		`remote-viewer to show what screendump gives: ${viewer.log().slice(-1500)}`,
		40_000,
	);
	const ours = await guest.screendump();
	keepPng('desktop-screendump', ours);

	// The window under the pointer's click takes the keys.
	await viewer.grab(origin ?? { x: 0, y: 0 });
	await viewer.type('id > /tmp/typed');
	await viewer.enter();
	await waitFor(
		async () => (await guest.shell('cat /tmp/typed')).includes('uid=1000(demo)'),
		'the typed command',
		30_000,
	);
	const eyes = await guest.screendump();
	for (const x of [100, 200, 300, 400, 500]) await viewer.point(origin ?? { x: 0, y: 0 }, x, 600);
	await waitFor(
		async () => differingPixels(await guest.screendump(), eyes) > 20,
		'xeyes to follow the pointer',
		20_000,
	);
	t.log(`screenshot ${keepPng('desktop-driven', await viewer.picture())}`);
	await viewer.stop();
	await guest.stop();

	const qemu = Qemu.start(disk, MEMORY_MIB);
	t.teardown(() => qemu.stop());
	await qemu.until('TSVM-DESKTOP-OK');
	await sleep(2000);
	const theirs = await qemu.screendump();
	keepPng('desktop-qemu', theirs);
	t.is(differingPixels(atRest(ours), atRest(theirs)), 0, "the same picture as QEMU's");
});
