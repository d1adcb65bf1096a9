/**
 * What devices talk to on the host side. A device knows these few interfaces and nothing of SPICE, sockets or files;
 * a back end knows them and nothing of the device.
 */
import type { CursorShape, Drawable, Head, Rect, SurfaceFormat } from './drawable.ts';

/** Where a display adapter's pictures go. Calls are cheap and never block; they come in the guest's order. */
export interface DisplaySink {
	/**
	 * A surface begins; id 0 is the primary. `pixels`, if given, is its content (the sink takes ownership), else black.
	 * Creating an id that exists replaces it.
	 */
	surfaceCreate(surface: {
		readonly id: number;
		readonly width: number;
		readonly height: number;
		readonly format: SurfaceFormat;
		readonly pixels?: Uint8Array;
	}): void;
	surfaceDestroy(id: number): void;
	/** Drops every surface and the cursor: reset, or a switch between VGA and native mode. */
	reset(): void;
	draw(drawable: Drawable): void;
	cursorSet(shape: CursorShape, x: number, y: number, visible: boolean): void;
	cursorMove(x: number, y: number): void;
	cursorHide(): void;
	cursorTrail(length: number, frequency: number): void;
	monitorsConfig(maxAllowed: number, heads: readonly Head[]): void;
	/**
	 * Writes the pixels of `area` as drawn so far into `into`, in the surface's own format: the first row at byte `at`,
	 * `stride` bytes from a row to the next. False, with nothing written, if the surface does not exist or the area is
	 * empty or leaves it. For QXL's UPDATE_AREA.
	 */
	readSurface(id: number, area: Rect, into: Uint8Array, at: number, stride: number): boolean;
}

/** What a client asks of the display adapter; the machine hands it on to the device. */
export interface DisplayClientEvents {
	/** A client came (true) or the last one left; capabilities as in QXLRom.client_capabilities, 58 bytes. */
	clientPresent(present: boolean, capabilities: Uint8Array): void;
	/** The client's wish for heads; false if the guest's driver does not take it by interrupt (then the agent may). */
	clientMonitorsConfig(
		heads: readonly { readonly x: number; readonly y: number; readonly width: number; readonly height: number }[],
	): boolean;
}

/** Buttons as SPICE numbers them (spice.proto flags16 mouse_button_mask). */
export const MouseButton = { left: 1, middle: 2, right: 4, side: 32, extra: 64 } as const;

/** Input from a client to whatever device takes it. */
export interface InputEvents {
	/** PS/2 set-1 scan code bytes as typed: 0x1e, 0x9e, or 0xe0 0x48. */
	scancodes(codes: Uint8Array): void;
	/** Relative motion; `wheel` in clicks, down positive. Buttons are a MouseButton mask. */
	motion(dx: number, dy: number, wheel: number, buttons: number): void;
	/** Absolute position in the primary surface of width x height. */
	position(x: number, y: number, width: number, height: number, wheel: number, buttons: number): void;
	/** Whether an absolute pointer is there and the guest uses it. */
	readonly absolute: boolean;
	/** `absolute` or the keyboard LEDs changed. Returns the way to stop listening. */
	onChange(listener: () => void): () => void;
	/** Keyboard LEDs as SPICE numbers them: 1 scroll, 2 num, 4 caps. */
	readonly leds: number;
}

/** Characters across and down. */
export interface TerminalSize {
	readonly cols: number;
	readonly rows: number;
}

/** The host end of a byte stream from a serial port or a virtio port. */
export interface CharBackend {
	/**
	 * The guest's bytes, which are the back end's from now on. Returns how many were taken; the rest is offered again
	 * after `drained`.
	 */
	write(bytes: Uint8Array): number;
	/** Attaches the device end; one at a time. */
	attach(device: CharDevice): void;
	/** The device can take bytes again after `receive` took fewer than it was given. */
	ready?(): void;
	/** The guest opened or closed its end (virtio ports; serial ports by DTR). */
	guestOpen?(open: boolean): void;
	/** Of a terminal that has one, as it is now. */
	readonly size?: TerminalSize;
	close(): void;
}
/** The device end of a byte stream. */
export interface CharDevice {
	/** The host's bytes. Returns how many were taken; the device calls `ready` when it can take more. */
	receive(bytes: Uint8Array): number;
	/** The back end can take bytes again. */
	drained(): void;
	/** The host side came or went. */
	hostOpen?(open: boolean): void;
	/** The back end's `size` is another. */
	resized?(): void;
}

/**
 * A disk or CD image. A method that returns undefined has finished; a promise says it goes on, and rejects with an
 * Error that has a `code` on failure. Offsets and lengths are bytes, already checked against `size` by the device.
 */
export interface BlockImage {
	readonly size: number;
	readonly readOnly: boolean;
	/** Fills `into` from `offset`. */
	read(offset: number, into: Uint8Array): Promise<void> | undefined;
	/** Takes `from`; the caller keeps it unchanged until done. */
	write(offset: number, from: Uint8Array): Promise<void> | undefined;
	/** All writes finished before the call are on stable storage when it is done. */
	flush(): Promise<void> | undefined;
	/** The content is needed no more: the range reads as it was or as zeros. Absent where nothing comes of it. */
	discard?(offset: number, length: number): Promise<void> | undefined;
	/** What failed and waits for the operator is given up and fails: the guest has reset the drive. */
	cancelHeld?(): void;
	close(): Promise<void>;
}

/** Rate and channels that back ends for sound take and give: devices' own rates are converted on the way. */
export const HOST_AUDIO: AudioFormat = { rate: 48000, channels: 2 };

/**
 * Sound moves when machine time is a multiple of this, ns, and at no other time if it can: the host then wakes up once for
 * all devices and the mixer.
 */
export const AUDIO_TICK = 10e6;

/** The next instant after `now` at which sound moves, ns. */
export function nextAudioTick(now: number): number {
	return (Math.floor(now / AUDIO_TICK) + 1) * AUDIO_TICK;
}

/** Signed 16-bit samples, interleaved. */
export interface AudioFormat {
	/** Frames a second, 4000 .. 192000. */
	readonly rate: number;
	readonly channels: 1 | 2;
}

/** Amplitude factors: 1 leaves samples as they are, 0 is silence. */
export interface AudioVolume {
	readonly left: number;
	readonly right: number;
	readonly mute: boolean;
}

/** What is told of a back end for sound; counts are since it came. */
export interface AudioBackEndStats {
	/** Whom it serves, for people. */
	readonly name: string;
	/** Something plays or records through it now. */
	readonly active: boolean;
	/** Frames that it passed on. */
	readonly frames: number;
	/** Times that it had nothing to pass on when it should have. */
	readonly underruns: number;
	/** Times that it lost something for want of room. */
	readonly overruns: number;
	/** What waits in it now, ms. */
	readonly buffered: number;
}

/**
 * Where sound goes: what a device plays into, and what a back end is. Calls are cheap and never block. Between start
 * and stop frames come at the pace of the machine's clock, a few milliseconds at a time.
 */
export interface AudioSink {
	/** Sound begins, or goes on in another format. A back end is only ever given HOST_AUDIO. */
	start(format: AudioFormat): void;
	/** Whole frames; the sink copies what it keeps. */
	write(samples: Int16Array): void;
	/** No more frames for now; what was written is still heard. */
	stop(): void;
	/** A back end with this applies it by itself; without, it gets samples with the volume already in them. */
	volume?(volume: AudioVolume): void;
	/** How long until a frame written now is heard, ns; 0 where that means nothing. */
	readonly latency: number;
	stats?(): AudioBackEndStats;
}

/** Where sound comes from: what a device records from, and what a back end is. */
export interface AudioSource {
	/** Somebody records, or goes on in another format. A back end is only ever asked for HOST_AUDIO. */
	start(format: AudioFormat): void;
	/** Fills whole frames of what has come in since; returns how many frames. Never waits. */
	read(into: Int16Array): number;
	stop(): void;
	/** A back end with this applies it by itself; without, its samples are changed on their way. */
	volume?(volume: AudioVolume): void;
	stats?(): AudioBackEndStats;
}
