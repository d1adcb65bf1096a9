/** Numbers of the SPICE protocol that more than one channel needs: spice/enums.h and spice/protocol.h 0.14.3. */

/** enums.h, SPICE_CHANNEL_*. */
export const ChannelType = {
	main: 1,
	display: 2,
	inputs: 3,
	cursor: 4,
	playback: 5,
	record: 6,
	tunnel: 7,
	smartcard: 8,
	usbredir: 9,
	port: 10,
	webdav: 11,
} as const;
export type ChannelName = keyof typeof ChannelType;

const nameByType = new Map<number, string>(Object.entries(ChannelType).map(([name, type]) => [type, name]));

/** `display`, or `channel 77` for a number that has no name. */
export function channelName(type: number): string {
	return nameByType.get(type) ?? `channel ${type}`;
}

/** enums.h, SpiceLinkErr. */
export const LinkError = {
	ok: 0,
	error: 1,
	invalidMagic: 2,
	invalidData: 3,
	versionMismatch: 4,
	needSecured: 5,
	needUnsecured: 6,
	permissionDenied: 7,
	badConnectionId: 8,
	channelNotAvailable: 9,
} as const;
export type LinkError = (typeof LinkError)[keyof typeof LinkError];

/** protocol.h, SPICE_COMMON_CAP_*. */
export const CommonCap = { authSelection: 0, authSpice: 1, authSasl: 2, miniHeader: 3 } as const;
/** protocol.h, SPICE_MAIN_CAP_*. */
export const MainCap = { semiSeamlessMigrate: 0, nameAndUuid: 1, agentConnectedTokens: 2, seamlessMigrate: 3 } as const;
/** protocol.h, SPICE_INPUTS_CAP_*. */
export const InputsCap = { keyScancode: 0 } as const;

/** enums.h, SpiceMouseMode. */
export const MouseMode = { server: 1, client: 2 } as const;
export type MouseMode = (typeof MouseMode)[keyof typeof MouseMode];

/** enums.h, SpiceNotifySeverity and SpiceNotifyVisibility. */
export const NotifySeverity = { info: 0, warn: 1, error: 2 } as const;
export const NotifyVisibility = { low: 0, medium: 1, high: 2 } as const;
