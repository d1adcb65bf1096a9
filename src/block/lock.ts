/**
 * One writer or many readers for each image, across all tsvm processes of a host. A lock is a Linux abstract unix
 * socket named after the file's device and inode: the kernel takes it away with the process, however that ends, and
 * no file is left behind. Processes in another network namespace (some containers) do not see it.
 */
import { readFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { TsvmError } from '../core/index.ts';

export interface ImageLock {
	release(): Promise<void>;
}

const NO_LOCK: ImageLock = { release: () => Promise.resolve() };
let readers = 0;

/** `identity` names the file itself, not its path. Rejects with TsvmError when another holds it. */
export async function lockImage(identity: string, readOnly: boolean, path: string, what: string): Promise<ImageLock> {
	if (process.platform !== 'linux') return NO_LOCK;
	const prefix = `tsvm-image-${identity}-`;
	const writer = `${prefix}w`;
	// The name goes up first and the others are looked for second, so that of two at once at least one sees the other.
	const name = readOnly ? `${prefix}r-${process.pid}-${readers++}` : writer;
	const server = await bind(name).catch((error: NodeJS.ErrnoException) => {
		if (error.code === 'EADDRINUSE') throw inUse(path, what, readOnly);
		throw new TsvmError('image-lock', `${what} ${path} cannot be locked: ${error.message}`);
	});
	const others = holders(prefix).filter((holder) => holder !== name);
	if (readOnly ? others.includes(writer) : others.length > 0) {
		await close(server);
		throw inUse(path, what, readOnly);
	}
	return { release: () => close(server) };
}

function inUse(path: string, what: string, readOnly: boolean): TsvmError {
	return new TsvmError(
		'image-in-use',
		`${what} ${path} is in use by another tsvm`,
		readOnly
			? 'end the one that writes to it first'
			: 'end that one first, or make a copy; --snapshot shares with --snapshot',
	);
}

/** Names of all locks that begin with `prefix`. Linux: Documentation of /proc/net/unix in proc(5). */
function holders(prefix: string): string[] {
	const names = new Set<string>();
	for (const line of sockets().split('\n')) {
		const at = line.indexOf(` @${prefix}`);
		// The kernel shows the zeros that pad an abstract name as further @.
		if (at >= 0) names.add(line.slice(at + 2).replace(/@+$/, ''));
	}
	return [...names];
}

/** Without /proc only two writers see each other. */
function sockets(): string {
	try {
		return readFileSync('/proc/net/unix', 'latin1');
	} catch {
		return '';
	}
}

function bind(name: string): Promise<Server> {
	return new Promise((resolve, reject) => {
		const server = createServer((socket) => socket.destroy());
		server.once('error', reject);
		server.listen(`\0${name}`, () => {
			server.unref();
			resolve(server);
		});
	});
}

function close(server: Server): Promise<void> {
	return new Promise((resolve) => server.close(() => resolve()));
}
