/** A guest of a few instructions that tells of a panic as soon as it runs. */
import { writeFileSync } from 'node:fs';

/** Makes `file` a BIOS that writes `events` to pvpanic's port, then does `more`, and halts. */
export function writePanickingBios(file: string, events = 1, more: readonly number[] = []): void {
	const image = new Uint8Array(64 << 10).fill(0xf4);
	// cli; mov dx, 505h; mov al, events; out dx, al; …; hlt; jmp to the hlt
	image.set([0xfa, 0xba, 0x05, 0x05, 0xb0, events, 0xee, ...more, 0xf4, 0xeb, 0xfd], 0xfff0);
	writeFileSync(file, image);
}

/** mov al, 6; mov dx, cf9h; out dx, al: the reset control register. */
export const RESET_CODE = [0xb0, 0x06, 0xba, 0xf9, 0x0c, 0xee];
