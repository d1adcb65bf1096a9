/**
 * Copy and paste and file drop, tsvm and QEMU TCG in one run on the same desktop: how long the client waits for what an
 * xclip in the guest owns, and how fast a file arrives. The client is spice-gtk (test/client/probe.py) for both.
 * Usage: npm run bench:agent [-- GETS MEGABYTES]
 */
import type { ChildProcess } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { buildImage } from '../images/index.ts';
import { freePort } from '../test/helpers/guest.ts';
import { Probe } from '../test/helpers/probe.ts';
import { end, type Guest, quantile, row, startQemu, startTsvm, untilMarker } from './peer.ts';

const gets = Number(process.argv[2] ?? 200);
const megabytes = Number(process.argv[3] ?? 20);
const MEMORY_MIB = 512;
/** The desktop has more to do after it says that it is there. */
const SETTLE_MS = 5000;
const PAUSE_MS = 50;
const DROPS = 3;
/** The guest's code is translated meanwhile. */
const FIRST = 40;

const folder = mkdtempSync(join(tmpdir(), 'tsvm-bench-'));
const file = join(folder, 'dropped');
const content = randomBytes(megabytes * 1_000_000);
writeFileSync(file, content);
const sum = createHash('md5').update(content).digest('hex');

interface Figures {
	/** From the client's request to the guest's answer, ms. */
	readonly get: number[];
	/** MB/s. */
	readonly drop: number[];
}

/** Runs a command in the guest's shell on its serial line until it says `marker`. */
async function shell(child: ChildProcess, command: string, marker: string): Promise<void> {
	const said = untilMarker(child, marker);
	child.stdin?.write(`${command}\n`);
	await said;
}

async function measure(start: typeof startQemu, guest: Guest): Promise<Figures> {
	const port = await freePort();
	const child = start(guest, port);
	const probe = new Probe(['--port', String(port)]);
	try {
		await untilMarker(child, 'TSVM-DESKTOP-OK', 300);
		await sleep(SETTLE_MS);
		await probe.do('connect');
		await probe.do('wait-agent yes 30');
		await shell(
			child,
			'printf copied | xclip -selection clipboard -i >/dev/null 2>&1; echo TSVM-"OWNED"',
			'TSVM-OWNED',
		);
		await probe.event('clipboard-grab');
		const get: number[] = [];
		for (let n = 0; n < gets; n++) {
			const { ms, size } = await probe.do('clip-get clipboard text');
			if (size !== 'copied'.length) throw new Error(`the guest's clipboard has ${size} bytes`);
			get.push(Number(ms));
			await sleep(PAUSE_MS);
		}
		const drop: number[] = [];
		for (let n = 0; n < DROPS; n++) {
			const { seconds } = await probe.do(`copy ${file}`);
			drop.push(megabytes / Number(seconds));
			const check = 'cd /home/demo/Downloads; md5sum dropped | sed "s/^/TSVM-""SUM-/"; rm dropped; echo TSVM-"GONE"';
			await shell(child, check, `TSVM-SUM-${sum}  dropped\r\nTSVM-GONE`);
		}
		return { get, drop };
	} finally {
		await probe.stop();
		await end(child);
	}
}

const { disk } = await buildImage('debian-desktop', { progress: (line) => console.error(line) });
if (disk === undefined) throw new Error('debian-desktop has no disk');
try {
	const guest = { disk, memoryMiB: MEMORY_MIB };
	const qemu = await measure(startQemu, guest);
	const tsvm = await measure(startTsvm, guest);
	const first = (get: readonly number[]) => quantile(get.slice(0, FIRST), 0.5);
	row(`clipboard get, the first ${FIRST}, p50`, first(tsvm.get), first(qemu.get), 'ms');
	row('clipboard get, p50', quantile(tsvm.get, 0.5), quantile(qemu.get, 0.5), 'ms');
	row('clipboard get, p95', quantile(tsvm.get, 0.95), quantile(qemu.get, 0.95), 'ms');
	row(`file drop of ${megabytes} MB, p50`, quantile(tsvm.drop, 0.5), quantile(qemu.drop, 0.5), 'MB/s');
} finally {
	rmSync(folder, { recursive: true, force: true });
}
