/**
 * Between the guest's agent (spice-vdagent behind the virtio port com.redhat.spice.0) and a SPICE client: the port's
 * host end on one side, the main channel's agent messages on the other. Passes messages on, in both directions, keeps
 * back what the operator does not want, answers for the display and speaks for the pointer.
 */
import {
	type CharBackend,
	type CharDevice,
	type DisplayClientEvents,
	guestError,
	tracePoints,
	WireError,
	wire,
} from '../../core/index.ts';
import type { AgentClient, AgentPort } from '../agent.ts';
import { CapSet } from '../caps.ts';
import type { Screen } from '../mouse.ts';
import { ChunkReader } from './chunks.ts';
import {
	AgentCap,
	AgentMessage,
	AnnounceCapabilities,
	ClientDisconnected,
	GraphicsDeviceInfo,
	readMonitorsConfig,
} from './messages.ts';
import { Outbox } from './outbox.ts';
import { AgentPointer } from './pointer.ts';
import { encodeMessage, MessageStream, type Verdict, wholeMessage } from './stream.ts';

/** Name of the port that agents look for. */
export const AGENT_PORT = 'com.redhat.spice.0';

export interface SpiceVmcOptions {
	/** Clipboards are shared. Default true. */
	readonly copyPaste?: boolean;
	/** Clients may send files. Default true. */
	readonly fileTransfer?: boolean;
	/** The display adapter's way to change the guest's monitors; when it returns false the agent is asked. */
	readonly monitors?: DisplayClientEvents['clientMonitorsConfig'];
	/** Where pointers move; undefined while there is no primary surface. */
	readonly screen?: () => Screen | undefined;
	/** Which output of which device the channels' monitors are, for agents that want to know; none if left out. */
	readonly displays?: readonly DisplayOutput[];
}
export interface DisplayOutput {
	readonly channelId: number;
	readonly monitorId: number;
	readonly deviceDisplayId: number;
	/** As in `pci/0000/02.0`. */
	readonly deviceAddress: string;
}

const trace = tracePoints('spice.agent', {
	open: ['open'],
	capabilities: ['words'],
	client: ['attached'],
	from_guest: ['type', 'verdict'],
	from_client: ['type', 'verdict'],
	monitors_config: ['count', 'taken'],
});

const CLIPBOARD: ReadonlySet<number> = new Set([
	AgentMessage.clipboard,
	AgentMessage.clipboardGrab,
	AgentMessage.clipboardRequest,
	AgentMessage.clipboardRelease,
]);
const FILE_TRANSFER: ReadonlySet<number> = new Set([
	AgentMessage.fileXferStart,
	AgentMessage.fileXferStatus,
	AgentMessage.fileXferData,
]);

/** Pieces that wait for the client before the guest has to. */
const MAX_WAITING = 32;
/** Taken from the guest at a time, bytes: with the queue above the most that is held. */
const MAX_WRITE = 64 * 1024;
/** Tokens go back to the client in bunches; less than half of what it has at the start. */
const TOKEN_BUNCH = 5;

export class SpiceVmc implements CharBackend, AgentPort {
	/** The agent as a pointer, for the machine's inputs. */
	readonly pointer: AgentPointer;
	readonly #options: SpiceVmcOptions;
	#device: CharDevice | undefined;
	#client: AgentClient | undefined;
	/** The guest has the port open. */
	#open = false;
	/** The guest's bytes made no sense; nothing counts until it opens the port again. */
	#broken = false;
	/** The client has begun to talk to the agent. */
	#started = false;

	readonly #chunks: ChunkReader;
	readonly #fromGuest: MessageStream;
	readonly #fromClient: MessageStream;
	/** Pieces for the client, and how many it is willing to get. */
	readonly #waiting: Uint8Array[] = [];
	#clientTokens = 0;
	/** The guest was told to wait. */
	#stalled = false;

	readonly #outbox: Outbox;
	/** What the client's current message has turned into. */
	#pieces: Uint8Array[] = [];
	#owedTokens = 0;

	constructor(options: SpiceVmcOptions = {}) {
		this.#options = options;
		this.#outbox = new Outbox((count) => this.#refund(count));
		this.pointer = new AgentPointer(
			(state) => {
				if (this.connected) this.#outbox.mouse(state);
			},
			() => options.screen?.(),
		);
		this.#fromGuest = new MessageStream({
			judge: (type) => this.#judgeGuest(type),
			piece: (bytes) => this.#waiting.push(bytes),
			collected: (_type, body) => this.#announced(body),
		});
		this.#fromClient = new MessageStream({
			judge: (type) => this.#judgeClient(type),
			piece: (bytes) => this.#pieces.push(bytes),
			collected: (type, body) => this.#monitorsConfig(type, body),
		});
		this.#chunks = new ChunkReader((data) => this.#fromGuest.feed(data));
	}

	// --- the guest's side: CharBackend --------------------------------------------------------------------------

	attach(device: CharDevice): void {
		this.#device = device;
		this.#outbox.attach(device);
	}

	write(bytes: Uint8Array): number {
		if (!this.connected) return bytes.length;
		if (this.#waiting.length >= MAX_WAITING) {
			this.#stalled = true;
			return 0;
		}
		const taken = bytes.subarray(0, MAX_WRITE);
		try {
			this.#chunks.feed(taken);
		} catch (error) {
			if (!(error instanceof WireError)) throw error;
			guestError('spicevmc', `${error.message}; ignored until the agent opens its port again`);
			this.#leave();
			this.#broken = true;
			return bytes.length;
		}
		this.#deliver();
		return taken.length;
	}

	ready(): void {
		this.#outbox.pump();
	}

	guestOpen(open: boolean): void {
		if (open === this.#open) return;
		trace.open(open);
		if (!open) {
			if (!this.#broken) this.#leave();
			this.#broken = false;
			this.#open = false;
			return;
		}
		this.#open = true;
		this.#client?.agentConnected();
	}

	close(): void {
		this.guestOpen(false);
		this.#client = undefined;
	}

	// --- the client's side: AgentPort ---------------------------------------------------------------------------

	get connected(): boolean {
		return this.#open && !this.#broken;
	}

	attachClient(client: AgentClient): void {
		trace.client(true);
		this.#client = client;
	}

	detachClient(): void {
		trace.client(false);
		this.#client = undefined;
		this.#clientTokens = 0;
		this.#owedTokens = 0;
		this.#waiting.length = 0;
		this.#fromGuest.abandon();
		this.#fromClient.reset();
		this.#outbox.dropClient();
		if (this.#started && this.connected)
			this.#outbox.server(
				AgentMessage.clientDisconnected,
				encodeMessage(AgentMessage.clientDisconnected, ClientDisconnected, {}),
			);
		this.#started = false;
		this.#unstall();
	}

	receive(data: Uint8Array): void {
		this.#pieces = [];
		this.#fromClient.feed(data);
		if (!this.#started) return;
		const last = this.#pieces.length - 1;
		// A message that goes nowhere has been taken, too.
		if (last < 0) this.#refund(1);
		for (const [i, piece] of this.#pieces.entries()) this.#outbox.client(piece, i === last);
		this.#outbox.pump();
	}

	start(tokens: number): void {
		if (!this.connected) return;
		this.#started = true;
		this.#clientTokens = tokens;
		this.#deliver();
	}

	grant(count: number): void {
		if (!this.#started) return;
		this.#clientTokens = Math.min(this.#clientTokens + count, Number.MAX_SAFE_INTEGER);
		this.#deliver();
	}

	resume(): void {
		this.#deliver();
	}

	// --- between them -------------------------------------------------------------------------------------------

	/** The agent is gone, or as good as gone. */
	#leave(): void {
		this.#chunks.reset();
		this.#fromGuest.reset();
		// The client still sends the rest of what it was about to say, when the next agent is there too.
		this.#fromClient.abandon();
		this.#waiting.length = 0;
		this.#stalled = false;
		this.#clientTokens = 0;
		this.#started = false;
		const lost = this.#outbox.clear() + this.#owedTokens;
		this.#owedTokens = 0;
		if (lost > 0) this.#client?.agentTokens(lost);
		this.pointer.active = false;
		this.#client?.agentDisconnected();
	}

	#judgeGuest(type: number): Verdict {
		// What the agent can matters to the server, too; all else only to a client that talks to it.
		const wanted = type === AgentMessage.announceCapabilities ? 'collect' : this.#filter(type);
		const verdict = this.#started || wanted === 'collect' ? wanted : 'drop';
		trace.from_guest(type, verdict);
		return verdict;
	}

	#judgeClient(type: number): Verdict {
		const { monitors } = this.#options;
		const wanted = type === AgentMessage.monitorsConfig && monitors ? 'collect' : this.#filter(type);
		const verdict = this.#started ? wanted : 'drop';
		trace.from_client(type, verdict);
		return verdict;
	}

	#filter(type: number): Verdict {
		const { copyPaste = true, fileTransfer = true } = this.#options;
		const unwanted = (!copyPaste && CLIPBOARD.has(type)) || (!fileTransfer && FILE_TRANSFER.has(type));
		return unwanted ? 'drop' : 'pass';
	}

	/** The agent says what it can; the client hears what it may use of it. */
	#announced(body: Uint8Array): void {
		const { copyPaste = true, fileTransfer = true, displays = [] } = this.#options;
		const { request, caps } = wire.decode(AnnounceCapabilities, body);
		const agent = new CapSet(caps);
		trace.capabilities(caps.map((word) => word.toString(16)).join(' '));
		this.pointer.active = agent.has(AgentCap.mouseState);
		if (this.#started) {
			const told = caps.length > 0 ? caps.slice() : [0];
			if (!copyPaste)
				for (const cap of [AgentCap.clipboard, AgentCap.clipboardByDemand, AgentCap.clipboardSelection])
					told[0] = (told[0] & ~(1 << cap)) >>> 0;
			if (!fileTransfer) told[0] = (told[0] | (1 << AgentCap.fileXferDisabled)) >>> 0;
			const message = { request, caps: told };
			this.#waiting.push(encodeMessage(AgentMessage.announceCapabilities, AnnounceCapabilities, message));
		}
		if (displays.length > 0 && agent.has(AgentCap.graphicsDeviceInfo)) {
			const displayInfo = displays.map(({ deviceAddress, ...ids }) => ({
				...ids,
				deviceAddress: new TextEncoder().encode(`${deviceAddress}\0`),
			}));
			const message = encodeMessage(AgentMessage.graphicsDeviceInfo, GraphicsDeviceInfo, { displayInfo });
			this.#outbox.server(AgentMessage.graphicsDeviceInfo, message);
		}
	}

	/** As libspice-server does: the display adapter's driver comes first, and then the agent hears nothing of it. */
	#monitorsConfig(type: number, body: Uint8Array): void {
		const heads = readMonitorsConfig(body);
		const taken = this.#options.monitors?.(heads) ?? false;
		trace.monitors_config(heads.length, taken);
		if (taken) return;
		// Cut as the client would have cut it.
		const again = new MessageStream({
			judge: () => 'pass',
			piece: (bytes) => this.#pieces.push(bytes),
			collected: () => {},
		});
		again.feed(wholeMessage(type, body));
	}

	#refund(count: number): void {
		this.#owedTokens += count;
		if (this.#owedTokens < TOKEN_BUNCH) return;
		const tokens = this.#owedTokens;
		this.#owedTokens = 0;
		this.#client?.agentTokens(tokens);
	}

	#deliver(): void {
		const client = this.#client;
		let sent = 0;
		while (client?.writable && this.#clientTokens > 0 && sent < this.#waiting.length) {
			this.#clientTokens--;
			client.agentData(this.#waiting[sent++]);
			// A client that was dropped over this has emptied the queue.
			if (this.#client !== client) return;
		}
		this.#waiting.splice(0, sent);
		this.#unstall();
	}

	#unstall(): void {
		if (!this.#stalled || this.#waiting.length >= MAX_WAITING) return;
		this.#stalled = false;
		this.#device?.drained();
	}
}
