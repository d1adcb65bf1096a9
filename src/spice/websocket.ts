/**
 * SPICE in a WebSocket, for clients in a browser: a connection that begins with an HTTP request is handed here, and the
 * binary frames of its WebSocket are the byte stream. Subprotocol `binary` or none (RFC 6455).
 */
import { createServer, type IncomingMessage, type Server } from 'node:http';
import type { Duplex } from 'node:stream';
import { createWebSocketStream, WebSocketServer } from 'ws';

/** A client's largest frame; its messages are smaller still. */
const MAX_FRAME = 1024 * 1024;
const HANDSHAKE_MS = 10_000;

export interface WebSocketHost {
	/** Whether pages from this origin may connect; undefined when the client is no browser. */
	allowed(origin: string | undefined, host: string | undefined): boolean;
	refused(reason: string): void;
}

export class WebSocketGate {
	readonly #http: Server;
	readonly #sockets: WebSocketServer;
	readonly #host: WebSocketHost;
	/** Who waits for the stream inside a connection. */
	readonly #waiting = new WeakMap<Duplex, (stream: Duplex) => void>();

	constructor(host: WebSocketHost) {
		this.#host = host;
		this.#sockets = new WebSocketServer({
			noServer: true,
			perMessageDeflate: false,
			maxPayload: MAX_FRAME,
			handleProtocols: (protocols) => (protocols.has('binary') ? 'binary' : false),
		});
		this.#http = createServer({ headersTimeout: HANDSHAKE_MS, requestTimeout: HANDSHAKE_MS });
		this.#http.on('request', (_request, response) => {
			host.refused('asked for a web page');
			response.writeHead(426, { 'content-type': 'text/plain', upgrade: 'websocket', connection: 'close' });
			response.end('This is a SPICE server. Connect to it with a SPICE client or a WebSocket.\n');
		});
		this.#http.on('upgrade', (request, socket, head) => this.#upgrade(request, socket, head));
		this.#http.on('clientError', (_error, socket) => {
			host.refused('sent a malformed HTTP request');
			socket.destroy();
		});
	}

	/** Takes over a connection whose first bytes were `seen`; `use` gets the stream inside it, if it comes to that. */
	take(connection: Duplex, seen: Uint8Array, use: (stream: Duplex) => void): void {
		this.#waiting.set(connection, use);
		connection.unshift(seen);
		this.#http.emit('connection', connection);
		// The parser listens by now, and does not wake a connection that was paused.
		process.nextTick(() => connection.resume());
		connection.resume();
	}

	close(): void {
		this.#sockets.close();
		this.#http.closeAllConnections();
	}

	#upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
		const use = this.#waiting.get(socket);
		if (!use || !this.#host.allowed(request.headers.origin, request.headers.host)) {
			this.#host.refused(`a page from ${request.headers.origin} asked for the screen`);
			socket.end('HTTP/1.1 403 Forbidden\r\nConnection: close\r\n\r\n');
			return;
		}
		this.#sockets.handleUpgrade(request, socket, head, (webSocket) => use(createWebSocketStream(webSocket)));
	}
}

/**
 * Any page in the user's browser can reach a port on the user's own machine, and WebSockets know no same-origin rule.
 * So without a password only pages that come from this machine, from the server's own host or from a file are let in.
 */
export function originIsNear(origin: string | undefined, host: string | undefined): boolean {
	if (origin === undefined || origin === 'file://') return true;
	let url: URL;
	try {
		url = new URL(origin);
	} catch {
		return false;
	}
	const name = url.hostname;
	if (name === 'localhost' || name === '127.0.0.1' || name === '[::1]') return true;
	return host !== undefined && name === hostName(host);
}

/** `example:5930` or `[::1]:5930` without the port. */
function hostName(host: string): string {
	return host.replace(/:\d+$/, '');
}
