/** The link stage: spice/protocol.h, SpiceLinkHeader to SpiceLinkEncryptedTicket. */
import { wire } from '../../core/index.ts';

const { fixedBytes, struct, u8, u32 } = wire;

/** "REDQ", read as a little-endian word. */
export const MAGIC = 0x51444552;
export const VERSION_MAJOR = 2;
export const VERSION_MINOR = 2;
/** DER SubjectPublicKeyInfo of an RSA-1024 key. */
export const PUBLIC_KEY_BYTES = 162;
/** One RSA-1024 block. */
export const TICKET_BYTES = 128;
export const MAX_PASSWORD_BYTES = 60;
/** What follows the header may not be longer; libspice-server has the same limit. */
export const MAX_LINK_MESSAGE = 4096;
export const MAX_CAPS = 1024;

export const LinkHeader = struct({ magic: u32, majorVersion: u32, minorVersion: u32, size: u32 });
export const LinkMess = struct({
	connectionId: u32,
	channelType: u8,
	channelId: u8,
	numCommonCaps: u32,
	numChannelCaps: u32,
	/** From the start of this struct. */
	capsOffset: u32,
});
export const LinkReply = struct({
	error: u32,
	publicKey: fixedBytes(PUBLIC_KEY_BYTES),
	numCommonCaps: u32,
	numChannelCaps: u32,
	capsOffset: u32,
});
/** Follows the client's capabilities when both sides have CommonCap.authSelection. */
export const AuthMechanism = struct({ authMechanism: u32 });
export const LinkResult = struct({ error: u32 });
