/** The keyboard controller and what hangs on it. */
export { I8042, type I8042Options } from './i8042.ts';
export { Ps2Keyboard } from './ps2-keyboard.ts';
export { Ps2Mouse } from './ps2-mouse.ts';
export { VmMouse, type VmMouseOptions } from './vmmouse.ts';
export { Vmport } from './vmport.ts';
