/**
 * Copy and paste, and files, between the desktop's guest and real clients: remote-viewer with xclip at both ends, and
 * spice-gtk's library. Then the same while agents and clients come and go. One desktop for all of it.
 */
import { createHash, randomBytes } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import test, { type ExecutionContext } from 'ava';
import { PNG } from 'pngjs';
import { buildImage } from '../../images/index.ts';
import { START_AGENT, STOP_AGENT } from '../helpers/agent-service.ts';
import { Guest } from '../helpers/guest.ts';
import { keepPng } from '../helpers/picture.ts';
import { Probe } from '../helpers/probe.ts';
import { waitFor, XDisplay } from '../helpers/x11.ts';

const MEMORY_MIB = 512;
const SCREEN = { width: 1400, height: 1050 } as const;
const MEGABYTE = 1_000_000;
const FILE_BYTES = 20 * MEGABYTE;
const DOWNLOADS = '/home/demo/Downloads';
/** Whatever has to happen between guest and client; far more than it takes. */
const PATIENCE_MS = 40_000;

const folder = mkdtempSync(join(tmpdir(), 'tsvm-agent-'));
const dragSource = join(dirname(fileURLToPath(import.meta.url)), '..', '..', '..', 'test', 'client', 'drag-source.py');
let guest: Guest;
let files = 0;

test.before(async () => {
	const { disk } = await buildImage('debian-desktop', { progress: (line) => console.error(line) });
	if (disk === undefined) throw new Error('debian-desktop has no disk');
	guest = await Guest.start([disk, '--snapshot', '--memory', `${MEMORY_MIB}M`]);
	await guest.until('TSVM-DESKTOP-OK', 240_000);
});

test.after.always(async () => {
	await guest?.stop();
	rmSync(folder, { recursive: true, force: true });
});

function md5(bytes: Uint8Array): string {
	return createHash('md5').update(bytes).digest('hex');
}

/** Keeps bytes in a file on the host; returns its path. */
function hostFile(bytes: Uint8Array): string {
	const path = join(folder, `file${++files}`);
	writeFileSync(path, bytes);
	return path;
}

function noise(bytes: number): Buffer {
	return randomBytes(bytes);
}

/** Text of so many bytes, all ASCII. */
function longText(bytes: number): Buffer {
	return Buffer.from(noise(bytes).toString('base64').slice(0, bytes));
}

function image(): Buffer {
	const png = new PNG({ width: 160, height: 100 });
	noise(png.data.length).copy(png.data);
	return PNG.sync.write(png);
}

/** Where the clipboards of both sides end up, by way of a client. */
interface Sides {
	/** Owns a selection on the host. */
	hostSet(selection: string, format: string, bytes: Buffer): Promise<void>;
	/** What the guest has, as the host gets it; undefined while it gets nothing. */
	hostGet(selection: string, format: string): Promise<Buffer | undefined>;
}

/** xclip's way to say what it gives or wants. */
function xclip(selection: string, format: string): string[] {
	return ['-selection', selection, ...(format === 'text' ? [] : ['-t', `image/${format}`])];
}

async function guestSet(selection: string, format: string, bytes: Buffer): Promise<void> {
	await guest.shell(`echo ${bytes.toString('base64')} | base64 -d >/tmp/owned`);
	await guestOwn(selection, format, '/tmp/owned');
}

async function guestOwn(selection: string, format: string, path: string): Promise<void> {
	await guest.shell(`xclip ${xclip(selection, format).join(' ')} -i ${path} >/dev/null 2>&1`);
}

/** Waits until the guest's selection has that content. */
async function guestHas(selection: string, format: string, bytes: Buffer, limitMs = PATIENCE_MS): Promise<void> {
	const command = `timeout 10 xclip ${xclip(selection, format).join(' ')} -o 2>/dev/null | md5sum`;
	await waitFor(
		async () => (await guest.shell(command)).startsWith(md5(bytes)),
		`the guest's ${selection} to be the host's ${bytes.length} bytes of ${format}`,
		limitMs,
	);
}

async function hostHas(sides: Sides, selection: string, format: string, sum: string): Promise<void> {
	await waitFor(
		async () => {
			const bytes = await sides.hostGet(selection, format);
			return bytes !== undefined && md5(bytes) === sum;
		},
		`the host's ${selection} to be the guest's ${format}`,
		PATIENCE_MS,
	);
}

/** Waits for a file of that content in the guest's downloads, and takes it away. Its size is right from the beginning. */
async function arrived(name: string, bytes: Buffer): Promise<void> {
	const path = `${DOWNLOADS}/${name}`;
	let last = '';
	await waitFor(
		async () => {
			last = await guest.shell(`sleep 0.5; md5sum ${path} 2>&1`);
			return last.startsWith(md5(bytes));
		},
		`the guest to get ${md5(bytes)}; it has ${last}`,
		120_000,
	);
	await guest.shell(`rm ${path}`);
}

/** remote-viewer in an X display with xclip beside it. */
class Viewer implements Sides {
	readonly display: XDisplay;

	private constructor(display: XDisplay) {
		this.display = display;
	}

	static async start(t: ExecutionContext): Promise<Viewer> {
		const display = await XDisplay.start(SCREEN.width, SCREEN.height);
		t.teardown(() => display.stop());
		display.spawn('remote-viewer', ['--spice-debug', `spice://127.0.0.1:${guest.port}`]);
		await display.window('[Rr]emote.[Vv]iewer');
		return new Viewer(display);
	}

	async hostSet(selection: string, format: string, bytes: Buffer): Promise<void> {
		this.display.spawn('xclip', ['-quiet', ...xclip(selection, format), '-i', hostFile(bytes)]);
	}

	/** Copies until the guest has it: of what is copied before client and agent know each other nobody is told. */
	async copyToGuest(selection: string, format: string, bytes: Buffer): Promise<void> {
		for (let attempt = 1; ; attempt++) {
			await this.hostSet(selection, format, bytes);
			try {
				await guestHas(selection, format, bytes, 8000);
				return;
			} catch (error) {
				if (attempt === 5) throw error;
			}
		}
	}

	async hostGet(selection: string, format: string): Promise<Buffer | undefined> {
		const path = join(folder, 'got');
		const command = `timeout 10 xclip ${xclip(selection, format).join(' ')} -o >${path}`;
		return this.display.run('sh', ['-c', command]).status === 0 ? readFileSync(path) : undefined;
	}

	shot(t: ExecutionContext, name: string): void {
		t.log(`screenshot ${keepPng(`agent-${name}`, this.display.screenshot())}`);
	}
}

/** spice-gtk's library without a window. */
class Library implements Sides {
	readonly probe: Probe;

	constructor(t: ExecutionContext) {
		this.probe = new Probe(['--port', String(guest.port)]);
		t.teardown(() => this.probe.stop());
	}

	async connect(): Promise<void> {
		await this.probe.do('connect');
		await this.probe.do('wait-agent yes 30');
	}

	async hostSet(selection: string, format: string, bytes: Buffer): Promise<void> {
		await this.probe.do(`clip-set ${selection} ${format} ${hostFile(bytes)}`);
	}

	async hostGet(selection: string, format: string): Promise<Buffer | undefined> {
		const path = join(folder, 'got');
		await this.probe.do(`clip-get ${selection} ${format} ${path}`);
		return readFileSync(path);
	}

	/** A short text each way and a file of a megabyte. */
	async works(t: ExecutionContext, when: string): Promise<void> {
		const [down, up, file] = [Buffer.from(`down ${when}`), Buffer.from(`up ${when}`), noise(MEGABYTE)];
		await this.hostSet('clipboard', 'text', down);
		await guestHas('clipboard', 'text', down);
		await guestSet('clipboard', 'text', up);
		await this.probe.event('clipboard-grab');
		await hostHas(this, 'clipboard', 'text', md5(up));
		const path = hostFile(file);
		await this.probe.do(`copy ${path}`);
		await arrived(path.slice(folder.length + 1), file);
		await guest.shell(`echo "${when}: $(xclip -selection clipboard -o), and a file" >>/tmp/shown; sleep 0.3`);
		t.log(`screenshot ${keepPng(`agent-${when.replaceAll(' ', '-')}`, await guest.screendump())}`);
		t.pass();
	}
}

const COPIED = [
	['one-byte', 'clipboard', 'text', Buffer.from('7')],
	['unicode', 'clipboard', 'text', Buffer.from('Grüße, 世界 — €\n\t🙂')],
	['megabyte', 'clipboard', 'text', longText(MEGABYTE)],
	['png', 'clipboard', 'png', image()],
	['primary', 'primary', 'text', Buffer.from('what the mouse has marked')],
] as const;

test.serial(
	'remote-viewer shares both selections with the guest, text short, long and unicode, and pictures',
	async (t) => {
		const viewer = await Viewer.start(t);
		// A window in the guest that tells, for the screenshots.
		const terminal = 'LANG=C.UTF-8 xterm -fa "DejaVu Sans Mono" -fs 9 -geometry 80x12+20+480';
		await guest.shell(`:>/tmp/shown; ${terminal} -e tail -f /tmp/shown &`);
		for (const [name, selection, format, bytes] of COPIED) {
			await viewer.copyToGuest(selection, format, bytes);
			// The guest keeps it, changes it a little where it can, and owns it itself.
			const change = format === 'text' ? '; printf "!" >>/tmp/kept' : '';
			await guest.shell(`xclip ${xclip(selection, format).join(' ')} -o >/tmp/kept${change}`);
			await guestOwn(selection, format, '/tmp/kept');
			const wanted = format === 'text' ? Buffer.concat([bytes, Buffer.from('!')]) : bytes;
			await hostHas(viewer, selection, format, md5(wanted));
			const beginning = format === 'text' ? '; head -c 60 /tmp/kept; echo' : '';
			await guest.shell(
				`{ echo "${name}: $(wc -c </tmp/kept) bytes, $(md5sum </tmp/kept)"${beginning}; } >>/tmp/shown`,
			);
			await sleep(500);
			viewer.shot(t, name);
		}
		t.pass();
	},
);

test.serial('a file of 20 MB that is dragged onto the window arrives intact', async (t) => {
	const viewer = await Viewer.start(t);
	const { display } = viewer;
	await sleep(3000);
	mkdirSync(join(folder, 'drag'));
	const content = noise(FILE_BYTES);
	const file = join(folder, 'drag', 'dragged.bin');
	writeFileSync(file, content);
	const [x, y] = [SCREEN.width - 50, SCREEN.height - 50];
	display.spawn('/usr/bin/python3', [dragSource, String(x), String(y), file]);
	await waitFor(() => display.log.includes('ready'), 'the window to drag from');
	const moves = [
		['mousemove', String(x + 20), String(y + 20)],
		['mousedown', '1'],
		['mousemove', String(x - 100), String(y - 100)],
		['mousemove', '600', '500'],
		['mousemove', '610', '500'],
		['mouseup', '1'],
	];
	for (const move of moves) {
		display.run('xdotool', move);
		await sleep(300);
	}
	await waitFor(
		async () => (await guest.shell(`ls ${DOWNLOADS}`)).includes('dragged.bin'),
		`the file to begin: ${display.log.slice(-1500)}`,
		PATIENCE_MS,
	);
	viewer.shot(t, 'file-under-way');
	await arrived('dragged.bin', content);
	viewer.shot(t, 'file-there');
	t.pass();
});

test.serial('clients alternate, one leaves in the middle of a file, and the next one finds all in order', async (t) => {
	const [first, second] = [new Library(t), new Library(t)];
	const big = hostFile(noise(FILE_BYTES));
	for (let round = 0; round < 2; round++) {
		await first.connect();
		await first.works(t, `first ${round}`);
		await first.probe.do(`copy-start ${big}`);
		await waitFor(async () => (await guest.shell(`ls ${DOWNLOADS}`)) !== '', 'the file to begin', PATIENCE_MS);
		// The second one's coming ends the first one's session.
		await second.connect();
		await first.probe.event('channel', ({ channel, state }) => channel === 'main' && state !== 'opened');
		await first.probe.do('disconnect');
		await second.works(t, `second ${round}`);
		await second.probe.do(`copy-start ${big}`);
		await second.probe.do('sleep 0.5');
		await second.probe.do('disconnect');
	}
	await first.connect();
	await first.works(t, 'in the end');
	// What was cut off is gone.
	t.is(await guest.shell(`ls ${DOWNLOADS}`), '');
});

test.serial('an agent may be killed in the middle of a file, start again, and come late', async (t) => {
	const client = new Library(t);
	await client.connect();
	const big = hostFile(noise(FILE_BYTES));
	await client.probe.do(`copy-start ${big}`);
	await waitFor(async () => (await guest.shell(`ls ${DOWNLOADS}`)) !== '', 'the file to begin', PATIENCE_MS);
	await guest.shell(STOP_AGENT);
	await client.probe.do('wait-agent no 20');
	await client.probe.event('copy-failed');
	await guest.shell(`rm -f ${DOWNLOADS}/*; ${START_AGENT}`);
	await client.probe.do('wait-agent yes 30');
	await client.works(t, 'after its death');

	// Idle this time, and the client comes before the agent.
	await guest.shell(STOP_AGENT);
	await client.probe.do('wait-agent no 20');
	await client.probe.do('disconnect');
	const viewer = await Viewer.start(t);
	await guest.shell(START_AGENT);
	await viewer.copyToGuest('clipboard', 'text', Buffer.from('late'));
	await guestSet('clipboard', 'text', Buffer.from('later'));
	await hostHas(viewer, 'clipboard', 'text', md5(Buffer.from('later')));
	viewer.shot(t, 'late');
	await client.connect();
	await client.works(t, 'after a late start');
});
