/** ACPI tables for the board, as files for fw_cfg. */
export type { AcpiConfig } from './dsdt.ts';
export { acpiFiles } from './tables.ts';
