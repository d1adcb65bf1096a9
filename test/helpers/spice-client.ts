/**
 * A small SPICE client for tests and benches: link, ticket, and raw messages of any channel. It confirms messages and
 * answers pings by itself unless told not to, and leaves everything else to the test.
 */
import { constants, createPublicKey, publicEncrypt } from 'node:crypto';
import { connect as connectTcp } from 'node:net';
import type { Duplex } from 'node:stream';
import { connect as connectTls } from 'node:tls';
import { createWebSocketStream, WebSocket } from 'ws';
import { type Codec, decode, encode, type Infer } from '../../src/core/index.ts';
import { u32 } from '../../src/core/wire.ts';
import { CapSet } from '../../src/spice/caps.ts';
import { baseClient, baseServer } from '../../src/spice/protocol/base.ts';
import { ChannelType, CommonCap, MainCap } from '../../src/spice/protocol/constants.ts';
import { encodeBody, type Messages, type Sender, sender } from '../../src/spice/protocol/kit.ts';
import { LinkHeader, LinkMess, LinkReply, MAGIC, TICKET_BYTES } from '../../src/spice/protocol/link.ts';
import { main } from '../../src/spice/protocol/main.ts';

export interface ClientOptions {
	/** Default 127.0.0.1. */
	readonly host?: string;
	readonly port: number;
	/** Connects with TLS; `ca` is PEM, without one any certificate will do. */
	readonly tls?: { readonly ca?: string };
	/** Goes through a WebSocket; a string is its subprotocol. */
	readonly webSocket?: boolean | string;
	readonly password?: string;
	/** Default true. */
	readonly miniHeader?: boolean;
	/** False: neither confirms messages nor answers pings. Default true. */
	readonly polite?: boolean;
	/** How long any one answer may take, ms; default 10 s. */
	readonly patience?: number;
}

export interface Message {
	readonly type: number;
	readonly body: Buffer;
	/** performance.now() when its last byte came. */
	readonly at: number;
}

/** The server said no, in the link reply (`stage` reply) or after the ticket (`stage` result). */
export class LinkRefused extends Error {
	readonly error: number;
	readonly stage: 'reply' | 'result';
	constructor(error: number, stage: 'reply' | 'result') {
		super(`link refused with error ${error} in the ${stage}`);
		this.error = error;
		this.stage = stage;
	}
}

/** Opens the byte stream under a link. */
export function openStream(options: ClientOptions): Promise<Duplex> {
	const { host = '127.0.0.1', port, tls, webSocket } = options;
	return new Promise((resolve, reject) => {
		if (webSocket) {
			const protocols = typeof webSocket === 'string' ? [webSocket] : [];
			const scheme = tls ? 'wss' : 'ws';
			const socket = new WebSocket(`${scheme}://${host}:${port}/`, protocols, {
				ca: tls?.ca,
				rejectUnauthorized: !!tls?.ca,
			});
			const stream = createWebSocketStream(socket);
			stream.on('error', reject);
			socket.on('open', () => resolve(stream));
		} else if (tls) {
			const socket = connectTls({ host, port, ca: tls.ca, rejectUnauthorized: tls.ca !== undefined });
			socket.on('error', reject);
			socket.on('secureConnect', () => resolve(socket));
		} else {
			const socket = connectTcp({ host, port, noDelay: true });
			socket.on('error', reject);
			socket.on('connect', () => resolve(socket));
		}
	});
}

/** The bytes of a link message with its header. */
export function linkMessage(
	connectionId: number,
	channelType: number,
	channelId: number,
	commonCaps: CapSet,
	caps: CapSet,
): Buffer {
	const words = [...commonCaps.words, ...caps.words];
	const mess = encode(LinkMess, {
		connectionId,
		channelType,
		channelId,
		numCommonCaps: commonCaps.words.length,
		numChannelCaps: caps.words.length,
		capsOffset: LinkMess.min,
	});
	const size = mess.length + 4 * words.length;
	const header = encode(LinkHeader, { magic: MAGIC, majorVersion: 2, minorVersion: 2, size });
	return Buffer.concat([header, mess, ...words.map((word) => encode(u32, word))]);
}

/** Reads a stream a given number of bytes at a time. */
class ByteReader {
	readonly #stream: Duplex;
	readonly #patience: number;
	#chunks: Buffer[] = [];
	#length = 0;
	#ended = false;
	#wake: (() => void) | undefined;

	constructor(stream: Duplex, patience: number) {
		this.#stream = stream;
		this.#patience = patience;
		const end = (): void => {
			this.#ended = true;
			this.#wake?.();
		};
		stream.on('data', (chunk: Buffer) => {
			this.#chunks.push(chunk);
			this.#length += chunk.length;
			this.#wake?.();
		});
		stream.on('end', end);
		stream.on('close', end);
		stream.on('error', end);
	}

	/** Everything that has come and was not read. */
	rest(): Buffer {
		const all = Buffer.concat(this.#chunks);
		this.#chunks = [];
		this.#length = 0;
		return all;
	}

	/** Rejects when the stream ends first, or after `patience` ms unless it is waiting forever. */
	async read(count: number, forever = false): Promise<Buffer> {
		while (this.#length < count) {
			if (this.#ended) throw new Error(`the stream ended ${count - this.#length} bytes too early`);
			await new Promise<void>((resolve, reject) => {
				const timer = forever
					? undefined
					: setTimeout(() => reject(new Error(`${count} bytes did not come in time`)), this.#patience);
				this.#wake = () => {
					clearTimeout(timer);
					resolve();
				};
			});
			this.#wake = undefined;
		}
		const all = this.#chunks.length === 1 ? this.#chunks[0] : Buffer.concat(this.#chunks);
		this.#chunks = count < all.length ? [all.subarray(count)] : [];
		this.#length -= count;
		return all.subarray(0, count);
	}

	get stream(): Duplex {
		return this.#stream;
	}
}

/** One linked channel. */
export class ClientChannel {
	readonly channelType: number;
	/** The server's capabilities. */
	readonly commonCaps: CapSet;
	readonly caps: CapSet;
	readonly stream: Duplex;
	/** Sees every message as it comes, before next() does. */
	onMessage: ((message: Message) => void) | undefined;
	/** Messages that next() has not given out yet, without set_ack and ping. */
	readonly waiting: Message[] = [];
	/** Settles when the server has closed the channel. */
	readonly closed: Promise<void>;
	/** Messages received so far, all kinds. */
	received = 0;
	readonly #reader: ByteReader;
	readonly #mini: boolean;
	readonly #polite: boolean;
	readonly #patience: number;
	#wake: (() => void) | undefined;
	#over = false;
	#serial = 0n;
	#window = 0;
	#sinceAck = 0;

	private constructor(
		reader: ByteReader,
		channelType: number,
		commonCaps: CapSet,
		caps: CapSet,
		options: ClientOptions,
	) {
		this.#reader = reader;
		this.stream = reader.stream;
		this.channelType = channelType;
		this.commonCaps = commonCaps;
		this.caps = caps;
		this.#mini = (options.miniHeader ?? true) && commonCaps.has(CommonCap.miniHeader);
		this.#polite = options.polite ?? true;
		this.#patience = options.patience ?? 10_000;
		this.closed = this.#run();
	}

	/** Links one channel. Throws LinkRefused, or Error when the server hangs up. */
	static async link(
		options: ClientOptions,
		channelType: number,
		{ connectionId = 0, channelId = 0, caps = new CapSet([]) } = {},
	): Promise<ClientChannel> {
		const mini = options.miniHeader ?? true;
		const common = CapSet.of(CommonCap.authSelection, CommonCap.authSpice, ...(mini ? [CommonCap.miniHeader] : []));
		const stream = await openStream(options);
		const reader = new ByteReader(stream, options.patience ?? 10_000);
		try {
			stream.write(linkMessage(connectionId, channelType, channelId, common, caps));
			const header = decode(LinkHeader, await reader.read(LinkHeader.min));
			const message = await reader.read(header.size);
			const reply = decode(LinkReply, message);
			if (reply.error !== 0) throw new LinkRefused(reply.error, 'reply');
			const words = Array.from({ length: reply.numCommonCaps + reply.numChannelCaps }, (_, i) =>
				message.readUInt32LE(reply.capsOffset + 4 * i),
			);
			stream.write(Buffer.concat([encode(u32, CommonCap.authSpice), ticket(reply.publicKey, options.password ?? '')]));
			const result = decode(u32, await reader.read(4));
			if (result !== 0) throw new LinkRefused(result, 'result');
			const serverCommon = new CapSet(words.slice(0, reply.numCommonCaps));
			return new ClientChannel(
				reader,
				channelType,
				serverCommon,
				new CapSet(words.slice(reply.numCommonCaps)),
				options,
			);
		} catch (error) {
			stream.destroy();
			throw error;
		}
	}

	get open(): boolean {
		return !this.#over;
	}

	/** Sends one message; `parts` as ChannelLink.send takes them, so that kit senders work on a client too. */
	send(type: number, parts: readonly Uint8Array[]): void {
		const size = parts.reduce((sum, part) => sum + part.length, 0);
		const header = Buffer.alloc(this.#mini ? 6 : 18);
		if (this.#mini) {
			header.writeUInt16LE(type, 0);
			header.writeUInt32LE(size, 2);
		} else {
			header.writeBigUInt64LE(++this.#serial, 0);
			header.writeUInt16LE(type, 8);
			header.writeUInt32LE(size, 10);
		}
		if (!this.stream.destroyed) this.stream.write(Buffer.concat([header, ...parts]));
	}

	/** Typed senders for the messages that a client of this channel has. */
	sender<M extends Messages>(messages: M): Sender<M> {
		return sender(this, messages);
	}

	/** The next message of that type (any if undefined); those before it are dropped. Rejects after `patience` ms. */
	async next(type?: number, patience = this.#patience): Promise<Message> {
		const end = performance.now() + patience;
		for (;;) {
			for (let message = this.waiting.shift(); message; message = this.waiting.shift()) {
				if (type === undefined || message.type === type) return message;
			}
			if (this.#over) throw new Error('the channel is closed');
			const left = end - performance.now();
			if (left <= 0) throw new Error(`message ${type ?? ''} did not come in time`);
			await new Promise<void>((resolve) => {
				const timer = setTimeout(resolve, left);
				this.#wake = () => {
					clearTimeout(timer);
					resolve();
				};
			});
		}
	}

	/** next() and its body. */
	async read<C extends Codec<never> | Codec<unknown>>([type, codec]: readonly [number, C]): Promise<Infer<C>> {
		return decode(codec as Codec<unknown>, (await this.next(type)).body) as Infer<C>;
	}

	close(): void {
		this.stream.destroy();
	}

	async #run(): Promise<void> {
		try {
			for (;;) {
				const header = await this.#reader.read(this.#mini ? 6 : 18, true);
				const type = header.readUInt16LE(this.#mini ? 0 : 8);
				const size = header.readUInt32LE(this.#mini ? 2 : 10);
				const body = size === 0 ? Buffer.alloc(0) : Buffer.from(await this.#reader.read(size, true));
				this.#take({ type, body, at: performance.now() });
			}
		} catch {
			this.#over = true;
			this.stream.destroy();
			this.#wake?.();
		}
	}

	#take(message: Message): void {
		this.received++;
		this.onMessage?.(message);
		const [setAck, setAckBody] = baseServer.setAck;
		const [ping, pingBody] = baseServer.ping;
		if (this.#polite && message.type === setAck) {
			const { generation, window } = decode(setAckBody, message.body);
			this.#window = window;
			this.#sinceAck = 0;
			this.send(baseClient.ackSync[0], encodeBody(baseClient.ackSync[1], { generation }));
			return;
		}
		if (this.#polite && message.type === ping) {
			const { id, timestamp } = decode(pingBody, message.body);
			this.send(baseClient.pong[0], encodeBody(baseClient.pong[1], { id, timestamp }));
		} else {
			this.waiting.push(message);
			this.#wake?.();
		}
		if (this.#window > 0 && ++this.#sinceAck === this.#window) {
			this.#sinceAck = 0;
			this.send(baseClient.ack[0], []);
		}
	}
}

/** The password as the protocol encrypts it: RSA-OAEP-SHA1 with a NUL behind it. */
export function ticket(publicKey: Uint8Array, password: string): Buffer {
	const key = createPublicKey({ key: Buffer.from(publicKey), format: 'der', type: 'spki' });
	const padding = constants.RSA_PKCS1_OAEP_PADDING;
	const bytes = publicEncrypt({ key, padding, oaepHash: 'sha1' }, Buffer.from(`${password}\0`));
	if (bytes.length !== TICKET_BYTES) throw new Error(`the server's key makes tickets of ${bytes.length} bytes`);
	return bytes;
}

/** A session: the main channel, greeted, and any further channels on demand. */
export class SpiceClient {
	readonly options: ClientOptions;
	readonly main: ClientChannel;
	readonly init: Infer<(typeof main.server.init)[1]>;
	/** As [type, id]. */
	readonly channels: readonly (readonly [number, number])[];
	readonly #links: ClientChannel[] = [];

	private constructor(
		options: ClientOptions,
		link: ClientChannel,
		init: SpiceClient['init'],
		channels: SpiceClient['channels'],
	) {
		this.options = options;
		this.main = link;
		this.init = init;
		this.channels = channels;
		this.#links.push(link);
	}

	static async connect(options: ClientOptions): Promise<SpiceClient> {
		const caps = CapSet.of(MainCap.nameAndUuid, MainCap.agentConnectedTokens);
		const link = await ClientChannel.link(options, ChannelType.main, { caps });
		const init = await link.read(main.server.init);
		link.sender(main.client).attachChannels();
		const { channels } = await link.read(main.server.channelsList);
		const list = channels.map(({ type, id }) => [type, id] as const);
		return new SpiceClient(options, link, init, list);
	}

	async open(channelType: number, caps = new CapSet([])): Promise<ClientChannel> {
		const link = await ClientChannel.link(this.options, channelType, { connectionId: this.init.sessionId, caps });
		this.#links.push(link);
		return link;
	}

	/** Hangs up everywhere. */
	close(): void {
		for (const link of this.#links) link.close();
	}
}
