/** A guest that means harm, as a disk image: guest.c and its boot sector, built with the host's gcc for bare metal. */
import { execFileSync } from 'node:child_process';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const SECTOR = 512;
/** What the BIOS reads in one go at most (Phoenix EDD 1.1, INT 13h AH=42h). */
const MOST_SECTORS = 127;
const DISK_BYTES = 1 << 20;
const source = join(fileURLToPath(new URL('.', import.meta.url)), '../../../../test/helpers/harm');

/** Writes the image to `path`; throws when gcc cannot build for 32 bits. */
export function makeHarmDisk(path: string): void {
	const part = `${path}.part`;
	const compile = (...args: readonly string[]): Buffer => {
		const flags = ['-m32', '-nostdlib', '-static', '-Wl,--oformat=binary', '-Wl,--build-id=none', '-o', part];
		execFileSync('gcc', [...flags, ...args]);
		return readFileSync(part);
	};
	const freestanding = ['-march=pentium3', '-mno-sse', '-Os', '-ffreestanding', '-fno-pic', '-fno-stack-protector'];
	const guest = compile(...freestanding, `-Wl,-T,${join(source, 'guest.ld')}`, join(source, 'guest.c'));
	const sectors = Math.ceil(guest.length / SECTOR);
	if (sectors > MOST_SECTORS) throw new Error(`the guest has ${sectors} sectors, its boot sector reads 127`);
	const boot = compile(`-DSECTORS=${sectors}`, '-Wl,-Ttext=0x7c00', '-Wl,-e,_start', join(source, 'boot.S'));
	rmSync(part);
	writeFileSync(path, Buffer.concat([boot, guest], DISK_BYTES));
}
