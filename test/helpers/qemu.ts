/** QEMU as the picture to compare with: the same disk, the same board, QMP for screendump. */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createConnection } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fromRgb, type Picture } from './picture.ts';
import { waitFor } from './x11.ts';

export class Qemu {
	readonly #child: ChildProcess;
	readonly #folder: string;
	serial = '';

	private constructor(child: ChildProcess, folder: string) {
		this.#child = child;
		this.#folder = folder;
		child.stdout?.on('data', (data: Buffer) => {
			this.serial += data.toString('latin1');
		});
	}

	/** An i440FX machine with qxl-vga and `disk`, which stays as it is. */
	static start(disk: string, memoryMiB: number): Qemu {
		const folder = mkdtempSync(join(tmpdir(), 'tsvm-qemu-'));
		const args = ['-accel', 'tcg', '-cpu', 'pentium3', '-m', String(memoryMiB), '-nodefaults', '-no-user-config'];
		args.push('-display', 'none', '-machine', 'pc,hpet=off', '-serial', 'stdio', '-no-reboot');
		args.push('-device', 'qxl-vga,ram_size_mb=64,vram_size_mb=64,vgamem_mb=16');
		args.push('-drive', `file=${disk},format=raw,if=ide,snapshot=on`);
		args.push('-spice', `unix=on,addr=${join(folder, 'spice.sock')},disable-ticketing=on`);
		args.push('-qmp', `unix:${join(folder, 'qmp.sock')},server=on,wait=off`);
		return new Qemu(spawn('qemu-system-i386', args, { stdio: ['pipe', 'pipe', 'inherit'] }), folder);
	}

	async until(marker: string, limitMs = 180_000): Promise<void> {
		await waitFor(() => this.serial.includes(marker), `QEMU's guest to say ${marker}`, limitMs);
	}

	async screendump(): Promise<Picture> {
		const file = join(this.#folder, 'dump.ppm');
		const socket = createConnection(join(this.#folder, 'qmp.sock'));
		let answers = '';
		socket.on('data', (data: Buffer) => {
			answers += data.toString();
		});
		socket.write(`${JSON.stringify({ execute: 'qmp_capabilities' })}\n`);
		socket.write(`${JSON.stringify({ execute: 'screendump', arguments: { filename: file }, id: 'dump' })}\n`);
		await waitFor(() => answers.includes('"dump"'), 'QEMU to take a screendump');
		socket.destroy();
		return readPpm(file);
	}

	async stop(): Promise<void> {
		if (this.#child.exitCode === null) {
			const gone = new Promise((resolve) => this.#child.once('exit', resolve));
			this.#child.kill('SIGKILL');
			await Promise.race([gone, sleep(5000)]);
		}
		rmSync(this.#folder, { recursive: true, force: true });
	}
}

/** A binary portable pixmap with 8 bits a colour. */
function readPpm(path: string): Picture {
	const bytes = readFileSync(path);
	const header = /^P6\s+(\d+)\s+(\d+)\s+255\s/.exec(bytes.subarray(0, 64).toString('latin1'));
	if (!header) throw new Error(`${path} is no PPM`);
	return fromRgb({ width: Number(header[1]), height: Number(header[2]), rgb: bytes.subarray(header[0].length) });
}
