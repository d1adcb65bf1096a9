/** The kit that every device is made of. */
export * from './clock.ts';
export * from './device.ts';
export * from './drawable.ts';
export * from './endpoints.ts';
export * from './errors.ts';
export * from './fwcfg.ts';
export * from './msix.ts';
export * from './pci.ts';
export * from './registers.ts';
export * from './state.ts';
export * from './trace.ts';
export * as wire from './wire.ts';
export { type Codec, decode, encode, type Infer, WireReader, WireWriter } from './wire.ts';
