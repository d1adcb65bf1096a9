/** The memory map as fw_cfg's `etc/e820` gives it to SeaBIOS (QEMU hw/i386/e820_memory_layout.h). */

const E820_RAM = 1;
const E820_RESERVED = 2;
const ENTRY_SIZE = 20;

/** RAM, and what is taken behind it. SeaBIOS itself carves out the BIOS area and what it reserves at the top of RAM. */
export function e820(memory: number, taken: number): Uint8Array {
	const entries = [[0, memory, E820_RAM]];
	if (taken > 0) entries.push([memory, taken, E820_RESERVED]);
	const out = new Uint8Array(entries.length * ENTRY_SIZE);
	const view = new DataView(out.buffer);
	for (const [i, [start, length, type]] of entries.entries()) {
		view.setBigUint64(i * ENTRY_SIZE, BigInt(start), true);
		view.setBigUint64(i * ENTRY_SIZE + 8, BigInt(length), true);
		view.setUint32(i * ENTRY_SIZE + 16, type, true);
	}
	return out;
}
