/** What a machine boots from: BIOS images, the fw_cfg items SeaBIOS reads, ACPI tables, direct kernel boot. */
export { type AcpiConfig, acpiFiles } from './acpi/index.ts';
export { bootPath, type FwCfgConfig, fwCfgContents } from './contents.ts';
export { type LinuxBoot, type LinuxOptions, loadLinux } from './linux/load.ts';
export {
	BIOS_FILE,
	FIRMWARE_FOLDERS,
	type FirmwareImages,
	type FirmwareOptions,
	findFirmware,
	VGA_BIOS_FILE,
} from './seabios.ts';
