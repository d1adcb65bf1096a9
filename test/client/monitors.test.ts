/**
 * The desktop that follows its client: Debian with Xorg in a tsvm, remote-viewer in an X server of its own. The pointer
 * is where the client's is, the screen is as large as the window, a second window is a second monitor, and a folder of
 * the client's is one of the guest's.
 */
import { createHash, randomBytes } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import test, { type ExecutionContext } from 'ava';
import { buildImage } from '../../images/index.ts';
import { WEBDAV_PORT } from '../../src/spice/channels/port.ts';
import { START_AGENT, STOP_AGENT } from '../helpers/agent-service.ts';
import { Guest } from '../helpers/guest.ts';
import { findPicture, keepPng, type Picture } from '../helpers/picture.ts';
import { Probe } from '../helpers/probe.ts';
import { waitFor, XDisplay } from '../helpers/x11.ts';

interface Place {
	readonly x: number;
	readonly y: number;
}
interface Monitor extends Place {
	readonly width: number;
	readonly height: number;
}

/** What stands in remote-viewer's windows around the guest's picture, and in its menu of displays, pixels. */
const DISPLAYS_BUTTON = { x: 111, y: 26 };
const DISPLAY_2 = { x: 149, y: 113 };
const X = 'DISPLAY=:0 XAUTHORITY=/run/tsvm.Xauth';

/** A guest's desktop and the remote-viewer that shows it. */
class Desktop {
	readonly guest: Guest;
	readonly display: XDisplay;
	/** The window of the first monitor. */
	readonly window: string;

	private constructor(guest: Guest, display: XDisplay, window: string) {
		this.guest = guest;
		this.display = display;
		this.window = window;
	}

	static async show(guest: Guest): Promise<Desktop> {
		const display = await XDisplay.start(1600, 1200);
		display.spawn('remote-viewer', ['--auto-resize=always', `spice://127.0.0.1:${guest.port}`]);
		const window = await display.window('[Rr]emote.[Vv]iewer');
		display.run('xdotool', ['windowactivate', '--sync', window]);
		return new Desktop(guest, display, window);
	}

	/** Connected monitors by name, as X in the guest has them. */
	async monitors(): Promise<Map<string, Monitor>> {
		const text = await this.guest.shell(`${X} xrandr`, 60_000);
		const found = text.matchAll(/^(\S+) connected (?:primary )?(\d+)x(\d+)\+(\d+)\+(\d+)/gm);
		return new Map(
			[...found].map(([, name, width, height, x, y]) => [
				name,
				{ width: Number(width), height: Number(height), x: Number(x), y: Number(y) },
			]),
		);
	}

	async waitForMonitors(what: string, right: (monitors: Map<string, Monitor>) => boolean) {
		let last = new Map<string, Monitor>();
		await waitFor(
			async () => {
				last = await this.monitors();
				return right(last);
			},
			`${what}: ${JSON.stringify([...last])}`,
			40_000,
		).catch((error: Error) => {
			throw new Error(`${error.message} but ${JSON.stringify([...last])}; see ${this.keep('monitors-failed')}`);
		});
		return last;
	}

	/** Where the guest's first monitor stands in the picture of the client's screen. */
	async origin(): Promise<Place> {
		let place: Place | undefined;
		await waitFor(
			async () => {
				place = findPicture(this.display.screenshot(), await this.guest.screendump());
				return place !== undefined;
			},
			'remote-viewer to show what screendump gives',
			40_000,
		).catch((error: Error) => {
			throw new Error(`${error.message}; see ${this.keep('monitors-failed')}`);
		});
		return place ?? { x: 0, y: 0 };
	}

	point(x: number, y: number): void {
		this.display.run('xdotool', ['mousemove', String(x), String(y)]);
	}

	click(...buttons: readonly number[]): void {
		this.display.run('xdotool', ['click', '--delay', '60', ...buttons.flatMap((button) => [String(button)])]);
	}

	corner(window: string): Place {
		const text = this.display.run('xdotool', ['getwindowgeometry', '--shell', window]).stdout;
		return { x: Number(/^X=(-?\d+)/m.exec(text)?.[1]), y: Number(/^Y=(-?\d+)/m.exec(text)?.[1]) };
	}

	/** remote-viewer's windows, oldest first. */
	windows(): string[] {
		const found = this.display.run('xdotool', ['search', '--onlyvisible', '--class', '[Rr]emote.[Vv]iewer']);
		return found.stdout.trim().split('\n');
	}

	/** Switches the second display on or off in the menu of the first one's window. */
	async toggleDisplay2(): Promise<void> {
		this.display.run('xdotool', ['windowactivate', '--sync', this.window]);
		const { x, y } = this.corner(this.window);
		this.point(x + DISPLAYS_BUTTON.x, y + DISPLAYS_BUTTON.y);
		this.click(1);
		await sleep(1500);
		this.point(x + DISPLAY_2.x, y + DISPLAY_2.y);
		this.click(1);
	}

	/** The places that the guest's X server last told of the pointer on the root window. */
	async lastPlace(): Promise<Place | undefined> {
		const text = await this.guest.shell('grep -o "root:([0-9]*,[0-9]*)" /tmp/xev.log | tail -1');
		const [, x, y] = /root:\((\d+),(\d+)\)/.exec(text) ?? [];
		return x === undefined ? undefined : { x: Number(x), y: Number(y) };
	}

	/** Points at a place of the client's screen; the guest must have its pointer at `wanted`, give or take a pixel. */
	async expectPointer(t: ExecutionContext, client: Place, wanted: Place): Promise<void> {
		let got: Place | undefined;
		await waitFor(async () => {
			// Again and again: whoever listens in the guest may come late.
			this.point(client.x + 3, client.y);
			this.point(client.x, client.y);
			got = await this.lastPlace();
			// X rounds the tablet's coordinates down on their way through its own units.
			return got !== undefined && Math.abs(got.x - wanted.x) <= 1 && Math.abs(got.y - wanted.y) <= 1;
		}, `the pointer at ${wanted.x},${wanted.y}`).catch((error: Error) => {
			throw new Error(`${error.message}, it is at ${JSON.stringify(got)}; see ${this.keep('monitors-failed')}`);
		});
		t.pass();
	}

	keep(name: string): string {
		return keepPng(name, this.display.screenshot());
	}
}

function colour(picture: Picture, { x, y }: Place): string {
	const at = (y * picture.width + x) * 4;
	return Buffer.from(picture.rgba.subarray(at, at + 3)).toString('hex');
}

let guest: Guest;
let desktop: Desktop;
let probe: Probe | undefined;

test.before(async (t) => {
	t.timeout(300_000);
	const { disk } = await buildImage('debian-desktop', { progress: (line) => console.error(line) });
	if (disk === undefined) throw new Error('debian-desktop has no disk');
	const folder = ['--chardev', `spiceport,id=dav,name=${WEBDAV_PORT}`];
	folder.push('--device', `virtserialport,chardev=dav,name=${WEBDAV_PORT}`);
	guest = await Guest.start([disk, '--snapshot', ...folder]);
	await guest.until('TSVM-DESKTOP-OK', 240_000);
	desktop = await Desktop.show(guest);
});
test.after.always(async () => {
	await probe?.stop();
	await desktop?.display.stop();
	await guest?.stop();
});

test.serial("the guest's pointer is where the client's is, with all its buttons", async (t) => {
	const origin = await desktop.origin();
	await guest.shell(`${X} xev -root -event mouse -event button >/tmp/xev.log 2>&1 &`);
	const mode = async () => ((await guest.qmp('query-spice')) as { 'mouse-mode': string })['mouse-mode'];
	await waitFor(async () => (await mode()) === 'client', 'the client mouse mode');
	for (const [x, y] of [
		[100, 600],
		[500, 700],
		[1000, 400],
	])
		await desktop.expectPointer(t, { x: origin.x + x, y: origin.y + y }, { x, y });
	t.log(`screenshot ${desktop.keep('monitors-pointer')}`);
	// The window manager keeps clicks on the root window, so a window of its own sees the buttons.
	await guest.shell(`${X} xev -geometry 300x100+200+600 -event button >/tmp/buttons.log 2>&1 &`);
	await waitFor(
		async () => (await guest.shell(`${X} xwininfo -name "Event Tester" | grep Viewable; true`)).includes('IsViewable'),
		'the window for clicks',
	);
	await desktop.expectPointer(t, { x: origin.x + 100, y: origin.y + 600 }, { x: 100, y: 600 });
	desktop.point(origin.x + 300, origin.y + 660);
	for (const button of [3, 2, 4, 5, 5]) desktop.click(button);
	const buttons = async () =>
		(await guest.shell("sed -n 's/.*button \\([0-9]\\).*/\\1/p' /tmp/buttons.log")).split('\n');
	const wanted = ['3', '3', '2', '2', '4', '4', '5', '5', '5', '5'];
	await waitFor(async () => (await buttons()).length >= wanted.length, 'five clicks');
	t.deepEqual(await buttons(), wanted);
	await guest.shell('pkill -f "xev -geometry"; true');
	// Without the agent it is VMware's mouse that knows where the pointer is to be; the client sees no difference.
	await guest.shell(STOP_AGENT);
	await desktop.expectPointer(t, { x: origin.x + 200, y: origin.y + 650 }, { x: 200, y: 650 });
	t.is(await mode(), 'client');
	await guest.shell(START_AGENT);
	await desktop.expectPointer(t, { x: origin.x + 300, y: origin.y + 700 }, { x: 300, y: 700 });
});

test.serial('the screen is as large as the window', async (t) => {
	const size = async (width: number, height: number) => {
		// Window borders and the bar above; the picture gets what is left.
		desktop.display.run('xdotool', ['windowsize', desktop.window, String(width + 10), String(height + 56)]);
		const is = ({ width: w, height: h }: Monitor) => Math.abs(w - width) <= 8 && Math.abs(h - height) <= 8;
		const monitors = await desktop.waitForMonitors(`one monitor of ${width}x${height}`, (all) =>
			[...all.values()].some(is),
		);
		t.deepEqual([...monitors.keys()], ['Virtual-1']);
		const [{ width: w, height: h }] = monitors.values();
		const shown = await guest.screendump();
		t.deepEqual([shown.width, shown.height], [w, h]);
		await desktop.origin();
	};
	await size(1200, 900);
	t.log(`screenshot ${desktop.keep('monitors-larger')}`);
	const origin = await desktop.origin();
	await desktop.expectPointer(t, { x: origin.x + 1150, y: origin.y + 820 }, { x: 1150, y: 820 });
	await size(800, 600);
	t.log(`screenshot ${desktop.keep('monitors-smaller')}`);
	await size(1024, 768);
});

test.serial(
	'a second window is a second monitor, with its own part of the desktop and the pointer in it',
	async (t) => {
		const { display, window } = desktop;
		const first = await desktop.origin();
		const corner = desktop.corner(window);
		const border = { x: first.x - corner.x, y: first.y - corner.y };
		await desktop.toggleDisplay2();
		const monitors = await desktop.waitForMonitors('two monitors beside each other', (all) => {
			const [a, b] = [...all.values()];
			return b !== undefined && (a.x >= b.x + b.width || b.x >= a.x + a.width);
		});
		t.deepEqual([...monitors.keys()], ['Virtual-1', 'Virtual-2']);
		await waitFor(() => desktop.windows().length === 2, "the second display's window");
		const windows = [window, ...desktop.windows().filter((id) => id !== window)];
		// Apart from each other, so that each can be seen and pointed at.
		display.run('xdotool', ['windowmove', '--sync', windows[0], '500', '400']);
		display.run('xdotool', ['windowmove', '--sync', windows[1], '0', '0']);

		const colours = ['c03020', '20a040'];
		const all = [...monitors.values()];
		for (const [i, { x, y }] of all.entries())
			await guest.shell(
				`${X} xlogo -fg "#${colours[i]}" -bg "#${colours[i]}" -geometry 200x150+${x + 30}+${y + 500} >/dev/null 2>&1 &`,
			);
		for (const [i, { x, y }] of all.entries()) {
			display.run('xdotool', ['windowactivate', '--sync', windows[i]]);
			const { x: left, y: top } = desktop.corner(windows[i]);
			const at = (dx: number, dy: number) => ({ x: left + border.x + dx, y: top + border.y + dy });
			let shown = '';
			await waitFor(
				() => {
					shown = colour(display.screenshot(), at(130, 590));
					return shown === colours[i];
				},
				`monitor ${i + 1} in window ${i + 1}`,
			).catch((error: Error) => {
				throw new Error(`${error.message}, it shows ${shown}; see ${desktop.keep('monitors-failed')}`);
			});
			await desktop.expectPointer(t, at(300, 680), { x: x + 300, y: y + 680 });
		}
		t.log(`screenshot ${desktop.keep('monitors-two')}`);
		await guest.shell('pkill xlogo; true');
		await desktop.toggleDisplay2();
		await desktop.waitForMonitors('one monitor', (all) => all.size === 1);
	},
);

test.serial('a client without windows is told of the heads that the guest made as it wished', async (t) => {
	await desktop.display.stop();
	const client = new Probe(['--port', String(guest.port)]);
	probe = client;
	await client.do('connect');
	await client.do('wait-agent yes');
	const told = (...wanted: readonly (readonly number[])[]) =>
		client.event('monitors', ({ monitors }) => {
			const heads = monitors as { x: number; y: number; width: number; height: number }[];
			return JSON.stringify(heads.map(({ x, y, width, height }) => [x, y, width, height])) === JSON.stringify(wanted);
		});
	await client.do('display-size 800x600+0+0 640x480+800+0');
	await told([0, 0, 800, 600], [800, 0, 640, 480]);
	const path = join(guest.folder, 'two.png');
	const dump = await client.do(`dump ${path}`);
	t.deepEqual([dump.width, dump.height], [1440, 600]);
	await client.do('display-size 1024x768+0+0');
	await told([0, 0, 1024, 768]);
	await client.stop();
});

test.serial("a folder of the client's is one of the guest's", async (t) => {
	const shared = join(guest.folder, 'shared');
	mkdirSync(shared);
	const bytes = randomBytes(3 << 20);
	writeFileSync(join(shared, 'from-host.bin'), bytes);
	const client = new Probe(['--port', String(guest.port), '--shared-dir', shared]);
	probe = client;
	await client.do('connect');
	await client.event('port', (event) => event.port === WEBDAV_PORT && event.opened === true);
	// Its service starts anew with each client.
	await waitFor(
		async () =>
			(await guest.shell('/etc/tsvm/folder >/dev/null 2>&1 </dev/null; mountpoint /mnt/client', 60_000)).includes(
				'is a',
			),
		'the folder to be mounted',
		60_000,
	);
	const sum = await guest.shell('sha256sum /mnt/client/from-host.bin', 60_000);
	t.is(sum.split(' ')[0], createHash('sha256').update(bytes).digest('hex'));
	await guest.shell('echo from the guest >/mnt/client/from-guest.txt; umount /mnt/client', 60_000);
	t.is(readFileSync(join(shared, 'from-guest.txt'), 'latin1'), 'from the guest\n');
});
