/**
 * Display channel: shows one client the primary surface. Operations wait in PendingOps until the link takes more;
 * images are encoded on the way, small ones at once, large ones on other threads, and leave in the order in which
 * they were drawn.
 */
import { BitmapFormat, Ropd, SurfaceFormat } from '../../core/index.ts';
import { CapSet } from '../caps.ts';
import type { ChannelBehaviour, ChannelFactory, ChannelLink } from '../channel.ts';
import { type CodecName, encodeLater, encodeNow, type Pixels } from '../codecs/index.ts';
import type { Canvas } from '../display/canvas.ts';
import type { Display } from '../display/display.ts';
import type { ClientOp, CopyOp, FillOp, ImageOp } from '../display/ops.ts';
import { type ClientAbilities, ImageCompression, select } from '../display/select.ts';
import { type PendingOp, PendingOps } from '../display/tree.ts';
import {
	BitmapFlag,
	DisplayCap,
	ImageType,
	display as protocol,
	ScaleMode,
	SurfaceFlag,
	type WireImage,
} from '../protocol/display.ts';
import { receiver, type Sender, sender } from '../protocol/kit.ts';

/** What this server can do, for the link reply. */
const serverCaps = CapSet.of(DisplayCap.monitorsConfig, DisplayCap.prefCompression);

/** Capabilities that invite a guest to use operations which the server's canvas does not execute. */
const notForGuests = CapSet.of(DisplayCap.composite, DisplayCap.a8Surface);

/**
 * What the guest's driver is told of a client (QXLRom.client_capabilities, bits from bit 0 on): it draws for the server,
 * which draws for the client, so it must not be invited to more than the server can.
 */
export function guestCapabilities(client: Uint8Array): Uint8Array {
	const hidden = notForGuests.bytes(client.length);
	return client.map((byte, i) => byte & ~hidden[i]);
}

/** Makes display channels that show `source`. */
export function createDisplayChannel(source: Display): ChannelFactory {
	return Object.assign((link: ChannelLink) => new DisplayChannel(link, source), { caps: serverCaps });
}

/** Up to this many pixels encoding here takes less time than the way to another thread and back. */
const SMALL_PIXELS = 32 * 1024;
/** Messages being made at a time: enough for a whole screen in bands. */
const MAX_IN_FLIGHT = 8;

const codecType: Record<CodecName, number> = { quic: ImageType.quic, lz: ImageType.lzRgb, lz4: ImageType.lz4 };
const noMask = { flags: 0, pos: { x: 0, y: 0 }, bitmap: null };
const noClip = { type: 'none' } as const;

/** A message that is being made; `send` is there once it may go. */
interface Slot {
	send: (() => void) | undefined;
}

class DisplayChannel implements ChannelBehaviour {
	readonly receive: (type: number, body: Uint8Array) => void;
	readonly #link: ChannelLink;
	readonly #source: Display;
	readonly #send: Sender<typeof protocol.server>;
	readonly #pending = new PendingOps();
	readonly #abilities: { -readonly [K in keyof ClientAbilities]: ClientAbilities[K] };
	#stop: (() => void) | undefined;
	#closed = false;

	/** Messages in the order in which they must leave. */
	readonly #slots: Slot[] = [];
	#scheduled = false;
	#imageId = 0n;

	constructor(link: ChannelLink, source: Display) {
		this.#link = link;
		this.#source = source;
		this.#send = sender(link, protocol.server);
		this.#abilities = {
			lz4: link.caps.has(DisplayCap.lz4Compression),
			// Clients without heads are spice-html5 and its kin.
			slowDecoder: !link.caps.has(DisplayCap.monitorsConfig),
			preferred: ImageCompression.autoGlz,
		};
		this.receive = receiver(protocol.client, {
			init: () => this.#begin(),
			preferredCompression: ({ imageCompression }) => {
				const known = Object.values(ImageCompression).find((value) => value === imageCompression);
				if (known !== undefined) this.#abilities.preferred = known;
			},
		});
		link.onWritable = () => this.#pull();
	}

	closed(): void {
		this.#closed = true;
		this.#stop?.();
		this.#stop = undefined;
		this.#slots.length = 0;
	}

	#begin(): void {
		if (this.#stop !== undefined) return;
		this.#stop = this.#source.listen({
			created: (canvas) => this.#create(canvas),
			destroyed: () => {
				this.#pending.destroy();
				this.#schedule();
			},
			drawn: (ops) => this.#drawn(ops),
			monitors: () => {
				this.#monitors();
				this.#schedule();
			},
		});
		this.#send.invalAllPalettes();
		const { primary } = this.#source;
		if (primary !== undefined) this.#create(primary);
	}

	/** A surface as a client wants it: its whole picture, then the heads, then the word that it may be shown. */
	#create(canvas: Canvas): void {
		this.#pending.create(canvas);
		this.#monitors();
		this.#pending.control({ kind: 'mark' });
		this.#schedule();
	}

	#monitors(): void {
		const { maxAllowed, heads } = this.#source.monitors;
		if (heads.length === 0 || !this.#link.caps.has(DisplayCap.monitorsConfig)) return;
		this.#pending.control({ kind: 'monitors', maxAllowed, heads });
	}

	#drawn(ops: readonly ClientOp[]): void {
		for (const op of ops) this.#pending.add(op);
		this.#schedule();
	}

	/** What one turn draws is looked at together, so that later operations can hide earlier ones. */
	#schedule(): void {
		if (this.#scheduled || this.#closed) return;
		this.#scheduled = true;
		queueMicrotask(() => {
			this.#scheduled = false;
			this.#pull();
		});
	}

	/** Takes operations while the link has room, and sends whatever is ready. */
	#pull(): void {
		while (!this.#closed && this.#link.writable && this.#slots.length < MAX_IN_FLIGHT) {
			const op = this.#pending.next();
			if (op === undefined) return;
			const slot: Slot = { send: undefined };
			this.#slots.push(slot);
			this.#make(op, slot);
			this.#flush();
		}
	}

	#flush(): void {
		while (!this.#closed && this.#slots.length > 0) {
			const { send } = this.#slots[0];
			if (send === undefined) return;
			this.#slots.shift();
			send();
		}
	}

	#make(op: PendingOp, slot: Slot): void {
		switch (op.kind) {
			case 'fill':
				slot.send = () => this.#fill(op);
				return;
			case 'copy':
				slot.send = () => this.#copy(op);
				return;
			case 'image':
				this.#encode(op, slot);
				return;
			case 'create':
				slot.send = () =>
					this.#send.surfaceCreate({
						surfaceId: 0,
						width: op.width,
						height: op.height,
						format: SurfaceFormat.xrgb32,
						flags: SurfaceFlag.primary,
					});
				return;
			case 'destroy':
				slot.send = () => this.#send.surfaceDestroy({ surfaceId: 0 });
				return;
			case 'monitors':
				slot.send = () =>
					this.#send.monitorsConfig({ count: op.heads.length, maxAllowed: op.maxAllowed, heads: [...op.heads] });
				return;
			case 'mark':
				slot.send = () => this.#send.mark();
				return;
		}
	}

	#fill({ rect, color }: FillOp): void {
		this.#send.drawFill({
			base: { surfaceId: 0, box: rect, clip: noClip },
			brush: { type: 'solid', color },
			rop: Ropd.put,
			mask: noMask,
		});
	}

	#copy({ rect, dx, dy }: CopyOp): void {
		this.#send.copyBits({
			base: { surfaceId: 0, box: rect, clip: noClip },
			srcPos: { x: rect.left + dx, y: rect.top + dy },
		});
	}

	#encode(op: ImageOp, slot: Slot): void {
		const { pixels } = op;
		const codec = select(pixels, this.#abilities);
		if (codec === undefined) {
			slot.send = () => this.#image(op, this.#rawImage(pixels));
		} else if (pixels.width * pixels.height <= SMALL_PIXELS) {
			const data = encodeNow(codec, pixels);
			slot.send = () => this.#image(op, this.#compressedImage(pixels, codec, data));
		} else {
			encodeLater(codec, pixels).then(
				(data) => this.#ready(slot, () => this.#image(op, this.#compressedImage(pixels, codec, data))),
				(error: unknown) => {
					this.#link.session.warn(`${codec} failed, sending plain pixels: ${error}`);
					this.#ready(slot, () => this.#image(op, this.#rawImage(pixels)));
				},
			);
		}
	}

	#ready(slot: Slot, send: () => void): void {
		slot.send = send;
		this.#flush();
		this.#pull();
	}

	#image({ rect }: ImageOp, src: WireImage): void {
		const { width, height } = src.descriptor;
		this.#send.drawCopy({
			base: { surfaceId: 0, box: rect, clip: noClip },
			src,
			srcArea: { top: 0, left: 0, bottom: height, right: width },
			rop: Ropd.put,
			scaleMode: ScaleMode.interpolate,
			mask: noMask,
		});
	}

	#compressedImage(pixels: Pixels, codec: CodecName, data: Uint8Array): WireImage {
		return { descriptor: this.#descriptor(codecType[codec], pixels), data };
	}

	#rawImage(pixels: Pixels): WireImage {
		const { width, height } = pixels;
		const descriptor = this.#descriptor(ImageType.bitmap, pixels);
		const stride = width * 4;
		const flags = BitmapFlag.topDown;
		const bitmap = { format: BitmapFormat.xrgb32, flags, x: width, y: height, stride, palette: null };
		return { descriptor, bitmap, data: packed(pixels) };
	}

	#descriptor(type: number, { width, height }: Pixels) {
		return { id: ++this.#imageId, type, flags: 0, width, height };
	}
}

/** The rows without what lies between them. */
function packed({ width, height, stride, data }: Pixels): Uint8Array {
	const row = width * 4;
	if (stride === row) return data.subarray(0, row * height);
	const out = new Uint8Array(row * height);
	for (let y = 0; y < height; y++) out.set(data.subarray(y * stride, y * stride + row), y * row);
	return out;
}
