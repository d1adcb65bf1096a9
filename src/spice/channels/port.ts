/**
 * Port channels: the bytes of a guest's virtio port go to a program at the client's side, both ways. The port named
 * org.spice-space.webdav.0 is how folders are shared: its client speaks WebDAV. SPICE protocol, "Port Channel".
 */
import type { CharBackend, CharDevice } from '../../core/index.ts';
import type { ChannelBehaviour, ChannelFactory, ChannelLink } from '../channel.ts';
import { ChannelType } from '../protocol/constants.ts';
import { receiver, type Sender, sender } from '../protocol/kit.ts';
import { PortEvent, port } from '../protocol/port.ts';

/** The port that spice-webdavd opens in a guest. */
export const WEBDAV_PORT = 'org.spice-space.webdav.0';
/** Bytes in one message to the client. */
const PIECE = 32 * 1024;
/** What spice-gtk sends at once for a shared folder is a little over 64 KiB. */
const MAX_MESSAGE = 1024 * 1024;

export class SpicePort implements CharBackend {
	readonly name: string;
	/** Which kind of channel clients know it as. */
	readonly channelType: number;
	/** Makes the channel of a client that links to this port. */
	readonly factory: ChannelFactory;
	#device: CharDevice | undefined;
	#channel: PortChannel | undefined;
	#open = false;

	constructor(name: string) {
		this.name = name;
		this.channelType = name === WEBDAV_PORT ? ChannelType.webdav : ChannelType.port;
		this.factory = (link) => new PortChannel(link, this);
	}

	/** The guest has its end open. */
	get open(): boolean {
		return this.#open;
	}

	attach(device: CharDevice): void {
		this.#device = device;
		device.hostOpen?.(this.#channel !== undefined);
	}

	write(bytes: Uint8Array): number {
		// Nobody listens: what is written is lost, as it is on any line without a reader.
		if (!this.#channel) return bytes.length;
		return this.#channel.send(bytes);
	}

	ready(): void {
		this.#channel?.pump();
	}

	guestOpen(open: boolean): void {
		if (open === this.#open) return;
		this.#open = open;
		this.#channel?.opened(open);
	}

	close(): void {
		this.guestOpen(false);
	}

	/** Told by a channel: it has begun. */
	linked(channel: PortChannel): void {
		this.#channel = channel;
		this.#device?.hostOpen?.(true);
	}

	unlinked(channel: PortChannel): void {
		if (this.#channel !== channel) return;
		this.#channel = undefined;
		this.#device?.hostOpen?.(false);
		this.#device?.drained();
	}

	/** The client's bytes for the guest; returns how many it took. */
	give(bytes: Uint8Array): number {
		return this.#device?.receive(bytes) ?? bytes.length;
	}

	/** The client takes bytes again. */
	drained(): void {
		this.#device?.drained();
	}
}

class PortChannel implements ChannelBehaviour {
	readonly maxMessage = MAX_MESSAGE;
	/** A guest that writes and does not read must not wait for itself. */
	readonly unconfirmed = true;
	readonly receive: (type: number, body: Uint8Array) => void;
	readonly #link: ChannelLink;
	readonly #port: SpicePort;
	readonly #send: Sender<typeof port.server>;
	/** What the guest has not taken yet. While there is any, nothing more is read from the client. */
	#waiting: Uint8Array[] = [];

	constructor(link: ChannelLink, spicePort: SpicePort) {
		this.#link = link;
		this.#port = spicePort;
		this.#send = sender(link, port.server);
		this.receive = receiver(port.client, { data: ({ data }) => this.#data(data) });
	}

	start(): void {
		const name = Buffer.from(`${this.#port.name}\0`);
		this.#send.init({ nameSize: name.length, name, opened: this.#port.open ? 1 : 0 });
		this.#link.onWritable = () => this.#port.drained();
		this.#port.linked(this);
	}

	closed(): void {
		this.#waiting = [];
		this.#port.unlinked(this);
	}

	opened(open: boolean): void {
		this.#send.event({ event: open ? PortEvent.opened : PortEvent.closed });
		if (open) {
			this.pump();
			return;
		}
		// The program that it was meant for is gone.
		this.#waiting = [];
		this.#link.resume();
	}

	/** Returns how many of the guest's bytes the client takes now. */
	send(bytes: Uint8Array): number {
		let sent = 0;
		while (sent < bytes.length && this.#link.writable) {
			const data = bytes.slice(sent, sent + PIECE);
			this.#send.data({ data });
			sent += data.length;
		}
		return this.#link.closed ? bytes.length : sent;
	}

	#data(data: Uint8Array): void {
		this.#waiting.push(data.slice());
		this.pump();
		if (this.#waiting.length > 0) this.#link.pause();
	}

	pump(): void {
		for (let [next] = this.#waiting; next; [next] = this.#waiting) {
			const taken = this.#port.give(next);
			if (taken < next.length) {
				this.#waiting[0] = next.subarray(taken);
				return;
			}
			this.#waiting.shift();
		}
		this.#link.resume();
	}
}
