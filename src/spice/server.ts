/**
 * The SPICE server: ports, who may link which channel how, the one client session, and what an operator asks of it.
 * What channels do is in channels/; the machine behind them is known only by the interfaces it was given.
 */
import { randomBytes } from 'node:crypto';
import type { Server, Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { type InputEvents, TsvmError, tracePoints } from '../core/index.ts';
import type { AgentPort } from './agent.ts';
import { Ticketing, type TicketKey, TicketKeys } from './auth.ts';
import { CapSet } from './caps.ts';
import { type Address, type ChannelFactory, ChannelLink } from './channel.ts';
import { createInputsChannel } from './channels/inputs.ts';
import { createMainChannel, MainChannel } from './channels/main.ts';
import { Connection, type ConnectionHost } from './connection.ts';
import type { LinkRequest, Refusal } from './link.ts';
import { openPort } from './listen.ts';
import { WarningLimit } from './log.ts';
import { MouseModes } from './mouse.ts';
import { type ChannelName, ChannelType, channelName, LinkError, MouseMode } from './protocol/constants.ts';
import { Session, type SessionHost } from './session.ts';
import { loadTls, type TlsFiles, type TlsIdentity } from './tls.ts';
import { originIsNear, WebSocketGate } from './websocket.ts';

export interface SpiceServerOptions {
	/** The machine's name, shown in window titles; '' for none. */
	readonly name?: string;
	/** 8-4-4-4-12 hexadecimal digits. */
	readonly uuid?: string;
	readonly inputs: InputEvents;
	/** Behaviour by channel type; main and inputs are the server's own. */
	readonly factories: ReadonlyMap<number, ChannelFactory>;
	/** Size of the primary surface, for absolute pointers; undefined while there is none. */
	readonly primary?: () => { readonly width: number; readonly height: number } | undefined;
	readonly agent?: AgentPort;
	/** Multimedia time, ms: the clock that drawables and sound are stamped with. Default: a clock of the server's own. */
	readonly mmTime?: () => number;
	/** A display channel came (its client's capabilities, 58 bytes as in QXLRom.client_capabilities) or the last one left. */
	readonly clientPresent?: (present: boolean, capabilities: Uint8Array) => void;
	/** How long a connection may take to link, ms. Default 10 s, as long as libspice-server waits. */
	readonly linkTimeoutMs?: number;
	/** One line for the log: a refused client, a channel closed for an error. Never more than a few a second. */
	readonly warn?: (message: string) => void;
}

export interface ListenOptions {
	/** Default 127.0.0.1. */
	readonly host?: string;
	/** Plain port; none if absent. `auto` takes the next free one from 5900. */
	readonly port?: number | 'auto';
	readonly tls?: TlsFiles & { readonly port: number | 'auto' };
	/** Without one, everybody who reaches the port may connect. */
	readonly password?: string;
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

/** Names and data as QMP has them (qapi/ui.json). */
export type SpiceEvent = 'SPICE_CONNECTED' | 'SPICE_INITIALIZED' | 'SPICE_DISCONNECTED';
export type SpiceEventListener = (event: SpiceEvent, data: Readonly<Record<string, unknown>>) => void;

const trace = tracePoints('spice', {
	session: ['id', 'client'],
	session_end: ['id', 'reason'],
	warning: ['message'],
});

/** Connections that have not linked yet; beyond that the oldest one goes, so that a flood shuts nobody out. */
const MAX_PENDING = 64;
const TICK_MS = 1000;
const LINK_TIMEOUT_MS = 10_000;
/** Keys made ahead of time, one for each channel of a client and some. */
const KEYS_READY = 12;
const CLIENT_CAPS_BYTES = 58;

export class SpiceServer implements SessionHost, ConnectionHost {
	readonly keys = new TicketKeys();
	readonly ticketing = new Ticketing();
	readonly webSockets: WebSocketGate;
	readonly #options: SpiceServerOptions;
	readonly #factories: Map<number, ChannelFactory>;
	readonly #mouse: MouseModes;
	readonly #warnings: WarningLimit;
	readonly #listeners = new Set<SpiceEventListener>();
	readonly #pending = new Set<Connection>();
	readonly #start = performance.now();
	readonly #servers: Server[] = [];
	#openKey: TicketKey | undefined;
	#session: Session | undefined;
	#ticker: NodeJS.Timeout | undefined;
	#host = '127.0.0.1';
	#port: number | undefined;
	#tlsPort: number | undefined;
	#tls: TlsIdentity | undefined;
	#secureOnly = new Set<number>();
	#plainOnly = new Set<number>();
	#closed = false;

	constructor(options: SpiceServerOptions) {
		this.#options = options;
		this.#mouse = new MouseModes(options.inputs);
		this.#warnings = new WarningLimit((message) => {
			trace.warning(message);
			options.warn?.(message);
		});
		this.webSockets = new WebSocketGate({
			allowed: (origin, host) => this.ticketing.enabled || originIsNear(origin, host),
			refused: (_socket, reason) => this.warn(`SPICE web client refused: ${reason}`),
		});
		const { agent, inputs } = options;
		const uuid = options.uuid === undefined ? undefined : parseUuid(options.uuid);
		const primary = options.primary ?? (() => undefined);
		this.#factories = new Map(options.factories);
		this.#factories.set(
			ChannelType.main,
			createMainChannel({
				name: options.name ?? '',
				uuid,
				mouse: this.#mouse,
				agent,
				channels: () => this.#channels(),
			}),
		);
		this.#factories.set(
			ChannelType.inputs,
			createInputsChannel({ inputs, mouse: this.#mouse, primary, insecure: (link) => this.#tellInsecure(link) }),
		);
	}

	/** Opens the ports. Throws TsvmError: port busy, certificate unreadable, password too long. */
	async listen(options: ListenOptions): Promise<void> {
		this.#host = options.host ?? '127.0.0.1';
		this.#secureOnly = new Set(options.secureChannels?.map((name) => ChannelType[name]));
		this.#plainOnly = new Set(options.plaintextChannels?.map((name) => ChannelType[name]));
		if (options.password !== undefined) this.setPassword(options.password);
		this.keys.take((key) => {
			this.#openKey = key;
		});
		try {
			if (options.tls !== undefined) {
				this.#tls = await loadTls(options.tls, this.#host);
				const { context } = this.#tls;
				const tls = await openPort(this.#host, options.tls.port, (socket) => this.#accept(socket, context));
				this.#servers.push(tls.server);
				this.#tlsPort = tls.port;
			}
			if (options.port !== undefined) {
				const plain = await openPort(this.#host, options.port, (socket) => this.#accept(socket, undefined));
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
		this.#session?.close('the server ends');
		for (const connection of [...this.#pending]) connection.drop('the server ends');
		this.webSockets.close();
		this.keys.close();
		this.#mouse.close();
		clearInterval(this.#ticker);
		await Promise.all(closing);
	}

	/** The port listened on, after `auto` was settled. */
	get port(): number | undefined {
		return this.#port;
	}
	get tlsPort(): number | undefined {
		return this.#tlsPort;
	}
	get linkTimeoutMs(): number {
		return this.#options.linkTimeoutMs ?? LINK_TIMEOUT_MS;
	}
	get openKey(): TicketKey | undefined {
		return this.#openKey;
	}

	/** From now on clients need this password. `connected`: qapi/ui.json, SetPasswordAction. Throws TsvmError. */
	setPassword(password: string, connected: 'keep' | 'fail' | 'disconnect' = 'keep'): void {
		if (connected === 'fail' && this.#session !== undefined)
			throw new TsvmError('spice-connected', 'a client is connected', 'use keep or disconnect');
		this.ticketing.setPassword(password);
		this.keys.keep(KEYS_READY);
		if (connected === 'disconnect') this.#session?.close('the password was changed');
	}

	/** `now`, `never`, `+SECONDS` or seconds since the Unix epoch. Clients that are connected stay. Throws TsvmError. */
	expirePassword(when: string): void {
		this.ticketing.expire(when);
	}

	/** From now on nobody needs a password. */
	disableTicketing(): void {
		this.ticketing.disable();
	}

	/** The channels that are connected now. */
	clients(): ClientChannel[] {
		if (this.#session === undefined) return [];
		return [...this.#session.links].map((link) => channelInfo(link));
	}

	info(): ServerInfo {
		const mode = this.#mouse.current === MouseMode.client ? 'client' : 'server';
		return {
			host: this.#host,
			port: this.#port,
			tlsPort: this.#tlsPort,
			auth: this.ticketing.enabled ? 'spice' : 'none',
			mouseMode: this.#session === undefined ? 'unknown' : mode,
			channels: this.clients(),
			ca: this.#tls?.ca,
			hostSubject: this.#tls?.hostSubject,
		};
	}

	/** Returns the way to stop listening. */
	onEvent(listener: SpiceEventListener): () => void {
		this.#listeners.add(listener);
		return () => this.#listeners.delete(listener);
	}

	// What connections ask.

	caps(channelType: number): CapSet {
		return this.#factories.get(channelType)?.caps ?? new CapSet([]);
	}

	examine(request: LinkRequest, secure: boolean): Refusal | undefined {
		const { channelType, channelId } = request;
		const name = channelName(channelType);
		if (!secure && this.#secureOnly.has(channelType))
			return { error: LinkError.needSecured, reason: `the ${name} channel is only on the TLS port` };
		if (secure && this.#plainOnly.has(channelType))
			return { error: LinkError.needUnsecured, reason: `the ${name} channel is only on the plain port` };
		if (!this.#factories.has(channelType) || channelId !== 0)
			return { error: LinkError.channelNotAvailable, reason: `there is no ${name} channel ${channelId}` };
		return undefined;
	}

	admit(request: LinkRequest): Refusal | undefined {
		const { connectionId, channelType, channelId } = request;
		if (channelType === ChannelType.main) {
			if (connectionId !== 0)
				return { error: LinkError.badConnectionId, reason: `session ${connectionId} cannot be continued` };
			this.#session?.close('another client took over');
			this.#session = new Session(newSessionId(), this);
			return undefined;
		}
		if (this.#session === undefined || this.#session.id !== connectionId)
			return { error: LinkError.badConnectionId, reason: `there is no session ${connectionId}` };
		if (this.#session.find(channelType, channelId) !== undefined)
			return { error: LinkError.error, reason: `its ${channelName(channelType)} channel is there already` };
		return undefined;
	}

	established(connection: Connection, stream: Duplex, request: LinkRequest, early: Uint8Array): void {
		this.#pending.delete(connection);
		const session = this.#session!;
		const { channelType, channelId, commonCaps, caps } = request;
		const { secure, client, server } = connection;
		const link = new ChannelLink({ stream, session, channelType, channelId, commonCaps, caps, secure, client, server });
		session.add(link);
		if (channelType === ChannelType.main) trace.session(session.id, connection.peer);
		this.#ticker ??= setInterval(() => this.#tick(), TICK_MS).unref();
		const auth = this.ticketing.enabled ? 'spice' : 'none';
		this.#emit('SPICE_INITIALIZED', { server: { ...server, auth }, client: qapiChannel(link) });
		link.begin(this.#factories.get(channelType)!(link), early);
		if (channelType === ChannelType.display && !link.closed)
			this.#options.clientPresent?.(true, caps.bytes(CLIENT_CAPS_BYTES));
	}

	ended(connection: Connection, reason: string | undefined): void {
		this.#pending.delete(connection);
		if (reason !== undefined && !this.#closed) this.warn(`SPICE client ${connection.peer} refused: ${reason}`);
		this.#emit('SPICE_DISCONNECTED', { server: connection.server, client: connection.client });
	}

	// What sessions ask.

	mmTime(): number {
		return this.#options.mmTime?.() ?? performance.now() - this.#start;
	}

	warn(message: string): void {
		this.#warnings.warn(message);
	}

	channelClosed(link: ChannelLink): void {
		this.#emit('SPICE_DISCONNECTED', { server: link.server, client: link.client });
		if (link.channelType === ChannelType.display)
			this.#options.clientPresent?.(false, new Uint8Array(CLIENT_CAPS_BYTES));
	}

	sessionClosed(session: Session, reason: string): void {
		trace.session_end(session.id, reason);
		if (this.#session !== session) return;
		this.#session = undefined;
		this.#mouse.reset();
		clearInterval(this.#ticker);
		this.#ticker = undefined;
	}

	#channels(): [type: number, id: number][] {
		return [...this.#factories.keys()].filter((type) => type !== ChannelType.main).map((type) => [type, 0]);
	}

	#accept(socket: Socket, secureContext: TlsIdentity['context'] | undefined): void {
		const connection = new Connection(this, socket, secureContext);
		this.#pending.add(connection);
		this.#emit('SPICE_CONNECTED', { server: connection.server, client: connection.client });
		if (this.#pending.size > MAX_PENDING) {
			const [oldest] = this.#pending;
			oldest.drop(`more than ${MAX_PENDING} connections are waiting to link`);
		}
	}

	#tick(): void {
		const now = performance.now();
		for (const link of [...(this.#session?.links ?? [])]) link.tick(now);
	}

	/** libspice-server's words for a keyboard that anybody on the way can listen to. */
	#tellInsecure(link: ChannelLink): void {
		const behaviour = link.session.main?.behaviour;
		if (behaviour instanceof MainChannel) behaviour.notify('keyboard channel is insecure');
	}

	#emit(event: SpiceEvent, data: Readonly<Record<string, unknown>>): void {
		for (const listener of [...this.#listeners]) listener(event, data);
	}
}

function newSessionId(): number {
	for (;;) {
		const id = randomBytes(4).readUInt32LE();
		if (id !== 0) return id;
	}
}

/** Undefined for the UUID of all zeros, which stands for none. */
function parseUuid(text: string): Uint8Array | undefined {
	const digits = text.replaceAll('-', '');
	if (!/^[0-9a-fA-F]{32}$/.test(digits))
		throw new TsvmError('spice-uuid', `"${text}" is no UUID`, 'write it as 8-4-4-4-12 hexadecimal digits', 2);
	return /^0+$/.test(digits) ? undefined : Buffer.from(digits, 'hex');
}

function channelInfo(link: ChannelLink): ClientChannel {
	const { client, session, channelType, channelId, secure } = link;
	return { ...client, connectionId: session.id, channelType, channelId, tls: secure };
}

function qapiChannel(link: ChannelLink): Readonly<Record<string, unknown>> & Address {
	return {
		...link.client,
		'connection-id': link.session.id,
		'channel-type': link.channelType,
		'channel-id': link.channelId,
		tls: link.secure,
	};
}
