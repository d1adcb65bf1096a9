/** Hostile web clients on the SPICE port: HTTP heads of anything, and a WebSocket that is pinged and never read. */
import { connect } from 'node:net';
import test from 'ava';
import fc from 'fast-check';
import { SpiceClient } from '../helpers/spice-client.ts';
import { serve, until } from '../spice/support.ts';

const UPGRADE = [
	'Host: 127.0.0.1',
	'Upgrade: websocket',
	'Connection: Upgrade',
	'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
	'Sec-WebSocket-Version: 13',
];
const HEADERS = [
	...UPGRADE,
	...['Host: a', 'Host: [::1]:9', 'Upgrade: h2c', 'Upgrade: websocket, foo', 'Connection: keep-alive, Upgrade'],
	...['Connection: close', 'Sec-WebSocket-Key: x', 'Sec-WebSocket-Version: 99', 'Sec-WebSocket-Protocol: binary'],
	...['Sec-WebSocket-Protocol: ,,', 'Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits'],
	...['Sec-WebSocket-Extensions: ;;;=', 'Origin: http://evil', 'Origin: null', 'Origin: http://localhost'],
	...['Expect: 100-continue', 'Expect: foo', 'Transfer-Encoding: chunked', 'Content-Length: 5', 'Content-Length: -1'],
	...[`X: ${'y'.repeat(20_000)}`, 'HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA'],
];

/** Sends `bytes` and hangs up once the server answers, or after a while. */
function send(port: number, bytes: Uint8Array): Promise<void> {
	return new Promise((resolve) => {
		const socket = connect(port, '127.0.0.1');
		socket.on('error', () => {});
		socket.on('close', () => resolve());
		socket.once('data', () => socket.destroy());
		socket.write(bytes);
		setTimeout(() => socket.destroy(), 20);
	});
}

test.serial('HTTP heads of anything: the server serves the next client', async (t) => {
	const { port, server } = await serve(t, {}, { linkTimeoutMs: 500 });
	const target = fc.constantFrom('/', '*', 'http://a/b', `/${'a'.repeat(9000)}`);
	const version = fc.constantFrom('1.1', '1.0', '0.9', '2.0');
	const lines = fc.oneof(fc.array(fc.constantFrom(...HEADERS), { maxLength: 10 }), fc.constant(UPGRADE));
	const rest = fc.oneof(
		fc.uint8Array({ maxLength: 200 }),
		fc.constantFrom('CONNECT a:1 HTTP/1.1\r\n\r\n', 'GET / HTTP/1.1\r\n\r\n', '0\r\n\r\n').map((s) => Buffer.from(s)),
	);
	await fc.assert(
		fc.asyncProperty(target, version, lines, rest, async (path, http, headers, tail) => {
			const head = [`GET ${path} HTTP/${http}`, ...headers, '', ''].join('\r\n');
			await send(port, Buffer.concat([Buffer.from(head), tail]));
		}),
		{ numRuns: 150 },
	);
	for (const webSocket of [false, true]) {
		const client = await SpiceClient.connect({ port, webSocket });
		t.true(client.main.open);
		client.close();
	}
	await until(() => server.clients().length === 0, 'the end');
});

test.serial(
	'a WebSocket that is pinged without end and never read is cut off, and costs little until then',
	async (t) => {
		const { port } = await serve(t, {}, { linkTimeoutMs: 2000 });
		const socket = connect(port, '127.0.0.1');
		let closed = false;
		socket.on('error', () => {});
		socket.on('close', () => {
			closed = true;
		});
		socket.write(`GET / HTTP/1.1\r\n${UPGRADE.join('\r\n')}\r\n\r\n`);
		await new Promise((resolve) => socket.once('data', resolve));
		socket.pause();
		const ping = Buffer.alloc(6 + 125);
		ping[0] = 0x89;
		ping[1] = 0x80 | 125;
		const block = Buffer.concat(new Array<Buffer>(500).fill(ping));
		const before = process.memoryUsage();
		while (!closed) {
			if (!socket.write(block))
				await new Promise((resolve) => {
					socket.once('drain', resolve);
					socket.once('close', resolve);
				});
			await new Promise((resolve) => setImmediate(resolve));
		}
		const after = process.memoryUsage();
		const grown = (after.external + after.arrayBuffers - before.external - before.arrayBuffers) / 2 ** 20;
		t.true(grown < 64, `${grown.toFixed(0)} MiB`);
		(await SpiceClient.connect({ port })).close();
	},
);
