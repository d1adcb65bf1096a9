/** The real clients behind one face: connect, show the guest's picture, type, move the pointer. */
import { type ChildProcess, spawn } from 'node:child_process';
import { createReadStream, existsSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { tmpdir } from 'node:os';
import { dirname, extname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Browser, chromium, type Page } from 'playwright-core';
import { type Picture, readPng } from '../helpers/picture.ts';
import { waitFor, XDisplay } from '../helpers/x11.ts';

export interface Client {
	/** Connects to a SPICE server on 127.0.0.1. */
	connect(port: number): Promise<void>;
	/** What the client shows; the guest's picture is somewhere in it, unscaled. */
	picture(): Promise<Picture>;
	/** Types as a user at the client's window does. */
	type(text: string): Promise<void>;
	/** Presses Enter. */
	enter(): Promise<void>;
	/** Moves the client's pointer over the guest's picture, which stands at `origin` in what picture() shows. */
	point(origin: { readonly x: number; readonly y: number }, x: number, y: number): Promise<void>;
	/** Clicks into the picture, which a client with a relative pointer answers by taking the pointer. */
	grab(origin: { readonly x: number; readonly y: number }): Promise<void>;
	/** What the client said, for failing tests. */
	log(): string;
	stop(): Promise<void>;
}

/** A program with an X window: remote-viewer and spicy. */
class WindowClient implements Client {
	readonly #command: string;
	readonly #args: (port: number) => string[];
	readonly #window: string;
	readonly #size: readonly [string, string] | undefined;
	#display: XDisplay | undefined;

	/** `size` in pixels for a window that is too small for the guest's picture by itself. */
	constructor(command: string, window: string, args: (port: number) => string[], size?: readonly [string, string]) {
		this.#size = size;
		this.#command = command;
		this.#window = window;
		this.#args = args;
	}

	async connect(port: number): Promise<void> {
		this.#display = await XDisplay.start(1400, 1050);
		this.#display.spawn(this.#command, this.#args(port));
		const id = await this.#display.window(this.#window);
		this.#display.run('xdotool', ['windowactivate', '--sync', id]);
		if (this.#size !== undefined) this.#display.run('xdotool', ['windowsize', '--sync', id, ...this.#size]);
	}

	async picture(): Promise<Picture> {
		return this.#x.screenshot();
	}

	async type(text: string): Promise<void> {
		this.#x.type(text);
	}

	async enter(): Promise<void> {
		this.#x.key('Return');
	}

	async point(origin: { readonly x: number; readonly y: number }, x: number, y: number): Promise<void> {
		this.#x.run('xdotool', ['mousemove', String(origin.x + x), String(origin.y + y)]);
	}

	async grab(origin: { readonly x: number; readonly y: number }): Promise<void> {
		this.#x.run('xdotool', ['mousemove', String(origin.x + 400), String(origin.y + 300), 'click', '1']);
	}

	log(): string {
		return this.#display?.log ?? '';
	}

	async stop(): Promise<void> {
		await this.#display?.stop();
	}

	get #x(): XDisplay {
		if (!this.#display) throw new Error('not connected');
		return this.#display;
	}
}

const HTML5 = '/usr/share/spice-html5';
const MIME: Readonly<Record<string, string>> = { '.html': 'text/html', '.js': 'text/javascript', '.css': 'text/css' };

/** spice-html5 in Debian's chromium. */
class Html5Client implements Client {
	#server: Server | undefined;
	#browser: Browser | undefined;
	#page: Page | undefined;
	#log = '';

	async connect(port: number): Promise<void> {
		const server = createServer((request, response) => {
			const path = normalize(new URL(request.url ?? '/', 'http://x').pathname);
			const file = join(HTML5, path);
			if (!existsSync(file)) {
				response.writeHead(404).end();
				return;
			}
			response.writeHead(200, { 'content-type': MIME[extname(file)] ?? 'application/octet-stream' });
			createReadStream(file).pipe(response);
		});
		this.#server = server;
		await new Promise<void>((done) => {
			server.listen(0, '127.0.0.1', done);
		});
		const address = server.address();
		if (typeof address !== 'object' || !address) throw new Error('no address');
		const args = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-sync'];
		args.push('--disable-background-networking', '--disable-component-update');
		this.#browser = await chromium.launch({ executablePath: '/usr/bin/chromium', headless: true, args });
		this.#page = await this.#browser.newPage({ viewport: { width: 1400, height: 1050 } });
		this.#page.on('console', (message) => {
			this.#log = `${this.#log}${message.text()}\n`.slice(-20000);
		});
		const query = `host=127.0.0.1&port=${port}&path=`;
		await this.#page.goto(`http://127.0.0.1:${address.port}/spice_auto.html?${query}`);
		await this.#page.waitForSelector('#spice-screen canvas', { timeout: 30000 });
	}

	async picture(): Promise<Picture> {
		const shot = await this.#tab.evaluate(() => {
			const canvas = document.querySelector<HTMLCanvasElement>('#spice-screen canvas');
			const context = canvas?.getContext('2d');
			if (!canvas || !context) throw new Error('no canvas');
			const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
			let text = '';
			for (let i = 0; i < data.length; i += 32768) text += String.fromCharCode(...data.subarray(i, i + 32768));
			return { width: canvas.width, height: canvas.height, data: btoa(text) };
		});
		return { width: shot.width, height: shot.height, rgba: Buffer.from(shot.data, 'base64') };
	}

	async type(text: string): Promise<void> {
		await this.#tab.click('#spice-screen canvas', { position: { x: 300, y: 300 } });
		await this.#tab.keyboard.type(text, { delay: 60 });
	}

	async enter(): Promise<void> {
		await this.#tab.keyboard.press('Enter', { delay: 60 });
	}

	async point(_origin: { readonly x: number; readonly y: number }, x: number, y: number): Promise<void> {
		const box = await this.#tab.locator('#spice-screen canvas').boundingBox();
		await this.#tab.mouse.move((box?.x ?? 0) + x, (box?.y ?? 0) + y, { steps: 5 });
	}

	async grab(): Promise<void> {
		await this.#tab.click('#spice-screen canvas', { position: { x: 300, y: 300 } });
	}

	log(): string {
		return this.#log;
	}

	async stop(): Promise<void> {
		await this.#browser?.close();
		this.#server?.close();
	}

	get #tab(): Page {
		if (!this.#page) throw new Error('not connected');
		return this.#page;
	}
}

/** spice-gtk's own library through Python gi, without a window (probe.py). */
class GiClient implements Client {
	readonly #folder = mkdtempSync(join(tmpdir(), 'tsvm-gi-'));
	#child: ChildProcess | undefined;
	#log = '';

	async connect(port: number): Promise<void> {
		const probe = join(dirname(fileURLToPath(import.meta.url)), '..', '..', '..', 'test', 'client', 'probe.py');
		this.#child = spawn('/usr/bin/python3', [probe, '--port', String(port)], { stdio: ['pipe', 'pipe', 'pipe'] });
		const keep = (data: Buffer) => {
			this.#log = (this.#log + data.toString()).slice(-200_000);
		};
		this.#child.stdout?.on('data', keep);
		this.#child.stderr?.on('data', keep);
		await this.#command('connect');
		await this.#command('wait-primary');
	}

	async picture(): Promise<Picture> {
		const path = join(this.#folder, 'dump.png');
		await this.#command(`dump ${path}`);
		return readPng(path);
	}

	async type(text: string): Promise<void> {
		await this.#command(`type ${text}`);
	}

	async enter(): Promise<void> {
		await this.#command('key 28');
	}

	async point(_origin: { readonly x: number; readonly y: number }, x: number, y: number): Promise<void> {
		await this.#command(`motion ${Math.round(x / 10)} ${Math.round(y / 10)}`);
	}

	async grab(): Promise<void> {
		await this.#command('click 1');
	}

	log(): string {
		return this.#log;
	}

	async stop(): Promise<void> {
		this.#child?.kill();
		rmSync(this.#folder, { recursive: true, force: true });
	}

	async #command(command: string): Promise<void> {
		const from = this.#log.length;
		const answer = (kind: string) => this.#log.indexOf(`{"${kind}": ${JSON.stringify(command)}`, from) >= 0;
		this.#child?.stdin?.write(`${command}\n`);
		await waitFor(() => answer('done') || answer('failed'), `the probe to answer ${command}: ${this.#log.slice(-800)}`);
		if (answer('failed')) throw new Error(`the probe could not ${command}: ${this.#log.slice(-800)}`);
	}
}

export const clients: Readonly<Record<string, () => Client>> = {
	'remote-viewer': () =>
		new WindowClient('remote-viewer', '[Rr]emote.[Vv]iewer', (port) => ['--spice-debug', `spice://127.0.0.1:${port}`]),
	// spicy scales to its small window unless its settings say otherwise.
	spicy: () =>
		new WindowClient(
			'sh',
			'spice display',
			(port) => [
				'-c',
				'mkdir -p ~/.config/spicy && printf "[general]\\nscaling=false\\nresize-guest=false\\n" > ~/.config/spicy/settings && ' +
					`exec spicy -h 127.0.0.1 -p ${port}`,
			],
			['1200', '950'],
		),
	'spice-gtk': () => new GiClient(),
	'spice-html5': () => new Html5Client(),
};
