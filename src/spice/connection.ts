/**
 * One accepted connection until its channel stands: TLS, WebSocket or plain, then the link stage. It has a few
 * seconds for all of it.
 */
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { type SecureContext, TLSSocket } from 'node:tls';
import type { Address } from './channel.ts';
import { type LinkHost, type LinkRequest, LinkStage, type Refusal } from './link.ts';
import type { WebSocketGate } from './websocket.ts';

/** How long a refusal may take to reach the client. */
const FAREWELL_MS = 1000;
const GET = Buffer.from('GET ');

/** What a connection needs of the server; the rest of LinkHost is the connection's own. */
export interface ConnectionHost extends Pick<LinkHost, 'keys' | 'ticketing' | 'caps'> {
	readonly webSockets: WebSocketGate;
	readonly linkTimeoutMs: number;
	examine(request: LinkRequest, secure: boolean): Refusal | undefined;
	admit(request: LinkRequest): Refusal | undefined;
	/** The channel stands: `stream` belongs to it from now on. */
	established(connection: Connection, stream: Duplex, request: LinkRequest, early: Uint8Array): void;
	/** The connection never became a channel and is out of the way; `reason` is undefined if the client just left. */
	ended(connection: Connection, reason: string | undefined): void;
}

export class Connection implements LinkHost {
	readonly secure: boolean;
	readonly client: Address;
	readonly server: Address;
	readonly peer: string;
	readonly #host: ConnectionHost;
	readonly #socket: Socket;
	readonly #link = new LinkStage(this);
	readonly #timer: NodeJS.Timeout;
	/** What SPICE bytes come from and go to: the socket, or the TLS or WebSocket stream over it. */
	#stream: Duplex;
	#over = false;

	constructor(host: ConnectionHost, socket: Socket, secureContext: SecureContext | undefined) {
		this.#host = host;
		this.#socket = socket;
		this.secure = secureContext !== undefined;
		this.client = address(socket.remoteAddress, socket.remotePort);
		this.server = address(socket.localAddress, socket.localPort);
		this.peer = `${this.client.host}:${this.client.port}`;
		this.#timer = setTimeout(() => this.#end('did not finish linking in time'), host.linkTimeoutMs);
		this.#timer.unref();
		socket.setNoDelay(true);
		socket.setKeepAlive(true, 30_000);
		socket.on('close', () => this.#end(undefined));
		socket.on('error', () => this.#end(undefined));
		this.#stream = secureContext === undefined ? socket : new TLSSocket(socket, { isServer: true, secureContext });
		if (this.#stream !== socket) this.#stream.on('error', (error) => this.#end(`TLS failed: ${tlsReason(error)}`));
		this.#stream.on('data', this.#sniff);
	}

	get keys() {
		return this.#host.keys;
	}
	get ticketing() {
		return this.#host.ticketing;
	}
	caps(channelType: number) {
		return this.#host.caps(channelType);
	}
	examine(request: LinkRequest): Refusal | undefined {
		return this.#host.examine(request, this.secure);
	}
	admit(request: LinkRequest): Refusal | undefined {
		return this.#host.admit(request);
	}

	write(bytes: Uint8Array): void {
		if (!this.#stream.destroyed && !this.#stream.writableEnded) this.#stream.write(bytes);
	}

	established(request: LinkRequest, early: Uint8Array): void {
		if (this.#over) return;
		this.#over = true;
		clearTimeout(this.#timer);
		this.#stream.off('data', this.#feed);
		this.#host.established(this, this.#stream, request, early);
	}

	refused(reason: string): void {
		if (this.#over) return;
		this.#over = true;
		clearTimeout(this.#timer);
		this.#stream.off('data', this.#feed);
		this.#stream.resume();
		this.#stream.end();
		const timer = setTimeout(() => this.#destroy(), FAREWELL_MS);
		this.#socket.once('close', () => clearTimeout(timer));
		this.#host.ended(this, reason);
	}

	/** Cuts the connection off at once. */
	drop(reason: string): void {
		this.#end(reason);
	}

	#end(reason: string | undefined): void {
		if (this.#over) return;
		this.#over = true;
		clearTimeout(this.#timer);
		this.#link.abort();
		this.#destroy();
		this.#host.ended(this, reason);
	}

	#destroy(): void {
		this.#stream.destroy();
		this.#socket.destroy();
	}

	readonly #feed = (chunk: Uint8Array): void => this.#link.feed(chunk);

	/** A WebSocket announces itself by its first four bytes; anything else is SPICE, or will be refused as such. */
	#seen: Uint8Array = new Uint8Array(0);
	readonly #sniff = (chunk: Uint8Array): void => {
		const seen = this.#seen.length === 0 ? chunk : Buffer.concat([this.#seen, chunk]);
		const length = Math.min(seen.length, GET.length);
		const http = GET.subarray(0, length).equals(seen.subarray(0, length));
		this.#seen = seen;
		if (http && length < GET.length) return;
		const stream = this.#stream;
		stream.off('data', this.#sniff);
		this.#seen = new Uint8Array(0);
		if (!http) {
			stream.on('data', this.#feed);
			this.#link.feed(seen);
			return;
		}
		stream.pause();
		this.#host.webSockets.take(stream, this.server.host, seen, (inner) => {
			this.#stream = inner;
			inner.on('error', () => this.#end('broke the WebSocket protocol'));
			inner.on('close', () => this.#end(undefined));
			inner.on('data', this.#feed);
		});
	};
}

/** OpenSSL's own words without its source lines. */
function tlsReason(error: Error & { readonly reason?: string; readonly code?: string }): string {
	return error.reason ?? error.code ?? error.message;
}

/** IPv4 addresses that reached an IPv6 socket are given as IPv4. */
function address(host: string | undefined, port: number | undefined): Address {
	const plain = (host ?? '').replace(/^::ffff:(?=\d+\.)/, '');
	const family = plain === '' ? 'unknown' : plain.includes(':') ? 'ipv6' : 'ipv4';
	return { host: plain, port: String(port ?? ''), family };
}
