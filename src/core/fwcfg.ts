/** What firmware finds behind the fw_cfg device: numbered items and named files. QEMU docs/specs/fw_cfg.rst. */

/** Selector keys, as qemu/include/standard-headers/linux/qemu_fw_cfg.h and hw/nvram/fw_cfg name them. */
export const fwCfgKey = {
	signature: 0x00,
	id: 0x01,
	uuid: 0x02,
	ramSize: 0x03,
	nographic: 0x04,
	nbCpus: 0x05,
	kernelAddr: 0x07,
	kernelSize: 0x08,
	initrdAddr: 0x0a,
	initrdSize: 0x0b,
	bootMenu: 0x0e,
	maxCpus: 0x0f,
	kernelEntry: 0x10,
	kernelData: 0x11,
	initrdData: 0x12,
	cmdlineAddr: 0x13,
	cmdlineSize: 0x14,
	cmdlineData: 0x15,
	setupAddr: 0x16,
	setupSize: 0x17,
	setupData: 0x18,
	fileDir: 0x19,
	fileFirst: 0x20,
	archLocal: 0x8000,
	irq0Override: 0x8002,
} as const;

/** Everything a machine's firmware is told. The device copies nothing: the bytes must not change afterwards. */
export interface FwCfgContents {
	/** Item bytes by selector key. Values wider than a byte are little-endian. */
	readonly items: ReadonlyMap<number, Uint8Array>;
	/** Files by name (at most 55 ASCII characters), in directory order. */
	readonly files: ReadonlyMap<string, Uint8Array>;
}
