/** How to reach a machine's SPICE server: the text for people, and the connection file for remote-viewer. */
import { writeFile } from 'node:fs/promises';
import { TsvmError } from '../core/index.ts';
import type { MachineConfig } from '../machine/config.ts';
import type { SpiceInfo } from '../machine/control.ts';

export interface Connection {
	readonly title: string;
	readonly info: SpiceInfo;
	readonly config: NonNullable<MachineConfig['spice']>;
	/** The connection file that was written. */
	readonly vv?: string;
}

/** The block that `tsvm run` prints once clients can connect. */
export function connectText({ title, info, config, vv }: Connection): string {
	const host = clientHost(info.host);
	const lines = [`${title} is running; to see it:`, ''];
	// A TLS client must be told whom to trust, which only the file can do.
	const direct = info.port !== undefined && config.secureChannels.length === 0;
	if (vv !== undefined) lines.push(`    remote-viewer ${vv}`);
	if (direct) lines.push(`    remote-viewer spice://${urlHost(host)}:${info.port}`);
	if (lines.length === 2) lines.push('    start it with --vv FILE, then: remote-viewer FILE');
	lines.push('');
	if (info.auth === 'spice') {
		if (vv === undefined) lines.push('The viewer asks for the password.');
	} else if (!isLocal(info.host))
		lines.push('Anybody who reaches this port may connect: --password PASSWORD asks for one.');
	if (info.tlsPort !== undefined) lines.push(`TLS is on port ${info.tlsPort}.`);
	lines.push('Ctrl-C ends it.');
	return lines.join('\n');
}

/** remote-viewer(1), "CONNECTION FILE". */
export function viewerFile({ title, info, config }: Omit<Connection, 'vv'>): string {
	const lines = ['[virt-viewer]', 'type=spice', `title=${escapeValue(title)}`, `host=${clientHost(info.host)}`];
	if (info.port !== undefined) lines.push(`port=${info.port}`);
	if (config.password !== undefined) lines.push(`password=${escapeValue(config.password)}`);
	if (info.tlsPort !== undefined) {
		lines.push(`tls-port=${info.tlsPort}`);
		if (info.ca !== undefined) lines.push(`ca=${escapeValue(info.ca)}`);
		if (info.hostSubject !== undefined) lines.push(`host-subject=${escapeValue(info.hostSubject)}`);
		const secure = info.port === undefined ? ['all'] : config.secureChannels;
		if (secure.length > 0) lines.push(`secure-channels=${secure.join(';')}`);
	}
	lines.push('delete-this-file=0');
	return `${lines.join('\n')}\n`;
}

/** Writes the file for its owner only, as it may hold the password. Throws TsvmError. */
export async function writeViewerFile(path: string, connection: Omit<Connection, 'vv'>): Promise<void> {
	try {
		await writeFile(path, viewerFile(connection), { mode: 0o600 });
	} catch (error) {
		throw new TsvmError('vv', `cannot write ${path}: ${(error as Error).message}`, 'check the path given with --vv');
	}
}

/** What a client on this host connects to when the server listens everywhere. */
function clientHost(host: string): string {
	if (host === '0.0.0.0' || host === '') return '127.0.0.1';
	return host === '::' ? '::1' : host;
}

function urlHost(host: string): string {
	return host.includes(':') ? `[${host}]` : host;
}

function isLocal(host: string): boolean {
	return host === 'localhost' || host === '::1' || host.startsWith('127.');
}

/** GKeyFile's escapes. */
function escapeValue(text: string): string {
	const body = text.replaceAll('\\', '\\\\').replaceAll('\n', '\\n').replaceAll('\r', '\\r').replaceAll('\t', '\\t');
	return body.replace(/^ +/, (spaces) => '\\s'.repeat(spaces.length));
}
