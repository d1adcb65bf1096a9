export { type BalloonOptions, type BalloonStatistics, STATISTICS, VirtioBalloon } from './balloon.ts';
export { type BlkOptions, VirtioBlk } from './blk.ts';
export { VirtioKeyboard } from './keyboard.ts';
export { VirtioPci, type VirtioPciOptions } from './pci.ts';
export { VirtioRng } from './rng.ts';
export { type SerialOptions, type SerialPortOptions, VirtioSerial } from './serial.ts';
export { VirtioTablet } from './tablet.ts';
export type { VirtioModel } from './virtio.ts';
