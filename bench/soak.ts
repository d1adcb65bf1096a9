/**
 * A machine under attack for a long time: a guest that hammers one device after another, clients that come, lie and go,
 * and a real client (spice-gtk) that types in the calm between. Prints a line a phase and what broke a promise: typing,
 * memory, the monitor's answers, the log. Exit code 1 when one is broken. Usage: npm run soak [-- MINUTES]
 */
import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { ChannelType } from '../src/spice/protocol/constants.ts';
import { Guest } from '../test/helpers/guest.ts';
import { HARMS } from '../test/helpers/harm/harms.ts';
import { makeHarmDisk } from '../test/helpers/harm/image.ts';
import { Probe } from '../test/helpers/probe.ts';
import { openStream, SpiceClient } from '../test/helpers/spice-client.ts';
import { waitFor } from '../test/helpers/x11.ts';
import { quantile } from './peer.ts';

const minutes = Number(process.argv[2] ?? 30);
/** How long the guest hammers one device. */
const HARM_MS = 5000;
const KEYS = 40;
const KEY_A = '0x1e';
/** Typing in the calm, p95, and the monitor's worst answer while a device is hammered, ms. */
const MOST_ECHO_MS = 50;
const MOST_QMP_MS = 1000;
/** Without an answer for so long the machine is lost, and the soak over. */
const PATIENCE_MS = 30_000;
/** Growth of what is resident, MiB, once every device has been hammered. */
const MOST_GROWTH_MIB = 30;
/** Lines on stderr that are the same but for their numbers. */
const MOST_SAME_LINES = 200;

const broken: string[] = [];
function promise(holds: boolean, what: string): void {
	if (holds) return;
	broken.push(what);
	console.log(`  BROKEN: ${what}`);
}

function residentMib(pid: number): number {
	return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1] ?? 0) / 1024;
}

/** Clients that mean harm, one kind after the other, until the returned function is called. */
function liars(port: number): () => Promise<void> {
	let over = false;
	const kinds: (() => Promise<void>)[] = [
		// Bytes that are no link message, cut off anywhere.
		async () => {
			const socket = connect(port, '127.0.0.1').on('error', () => {});
			const bytes = Uint8Array.from({ length: Math.floor(Math.random() * 300) }, () => Math.random() * 256);
			socket.write(bytes);
			await sleep(5);
			socket.destroy();
		},
		// The start of a proper link, and nothing more.
		async () => {
			const stream = await openStream({ port });
			stream.on('error', () => {});
			stream.write(Buffer.from('REDQ\x02\0\0\0\x02\0\0\0'));
			await sleep(20);
			stream.destroy();
		},
		// A web client that sends what is no link message.
		async () => {
			const stream = await openStream({ port, webSocket: true });
			stream.on('error', () => {});
			stream.write(Buffer.alloc(5000, 0x41));
			await sleep(10);
			stream.destroy();
		},
	];
	const run = async () => {
		for (let n = 0; !over; n++) await kinds[n % kinds.length]().catch(() => {});
	};
	const done = run();
	return () => {
		over = true;
		return done;
	};
}

/** A session that is let in, never reads its input channel and says there what no channel knows. */
async function greedy(port: number): Promise<void> {
	const client = await SpiceClient.connect({ port, polite: false });
	const channel = await client.open(ChannelType.inputs);
	channel.stream.pause();
	channel.stream.write(Buffer.alloc(100_000, 0xff));
	await sleep(200);
	client.close();
}

async function typing(probe: Probe): Promise<number> {
	const figures: number[] = [];
	for (let n = 0; n < KEYS; n++) {
		figures.push(Number((await probe.do(`latency ${KEY_A} 10`)).ms));
		await sleep(40);
	}
	return quantile(figures, 0.95);
}

/** Rejects once an answer has been waited for in vain. */
async function late(): Promise<never> {
	await sleep(PATIENCE_MS, undefined, { ref: false });
	throw new Error(`the monitor has not answered for ${PATIENCE_MS / 1000} s`);
}

/** The monitor's slowest answer, ms, over `ms`. */
async function monitor(guest: Guest, ms: number): Promise<number> {
	const end = performance.now() + ms;
	let worst = 0;
	while (performance.now() < end) {
		const start = performance.now();
		await Promise.race([guest.qmp('query-status'), late()]);
		worst = Math.max(worst, performance.now() - start);
		await sleep(50);
	}
	return worst;
}

async function calm(guest: Guest): Promise<void> {
	const from = guest.serial.length;
	await guest.qmp('system_reset');
	// What a hammered serial port still sends may come first, so only a whole line counts.
	await guest.until('READY', 60_000, from);
}

async function attach(port: number): Promise<Probe> {
	const probe = new Probe(['--port', String(port)]);
	await probe.do('connect');
	await probe.do('wait-primary');
	return probe;
}

/** Lines that are alike but for numbers, by how often they came. */
function repeated(text: string): Map<string, number> {
	const counts = new Map<string, number>();
	for (const line of text.split('\n')) {
		const kind = line.replaceAll(/0x[0-9a-f]+|\d+/g, 'N');
		counts.set(kind, (counts.get(kind) ?? 0) + 1);
	}
	counts.delete('');
	return counts;
}

const disk = join(process.env.TMPDIR ?? '/tmp', `tsvm-soak-${process.pid}.img`);
makeHarmDisk(disk);
const guest = await Guest.start([disk, '--snapshot', '--memory', '64M']);
try {
	await guest.until('READY', 60_000);
	const end = performance.now() + minutes * 60_000;
	let base: number | undefined;
	for (let round = 1; performance.now() < end; round++) {
		for (const [letter, name] of Object.entries(HARMS)) {
			if (round > 1 && performance.now() > end) break;
			const from = guest.serial.length;
			guest.send(letter);
			await guest.until('HARM', 60_000, from);
			const stop = liars(guest.port);
			const qmp = await monitor(guest, HARM_MS);
			await greedy(guest.port).catch(() => {});
			await stop();
			await calm(guest);
			const probe = await attach(guest.port);
			const echo = await typing(probe);
			await probe.stop();
			const rss = residentMib(guest.pid);
			console.log(
				`round ${round}, ${name}: monitor at worst ${qmp.toFixed(0)} ms, typing p95 ${echo.toFixed(1)} ms, ${rss.toFixed(0)} MiB`,
			);
			promise(echo < MOST_ECHO_MS, `typing after ${name}: p95 ${echo.toFixed(1)} ms, promised ${MOST_ECHO_MS}`);
			promise(qmp < MOST_QMP_MS, `the monitor while ${name}: ${qmp.toFixed(0)} ms, promised ${MOST_QMP_MS}`);
			if (base !== undefined)
				promise(
					rss < base + MOST_GROWTH_MIB,
					`${rss.toFixed(0)} MiB resident, ${base.toFixed(0)} after the first round`,
				);
		}
		base ??= residentMib(guest.pid);
	}
	for (const [line, count] of repeated(guest.stderr))
		promise(count <= MOST_SAME_LINES, `${count} log lines like "${line}"`);
	promise(!/^ {4}at /m.test(guest.stderr), 'a stack trace in the log');
	guest.kill('SIGINT');
	await waitFor(() => guest.exitCode !== undefined, 'the end after SIGINT', 10_000);
	promise(guest.exitCode === 0, `exit code ${guest.exitCode} after SIGINT`);
} catch (error) {
	promise(false, error instanceof Error ? error.message : String(error));
} finally {
	await guest.stop();
}
console.log(broken.length === 0 ? 'every promise was kept' : `${broken.length} promises broken`);
process.exit(broken.length === 0 ? 0 : 1);
