/**
 * The real clients against the display channel alone, without a guest: a test card and random drawing, as it was
 * before they came and while they watch. Every pixel that they show must be the server's.
 * Needs virt-viewer, spice-client-gtk, spice-html5, chromium, xvfb, openbox, xdotool, imagemagick and, for the probe,
 * gir1.2-spiceclientglib-2.0 and python3-gi.
 */
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { BitmapFormat, type InputEvents, Ropd, SurfaceFormat } from '../../src/core/index.ts';
import { createCursorChannel } from '../../src/spice/channels/cursor.ts';
import { createDisplayChannel } from '../../src/spice/channels/display.ts';
import { Display } from '../../src/spice/display/display.ts';
import { ChannelType } from '../../src/spice/protocol/constants.ts';
import { SpiceServer } from '../../src/spice/server.ts';
import { bitmap, drawPattern, PATTERN, patternOps, rect, solid } from '../helpers/pattern.ts';
import { differingPixels, findPicture, fromRgb, keepPng, type Picture, readPng } from '../helpers/picture.ts';
import { waitFor } from '../helpers/x11.ts';
import { clients } from './clients.ts';

const noInputs: InputEvents = {
	scancodes() {},
	motion() {},
	position() {},
	absolute: false,
	onChange: () => () => {},
	leds: 0,
};

async function serve(t: ExecutionContext) {
	const display = new Display();
	const warnings: string[] = [];
	const server = new SpiceServer({
		inputs: noInputs,
		factories: new Map([
			[ChannelType.display, createDisplayChannel(display)],
			[ChannelType.cursor, createCursorChannel(display)],
		]),
		screen: () => display.screen,
		warn: (message) => warnings.push(message),
	});
	await server.listen({ port: 'auto' });
	t.teardown(() => server.close());
	if (server.port === undefined) throw new Error('no port');
	return { display, server, port: server.port, warnings };
}

/** Random drawing, the same for the same seed, that later operations build upon. */
function scribble(display: Display, count: number, seed: number): void {
	let state = seed;
	const random = (n: number) => {
		state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
		return (state >>> 8) % n;
	};
	const { width, height } = PATTERN;
	const base = { surfaceId: 0, mmTime: 0 };
	for (let i = 0; i < count; i++) {
		const box = rect(random(width) - 40, random(height) - 40, 1 + random(160), 1 + random(120));
		const clip =
			random(4) === 0 ? [rect(box.left + 5, box.top + 5, 20, 30), rect(box.left + 30, box.top, 60, 60)] : undefined;
		const kind = random(6);
		const [w, h] = [box.right - box.left, box.bottom - box.top];
		const color = random(1 << 24);
		if (kind < 2)
			display.draw({ ...base, box, clip, op: 'fill', brush: solid(color), rop: kind ? Ropd.put : Ropd.xor });
		else if (kind < 4)
			display.draw({ ...base, box, clip, op: 'copy-bits', srcPos: { x: random(width), y: random(height) } });
		else {
			const noisy = kind === 4;
			const src = bitmap(BitmapFormat.xrgb32, w, h, (x, y) =>
				noisy ? random(1 << 24) : color + x * 0x10201 + y * 0x300,
			);
			display.draw({ ...base, box, clip, op: 'copy', src, srcArea: rect(0, 0, w, h), rop: Ropd.put, scaleMode: 0 });
		}
	}
}

/** Each step changes the picture; after each the client must show it. */
function steps(display: Display): [name: string, draw: () => void | Promise<void>][] {
	const { width, height } = PATTERN;
	return [
		['late', () => {}],
		[
			'live',
			() => {
				display.reset();
				display.surfaceCreate({ id: 0, width, height, format: SurfaceFormat.xrgb32 });
				for (const op of patternOps(display)) display.draw(op);
			},
		],
		[
			'scribble',
			async () => {
				for (let burst = 0; burst < 60; burst++) {
					scribble(display, 1 + (burst % 5) * 20, burst + 1);
					if (burst % 3) await new Promise((resolve) => setTimeout(resolve, 10));
				}
			},
		],
		['16-bit', () => drawPattern(display, SurfaceFormat.rgb565)],
	];
}

for (const [name, make] of Object.entries(clients)) {
	test.serial(`${name} shows the server's pixels`, async (t) => {
		const { display, port, warnings } = await serve(t);
		drawPattern(display);
		const client = make();
		t.teardown(() => client.stop());
		await client.connect(port);
		for (const [step, draw] of steps(display)) {
			await draw();
			const expected = fromRgb(display.screenshot());
			let shown: Picture | undefined;
			const equal = async () => {
				shown = await client.picture();
				return findPicture(shown, expected) !== undefined;
			};
			keepPng(`pattern-server-${step}`, expected);
			const seen = waitFor(equal, `the picture of step ${step}`, 15000);
			await seen.catch(() => t.log(client.log().slice(-3000)));
			if (shown) keepPng(`pattern-${name}-${step}`, shown);
			await t.notThrowsAsync(seen);
		}
		t.deepEqual(warnings, []);
	});
}

/** Runs a program and gives its exit status and output. */
function run(command: string, args: readonly string[]): Promise<{ status: number | null; output: string }> {
	return new Promise((resolve) => {
		const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] });
		let output = '';
		for (const stream of [child.stdout, child.stderr]) stream.on('data', (data: Buffer) => (output += data));
		const timer = setTimeout(() => child.kill('SIGKILL'), 30000);
		child.on('error', (error) => (output += error.message));
		child.on('close', (status) => {
			clearTimeout(timer);
			resolve({ status, output });
		});
	});
}

function readPpm(path: string): Picture {
	const bytes = readFileSync(path);
	const header = /^P6\s+(\d+)\s+(\d+)\s+255\s/.exec(bytes.subarray(0, 64).toString('latin1'));
	if (!header) throw new Error('not a PPM');
	const [width, height] = [Number(header[1]), Number(header[2])];
	return fromRgb({ width, height, rgb: bytes.subarray(header[0].length) });
}

test.serial("spicy-screenshot and spice-gtk's library show the server's pixels", async (t) => {
	const { display, port } = await serve(t);
	const folder = mkdtempSync(join(tmpdir(), 'tsvm-pattern-'));
	t.teardown(() => rmSync(folder, { recursive: true, force: true }));
	drawPattern(display);
	const expected = fromRgb(display.screenshot());

	const ppm = join(folder, 'shot.ppm');
	const shot = await run('spicy-screenshot', ['-h', '127.0.0.1', '-p', String(port), '-o', ppm]);
	t.is(shot.status, 0, shot.output);
	t.is(differingPixels(readPpm(ppm), expected), 0);

	const png = join(folder, 'probe.png');
	const probe = 'test/client/probe.py';
	const commands = ['connect', 'wait-primary', 'wait-quiet 400', `dump ${png}`];
	const dump = await run('/usr/bin/python3', [probe, '--port', String(port), ...commands]);
	t.is(dump.status, 0, dump.output);
	t.is(differingPixels(readPng(png), expected), 0);
});

test.serial(
	'a client that stands still for a while shows the right picture afterwards, and costs the server little',
	async (t) => {
		const { display, port } = await serve(t);
		drawPattern(display);
		const folder = mkdtempSync(join(tmpdir(), 'tsvm-pattern-'));
		t.teardown(() => rmSync(folder, { recursive: true, force: true }));
		const png = join(folder, 'probe.png');
		const child = spawn('/usr/bin/python3', ['test/client/probe.py', '--port', String(port)], { stdio: 'pipe' });
		t.teardown(() => child.kill('SIGKILL'));
		let output = '';
		for (const stream of [child.stdout, child.stderr]) stream.on('data', (data: Buffer) => (output += data));
		const command = async (text: string) => {
			child.stdin.write(`${text}\n`);
			await waitFor(() => output.includes(`"done": "${text}"`), `"${text}"; it said ${output.slice(-500)}`);
		};
		await command('connect');
		await command('wait-primary');
		const before = process.memoryUsage.rss();
		child.kill('SIGSTOP');
		for (let burst = 0; burst < 150; burst++) {
			scribble(display, 40, burst + 1);
			await new Promise((resolve) => setTimeout(resolve, 5));
		}
		t.true(process.memoryUsage.rss() - before < 150 << 20);
		child.kill('SIGCONT');
		await command('wait-quiet 500');
		await command(`dump ${png}`);
		t.is(differingPixels(readPng(png), fromRgb(display.screenshot())), 0);
	},
);
