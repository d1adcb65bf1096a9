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

/** What a browser says of the page that asks, and where it was reached. */
export interface PageRequest {
	/** Header `Origin`: where the page came from; undefined when the client is no browser. */
	readonly origin: string | undefined;
	/** Header `Host`: by which name and port the page reached us. */
	readonly host: string | undefined;
	/** Our end of the connection, an IP address. */
	readonly address: string;
}

export interface WebSocketHost {
	allowed(page: PageRequest): boolean;
	refused(reason: string): void;
}

interface Waiting {
	readonly address: string;
	readonly use: (stream: Duplex) => void;
}

export class WebSocketGate {
	readonly #http: Server;
	readonly #sockets: WebSocketServer;
	readonly #host: WebSocketHost;
	/** Who waits for the stream inside a connection. */
	readonly #waiting = new WeakMap<Duplex, Waiting>();

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

	/**
	 * Takes over a connection to `address` whose first bytes were `seen`; `use` gets the stream inside it, if it comes to
	 * that.
	 */
	take(connection: Duplex, address: string, seen: Uint8Array, use: (stream: Duplex) => void): void {
		this.#waiting.set(connection, { address, use });
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
		const waiting = this.#waiting.get(socket);
		const { origin, host } = request.headers;
		if (!waiting || !this.#host.allowed({ origin, host, address: waiting.address })) {
			this.#host.refused(`a page from ${origin} asked ${host} for the screen; see --web-host`);
			socket.end('HTTP/1.1 403 Forbidden\r\nConnection: close\r\n\r\n');
			return;
		}
		this.#sockets.handleUpgrade(request, socket, head, (webSocket) => waiting.use(createWebSocketStream(webSocket)));
	}
}

const LOOPBACK: readonly string[] = ['localhost', '127.0.0.1', '::1'];

/**
 * Any page in the user's browser can reach a port on the user's own machine, and WebSockets know no same-origin rule.
 * So without a password only pages that come from this machine, from the server's own host or from a file are let in.
 * A page of any name can also come to be at the server's address, as far as the browser knows (DNS rebinding), so the
 * server's own host is not what the browser says: it is the address connected to, or one of `names`.
 */
export function pageIsNear({ origin, host, address }: PageRequest, names: readonly string[]): boolean {
	if (origin === undefined) return true;
	const isNear = (name: string | undefined) =>
		name !== undefined && (LOOPBACK.includes(name) || name === address || names.some((n) => n.toLowerCase() === name));
	if (!isNear(hostName(`http://${host}`))) return false;
	return origin === 'file://' || isNear(hostName(origin));
}

/** The host of a URL, in lower case, an IPv6 address without brackets; undefined if the URL is none. */
function hostName(url: string): string | undefined {
	return URL.canParse(url) ? new URL(url).hostname.replace(/^\[(.*)\]$/, '$1') : undefined;
}
