/** The three kinds of error tsvm knows: an operator's mistake, a guest's, and a peer's on the wire. */

/** An operator mistake: printed as one line on stderr. `exitCode` 2 is wrong usage, 1 everything else. */
export class TsvmError extends Error {
	readonly code: string;
	readonly hint: string;
	readonly exitCode: 1 | 2;
	constructor(code: string, message: string, hint = '', exitCode: 1 | 2 = 1) {
		super(message);
		this.name = 'TsvmError';
		this.code = code;
		this.hint = hint;
		this.exitCode = exitCode;
	}
}

/** The guest named memory that it does not have. A device catches it and answers as hardware would. */
export class GuestFault extends Error {
	readonly address: number;
	readonly length: number;
	constructor(address: number, length: number, what = 'guest memory') {
		super(`${what}: ${length} bytes at 0x${address.toString(16)} are out of range`);
		this.name = 'GuestFault';
		this.address = address;
		this.length = length;
	}
}

/** Bytes that do not make the struct or message they claim to be. Closes the channel they came on. */
export class WireError extends Error {
	constructor(message: string) {
		super(message);
		this.name = 'WireError';
	}
}
