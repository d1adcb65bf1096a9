/** Opus packets in an Ogg file and out of one, for programs that know Opus as files only. RFC 3533, RFC 7845. */

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, n) => {
	let crc = n << 24;
	for (let bit = 0; bit < 8; bit++) crc = (crc << 1) ^ (crc < 0 ? 0x04c11db7 : 0);
	return crc;
});

function checksum(bytes: Uint8Array): number {
	let crc = 0;
	for (const byte of bytes) crc = (crc << 8) ^ CRC_TABLE[((crc >>> 24) ^ byte) & 0xff];
	return crc >>> 0;
}

/** One page with one packet of less than 64 KiB. */
function page(packet: Uint8Array, sequence: number, granule: number, flags: number): Buffer {
	const lacing = [...Array<number>(Math.floor(packet.length / 255)).fill(255), packet.length % 255];
	const header = Buffer.alloc(27 + lacing.length);
	header.write('OggS', 0, 'latin1');
	header[5] = flags;
	header.writeBigInt64LE(BigInt(granule), 6);
	header.writeUInt32LE(1, 14);
	header.writeUInt32LE(sequence, 18);
	header[26] = lacing.length;
	header.set(lacing, 27);
	const whole = Buffer.concat([header, packet]);
	whole.writeUInt32LE(checksum(whole), 22);
	return whole;
}

/** 48 kHz stereo; each packet holds `frames`. */
export function oggOpus(packets: readonly Uint8Array[], frames: number): Buffer {
	const head = Buffer.alloc(19);
	head.write('OpusHead', 0, 'latin1');
	head[8] = 1;
	head[9] = 2;
	head.writeUInt32LE(48000, 12);
	const tags = Buffer.concat([Buffer.from('OpusTags'), Buffer.alloc(8)]);
	const pages = packets.map((packet, n) => page(packet, n + 2, (n + 1) * frames, n === packets.length - 1 ? 4 : 0));
	return Buffer.concat([page(head, 0, 0, 2), page(tags, 1, 0, 0), ...pages]);
}

/** The packets of sound in an Ogg Opus file; throws on what is none. */
export function opusPackets(file: Uint8Array): Buffer[] {
	const bytes = Buffer.from(file);
	const packets: Buffer[] = [];
	let open: Buffer[] = [];
	for (let at = 0; at < bytes.length; ) {
		if (bytes.toString('latin1', at, at + 4) !== 'OggS') throw new Error(`no page at ${at}`);
		const lacing = bytes.subarray(at + 27, at + 27 + bytes[at + 26]);
		at += 27 + lacing.length;
		for (const size of lacing) {
			open.push(bytes.subarray(at, at + size));
			at += size;
			if (size === 255) continue;
			packets.push(Buffer.concat(open));
			open = [];
		}
	}
	if (packets[0]?.toString('latin1', 0, 8) !== 'OpusHead') throw new Error('no Opus');
	return packets.slice(2);
}
