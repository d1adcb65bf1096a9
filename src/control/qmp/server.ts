/** QMP on unix sockets: who may connect, and what all clients of a machine share. */
import { stat, unlink } from 'node:fs/promises';
import { createConnection, createServer, type Socket } from 'node:net';
import { TsvmError } from '../../core/index.ts';
import type { MachineControl } from '../../machine/control.ts';
import { packageVersion } from '../../version.ts';
import { InputQueue } from '../input.ts';
import { QmpSession } from './session.ts';

/** Clients at a time on one socket; further ones are turned away. */
const MAX_CLIENTS = 16;
const CLOSE_GRACE_MS = 200;

export interface QmpServer {
	readonly path: string;
	/** Ends every conversation and removes the socket. */
	close(): Promise<void>;
}

/**
 * Listens on a unix socket at `path`. A socket that a dead process left behind is replaced; one that somebody
 * listens on, or any other file, is not. Throws TsvmError.
 */
export async function serveQmp(machine: MachineControl, path: string): Promise<QmpServer> {
	await clearStale(path);
	const input = new InputQueue(machine.inputs);
	const context = { machine, input, version: packageVersion() };
	const sessions = new Map<Socket, QmpSession>();
	const server = createServer({ allowHalfOpen: true }, (socket) => {
		if (sessions.size >= MAX_CLIENTS) {
			socket.destroy();
			return;
		}
		sessions.set(socket, new QmpSession(socket, context));
		socket.on('close', () => sessions.delete(socket));
	});
	await new Promise<void>((resolve, reject) => {
		server.once('error', (error: NodeJS.ErrnoException) =>
			reject(new TsvmError('qmp', `cannot listen on ${path}: ${error.message}`, 'check the path given with --qmp')),
		);
		server.listen(path, resolve);
	});
	const stopEvents = machine.onEvent((event, data) => {
		for (const session of sessions.values()) session.event(event, data);
	});
	return {
		path,
		async close() {
			stopEvents();
			input.close();
			const closed = new Promise<void>((resolve) => server.close(() => resolve()));
			for (const session of sessions.values()) session.close();
			// A client that does not hang up by itself is not waited for.
			const timer = setTimeout(() => {
				for (const socket of sessions.keys()) socket.destroy();
			}, CLOSE_GRACE_MS);
			await closed;
			clearTimeout(timer);
		},
	};
}

/** Listens wherever the machine's description says; closes them all together. Throws TsvmError, then none is open. */
export async function serveConfigured(machine: MachineControl): Promise<Pick<QmpServer, 'close'>> {
	const servers: QmpServer[] = [];
	const close = async () => {
		await Promise.all(servers.map((server) => server.close()));
	};
	try {
		for (const { path } of machine.config.qmp) servers.push(await serveQmp(machine, path));
	} catch (error) {
		await close();
		throw error;
	}
	return { close };
}

async function clearStale(path: string): Promise<void> {
	const there = await stat(path).catch(() => undefined);
	if (!there) return;
	if (!there.isSocket()) throw new TsvmError('qmp', `${path} exists and is no socket`, 'give another path with --qmp');
	if (await isAlive(path)) throw new TsvmError('qmp', `${path} is in use`, 'give another path with --qmp');
	await unlink(path);
}

function isAlive(path: string): Promise<boolean> {
	return new Promise((resolve) => {
		const socket = createConnection(path);
		socket.on('connect', () => {
			socket.destroy();
			resolve(true);
		});
		socket.on('error', () => resolve(false));
	});
}
