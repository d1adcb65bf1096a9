/**
 * What a SPICE user feels, tsvm and QEMU TCG in one run on the same guest: picture after connect, key to display, and
 * what an idle guest costs. The client is the same small one for both. Usage: npm run bench:spice [-- CONNECTS KEYS]
 */
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { buildImage } from '../images/index.ts';
import { CapSet } from '../src/spice/caps.ts';
import { ChannelType } from '../src/spice/protocol/constants.ts';
import { display } from '../src/spice/protocol/display.ts';
import { inputs } from '../src/spice/protocol/inputs.ts';
import { type ClientChannel, SpiceClient } from '../test/helpers/spice-client.ts';
import { cpuSeconds, end, type Guest, quantile, row, startQemu, startTsvm, untilMarker } from './peer.ts';

const connects = Number(process.argv[2] ?? 20);
const keys = Number(process.argv[3] ?? 60);
const MEMORY_MIB = 256;
/** Until a guest at its shell is at rest, and what translates it as well, ms. */
const REST_MS = 15_000;
const IDLE_SECONDS = 10;
/** Capabilities of spice-gtk's display channel. */
const DISPLAY_CAPS = CapSet.of(0, 1, 2, 3, 4, 5, 7, 8, 9);
const KEY_A = 0x1e;
const KEY_BACKSPACE = 0x0e;

interface Figures {
	/** From the first TCP connect to the display's mark, ms. */
	readonly picture: number[];
	/** From the key's message to the next drawing, ms. */
	readonly key: number[];
	/** Share of one core, without a client. */
	readonly idle: number;
	/** MiB resident. */
	readonly rss: number;
}

async function openDisplay(client: SpiceClient): Promise<ClientChannel> {
	const channel = await client.open(ChannelType.display, DISPLAY_CAPS);
	channel.sender(display.client).init({
		pixmapCacheId: 1,
		pixmapCacheSize: 80n << 20n,
		glzDictionaryId: 1,
		glzWindowSize: 8 << 20,
	});
	await channel.next(display.server.mark[0]);
	return channel;
}

async function pictureAfterConnect(port: number): Promise<number> {
	const start = performance.now();
	const client = await SpiceClient.connect({ port });
	await openDisplay(client);
	const ms = performance.now() - start;
	client.close();
	await sleep(100);
	return ms;
}

/** Types at the guest's shell prompt; a blinking cursor draws too, so each figure is the next drawing after the key. */
async function keyToDisplay(port: number): Promise<number[]> {
	const client = await SpiceClient.connect({ port });
	const screen = await openDisplay(client);
	const keyboard = await client.open(ChannelType.inputs);
	const send = keyboard.sender(inputs.client);
	await sleep(1000);
	const figures: number[] = [];
	for (let n = 0; n < keys; n++) {
		const code = n % 2 === 0 ? KEY_A : KEY_BACKSPACE;
		screen.waiting.length = 0;
		const start = performance.now();
		send.keyDown({ code });
		const message = await screen.next();
		figures.push(message.at - start);
		send.keyUp({ code: code | 0x80 });
		await sleep(130);
	}
	client.close();
	return figures;
}

function residentMib(pid: number): number {
	return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1] ?? 0) / 1024;
}

async function measure(who: 'tsvm' | 'qemu', guest: Guest, port: number): Promise<Figures> {
	const child = who === 'qemu' ? startQemu(guest, port) : startTsvm(guest, port);
	try {
		await untilMarker(child, 'TSVM-SHELL-READY');
		await sleep(REST_MS);
		const pid = child.pid ?? 0;
		const before = cpuSeconds(pid);
		await sleep(IDLE_SECONDS * 1000);
		const idle = (cpuSeconds(pid) - before) / IDLE_SECONDS;
		const picture: number[] = [];
		for (let n = 0; n < connects; n++) picture.push(await pictureAfterConnect(port));
		const key = await keyToDisplay(port);
		return { picture, key, idle, rss: residentMib(pid) };
	} finally {
		await end(child);
	}
}

const image = await buildImage('debian-mini', { progress: (line) => console.error(line) });
if (image.kernel === undefined || image.initrd === undefined) throw new Error('debian-mini has no kernel');
const guest: Guest = { kernel: image.kernel, initrd: image.initrd, append: image.append, memoryMiB: MEMORY_MIB };
const qemu = await measure('qemu', guest, 5931);
const tsvm = await measure('tsvm', guest, 5932);

for (const q of [0.5, 0.95]) {
	row(`picture after connect, p${q * 100}`, quantile(tsvm.picture, q), quantile(qemu.picture, q), 'ms');
	row(`key to display, p${q * 100}`, quantile(tsvm.key, q), quantile(qemu.key, q), 'ms');
}
row('idle guest, share of a core', tsvm.idle * 100, qemu.idle * 100, '%');
row(`resident, ${MEMORY_MIB} MiB guest`, tsvm.rss, qemu.rss, 'MiB', 0);
