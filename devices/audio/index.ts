/** Devices that make or take sound. */
export { Ac97, type Ac97Options } from './ac97.ts';
export { PcSpeaker } from './pcspk.ts';
