/** TLS: certificates, trust, and records that spice-gtk can read. */
import { X509Certificate } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect as connectTcp } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect as connectTls } from 'node:tls';
import test, { type ExecutionContext } from 'ava';
import { generate } from 'selfsigned';
import { TsvmError } from '../../src/core/index.ts';
import { ChannelType } from '../../src/spice/protocol/constants.ts';
import { loadTls } from '../../src/spice/tls.ts';
import { openStream, SpiceClient } from '../helpers/spice-client.ts';
import { serve, until } from './support.ts';

function folder(t: ExecutionContext): string {
	const path = mkdtempSync(join(tmpdir(), 'tsvm-tls-'));
	t.teardown(() => rmSync(path, { recursive: true }));
	return path;
}

test('a certificate made for the run is trusted through its own authority, by address and by name', async (t) => {
	const { server } = await serve(t, { port: undefined, tls: { port: 0 } });
	const { ca, hostSubject, port, tlsPort } = server.info();
	t.is(port, undefined);
	t.is(hostSubject, 'O=tsvm,CN=127.0.0.1');
	const client = await SpiceClient.connect({ port: tlsPort ?? 0, tls: { ca } });
	t.teardown(() => client.close());
	t.true(server.clients()[0].tls);
	const named = await openStream({ host: 'localhost', port: tlsPort ?? 0, tls: { ca } });
	named.destroy();
	const other = (await loadTls({}, '127.0.0.1')).ca;
	await t.throwsAsync(openStream({ port: tlsPort ?? 0, tls: { ca: other } }), { code: 'DEPTH_ZERO_SELF_SIGNED_CERT' });
	const certificate = new X509Certificate(ca ?? '');
	t.true(certificate.ca);
	t.true(Date.parse(certificate.validTo) > Date.now() + 90 * 24 * 3600 * 1000);
});

test('files of the operator are used, and their authority handed on', async (t) => {
	const dir = folder(t);
	const authority = await generate([{ name: 'commonName', value: 'Test CA' }], {
		extensions: [{ name: 'basicConstraints', cA: true }],
	});
	const pair = await generate(
		[
			{ name: 'organizationName', value: 'Foo Bar' },
			{ name: 'commonName', value: 'localhost' },
		],
		{ ca: { key: authority.private, cert: authority.cert }, algorithm: 'sha256' },
	);
	const files = { cert: join(dir, 'cert.pem'), key: join(dir, 'key.pem'), ca: join(dir, 'ca.pem') };
	writeFileSync(files.cert, pair.cert);
	writeFileSync(files.key, pair.private);
	writeFileSync(files.ca, authority.cert);
	const { server } = await serve(t, { port: undefined, tls: { port: 0, ...files } });
	const { ca, hostSubject, tlsPort } = server.info();
	t.is(hostSubject, 'O=Foo Bar,CN=localhost');
	t.is(ca, authority.cert);
	(await SpiceClient.connect({ host: 'localhost', port: tlsPort ?? 0, tls: { ca } })).close();

	const wrong = await generate([{ name: 'commonName', value: 'other' }]);
	const missing = join(dir, 'missing.pem');
	writeFileSync(join(dir, 'wrong.pem'), wrong.private);
	writeFileSync(join(dir, 'empty.pem'), '');
	for (const [broken, message] of [
		[{ ...files, key: join(dir, 'wrong.pem') }, /is not the key of/],
		[{ ...files, key: join(dir, 'empty.pem') }, /are no certificate and key/],
		[{ ...files, cert: files.key }, /are no certificate and key/],
		[{ ...files, cert: missing }, /cannot read .*missing.pem: ENOENT/],
		[{ ...files, ca: dir }, /cannot read .*: EISDIR/],
	] as const) {
		const error = await t.throwsAsync(loadTls(broken, 'localhost'), { instanceOf: TsvmError, message });
		t.not(error?.hint, '');
	}
});

test('no TLS record holds parts of two messages: spice-gtk would wait for more before it reads the second', async (t) => {
	const { server, display } = await serve(t, { port: undefined, tls: { port: 0 } });
	const client = await SpiceClient.connect({ port: server.tlsPort ?? 0, tls: {} });
	t.teardown(() => client.close());
	const channel = await client.open(ChannelType.display);
	await until(() => display.links.length === 1 && channel.received === 1, 'set_ack');
	// Node's client gives out one chunk a record.
	const chunks: number[] = [];
	channel.stream.on('data', (chunk: Buffer) => chunks.push(chunk.length));
	const sizes = [0, 10, 100_000, 5, 16_384, 7, 400_000, 1];
	for (const size of sizes)
		display.link.send(400, [Buffer.alloc(Math.floor(size / 3)), Buffer.alloc(size - Math.floor(size / 3))]);
	for (const _ of sizes) await channel.next(400);
	for (const size of sizes) {
		let fill = 0;
		while (fill < 6 + size) fill += chunks.shift() ?? Number.NaN;
		t.is(fill, 6 + size, 'a record ends where the message ends');
	}
	t.deepEqual(chunks, []);
});

test('speaking plainly to the TLS port ends that connection alone', async (t) => {
	const { server, warnings } = await serve(t, { port: undefined, tls: { port: 0 } }, { linkTimeoutMs: 300 });
	for (const bytes of ['REDQ plain', 'GET / HTTP/1.1\r\n\r\n', '\x16\x03\x01\xff\xff', '']) {
		const socket = connectTcp({ host: '127.0.0.1', port: server.tlsPort ?? 0 });
		socket.on('error', () => {});
		socket.resume();
		socket.write(bytes);
		await new Promise((resolve) => socket.on('close', resolve));
	}
	await until(() => warnings.length >= 3, 'the warnings');
	for (const warning of warnings) t.regex(warning, /^SPICE client .* refused: (TLS failed|did not finish)[^\n]*$/);
	(await SpiceClient.connect({ port: server.tlsPort ?? 0, tls: {} })).close();
});

test('old TLS versions are not spoken', async (t) => {
	const { server } = await serve(t, { port: undefined, tls: { port: 0 } });
	const options = { host: '127.0.0.1', port: server.tlsPort ?? 0, rejectUnauthorized: false };
	const old = { minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'ALL:@SECLEVEL=0' } as const;
	const outcome = await new Promise<string>((resolve) => {
		const socket = connectTls({ ...options, ...old }, () => resolve('connected'));
		socket.on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? ''));
	});
	t.is(outcome, 'ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION');
});

test('a connection has one handshake', async (t) => {
	const { server } = await serve(t, { port: undefined, tls: { port: 0 } });
	const options = { host: '127.0.0.1', port: server.tlsPort ?? 0, rejectUnauthorized: false };
	const outcome = await new Promise<string>((resolve) => {
		const socket = connectTls({ ...options, maxVersion: 'TLSv1.2' }, () =>
			socket.renegotiate({ rejectUnauthorized: false }, (error) => resolve(error === null ? 'done' : 'refused')),
		);
		socket.on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? ''));
		t.teardown(() => socket.destroy());
	});
	t.is(outcome, 'ERR_SSL_NO_RENEGOTIATION');
});
