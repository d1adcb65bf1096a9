/**
 * The link stage of one connection, from the first byte to the ticket's result. It reads whatever comes in whatever
 * pieces, holds at most one link message, and answers as SPICE protocol's "Link" says. What follows the ticket is the
 * channel's.
 */
import { decode, encode, tracePoints, WireError } from '../core/index.ts';
import { u32 } from '../core/wire.ts';
import type { Ticketing, TicketKey, TicketKeys } from './auth.ts';
import { CapSet } from './caps.ts';
import { CommonCap, LinkError } from './protocol/constants.ts';
import {
	LinkHeader,
	LinkMess,
	LinkReply,
	LinkResult,
	MAGIC,
	MAX_CAPS,
	MAX_LINK_MESSAGE,
	PUBLIC_KEY_BYTES,
	TICKET_BYTES,
	VERSION_MAJOR,
	VERSION_MINOR,
} from './protocol/link.ts';

const trace = tracePoints('spice.link', {
	request: ['client', 'channelType', 'channelId', 'connectionId'],
	refused: ['client', 'error', 'reason'],
});

/** What the client asks for, after its link message was checked. */
export interface LinkRequest {
	readonly connectionId: number;
	readonly channelType: number;
	readonly channelId: number;
	readonly commonCaps: CapSet;
	readonly caps: CapSet;
}

/** A reason to refuse a link, with the protocol's number for it. */
export interface Refusal {
	readonly error: LinkError;
	readonly reason: string;
}

/** What the link stage needs of the server. */
export interface LinkHost {
	readonly keys: TicketKeys;
	readonly ticketing: Ticketing;
	/** Checks a request against policy and channels, before the password: a refusal goes into the link reply. */
	examine(request: LinkRequest): Refusal | undefined;
	/** The server's capabilities for a channel. */
	caps(channelType: number): CapSet;
	/** The password was right. A refusal becomes the link's result; else the host calls nothing of the link again. */
	admit(request: LinkRequest): Refusal | undefined;
	/** The result was sent; `early` came behind the ticket. */
	established(request: LinkRequest, early: Uint8Array): void;
	/** The client is out; anything to tell it was written. */
	refused(reason: string): void;
	write(bytes: Uint8Array): void;
	/** For messages: the client's address. */
	readonly peer: string;
}

/** Common capabilities of this server, as libspice-server without SASL: auth selection, spice auth, mini headers. */
export const serverCommonCaps = CapSet.of(CommonCap.authSelection, CommonCap.authSpice, CommonCap.miniHeader);

const HEADER_BYTES = 16;
const MAGIC_BYTES = encode(u32, MAGIC);
/** A client waits for answers, so at most one read of the socket comes before its turn. */
const MAX_EARLY = 256 * 1024;
const noKey = new Uint8Array(PUBLIC_KEY_BYTES);

type Stage = 'header' | 'message' | 'key' | 'mechanism' | 'ticket' | 'done';

export class LinkStage {
	readonly #host: LinkHost;
	#stage: Stage = 'header';
	#input: Uint8Array = new Uint8Array(0);
	#messageSize = 0;
	#request: LinkRequest | undefined;
	#key: TicketKey | undefined;
	#stopWaiting: (() => void) | undefined;

	constructor(host: LinkHost) {
		this.#host = host;
	}

	/** The next bytes of the client. Bytes that the stage cannot use yet are kept, up to one message and a ticket. */
	feed(chunk: Uint8Array): void {
		if (this.#stage === 'done') return;
		this.#input = this.#input.length === 0 ? chunk : Buffer.concat([this.#input, chunk]);
		if (this.#input.length > MAX_EARLY) {
			this.#refuse({ error: LinkError.invalidData, reason: 'sent too much before its link was accepted' });
			return;
		}
		for (let moved = true; moved; ) moved = this.#step();
	}

	/** The connection is gone. */
	abort(): void {
		this.#finish();
	}

	/** Takes one step if the bytes for it are there. */
	#step(): boolean {
		switch (this.#stage) {
			case 'header':
				return this.#readHeader();
			case 'message':
				return this.#readMessage();
			case 'mechanism':
				return this.#readMechanism();
			case 'ticket':
				return this.#readTicket();
			default:
				return false;
		}
	}

	#take(count: number): Uint8Array | undefined {
		if (this.#input.length < count) return undefined;
		const bytes = this.#input.subarray(0, count);
		this.#input = this.#input.subarray(count);
		return bytes;
	}

	#readHeader(): boolean {
		// A wrong first byte is answered at once: whoever speaks another protocol may wait for us to speak.
		for (let i = 0; i < Math.min(4, this.#input.length); i++) {
			if (this.#input[i] !== MAGIC_BYTES[i])
				return this.#refuse({ error: LinkError.invalidMagic, reason: 'does not speak SPICE' });
		}
		const bytes = this.#take(HEADER_BYTES);
		if (bytes === undefined) return false;
		const header = decode(LinkHeader, bytes);
		if (header.majorVersion !== VERSION_MAJOR) {
			const reason = `speaks SPICE ${header.majorVersion}.${header.minorVersion}, not ${VERSION_MAJOR}.x`;
			return this.#refuse({ error: LinkError.versionMismatch, reason });
		}
		if (header.size < LinkMess.min || header.size > MAX_LINK_MESSAGE)
			return this.#refuse({ error: LinkError.invalidData, reason: `link message of ${header.size} bytes` });
		this.#messageSize = header.size;
		this.#stage = 'message';
		return true;
	}

	#readMessage(): boolean {
		const bytes = this.#take(this.#messageSize);
		if (bytes === undefined) return false;
		let request: LinkRequest;
		try {
			request = parseLinkMessage(bytes);
		} catch (error) {
			if (!(error instanceof WireError)) throw error;
			return this.#refuse({ error: LinkError.invalidData, reason: error.message });
		}
		this.#request = request;
		trace.request(this.#host.peer, request.channelType, request.channelId, request.connectionId);
		const refusal = this.#host.examine(request);
		if (refusal !== undefined) return this.#refuse(refusal);
		this.#stage = 'key';
		// The key may be there at once: what follows then goes on in the loop that called.
		let waited = false;
		this.#stopWaiting = this.#host.keys.take((key) => {
			this.#reply(key);
			if (waited) for (let moved = true; moved; ) moved = this.#step();
		});
		waited = true;
		return this.#key !== undefined;
	}

	#reply(key: TicketKey): void {
		const request = this.#request!;
		this.#key = key;
		const common = serverCommonCaps.words;
		const channel = this.#host.caps(request.channelType).words;
		this.#sendReply(LinkError.ok, key.publicKey, common, channel);
		this.#stage = request.commonCaps.has(CommonCap.authSelection) ? 'mechanism' : 'ticket';
	}

	#sendReply(error: LinkError, publicKey: Uint8Array, common: readonly number[], channel: readonly number[]): void {
		const reply = encode(LinkReply, {
			error,
			publicKey,
			numCommonCaps: common.length,
			numChannelCaps: channel.length,
			capsOffset: LinkReply.min,
		});
		const caps = [...common, ...channel].map((word) => encode(u32, word));
		const size = reply.length + 4 * caps.length;
		const header = { magic: MAGIC, majorVersion: VERSION_MAJOR, minorVersion: VERSION_MINOR, size };
		this.#host.write(Buffer.concat([encode(LinkHeader, header), reply, ...caps]));
	}

	#readMechanism(): boolean {
		const bytes = this.#take(4);
		if (bytes === undefined) return false;
		const mechanism = decode(u32, bytes);
		if (mechanism !== CommonCap.authSpice)
			return this.#refuse({ error: LinkError.invalidData, reason: `asks for authentication mechanism ${mechanism}` });
		this.#stage = 'ticket';
		return true;
	}

	#readTicket(): boolean {
		const ticket = this.#take(TICKET_BYTES);
		if (ticket === undefined) return false;
		const host = this.#host;
		const request = this.#request!;
		const key = this.#key!;
		// Used up even where no password is asked for: one may be later, and this ticket may hold it.
		const fresh = key.use(ticket);
		if (host.ticketing.enabled) {
			const wrong = host.ticketing.check(fresh ? key.open(ticket) : undefined);
			if (wrong !== undefined) return this.#refuse({ error: LinkError.permissionDenied, reason: wrong });
		}
		const refusal = host.admit(request);
		if (refusal !== undefined) return this.#refuse(refusal);
		const early = this.#input;
		this.#finish();
		host.write(encode(LinkResult, { error: LinkError.ok }));
		host.established(request, early);
		return false;
	}

	#refuse({ error, reason }: Refusal): false {
		const stage = this.#stage;
		trace.refused(this.#host.peer, error, reason);
		this.#finish();
		if (stage === 'mechanism' || stage === 'ticket') this.#host.write(encode(LinkResult, { error }));
		else this.#sendReply(error, noKey, [], []);
		this.#host.refused(reason);
		return false;
	}

	#finish(): void {
		if (this.#stage === 'done') return;
		this.#stage = 'done';
		this.#input = new Uint8Array(0);
		this.#stopWaiting?.();
	}
}

/** SpiceLinkMess and the capability words that its offset points at. Throws WireError. */
function parseLinkMessage(bytes: Uint8Array): LinkRequest {
	const mess = decode(LinkMess, bytes);
	if (mess.numCommonCaps > MAX_CAPS || mess.numChannelCaps > MAX_CAPS)
		throw new WireError(`${mess.numCommonCaps} + ${mess.numChannelCaps} capability words are too many`);
	const count = mess.numCommonCaps + mess.numChannelCaps;
	if (mess.capsOffset + 4 * count > bytes.length)
		throw new WireError(`${count} capability words at ${mess.capsOffset} leave a message of ${bytes.length} bytes`);
	const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
	const words = Array.from({ length: count }, (_, i) => view.getUint32(mess.capsOffset + 4 * i, true));
	return {
		connectionId: mess.connectionId,
		channelType: mess.channelType,
		channelId: mess.channelId,
		commonCaps: new CapSet(words.slice(0, mess.numCommonCaps)),
		caps: new CapSet(words.slice(mess.numCommonCaps)),
	};
}
