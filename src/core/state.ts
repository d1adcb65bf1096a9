/** What a device saves: plain values only, so that any encoder can carry them and any reader can look at them. */
export type StateValue =
	| number
	| bigint
	| string
	| boolean
	| null
	| Uint8Array
	| StateValue[]
	| { [key: string]: StateValue | undefined };

/** One device's saved state. A restore refuses a `version` it does not know. */
export interface DeviceState {
	readonly version: number;
	readonly [key: string]: StateValue | undefined;
}

/** Refuses a state of another version, in one line that names the device. */
export function checkVersion(device: string, state: DeviceState, version: number): void {
	if (state.version !== version)
		throw new Error(`${device}: saved state has version ${state.version}, this tsvm reads ${version}`);
}
