/** Runs host tools: output collected, failure as one line that names the tool and what it said last. */
import { spawn } from 'node:child_process';
import { access, constants } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { TsvmError } from '../src/core/index.ts';

export interface RunOptions {
	readonly cwd?: string;
	readonly env?: Readonly<Record<string, string>>;
	/** Each line of output as it comes. */
	readonly onLine?: (line: string) => void;
	readonly signal?: AbortSignal;
}

/** System tools live in sbin, which an ordinary user's PATH leaves out. */
const SYSTEM_PATH = ['/usr/local/sbin', '/usr/sbin', '/sbin'];
const OUTPUT_LIMIT = 16 << 20;

function searchPath(): string {
	return [...(process.env.PATH ?? '/usr/bin:/bin').split(delimiter), ...SYSTEM_PATH].join(delimiter);
}

/** What `command` printed on stdout. Throws TsvmError if it is missing or fails. */
export async function run(command: string, args: readonly string[], options: RunOptions = {}): Promise<string> {
	return new Promise((resolve, reject) => {
		const child = spawn(command, args, {
			cwd: options.cwd,
			env: { ...process.env, LC_ALL: 'C', PATH: searchPath(), ...options.env },
			stdio: ['ignore', 'pipe', 'pipe'],
			signal: options.signal,
		});
		let out = '';
		let last = '';
		const follow = (chunk: string) => {
			for (const line of chunk.split(/[\r\n]+/)) {
				if (!line.trim()) continue;
				if (!/^N: /.test(line)) last = line.trim();
				options.onLine?.(line);
			}
		};
		child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
			if (out.length < OUTPUT_LIMIT) out += chunk;
			follow(chunk);
		});
		child.stderr.setEncoding('utf8').on('data', follow);
		child.on('error', (error: NodeJS.ErrnoException) => {
			if (error.code === 'ENOENT') reject(missingTools([command]));
			else reject(error);
		});
		child.on('close', (code, signal) => {
			if (code === 0) resolve(out);
			else
				reject(
					new TsvmError('tool-failed', `${command} failed (${signal ?? code}): ${last}`, 'run it by hand to see more'),
				);
		});
	});
}

/** Which Debian package holds each tool the recipes use. */
const PACKAGE_OF: Readonly<Record<string, string>> = {
	'apt-get': 'apt',
	'apt-cache': 'apt',
	'dpkg-deb': 'dpkg',
	depmod: 'kmod',
	fakeroot: 'fakeroot',
	mcopy: 'mtools',
	mke2fs: 'e2fsprogs',
	'mkfs.vfat': 'dosfstools',
	mmdebstrap: 'mmdebstrap',
	syslinux: 'syslinux',
	ldconfig: 'libc-bin',
	tar: 'tar',
};

export function missingTools(tools: readonly string[]): TsvmError {
	const packages = [...new Set(tools.map((tool) => PACKAGE_OF[tool] ?? tool))];
	return new TsvmError(
		'tools-missing',
		`this host lacks ${tools.join(', ')}`,
		`install on Debian: apt-get install ${packages.join(' ')}`,
	);
}

/** Throws TsvmError naming every one of `tools` that is not installed, and the packages to install. */
export async function requireTools(tools: readonly string[]): Promise<void> {
	const folders = searchPath().split(delimiter);
	const missing: string[] = [];
	for (const tool of tools) {
		const found = await Promise.any(folders.map((f) => access(join(f, tool), constants.X_OK))).then(
			() => true,
			() => false,
		);
		if (!found) missing.push(tool);
	}
	if (missing.length > 0) throw missingTools(missing);
}
