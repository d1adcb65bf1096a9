/** The PIIX3's IDE function and the drives that go on its channels. */
export { AtapiCdrom, type AtapiCdromOptions } from './cdrom.ts';
export { AtaDisk, type AtaDiskOptions } from './disk.ts';
export { IdeDrive } from './drive.ts';
export type { Geometry } from './geometry.ts';
export type { DriveNames } from './identify.ts';
export { Piix3Ide, type Piix3IdeOptions } from './piix3-ide.ts';
