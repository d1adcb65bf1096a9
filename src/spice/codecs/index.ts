/** The typed face of native/. */
export * from './codecs.ts';
export { buildNative, ensureNative, native } from './native.ts';
