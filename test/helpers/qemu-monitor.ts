/** A stopped QEMU with a PC like ours, to hold our monitors against. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort } from './guest.ts';
import { QmpPeer } from './qmp-peer.ts';

export interface QemuPeer {
	readonly folder: string;
	readonly spicePort: number;
	/** Images of 10 MiB and 1 MiB; the disk is attached. */
	readonly disk: string;
	readonly iso: string;
	readonly qmp: QmpPeer;
	stop(): Promise<void>;
}

/** Its QMP socket is connected, and not yet negotiated. `more` goes on its command line. */
export async function startQemu(more: readonly string[] = []): Promise<QemuPeer> {
	const folder = mkdtempSync(join(tmpdir(), 'tsvm-qemu-'));
	const [disk, iso, socket] = ['d.img', 'c.iso', 'qmp.sock'].map((name) => join(folder, name));
	for (const [file, size] of [[disk, 10 << 20] as const, [iso, 1 << 20] as const]) {
		writeFileSync(file, '');
		truncateSync(file, size);
	}
	const spicePort = await freePort();
	const args = [
		'-accel',
		'tcg',
		'-m',
		'64',
		'-nodefaults',
		'-no-user-config',
		'-display',
		'none',
		'-S',
		'-name',
		'vm1',
	];
	args.push('-machine', 'pc,hpet=off', '-device', 'qxl-vga,ram_size_mb=64,vram_size_mb=64,vgamem_mb=16');
	args.push('-spice', `port=${spicePort},addr=127.0.0.1,disable-ticketing=on`);
	args.push('-drive', `file=${disk},format=raw,if=ide,index=0`, '-drive', 'if=ide,index=2,media=cdrom');
	args.push('-serial', 'null', '-qmp', `unix:${socket},server=on,wait=off`, ...more);
	const child = spawn('qemu-system-i386', args, { stdio: 'ignore' });
	const gone = once(child, 'exit');
	const stop = async () => {
		child.kill('SIGKILL');
		await gone;
		rmSync(folder, { recursive: true, force: true });
	};
	try {
		return { folder, spicePort, disk, iso, qmp: await QmpPeer.connect(socket), stop };
	} catch (error) {
		await stop();
		throw new Error(`QEMU did not start (Debian package qemu-system-x86): ${error}`);
	}
}
