/**
 * A serial port on a unix socket that tsvm listens on: one client at a time may come and go, and what the guest says
 * while nobody listens is lost, as with QEMU's `unix:PATH,server=on,wait=off`.
 */
import { lstat, unlink } from 'node:fs/promises';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { type CharBackend, type CharDevice, TsvmError } from '../core/index.ts';
import { Inbound } from './inbound.ts';

/** Bytes that may wait for a slow client: enough for what a fast one reads while the guest has its slice. */
const MAX_WAITING = 1024 * 1024;

/** Rejects with TsvmError: something else is at `path`, or it cannot be listened on. A dead socket there is replaced. */
export async function openUnixChar(path: string): Promise<CharBackend> {
	const there = await lstat(path).catch(() => undefined);
	if (there) {
		if (!there.isSocket())
			throw new TsvmError('serial-socket', `${path} exists and is no socket`, 'remove it or choose another path');
		if (await answers(path))
			throw new TsvmError('serial-socket', `${path} is in use by another program`, 'choose another path');
		await unlink(path);
	}
	const server = createServer();
	await new Promise<void>((resolve, reject) => {
		server.once('error', (error) =>
			reject(new TsvmError('serial-socket', `cannot listen on ${path}: ${error.message}`, 'check the path')),
		);
		server.listen(path, resolve);
	});
	return new UnixChar(server);
}

function answers(path: string): Promise<boolean> {
	return new Promise((resolve) => {
		const probe = connect(path);
		probe.once('connect', () => {
			probe.destroy();
			resolve(true);
		});
		probe.once('error', () => resolve(false));
	});
}

class UnixChar implements CharBackend {
	readonly #server: Server;
	readonly #inbound = new Inbound();
	#client: Socket | undefined;
	#full = false;

	constructor(server: Server) {
		this.#server = server;
		server.on('connection', (socket) => this.#connected(socket));
	}

	attach(device: CharDevice): void {
		this.#inbound.device = device;
		device.hostOpen?.(this.#client !== undefined);
	}

	write(bytes: Uint8Array): number {
		const client = this.#client;
		if (!client) return bytes.length;
		if (client.writableLength > MAX_WAITING) {
			this.#full = true;
			return 0;
		}
		client.write(bytes);
		return bytes.length;
	}

	ready(): void {
		if (this.#inbound.ready()) this.#client?.resume();
	}

	close(): void {
		// Closing a server takes its socket file away.
		this.#server.close();
		this.#client?.destroy();
	}

	#connected(socket: Socket): void {
		socket.on('error', () => {});
		if (this.#client) {
			socket.destroy();
			return;
		}
		this.#client = socket;
		socket.on('data', (bytes) => {
			if (!this.#inbound.push(bytes)) socket.pause();
		});
		socket.on('drain', () => this.#drained());
		socket.on('close', () => {
			this.#client = undefined;
			this.#inbound.clear();
			this.#inbound.device?.hostOpen?.(false);
			this.#drained();
		});
		this.#inbound.device?.hostOpen?.(true);
	}

	#drained(): void {
		if (!this.#full) return;
		this.#full = false;
		this.#inbound.device?.drained();
	}
}
