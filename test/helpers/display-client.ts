/** A SPICE display client in a few lines, for tests of the display channel: reads messages, keeps the picture. */
import { BitmapFormat, decode, type Infer, type Rect, type WireError } from '../../src/core/index.ts';
import { CapSet } from '../../src/spice/caps.ts';
import type { ChannelBehaviour, ChannelFactory, ChannelLink } from '../../src/spice/channel.ts';
import { type DrawCopy, display, ImageType, type WireImage } from '../../src/spice/protocol/display.ts';
import { encodeBody } from '../../src/spice/protocol/kit.ts';
import { quicChaos } from './html5-decoders.ts';
import { decodeLz, decodeLz4 } from './lz-decoders.ts';
import { decodeQuic } from './quic-decoder.ts';

const names = new Map(Object.entries(display.server).map(([name, [type]]) => [type as number, name]));
const chaos = quicChaos();

export class DisplayClient {
	/** Names of the messages received, in order. */
	readonly log: string[] = [];
	readonly imageTypes: number[] = [];
	readonly warnings: string[] = [];
	pixels = new Uint32Array(0);
	width = 0;
	height = 0;
	marked = false;
	bytes = 0;
	/** Messages that the link takes before it says that it is not writable. */
	room = Number.POSITIVE_INFINITY;
	closed: WireError | undefined;
	readonly behaviour: ChannelBehaviour;
	readonly #link: { onWritable?: () => void };

	constructor(factory: ChannelFactory, caps: CapSet) {
		const client = this;
		const link = {
			channelType: 2,
			channelId: 0,
			caps,
			commonCaps: CapSet.of(),
			session: { lowBandwidth: false, mmTime: () => 0, warn: (message: string) => this.warnings.push(message) },
			get writable() {
				return client.room > 0;
			},
			onWritable: undefined,
			send: (type: number, parts: readonly Uint8Array[]) => this.#receive(type, Buffer.concat(parts)),
			close: () => {},
		};
		this.#link = link as { onWritable?: () => void };
		this.behaviour = factory(link as unknown as ChannelLink);
		this.behaviour.start?.();
	}

	init(): void {
		const [type, codec] = display.client.init;
		const body = { pixmapCacheId: 1, pixmapCacheSize: 0n, glzDictionaryId: 1, glzWindowSize: 0 };
		this.send(type, encodeBody(codec, body));
	}

	send(type: number, parts: readonly Uint8Array[]): void {
		this.behaviour.receive(type, Buffer.concat(parts));
	}

	/** Lets the server send `count` more messages. */
	open(count: number): void {
		const was = this.room;
		this.room = count;
		if (was <= 0 && count > 0) this.#link.onWritable?.();
	}

	#receive(type: number, body: Uint8Array): void {
		this.room--;
		this.bytes += body.length;
		const name = names.get(type);
		if (name === undefined) throw new Error(`message ${type} is not declared`);
		this.log.push(name);
		switch (name) {
			case 'surfaceCreate': {
				const { width, height } = decode(display.server.surfaceCreate[1], body);
				this.pixels = new Uint32Array(width * height);
				this.width = width;
				this.height = height;
				break;
			}
			case 'surfaceDestroy':
				this.pixels = new Uint32Array(0);
				this.marked = false;
				break;
			case 'mark':
				this.marked = true;
				break;
			case 'drawFill': {
				const { base, brush } = decode(display.server.drawFill[1], body);
				if (brush.type === 'solid') this.#each(base.box, (at) => (this.pixels[at] = brush.color));
				break;
			}
			case 'copyBits': {
				const { base, srcPos } = decode(display.server.copyBits[1], body);
				const before = this.pixels.slice();
				const by = (srcPos.y - base.box.top) * this.width + srcPos.x - base.box.left;
				this.#each(base.box, (at) => (this.pixels[at] = before[at + by]));
				break;
			}
			case 'drawCopy':
				this.#drawCopy(decode(display.server.drawCopy[1], body));
				break;
		}
	}

	#drawCopy({ base, src }: Infer<typeof DrawCopy>): void {
		if (src === null) throw new Error('no image');
		this.imageTypes.push(src.descriptor.type);
		const colors = imageColors(src);
		this.#each(base.box, (at, x, y) => (this.pixels[at] = colors(x, y)));
	}

	#each(r: Rect, set: (at: number, x: number, y: number) => void): void {
		if (r.left < 0 || r.top < 0 || r.right > this.width || r.bottom > this.height)
			throw new Error('leaves the surface');
		for (let y = r.top; y < r.bottom; y++)
			for (let x = r.left; x < r.right; x++) set(y * this.width + x, x - r.left, y - r.top);
	}
}

function imageColors(image: WireImage): (x: number, y: number) => number {
	const { type, width, height } = image.descriptor;
	const bgr = (data: Uint8Array, bytes: number) => (x: number, y: number) => {
		const at = (y * width + x) * bytes;
		return data[at] | (data[at + 1] << 8) | (data[at + 2] << 16);
	};
	if (type === ImageType.bitmap) {
		if (!('bitmap' in image) || image.bitmap.format !== BitmapFormat.xrgb32) throw new Error('not a 32-bit bitmap');
		if (image.bitmap.stride !== width * 4 || image.data.length !== width * 4 * height) throw new Error('wrong size');
		return bgr(image.data, 4);
	}
	if (type === ImageType.lzRgb) return bgr(decodeLz(image.data).color, 3);
	if (type === ImageType.lz4) return bgr(decodeLz4(image.data, width * height * 4).data, 4);
	const { planes } = decodeQuic(image.data, chaos);
	return (x, y) => {
		const at = y * width + x;
		return (planes[0][at] << 16) | (planes[1][at] << 8) | planes[2][at];
	};
}
