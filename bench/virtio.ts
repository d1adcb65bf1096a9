/**
 * Virtio's data paths, tsvm and QEMU TCG in one run with the same kernel and initrd: a disk in large requests one after
 * another and in small ones all over the place, past the guest's page cache, and a serial port to a unix socket both
 * ways. Usage: npm run bench:virtio [-- ROUNDS]
 */
import type { ChildProcess } from 'node:child_process';
import { closeSync, ftruncateSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import { createConnection, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort } from '../test/helpers/guest.ts';
import { withIo } from '../test/helpers/guest-io.ts';
import { end, quantile, row, startQemu, startTsvm } from './peer.ts';

const rounds = Number(process.argv[2] ?? 3);
const MEMORY_MIB = 256;
const MIB = 1 << 20;
const DISK_MIB = 512;
/** Bytes of a request, and how many of them. */
const SEQUENTIAL = [
	[MIB, 1024],
	[64 << 10, 8192],
];
const RANDOM = 10_000;
const STREAM = 96 * MIB;
const LIMIT_MS = 90_000;
const PORT = 'bench.port';

const folder = mkdtempSync(join(tmpdir(), 'tsvm-bench-'));

/** What a guest says on its serial line. */
class Line {
	readonly #child: ChildProcess;
	#text = '';
	#wake: (() => void) | undefined;

	constructor(child: ChildProcess) {
		this.#child = child;
		child.stdout?.on('data', (data: Buffer) => {
			this.#text = (this.#text + data.toString('latin1')).slice(-65536);
			this.#wake?.();
		});
		child.on('exit', () => this.#wake?.());
	}

	/** When `marker` came; what was said up to it is forgotten. */
	async until(marker: string): Promise<number> {
		const deadline = performance.now() + LIMIT_MS;
		for (let at = this.#text.indexOf(marker); ; at = this.#text.indexOf(marker)) {
			if (at >= 0) {
				this.#text = this.#text.slice(at + marker.length);
				return performance.now();
			}
			if (this.#child.exitCode !== null || performance.now() > deadline || /IO-FAILED [^\n]*\n/.test(this.#text))
				throw new Error(`no ${marker}; last: ${this.#text.slice(-500)}`);
			await new Promise<void>((resolve) => {
				this.#wake = resolve;
				setTimeout(resolve, 1000).unref();
			});
		}
	}

	/** Seconds that `io WORDS` took; `meanwhile` begins with it. */
	async io(words: string, meanwhile?: () => Promise<void>): Promise<number> {
		this.#child.stdin?.write(`io ${words}\n`);
		const from = await this.until('GO\r\n');
		await meanwhile?.();
		return ((await this.until('DONE\r\n')) - from) / 1000;
	}
}

function connect(path: string): Promise<Socket> {
	return new Promise((resolve, reject) => {
		const socket = createConnection(path, () => resolve(socket));
		socket.on('error', reject);
	});
}

type Figures = Map<string, number[]>;

async function measure(who: 'tsvm' | 'qemu', figures: Figures): Promise<void> {
	const disk = join(folder, `${who}.img`);
	const fd = openSync(disk, 'w');
	const chunk = Buffer.alloc(MIB, 0x5a);
	for (let n = 0; n < DISK_MIB; n++) writeSync(fd, chunk);
	ftruncateSync(fd, DISK_MIB * MIB);
	closeSync(fd);
	const socket = join(folder, `${who}.sock`);
	const more = ['drive', `file=${disk},if=none,id=d0,format=raw`, 'device', 'virtio-blk-pci,drive=d0,addr=7'];
	more.push(
		'chardev',
		`socket,id=c0,path=${socket},server=on,wait=off`,
		'device',
		`virtserialport,chardev=c0,name=${PORT}`,
	);
	const image = await withIo(folder);
	const guest = { ...image, append: `${image.append} tsvm.noreport`, memoryMiB: MEMORY_MIB, more };
	const port = await freePort();
	const child = who === 'qemu' ? startQemu(guest, port) : startTsvm(guest, port);
	const note = (what: string, value: number) => {
		console.error(`${who}: ${what} ${value.toFixed(1)}`);
		figures.set(what, [...(figures.get(what) ?? []), value]);
	};
	try {
		const line = new Line(child);
		await line.until('TSVM-SHELL-READY');
		for (const [what, letter] of [
			['read', 'r'],
			['write', 'w'],
		]) {
			// Once unmeasured: both translate the guest's code when it runs for the first time.
			for (const [size, count] of SEQUENTIAL) {
				await line.io(`time /dev/vda ${letter} ${size} ${count / 2} seq`);
				const seconds = await line.io(`time /dev/vda ${letter} ${size} ${count} seq`);
				note(`disk, sequential ${size >> 10} KiB ${what}, MB/s`, (size * count) / 1e6 / seconds);
			}
			await line.io(`time /dev/vda ${letter} 4096 ${RANDOM / 2} rand`);
			const random = await line.io(`time /dev/vda ${letter} 4096 ${RANDOM} rand`);
			note(`disk, random 4k ${what}, requests/s`, RANDOM / random);
		}
		const client = await connect(socket);
		client.resume();
		const bytes = Buffer.alloc(64 << 10, 0x42);
		const put = () => line.io(`put /dev/virtio-ports/${PORT} ${STREAM}`);
		const get = () =>
			line.io(`get /dev/virtio-ports/${PORT} ${STREAM}`, async () => {
				for (let left = STREAM; left > 0; left -= bytes.length)
					if (!client.write(bytes)) await new Promise((resolve) => client.once('drain', resolve));
			});
		// Both translate what they run: once through, so that the streams' speed is measured and not that.
		await put();
		await get();
		note('port, guest to host, MB/s', STREAM / 1e6 / (await put()));
		note('port, host to guest, MB/s', STREAM / 1e6 / (await get()));
		client.destroy();
	} finally {
		await end(child);
	}
}

const ours: Figures = new Map();
const theirs: Figures = new Map();
try {
	for (let round = 0; round < rounds; round++) {
		// In turn, so that what else the host does hits both.
		await measure('tsvm', ours);
		await measure('qemu', theirs);
	}
} finally {
	rmSync(folder, { recursive: true, force: true });
}
for (const [what, values] of ours) {
	row(what, quantile(values, 0.5), quantile(theirs.get(what) ?? [], 0.5), '');
}
