/**
 * The seam between the main channel and the guest's agent (spice-vdagent behind the virtio port com.redhat.spice.0).
 * Each side may send as many messages as the other has granted it tokens.
 */

/** Largest agent_data body. vd_agent.h, VD_AGENT_MAX_DATA_SIZE. */
export const MAX_AGENT_DATA = 2048;
/** Messages a client may have under way. libspice-server grants as many. */
export const CLIENT_TOKENS = 10;

/** What the agent tells the client that is there. */
export interface AgentClient {
	agentConnected(): void;
	agentDisconnected(): void;
	/** More would go out soon; when it becomes true again the port's resume() is called. */
	readonly writable: boolean;
	/** The agent's bytes, at most MAX_AGENT_DATA; costs one of the client's tokens. The callee keeps the array. */
	agentData(data: Uint8Array): void;
	/** Lets the client send `count` more messages: one for each that the guest has taken. */
	agentTokens(count: number): void;
}

export interface AgentPort {
	/** Whether an agent runs in the guest. */
	readonly connected: boolean;
	/** A client came; the one before it was detached. */
	attachClient(client: AgentClient): void;
	/** The client left; what it sent in part is void. */
	detachClient(): void;
	/** The client knows that the agent is there and wants to talk to it; it takes `tokens` messages for a start. */
	start(tokens: number): void;
	/**
	 * The client's bytes, at most MAX_AGENT_DATA, valid during the call. Those that come before start() are for an agent
	 * that has left; they go nowhere. Throws WireError.
	 */
	receive(data: Uint8Array): void;
	/** The client can take `count` more messages. */
	grant(count: number): void;
	/** The client is writable again. */
	resume(): void;
}
