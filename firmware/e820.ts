/** The memory map as fw_cfg's `etc/e820` gives it to SeaBIOS (QEMU hw/i386/e820_memory_layout.h). */

const E820_RAM = 1;
const ENTRY_SIZE = 20;

/** One entry: all RAM. SeaBIOS itself carves out the BIOS area and what it reserves at the top. */
export function e820(memory: number): Uint8Array {
	const out = new Uint8Array(ENTRY_SIZE);
	const view = new DataView(out.buffer);
	view.setBigUint64(0, 0n, true);
	view.setBigUint64(8, BigInt(memory), true);
	view.setUint32(16, E820_RAM, true);
	return out;
}
