export { Vga, type VgaParts } from './vga.ts';
