/** What drives of every bus share. */
export { BlockGuard } from './guard.ts';
