/**
 * Large pages under PAE. A page directory entry's PS bit makes a 2 MiB page whatever CR4.PSE says (Intel SDM volume 3,
 * 4.4.2), but the core's page walk looks at CR4.PSE in both modes: a guest that turns on PAE alone, as memtest86+ does,
 * has its large pages taken for page tables. The walk gets the wider mask PSE | PAE; without PAE that is PSE alone.
 * WebAssembly Core Specification 1.0, 5.4 "Instructions".
 */

/** local.get cr4; i32.const 10h; i32.and; i32.eqz; br_if 0; local.get entry; i32.const 80h; i32.and; br_if 2 */
const WALK = [0x20, 8, 0x41, 0x10, 0x71, 0x45, 0x0d, 0, 0x20, 7, 0x41, 0x80, 1, 0x71, 0x0d, 2];
const MASK_AT = 3;
/** CR4.PSE | CR4.PAE, which is also its signed LEB128. */
const PSE_OR_PAE = 0x30;

/** A copy of the module in which PAE's large pages need no CR4.PSE. Throws when its page walk is not the known one. */
export function freeLargePages(module: Uint8Array): Uint8Array<ArrayBuffer> {
	const out = Buffer.from(module);
	const walk = Buffer.from(WALK);
	const at = out.indexOf(walk);
	if (at < 0 || out.indexOf(walk, at + 1) >= 0) throw new Error('its page walk is not the one that is known');
	out[at + MASK_AT] = PSE_OR_PAE;
	return out;
}
