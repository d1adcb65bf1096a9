/**
 * Main channel: tells a client what there is, settles the mouse mode, measures the network, and carries the guest
 * agent's messages. SPICE protocol, "Main Channel".
 */
import { tracePoints, WireError } from '../../core/index.ts';
import { type AgentClient, type AgentPort, CLIENT_TOKENS, MAX_AGENT_DATA } from '../agent.ts';
import { CapSet } from '../caps.ts';
import type { ChannelBehaviour, ChannelFactory, ChannelLink } from '../channel.ts';
import type { MouseModes } from '../mouse.ts';
import { MainCap, NotifySeverity, NotifyVisibility } from '../protocol/constants.ts';
import { receiver, type Sender, sender } from '../protocol/kit.ts';
import { main } from '../protocol/main.ts';
import { MM_TIME_LEAD_MS } from '../stamps.ts';

export interface MainChannelHost {
	/** Shown as the window's title; '' for none. */
	readonly name: string;
	/** 16 bytes; undefined if the machine has none. */
	readonly uuid: Uint8Array | undefined;
	readonly mouse: MouseModes;
	readonly agent: AgentPort | undefined;
	/** Channels other than main, as [type, id]. */
	channels(): Iterable<readonly [type: number, id: number]>;
}

const trace = tracePoints('spice.main', {
	net_test: ['bitsPerSecond', 'latencyMs', 'lowBandwidth'],
	agent_dropped: ['size'],
});

/** libspice-server's figures: a warm-up, a round trip, and a transfer long enough to time. */
const NET_TEST_BYTES = 256_000;
const LOW_BANDWIDTH = 10 * 1024 * 1024;
/** Below the limit but above this, a test is made again: our own thread may have been busy with the guest. */
const SURELY_LOW = 2 * 1024 * 1024;
const NET_TESTS = 3;
/** For clients that size their caches by it; libspice-server sends the QXL ram's size. */
const RAM_HINT = 64 * 1024 * 1024;

export function createMainChannel(host: MainChannelHost): ChannelFactory {
	const caps = CapSet.of(MainCap.nameAndUuid, MainCap.agentConnectedTokens);
	return Object.assign((link: ChannelLink) => new MainChannel(link, host), { caps });
}

export class MainChannel implements ChannelBehaviour, AgentClient {
	readonly receive: (type: number, body: Uint8Array) => void;
	readonly #link: ChannelLink;
	readonly #host: MainChannelHost;
	readonly #send: Sender<typeof main.server>;
	#stop: (() => void) | undefined;
	/** The client knows that the agent is there and has begun to talk to it. */
	#agentStarted = false;
	/** Agent messages that the client may still send. */
	#clientTokens = CLIENT_TOKENS;
	#netTests = 0;

	constructor(link: ChannelLink, host: MainChannelHost) {
		this.#link = link;
		this.#host = host;
		this.#send = sender(link, main.server);
		this.receive = receiver(main.client, {
			attachChannels: () => this.#attachChannels(),
			mouseModeRequest: ({ mode }) => host.mouse.request(mode),
			agentStart: ({ numTokens }) => this.#agentStart(numTokens),
			agentData: ({ data }) => this.#agentData(data),
			agentToken: ({ numTokens }) => {
				if (this.#agentStarted) host.agent?.grant(numTokens);
			},
		});
	}

	start(): void {
		const { session } = this.#link;
		const { agent, mouse, name, uuid } = this.#host;
		mouse.reset();
		this.#send.init({
			sessionId: session.id,
			displayChannelsHint: 1,
			supportedMouseModes: mouse.supported,
			currentMouseMode: mouse.current,
			agentConnected: agent?.connected ? 1 : 0,
			agentTokens: CLIENT_TOKENS,
			multiMediaTime: (session.mmTime() - MM_TIME_LEAD_MS) >>> 0,
			ramHint: RAM_HINT,
		});
		if (this.#link.caps.has(MainCap.nameAndUuid)) {
			if (name !== '') this.#send.name({ name: Buffer.from(`${name}\0`, 'utf8') });
			if (uuid !== undefined) this.#send.uuid({ uuid });
		}
		this.#stop = mouse.onChange(() =>
			this.#send.mouseMode({ supportedModes: mouse.supported, currentMode: mouse.current }),
		);
		agent?.attachClient(this);
		this.#link.onWritable = () => agent?.resume();
		this.#netTest();
	}

	closed(): void {
		this.#stop?.();
		this.#host.agent?.detachClient();
	}

	/** A line for the person in front of the client. */
	notify(message: string): void {
		const text = Buffer.from(message, 'utf8');
		this.#send.notify({
			timeStamp: BigInt(Date.now()) * 1_000_000n,
			severity: NotifySeverity.warn,
			visibility: NotifyVisibility.high,
			what: 0,
			message: text,
		});
	}

	agentConnected(): void {
		if (this.#link.caps.has(MainCap.agentConnectedTokens)) {
			this.#clientTokens = CLIENT_TOKENS;
			this.#send.agentConnectedTokens({ numTokens: CLIENT_TOKENS });
		} else {
			// It goes on with the tokens that it has.
			this.#send.agentConnected();
		}
	}

	agentDisconnected(): void {
		this.#agentStarted = false;
		this.#send.agentDisconnected({ errorCode: 0 });
	}

	get writable(): boolean {
		return this.#link.writable;
	}

	agentData(data: Uint8Array): void {
		this.#send.agentData({ data });
	}

	agentTokens(count: number): void {
		this.#clientTokens += count;
		this.#send.agentToken({ numTokens: count });
	}

	#attachChannels(): void {
		const channels = [...this.#host.channels()].map(([type, id]) => ({ type, id }));
		this.#send.channelsList({ channels });
	}

	#agentStart(numTokens: number): void {
		const { agent } = this.#host;
		if (!agent?.connected) return;
		this.#agentStarted = true;
		agent.start(numTokens);
	}

	#agentData(data: Uint8Array): void {
		if (data.length > MAX_AGENT_DATA) throw new WireError(`agent message of ${data.length} bytes`);
		if (this.#agentStarted) {
			if (this.#clientTokens-- <= 0) throw new WireError('agent message without a token');
		} else {
			// The agent may have left while the message was on its way. A client that gets new tokens with the next agent
			// has lost this one; any other gets it back.
			trace.agent_dropped(data.length);
			if (!this.#link.caps.has(MainCap.agentConnectedTokens)) this.#send.agentToken({ numTokens: 1 });
		}
		this.#host.agent?.receive(data);
	}

	/** Three pings, as libspice-server sends them; what the third takes beyond the second is the transfer itself. */
	#netTest(): void {
		const { session } = this.#link;
		this.#netTests++;
		this.#link.ping();
		const latencyPing = this.#link.ping();
		const ratePing = this.#link.ping(NET_TEST_BYTES);
		let latency = 0;
		this.#link.onPong = (id, ms) => {
			if (id === latencyPing) latency = ms;
			if (id !== ratePing) return;
			this.#link.onPong = undefined;
			const bits = Math.round((NET_TEST_BYTES * 8000) / Math.max(ms - latency, 0.1));
			session.bitsPerSecond = Math.max(session.bitsPerSecond, bits);
			session.latencyMs = session.latencyMs === 0 ? latency : Math.min(session.latencyMs, latency);
			session.lowBandwidth = session.bitsPerSecond < LOW_BANDWIDTH;
			trace.net_test(session.bitsPerSecond, session.latencyMs, session.lowBandwidth);
			if (session.lowBandwidth && bits > SURELY_LOW && this.#netTests < NET_TESTS) this.#netTest();
		};
	}
}
