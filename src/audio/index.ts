/** Sound on the host's side: the mixer between devices and back ends, and the back ends that are files. */
export type { CaptureInfo } from './capture.ts';
export { type AudioInfo, AudioMixer } from './mixer.ts';
export type { VoiceInfo } from './voice.ts';
export { WavFile } from './wav.ts';
