/** What the two sound channels share: spice.proto, audio_data_mode and audio_fmt; the packets that both sides make. */
import { HOST_AUDIO, wire } from '../../core/index.ts';

const { array, struct, u8, u16 } = wire;

/** enums.h, SpiceAudioDataMode. CELT is gone from every program of today. */
export const AudioDataMode = { raw: 1, celt: 2, opus: 3 } as const;
export type AudioDataMode = (typeof AudioDataMode)[keyof typeof AudioDataMode];

/** enums.h, SpiceAudioFmt. */
export const AUDIO_FMT_S16 = 1;

/** Frames of one packet: 10 ms, what libspice-server and spice-gtk send. */
export const PACKET_FRAMES = HOST_AUDIO.rate / 100;

/** One number a speaker, 65535 full. */
export const Volume = struct({ volume: array(u8, u16) });
export const Mute = struct({ mute: u8 });
