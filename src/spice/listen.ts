/** Opening ports, with the errors that operators meet put into words. */
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { TsvmError } from '../core/index.ts';

/** Where `auto` begins: the first port of SPICE and VNC displays. */
export const FIRST_AUTO_PORT = 5900;
const AUTO_PORTS = 1000;

/** Listens on `port`, or for `auto` on the next free one. Throws TsvmError. */
export async function openPort(
	host: string,
	port: number | 'auto',
	accept: (socket: Socket) => void,
): Promise<{ readonly server: Server; readonly port: number }> {
	if (port !== 'auto') return opened(await listen(host, port, accept));
	for (let candidate = FIRST_AUTO_PORT; candidate < FIRST_AUTO_PORT + AUTO_PORTS; candidate++) {
		try {
			return opened(await listen(host, candidate, accept));
		} catch (error) {
			if (!(error instanceof TsvmError) || error.code !== 'spice-port-busy') throw error;
		}
	}
	const last = FIRST_AUTO_PORT + AUTO_PORTS - 1;
	const message = `no port from ${FIRST_AUTO_PORT} to ${last} is free on ${host}`;
	throw new TsvmError('spice-port-busy', message, 'name a port');
}

/** Port 0 lets the system choose: what it chose is the answer. */
function opened(server: Server): { readonly server: Server; readonly port: number } {
	return { server, port: (server.address() as AddressInfo).port };
}

function listen(host: string, port: number, accept: (socket: Socket) => void): Promise<Server> {
	return new Promise((resolve, reject) => {
		const server = createServer(accept);
		server.once('error', (error: NodeJS.ErrnoException) => reject(explain(error, host, port)));
		server.listen({ host, port }, () => {
			server.removeAllListeners('error');
			// Accepting may fail later for want of file descriptors; the clients that are there go on.
			server.on('error', () => {});
			resolve(server);
		});
	});
}

function explain(error: NodeJS.ErrnoException, host: string, port: number): TsvmError {
	switch (error.code) {
		case 'EADDRINUSE': {
			const hint = 'choose another port, or auto for the next free one';
			return new TsvmError('spice-port-busy', `port ${port} on ${host} is in use`, hint);
		}
		case 'EACCES':
			return new TsvmError('spice-port', `this user may not listen on port ${port}`, 'choose a port above 1023');
		case 'EADDRNOTAVAIL':
			return new TsvmError('spice-address', `${host} is no address of this machine`, 'use 127.0.0.1 or 0.0.0.0');
		case 'ENOTFOUND':
		case 'EAI_AGAIN':
			return new TsvmError('spice-address', `the name ${host} is unknown`, 'give an address such as 127.0.0.1');
		default:
			return new TsvmError('spice-port', `cannot listen on ${host}:${port}: ${error.message}`, 'choose another port');
	}
}
