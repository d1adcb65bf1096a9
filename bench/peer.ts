/** The peer beside which tsvm is measured: QEMU's TCG with libspice-server, the same board and devices. */
import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(fileURLToPath(new URL('.', import.meta.url)), '..', '..');

export interface KernelGuest {
	readonly kernel: string;
	readonly initrd: string;
	readonly append: string;
}
export interface DiskGuest {
	/** Stays as it is. */
	readonly disk: string;
}
export type Guest = (KernelGuest | DiskGuest) & {
	readonly memoryMiB: number;
	/** More flags for both, alternating: name without dashes and value, in QEMU's words. */
	readonly more?: readonly string[];
};

/** Starts QEMU with its first serial line on stdout and SPICE on `port`. */
export function startQemu(guest: Guest, port: number): ChildProcess {
	const args = ['-accel', 'tcg', '-cpu', 'pentium3', '-m', String(guest.memoryMiB), '-nodefaults', '-no-user-config'];
	args.push('-display', 'none', '-machine', 'pc,hpet=off', '-no-reboot');
	args.push('-device', 'qxl-vga,ram_size_mb=64,vram_size_mb=32,vgamem_mb=16');
	args.push('-spice', `port=${port},addr=127.0.0.1,disable-ticketing=on`, '-serial', 'stdio');
	args.push('-device', 'virtio-serial-pci,addr=3', '-chardev', 'spicevmc,id=agent,name=vdagent');
	args.push('-device', 'virtserialport,chardev=agent,name=com.redhat.spice.0', '-device', 'virtio-balloon-pci,addr=4');
	args.push('-audiodev', 'spice,id=sound', '-device', 'AC97,audiodev=sound,addr=6');
	if ('disk' in guest) args.push('-drive', `file=${guest.disk},format=raw,if=ide,snapshot=on`);
	else args.push('-kernel', guest.kernel, '-initrd', guest.initrd, '-append', guest.append);
	args.push(...flags(guest, '-'));
	return spawn('qemu-system-i386', args, { stdio: ['pipe', 'pipe', 'pipe'] });
}

/** Starts tsvm as a user would, with its first serial line on stdout and SPICE on `port`. */
export function startTsvm(guest: Guest, port: number): ChildProcess {
	const args = [join(root, 'dist', 'src', 'cli', 'main.js'), 'run', '--memory', `${guest.memoryMiB}M`];
	args.push('--spice', String(port), '--serial', 'stdio');
	if ('disk' in guest) args.push(guest.disk, '--snapshot');
	else args.push('--kernel', guest.kernel, '--initrd', guest.initrd, '--append', guest.append);
	args.push(...flags(guest, '--'));
	return spawn(process.execPath, args, { stdio: ['pipe', 'pipe', 'pipe'] });
}

function flags({ more = [] }: Guest, dashes: string): string[] {
	return more.map((word, n) => (n % 2 === 0 ? `${dashes}${word}` : word));
}

/** Seconds from now until `marker` stands in the child's stdout; rejects when it ends or `limit` seconds pass. */
export function untilMarker(child: ChildProcess, marker: string, limit = 120): Promise<number> {
	const start = performance.now();
	let seen = '';
	return new Promise((resolve, reject) => {
		const timer = setTimeout(
			() => reject(new Error(`no ${marker} within ${limit} s; last: ${seen.slice(-300)}`)),
			limit * 1000,
		);
		child.stdout?.on('data', (data: Buffer) => {
			seen = (seen + data.toString('latin1')).slice(-65536);
			if (!seen.includes(marker)) return;
			clearTimeout(timer);
			resolve((performance.now() - start) / 1000);
		});
		child.on('exit', (code) => {
			clearTimeout(timer);
			reject(new Error(`ended with ${code} before ${marker}; last: ${seen.slice(-300)}`));
		});
	});
}

/** Ends a child and waits for it. */
export async function end(child: ChildProcess): Promise<void> {
	if (child.exitCode !== null || child.signalCode !== null) return;
	const gone = new Promise((resolve) => child.once('exit', resolve));
	child.kill('SIGKILL');
	await gone;
}

/** Clock ticks a second of /proc/PID/stat. */
const TICKS = 100;

/** What a process has used so far, in user and kernel mode. */
export function cpuSeconds(pid: number): number {
	const fields = readFileSync(`/proc/${pid}/stat`, 'latin1').split(') ')[1].split(' ');
	return (Number(fields[11]) + Number(fields[12])) / TICKS;
}

export function quantile(values: readonly number[], q: number): number {
	const sorted = [...values].sort((a, b) => a - b);
	return sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))];
}

/** Prints a figure of both, and their ratio. */
export function row(what: string, ours: number, theirs: number, unit: string, digits = 1): void {
	const ratio = theirs !== 0 ? (ours / theirs).toFixed(2) : '-';
	console.log(`${what}: tsvm ${ours.toFixed(digits)} ${unit}, QEMU ${theirs.toFixed(digits)} ${unit}, ratio ${ratio}`);
}
