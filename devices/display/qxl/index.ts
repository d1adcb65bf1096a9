export type { QxlVgaParts, QxlVgaSizes } from './qxl-vga.ts';
export { QxlVga } from './qxl-vga.ts';
