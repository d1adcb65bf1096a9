/** Opus (RFC 6716) in the form that the sound channels use: HOST_AUDIO, one packet at a time. */
import { HOST_AUDIO } from '../../core/index.ts';
import { native } from './native.ts';

export interface OpusEncoder {
	/** One packet of 2.5, 5, 10, 20, 40 or 60 ms; throws for another length. About 0.1 ms of work for 10 ms. */
	encode(samples: Int16Array): Uint8Array;
}

export interface OpusDecoder {
	/** Frames that the packet held, now at the start of `into`; undefined if it is no packet or does not fit. */
	decode(packet: Uint8Array, into: Int16Array): number | undefined;
}

/** Whether the addon was built with libopus. */
export function haveOpus(): boolean {
	return native().addon?.OpusEncoder !== undefined;
}

/** `bitrate` in bits a second. Throws if haveOpus() is false. */
export function opusEncoder(bitrate: number): OpusEncoder {
	const { OpusEncoder } = classes();
	return new OpusEncoder(HOST_AUDIO.rate, HOST_AUDIO.channels, bitrate);
}

/** Throws if haveOpus() is false. */
export function opusDecoder(): OpusDecoder {
	const { OpusDecoder } = classes();
	return new OpusDecoder(HOST_AUDIO.rate, HOST_AUDIO.channels);
}

function classes() {
	const { addon } = native();
	if (addon?.OpusEncoder === undefined || addon.OpusDecoder === undefined) throw new Error('built without Opus');
	return { OpusEncoder: addon.OpusEncoder, OpusDecoder: addon.OpusDecoder };
}
