/** Image formats that are not raw, by their first bytes: a guest would see the container instead of its disk. */
const MAGICS: readonly (readonly [format: string, offset: number, magic: string])[] = [
	['qcow2', 0, 'QFI\xfb'],
	['VMDK', 0, 'KDMV'],
	['VMDK', 0, '# Disk DescriptorFile'],
	['VDI', 64, '\x7f\x10\xda\xbe'],
	['VHDX', 0, 'vhdxfile'],
	['VHD', 0, 'conectix'],
	['QED', 0, 'QED\0'],
];

/** The name of the format that `head`, the first 512 bytes, belongs to; undefined for raw. */
export function foreignFormat(head: Uint8Array): string | undefined {
	const text = Buffer.from(head.buffer, head.byteOffset, head.length).toString('latin1');
	return MAGICS.find(([, offset, magic]) => text.startsWith(magic, offset))?.[0];
}
