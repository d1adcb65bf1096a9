/**
 * One connected channel: messages in, messages out, and the flow control between them. SPICE protocol, "Channel":
 * either side may use 6-byte mini headers once both have the capability, else 18-byte ones with a serial; the client
 * confirms every `window` messages, and the server stops when two windows are unconfirmed.
 */
import type { Duplex } from 'node:stream';
import { tracePoints, WireError } from '../core/index.ts';
import type { CapSet } from './caps.ts';
import { Gather } from './gather.ts';
import { OutputQueue, PIECE_COST } from './output.ts';
import { BASE_LAST, baseClient, baseServer } from './protocol/base.ts';
import { CommonCap, channelName, LinkError } from './protocol/constants.ts';
import { encodeBody, receiver } from './protocol/kit.ts';
import type { Session } from './session.ts';

/** What a channel does; made anew for each client that links to it. */
export interface ChannelBehaviour {
	/**
	 * One message of the channel's own (number above 100). `body` is valid during the call only.
	 * A WireError thrown here closes the channel with the protocol's error; other channels live on.
	 */
	receive(type: number, body: Uint8Array): void;
	/** The link stands and messages may be sent. */
	start?(): void;
	/** The channel is gone, for whatever reason; called once. */
	closed?(): void;
	/** Largest message body that the client may send, bytes; 64 KiB if absent. */
	readonly maxMessage?: number;
	/**
	 * The client need not confirm messages: the socket alone says when to wait. For channels that pause(), because what
	 * the client confirms stands behind what is not read.
	 */
	readonly unconfirmed?: boolean;
}
/** Makes the behaviour of one channel; `caps` are the server's capabilities for it, none if absent. */
export interface ChannelFactory {
	(link: ChannelLink): ChannelBehaviour;
	readonly caps?: CapSet;
}

/** How the other end is reached, in the words of QEMU's SpiceBasicInfo. */
export interface Address {
	readonly host: string;
	readonly port: string;
	readonly family: 'ipv4' | 'ipv6' | 'unknown';
}

export interface ChannelLinkOptions {
	readonly stream: Duplex;
	readonly session: Session;
	readonly channelType: number;
	readonly channelId: number;
	readonly commonCaps: CapSet;
	readonly caps: CapSet;
	readonly secure: boolean;
	readonly client: Address;
	readonly server: Address;
}

const MINI_HEADER = 6;
const FULL_HEADER = 18;
const DEFAULT_MAX_MESSAGE = 64 * 1024;
/** Messages a client confirms at a time; libspice-server uses the same two numbers. */
const ACK_WINDOW = 20;
const ACK_WINDOW_LOW_BANDWIDTH = 40;
/** Messages that may wait for the ack window; a sender that heeds `writable` never comes near. */
const MAX_HELD = 8192;
/** Above this many bytes of memory the client is lost: more than a few of the largest pictures wait for it. */
const MAX_BACKLOG = 64 * 1024 * 1024;
const PING_INTERVAL_MS = 15_000;
/** A client that for this long does not read what waits for it, or confirm it, or say anything, is gone. */
const DEAD_AFTER_MS = 30_000;
/** How long the last words of a failed channel may take to leave. */
const FAREWELL_MS = 1000;

const trace = tracePoints('spice.channel', {
	open: ['channel', 'id', 'client'],
	close: ['channel', 'id', 'reason'],
	send: ['channel', 'type', 'size'],
	receive: ['channel', 'type', 'size'],
	blocked: ['channel', 'unacked', 'backlog'],
	pong: ['channel', 'id', 'ms'],
});

interface Held {
	readonly header: Uint8Array;
	readonly parts: readonly Uint8Array[];
	/** Bytes of memory that it takes, about. */
	readonly cost: number;
}

export class ChannelLink {
	readonly channelType: number;
	readonly channelId: number;
	readonly session: Session;
	/** The client's capabilities. */
	readonly commonCaps: CapSet;
	readonly caps: CapSet;
	/** Whether the connection is encrypted. */
	readonly secure: boolean;
	readonly client: Address;
	readonly server: Address;
	/** Called once per closed-to-open change of `writable`: pull the next item then. */
	onWritable: (() => void) | undefined;
	/** Called with each answer to ping(): the ping's id and the round trip, ms. */
	onPong: ((id: number, ms: number) => void) | undefined;

	readonly #stream: Duplex;
	readonly #output: OutputQueue;
	readonly #mini: boolean;
	readonly #receiveBase: (type: number, body: Uint8Array) => void;
	#behaviour: ChannelBehaviour | undefined;
	#maxMessage = DEFAULT_MAX_MESSAGE;
	#closed = false;
	/** Nothing is read: the client's silence says nothing. */
	#paused = false;

	#serial = 0n;
	readonly #held: Held[] = [];
	#heldCost = 0;
	#window = ACK_WINDOW;
	#generation = 0;
	#clientGeneration = 0;
	#unacked = 0;
	/** writable was seen false and onWritable is owed. */
	#blocked = false;

	readonly #header: Gather;
	#type = 0;
	#body: Gather | undefined;

	#pingId = 0;
	readonly #pings = new Map<number, number>();
	#lastPing: number;
	#lastHeard: number;
	/** When something was last read while more waits, and when something was last confirmed while the window is shut. */
	#lastRead: number;
	#lastConfirmed: number;

	constructor(options: ChannelLinkOptions) {
		this.#stream = options.stream;
		this.session = options.session;
		this.#lastPing = this.#lastHeard = this.#lastRead = this.#lastConfirmed = this.session.now();
		this.channelType = options.channelType;
		this.channelId = options.channelId;
		this.commonCaps = options.commonCaps;
		this.caps = options.caps;
		this.secure = options.secure;
		this.client = options.client;
		this.server = options.server;
		this.#mini = options.commonCaps.has(CommonCap.miniHeader);
		this.#header = new Gather(this.#mini ? MINI_HEADER : FULL_HEADER);
		this.#output = new OutputQueue(options.stream, options.secure, () => {
			this.#lastRead = this.session.now();
			this.#wake();
		});
		this.#receiveBase = receiver(baseClient, {
			ackSync: ({ generation }) => {
				this.#clientGeneration = generation;
				if (generation === this.#generation) this.#acknowledged(this.#unacked);
			},
			ack: () => {
				if (this.#clientGeneration === this.#generation) this.#acknowledged(this.#window);
			},
			pong: ({ id }) => this.#pong(id),
			disconnecting: () => this.close('the client said goodbye'),
		});
	}

	/** `display 0`, for people. */
	get name(): string {
		return `${channelName(this.channelType)} ${this.channelId}`;
	}

	get closed(): boolean {
		return this.#closed;
	}

	/** Undefined until the channel has begun. */
	get behaviour(): ChannelBehaviour | undefined {
		return this.#behaviour;
	}

	/** True while a message given to send() would go out soon: ack window open and socket not backed up. */
	get writable(): boolean {
		return !this.#closed && this.#held.length === 0 && this.#windowOpen && !this.#output.full;
	}

	get #windowOpen(): boolean {
		return this.#unacked < 2 * this.#window;
	}

	/** Starts the channel; `early` is what the client sent right behind its ticket. */
	begin(behaviour: ChannelBehaviour, early: Uint8Array): void {
		this.#behaviour = behaviour;
		this.#maxMessage = behaviour.maxMessage ?? DEFAULT_MAX_MESSAGE;
		trace.open(channelName(this.channelType), this.channelId, `${this.client.host}:${this.client.port}`);
		this.#stream.on('data', (chunk: Uint8Array) => this.#feed(chunk));
		this.#stream.on('end', () => this.close('the client hung up'));
		this.#stream.on('close', () => this.close('the connection closed'));
		this.#stream.on('error', (error) => this.close(error.message));
		if (behaviour.unconfirmed) this.#window = Number.POSITIVE_INFINITY;
		else this.#setAck();
		this.#guarded(() => behaviour.start?.());
		if (early.length > 0) this.#feed(early);
	}

	/** Queues one message at once, never blocks; body parts are written by reference (writev). */
	send(type: number, parts: readonly Uint8Array[]): void {
		if (this.#closed) return;
		let size = 0;
		for (const part of parts) size += part.length;
		trace.send(channelName(this.channelType), type, size);
		const cost = size + (1 + parts.length) * PIECE_COST;
		const message: Held = { header: this.#makeHeader(type, size), parts, cost };
		if (this.#windowOpen && this.#held.length === 0) {
			this.#emit(message);
		} else {
			this.#held.push(message);
			this.#heldCost += cost;
		}
		if (this.#held.length > MAX_HELD || this.#heldCost + this.#output.cost > MAX_BACKLOG) {
			this.#drop('does not read');
			return;
		}
		if (!this.#blocked && !this.writable) {
			this.#blocked = true;
			this.#lastConfirmed = this.session.now();
			trace.blocked(channelName(this.channelType), this.#unacked, this.#output.bytes);
		}
	}

	/** Sends a ping with `payload` zero bytes; the answer comes to onPong. Returns the ping's id. */
	ping(payload = 0): number {
		const id = ++this.#pingId >>> 0;
		const now = this.session.now();
		this.#pings.set(id, now);
		this.#lastPing = now;
		const [type, codec] = baseServer.ping;
		const body = { id, timestamp: BigInt(Math.round(now * 1000)), data: new Uint8Array(payload) };
		this.send(type, encodeBody(codec, body));
		return id;
	}

	/** Reads nothing more from the client, beyond what has come in already, until resume(). */
	pause(): void {
		this.#paused = true;
		this.#stream.pause();
	}

	resume(): void {
		if (!this.#paused || this.#closed) return;
		this.#paused = false;
		this.#lastHeard = this.#lastRead = this.#lastConfirmed = this.session.now();
		this.#stream.resume();
	}

	/** Ends this channel; others live on, unless it is the main channel, which takes its session along. */
	close(reason = 'closed by the server'): void {
		if (this.#finish(reason)) this.#stream.destroy();
	}

	/** Tells the client which error of the protocol ends this channel, then ends it. */
	fail(error: LinkError, reason: string): void {
		if (this.#closed) return;
		const [type, codec] = baseServer.disconnecting;
		const parts = encodeBody(codec, { timeStamp: BigInt(Date.now()) * 1_000_000n, reason: error });
		const header = this.#makeHeader(type, 12);
		this.session.warn(`${this.name} of ${this.client.host}: ${reason}; channel closed`);
		this.#finish(reason);
		this.#output.end([header, ...parts], FAREWELL_MS);
	}

	/**
	 * Once a second: pings, and the end of a client that is of no use any more. Each of its duties counts by itself: who
	 * confirms what he does not read, or talks on without reading, does not make up for it.
	 */
	tick(): void {
		if (this.#closed) return;
		const now = this.session.now();
		const unread = this.#output.bytes > 0 && now - this.#lastRead > DEAD_AFTER_MS;
		const unconfirmed = this.#blocked && !this.#windowOpen && now - this.#lastConfirmed > DEAD_AFTER_MS;
		const silent = this.#pings.size > 0 && now - Math.max(this.#lastPing, this.#lastHeard) > DEAD_AFTER_MS;
		const fault = unread ? 'read nothing' : unconfirmed ? 'confirmed nothing' : 'gave no sign of life';
		if (!this.#paused && (unread || unconfirmed || silent)) this.#drop(`${fault} for ${DEAD_AFTER_MS / 1000} s`);
		else if (this.#pings.size === 0 && now - this.#lastPing >= PING_INTERVAL_MS) this.ping();
	}

	/** The client is of no use any more, on any channel. */
	#drop(reason: string): void {
		this.session.warn(`SPICE client ${this.client.host} dropped: its ${this.name} channel ${reason}`);
		this.session.close(reason);
	}

	#finish(reason: string): boolean {
		if (this.#closed) return false;
		this.#closed = true;
		trace.close(channelName(this.channelType), this.channelId, reason);
		this.#held.length = 0;
		this.#heldCost = 0;
		this.#pings.clear();
		this.onWritable = undefined;
		this.onPong = undefined;
		try {
			this.#behaviour?.closed?.();
		} catch (error) {
			this.session.warn(`${this.name}: ${describe(error)}`);
		}
		this.session.channelClosed(this, reason);
		return true;
	}

	#makeHeader(type: number, size: number): Uint8Array {
		const header = new Uint8Array(this.#mini ? MINI_HEADER : FULL_HEADER);
		const view = new DataView(header.buffer);
		if (this.#mini) {
			view.setUint16(0, type, true);
			view.setUint32(2, size, true);
		} else {
			view.setBigUint64(0, ++this.#serial, true);
			view.setUint16(8, type, true);
			view.setUint32(10, size, true);
		}
		return header;
	}

	#emit(message: Held): void {
		this.#unacked++;
		// Until now nothing was there to be read.
		if (this.#output.bytes === 0) this.#lastRead = this.session.now();
		this.#output.push(message.header, message.parts);
	}

	#setAck(): void {
		this.#window = this.session.lowBandwidth ? ACK_WINDOW_LOW_BANDWIDTH : ACK_WINDOW;
		const [type, codec] = baseServer.setAck;
		this.send(type, encodeBody(codec, { generation: ++this.#generation, window: this.#window }));
	}

	#acknowledged(count: number): void {
		this.#unacked = Math.max(0, this.#unacked - count);
		this.#lastConfirmed = this.session.now();
		this.#wake();
	}

	/** Something moved on: send what was held, and tell a sender that waits. */
	#wake(): void {
		if (this.#closed) return;
		while (this.#windowOpen && !this.#output.full) {
			const next = this.#held.shift();
			if (next === undefined) break;
			this.#heldCost -= next.cost;
			this.#emit(next);
		}
		if (this.#blocked && this.writable) {
			this.#blocked = false;
			this.#guarded(() => this.onWritable?.());
		}
	}

	#pong(id: number): void {
		const sent = this.#pings.get(id);
		if (sent === undefined) return;
		this.#pings.delete(id);
		const ms = this.session.now() - sent;
		trace.pong(channelName(this.channelType), id, ms);
		this.onPong?.(id, ms);
	}

	/** Cuts the byte stream into messages, without a copy where a message arrived in one piece. */
	#feed(chunk: Uint8Array): void {
		this.#lastHeard = this.session.now();
		let at = 0;
		while (at < chunk.length && !this.#closed) {
			if (this.#body !== undefined) {
				at += this.#body.take(chunk, at);
				if (!this.#body.full) return;
				const { bytes } = this.#body;
				this.#body = undefined;
				this.#deliver(bytes);
				continue;
			}
			at += this.#header.take(chunk, at);
			if (!this.#header.full) return;
			this.#header.clear();
			const size = this.#readHeader();
			if (size > this.#maxMessage) {
				this.fail(LinkError.invalidData, `message ${this.#type} of ${size} bytes is over ${this.#maxMessage}`);
			} else if (size <= chunk.length - at) {
				this.#deliver(chunk.subarray(at, at + size));
				at += size;
			} else {
				this.#body = new Gather(size);
			}
		}
	}

	#readHeader(): number {
		const view = new DataView(this.#header.bytes.buffer);
		this.#type = view.getUint16(this.#mini ? 0 : 8, true);
		return view.getUint32(this.#mini ? 2 : 10, true);
	}

	#deliver(body: Uint8Array): void {
		const type = this.#type;
		trace.receive(channelName(this.channelType), type, body.length);
		this.#guarded(() => {
			if (type <= BASE_LAST) this.#receiveBase(type, body);
			else this.#behaviour?.receive(type, body);
		});
	}

	/** A channel's error stays the channel's: it is closed, and host, guest and other channels go on. */
	#guarded(work: () => void): void {
		try {
			work();
		} catch (error) {
			const code = error instanceof WireError ? LinkError.invalidData : LinkError.error;
			this.fail(code, describe(error));
		}
	}
}

/** A malformed message is explained in one line; anything else is our own bug and keeps its stack. */
function describe(error: unknown): string {
	if (error instanceof WireError) return error.message;
	return error instanceof Error ? (error.stack ?? error.message) : String(error);
}
