/** Certificates for the TLS port: the operator's files, or one made for this run. */
import { constants, createPrivateKey, X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { isIP } from 'node:net';
import { createSecureContext, type SecureContext } from 'node:tls';
import { generate } from 'selfsigned';
import { TsvmError } from '../core/index.ts';

export interface TlsFiles {
	/** PEM files; without cert and key a certificate is made for this run. */
	readonly cert?: string;
	readonly key?: string;
	/** Certificate authority that signed `cert`, handed to clients; without one `cert` is its own. */
	readonly ca?: string;
}

export interface TlsIdentity {
	readonly context: SecureContext;
	/** PEM of what a client must trust. */
	readonly ca: string;
	/** The certificate's subject as remote-viewer's `host-subject` wants it: `O=tsvm,CN=localhost`. */
	readonly hostSubject: string;
}

const HALF_YEAR_MS = 183 * 24 * 3600 * 1000;

/** Throws TsvmError for files that are missing, unreadable or no pair. `host` is the address listened on. */
export async function loadTls(files: TlsFiles, host: string): Promise<TlsIdentity> {
	if (files.cert === undefined || files.key === undefined) return selfSigned(host);
	const [cert, key] = await Promise.all([readPem(files.cert), readPem(files.key)]);
	const ca = files.ca === undefined ? undefined : await readPem(files.ca);
	let parsed: X509Certificate;
	let matches: boolean;
	try {
		parsed = new X509Certificate(cert);
		matches = parsed.checkPrivateKey(createPrivateKey(key));
	} catch (error) {
		const message = `${files.cert} and ${files.key} are no certificate and key: ${(error as Error).message}`;
		throw new TsvmError('spice-tls', message, 'give PEM files, the key without a passphrase');
	}
	if (!matches) {
		const message = `${files.key} is not the key of ${files.cert}`;
		throw new TsvmError('spice-tls', message, 'give the pair that was made together');
	}
	return { context: secureContext(cert, key), ca: ca ?? cert, hostSubject: subjectOf(parsed) };
}

async function readPem(path: string): Promise<string> {
	try {
		return await readFile(path, 'utf8');
	} catch (error) {
		const message = `cannot read ${path}: ${(error as NodeJS.ErrnoException).code}`;
		throw new TsvmError('spice-tls', message, 'name a PEM file that this user may read');
	}
}

async function selfSigned(host: string): Promise<TlsIdentity> {
	const anywhere = host === '0.0.0.0' || host === '::' || host === '';
	const name = anywhere ? 'localhost' : host;
	const altNames = [...new Set(['localhost', '127.0.0.1', '::1', name])].map((entry) =>
		isIP(entry) ? ({ type: 7, ip: entry } as const) : ({ type: 2, value: entry } as const),
	);
	const pems = await generate(
		[
			{ name: 'organizationName', value: 'tsvm' },
			{ name: 'commonName', value: name },
		],
		{
			algorithm: 'sha256',
			keySize: 2048,
			// Clocks of client and server differ: valid since yesterday.
			notBeforeDate: new Date(Date.now() - 24 * 3600 * 1000),
			notAfterDate: new Date(Date.now() + HALF_YEAR_MS),
			extensions: [
				{ name: 'basicConstraints', cA: true, critical: true },
				{ name: 'keyUsage', digitalSignature: true, keyEncipherment: true, keyCertSign: true, critical: true },
				{ name: 'extKeyUsage', serverAuth: true },
				{ name: 'subjectAltName', altNames },
			],
		},
	);
	const hostSubject = subjectOf(new X509Certificate(pems.cert));
	return { context: secureContext(pems.cert, pems.private), ca: pems.cert, hostSubject };
}

/**
 * A handshake costs the server a private key's signature, and until TLS 1.2 a client may ask for one after another on a
 * connection that it has: one that nobody has let in yet would hold the machine's thread. No client of SPICE does.
 */
function secureContext(cert: string, key: string): SecureContext {
	const secureOptions = constants.SSL_OP_NO_RENEGOTIATION;
	return createSecureContext({ cert, key, minVersion: 'TLSv1.2', secureOptions });
}

/** Node gives one line a part, with commas escaped; clients want them on one line in the same order. */
function subjectOf(cert: X509Certificate): string {
	return cert.subject.split('\n').join(',');
}
