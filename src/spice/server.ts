/**
 * The SPICE server: its ports, and what an operator asks of it. What links and sessions are is in switchboard.ts, what
 * channels do in channels/; the machine behind them is known only by the interfaces it was given.
 */
import type { Server } from 'node:net';
import { TsvmError } from '../core/index.ts';
import type { ChannelLink } from './channel.ts';
import { openPort } from './listen.ts';
import { type ChannelName, ChannelType, MouseMode } from './protocol/constants.ts';
import { type SpiceEventListener, type SpiceServerOptions, Switchboard } from './switchboard.ts';
import { loadTls, type TlsFiles, type TlsIdentity } from './tls.ts';

export type { SpiceEvent, SpiceEventListener, SpiceServerOptions } from './switchboard.ts';

export interface ListenOptions {
	/** Default 127.0.0.1. */
	readonly host?: string;
	/** Plain port; none if absent. `auto` takes the next free one from 5900. */
	readonly port?: number | 'auto';
	readonly tls?: TlsFiles & { readonly port: number | 'auto' };
	/** Without one, everybody who reaches the port may connect. */
	readonly password?: string;
	/** Names by which pages in browsers reach the server; localhost, `host` and its addresses need not be named. */
	readonly webHosts?: readonly string[];
	/** Channels that only the TLS port serves. */
	readonly secureChannels?: readonly ChannelName[];
	/** Channels that only the plain port serves. */
	readonly plaintextChannels?: readonly ChannelName[];
}

/** qapi/ui.json, SpiceChannel, in camel case. */
export interface ClientChannel {
	readonly host: string;
	readonly port: string;
	readonly family: 'ipv4' | 'ipv6' | 'unknown';
	readonly connectionId: number;
	readonly channelType: number;
	readonly channelId: number;
	readonly tls: boolean;
}

/** qapi/ui.json, SpiceInfo. */
export interface ServerInfo {
	readonly host: string;
	readonly port?: number;
	readonly tlsPort?: number;
	readonly auth: 'none' | 'spice';
	readonly mouseMode: 'client' | 'server' | 'unknown';
	readonly channels: readonly ClientChannel[];
	/** PEM that a client must trust on the TLS port, and the subject that it will see there. */
	readonly ca?: string;
	readonly hostSubject?: string;
}

export class SpiceServer {
	readonly #board: Switchboard;
	readonly #servers: Server[] = [];
	#host = '127.0.0.1';
	#port: number | undefined;
	#tlsPort: number | undefined;
	#tls: TlsIdentity | undefined;
	#closed = false;

	constructor(options: SpiceServerOptions) {
		this.#board = new Switchboard(options);
	}

	/** Opens the ports. Throws TsvmError: port busy, certificate unreadable, password too long. */
	async listen(options: ListenOptions): Promise<void> {
		const board = this.#board;
		this.#host = options.host ?? '127.0.0.1';
		board.secureOnly = new Set(options.secureChannels?.map((name) => ChannelType[name]));
		board.plainOnly = new Set(options.plaintextChannels?.map((name) => ChannelType[name]));
		board.webHosts = [this.#host, ...(options.webHosts ?? [])];
		if (options.password !== undefined) this.setPassword(options.password);
		board.prepare();
		try {
			if (options.tls !== undefined) {
				this.#tls = await loadTls(options.tls, this.#host);
				const { context } = this.#tls;
				const tls = await openPort(this.#host, options.tls.port, (socket) => board.accept(socket, context));
				this.#servers.push(tls.server);
				this.#tlsPort = tls.port;
			}
			if (options.port !== undefined) {
				const plain = await openPort(this.#host, options.port, (socket) => board.accept(socket, undefined));
				this.#servers.push(plain.server);
				this.#port = plain.port;
			}
		} catch (error) {
			await this.close();
			throw error;
		}
	}

	/** Ends every session and closes the ports. */
	async close(): Promise<void> {
		if (this.#closed) return;
		this.#closed = true;
		const closing = this.#servers.map((server) => new Promise((resolve) => server.close(resolve)));
		this.#board.close();
		await Promise.all(closing);
	}

	/** The port listened on, after `auto` was settled. */
	get port(): number | undefined {
		return this.#port;
	}
	get tlsPort(): number | undefined {
		return this.#tlsPort;
	}

	/** From now on clients need this password. `connected`: qapi/ui.json, SetPasswordAction. Throws TsvmError. */
	setPassword(password: string, connected: 'keep' | 'fail' | 'disconnect' = 'keep'): void {
		if (connected === 'fail' && this.#board.session !== undefined)
			throw new TsvmError('spice-connected', 'a client is connected', 'use keep or disconnect');
		this.#board.ticketing.setPassword(password);
		if (connected === 'disconnect') this.#board.session?.close('the password was changed');
	}

	/** `now`, `never`, `+SECONDS` or seconds since the Unix epoch. Clients that are connected stay. Throws TsvmError. */
	expirePassword(when: string): void {
		this.#board.ticketing.expire(when);
	}

	/** From now on nobody needs a password. */
	disableTicketing(): void {
		this.#board.ticketing.disable();
	}

	/** The channels that are connected now. */
	clients(): ClientChannel[] {
		if (this.#board.session === undefined) return [];
		return [...this.#board.session.links].map((link) => channelInfo(link));
	}

	info(): ServerInfo {
		const mode = this.#board.mouse.current === MouseMode.client ? 'client' : 'server';
		return {
			host: this.#host,
			port: this.#port,
			tlsPort: this.#tlsPort,
			auth: this.#board.ticketing.enabled ? 'spice' : 'none',
			mouseMode: this.#board.session === undefined ? 'unknown' : mode,
			channels: this.clients(),
			ca: this.#tls?.ca,
			hostSubject: this.#tls?.hostSubject,
		};
	}

	/** Returns the way to stop listening. */
	onEvent(listener: SpiceEventListener): () => void {
		return this.#board.onEvent(listener);
	}
}

function channelInfo(link: ChannelLink): ClientChannel {
	const { client, session, channelType, channelId, secure } = link;
	return { ...client, connectionId: session.id, channelType, channelId, tls: secure };
}
