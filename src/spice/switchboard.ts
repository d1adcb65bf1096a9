/**
 * Between connections and channels: which link is let in, the one client session, and its channels. The server's public
 * face is in server.ts.
 */
import { randomBytes } from 'node:crypto';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { SecureContext } from 'node:tls';
import { type InputEvents, TsvmError, tracePoints } from '../core/index.ts';
import type { AgentPort } from './agent.ts';
import { Ticketing, TicketKeys } from './auth.ts';
import { CapSet } from './caps.ts';
import { type ChannelFactory, ChannelLink } from './channel.ts';
import { createInputsChannel } from './channels/inputs.ts';
import { createMainChannel, MainChannel } from './channels/main.ts';
import { Connection, type ConnectionHost } from './connection.ts';
import type { LinkRequest, Refusal } from './link.ts';
import { WarningLimit } from './log.ts';
import { MouseModes, type Screen } from './mouse.ts';
import { MAX_PENDING, PendingConnections } from './pending.ts';
import { ChannelType, channelName, LinkError } from './protocol/constants.ts';
import { Session, type SessionHost } from './session.ts';
import { pageIsNear, WebSocketGate } from './websocket.ts';

export interface SpiceServerOptions {
	/** The machine's name, shown in window titles; '' for none. */
	readonly name?: string;
	/** 8-4-4-4-12 hexadecimal digits. */
	readonly uuid?: string;
	readonly inputs: InputEvents;
	/** Behaviour by channel type; several of one type have ids from 0 on. Main and inputs are the server's own. */
	readonly factories: ReadonlyMap<number, ChannelFactory | readonly ChannelFactory[]>;
	/** Where absolute pointers move; undefined while there is no primary surface. */
	readonly screen?: () => Screen | undefined;
	readonly agent?: AgentPort;
	/** Multimedia time, ms: the clock that drawables and sound are stamped with. Default: a clock of the server's own. */
	readonly mmTime?: () => number;
	/** A display channel came (its client's capabilities, 58 bytes as in QXLRom.client_capabilities) or the last one left. */
	readonly clientPresent?: (present: boolean, capabilities: Uint8Array) => void;
	/** How long a connection may take to link, ms. Default 10 s, as long as libspice-server waits. */
	readonly linkTimeoutMs?: number;
	/** Clock for the time limits of connected clients, ms, never set back. Default performance.now. */
	readonly now?: () => number;
	/** One line for the log: a refused client, a channel closed for an error. Never more than a few a second. */
	readonly warn?: (message: string) => void;
}

/** Names and data as QMP has them (qapi/ui.json). */
export type SpiceEvent = 'SPICE_CONNECTED' | 'SPICE_INITIALIZED' | 'SPICE_DISCONNECTED';
export type SpiceEventListener = (event: SpiceEvent, data: Readonly<Record<string, unknown>>) => void;

const trace = tracePoints('spice', {
	session: ['id', 'client'],
	session_end: ['id', 'reason'],
	warning: ['message'],
});

const TICK_MS = 1000;
const LINK_TIMEOUT_MS = 10_000;
const CLIENT_CAPS_BYTES = 58;

export class Switchboard implements ConnectionHost, SessionHost {
	readonly keys = new TicketKeys(() => this.now());
	readonly ticketing = new Ticketing();
	readonly webSockets: WebSocketGate;
	readonly mouse: MouseModes;
	readonly linkTimeoutMs: number;
	/** Channel types that only the TLS port serves, and those that only the plain one does. */
	secureOnly: ReadonlySet<number> = new Set();
	plainOnly: ReadonlySet<number> = new Set();
	/** Names by which browsers may reach the server, beside its addresses. */
	webHosts: readonly string[] = [];
	readonly #options: SpiceServerOptions;
	/** By channel type, then by id. */
	readonly #factories = new Map<number, readonly ChannelFactory[]>();
	readonly #warnings: WarningLimit;
	readonly #listeners = new Set<SpiceEventListener>();
	readonly #pending = new PendingConnections();
	readonly #start = performance.now();
	#session: Session | undefined;
	#ticker: NodeJS.Timeout | undefined;
	#closed = false;

	constructor(options: SpiceServerOptions) {
		this.#options = options;
		this.linkTimeoutMs = options.linkTimeoutMs ?? LINK_TIMEOUT_MS;
		this.mouse = new MouseModes(options.inputs);
		this.#warnings = new WarningLimit((message) => {
			trace.warning(message);
			options.warn?.(message);
		});
		this.webSockets = new WebSocketGate({
			allowed: (page) => this.ticketing.enabled || pageIsNear(page, this.webHosts),
			refused: (reason) => this.warn(`SPICE web client refused: ${reason}`),
		});
		const { agent, inputs } = options;
		const uuid = options.uuid === undefined ? undefined : parseUuid(options.uuid);
		const screen = options.screen ?? (() => undefined);
		for (const [type, made] of options.factories) this.#factories.set(type, typeof made === 'function' ? [made] : made);
		this.#factories.set(ChannelType.main, [
			createMainChannel({
				name: options.name ?? '',
				uuid,
				mouse: this.mouse,
				agent,
				channels: () => this.#channels(),
			}),
		]);
		this.#factories.set(ChannelType.inputs, [
			createInputsChannel({ inputs, mouse: this.mouse, screen, insecure: (link) => this.#tellInsecure(link) }),
		]);
	}

	/** Makes the key for tickets ahead of the first link. */
	prepare(): void {
		this.keys.take(() => {});
	}

	/** A new connection; with a context it speaks TLS. */
	accept(socket: Socket, secureContext: SecureContext | undefined): void {
		const connection = new Connection(this, socket, secureContext);
		this.#pending.add(connection);
		this.#emit('SPICE_CONNECTED', { server: connection.server, client: connection.client });
		this.#pending.surplus?.drop(`more than ${MAX_PENDING} connections are waiting to link`);
	}

	/** Ends the session and every connection. */
	close(): void {
		this.#closed = true;
		this.#session?.close('the server ends');
		for (const connection of [...this.#pending]) connection.drop('the server ends');
		this.webSockets.close();
		this.keys.close();
		this.mouse.close();
	}

	/** The client that is there. */
	get session(): Session | undefined {
		return this.#session;
	}

	/** Returns the way to stop listening. */
	onEvent(listener: SpiceEventListener): () => void {
		this.#listeners.add(listener);
		return () => this.#listeners.delete(listener);
	}

	// What connections ask.

	caps(channelType: number): CapSet {
		return this.#factories.get(channelType)?.[0]?.caps ?? new CapSet([]);
	}

	examine(request: LinkRequest, secure: boolean): Refusal | undefined {
		const { channelType, channelId } = request;
		const name = channelName(channelType);
		if (!secure && this.secureOnly.has(channelType))
			return { error: LinkError.needSecured, reason: `the ${name} channel is only on the TLS port` };
		if (secure && this.plainOnly.has(channelType))
			return { error: LinkError.needUnsecured, reason: `the ${name} channel is only on the plain port` };
		if (this.#factories.get(channelType)?.[channelId] === undefined)
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
		link.begin(this.#factories.get(channelType)![channelId](link), early);
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

	now(): number {
		return this.#options.now?.() ?? performance.now();
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
		this.mouse.reset();
		clearInterval(this.#ticker);
		this.#ticker = undefined;
	}

	#channels(): [type: number, id: number][] {
		return [...this.#factories]
			.filter(([type]) => type !== ChannelType.main)
			.flatMap(([type, made]) => made.map((_, id): [number, number] => [type, id]));
	}

	#tick(): void {
		for (const link of [...(this.#session?.links ?? [])]) link.tick();
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

function qapiChannel(link: ChannelLink): Readonly<Record<string, unknown>> {
	return {
		...link.client,
		'connection-id': link.session.id,
		'channel-type': link.channelType,
		'channel-id': link.channelId,
		tls: link.secure,
	};
}
