/** WebSocket clients on the SPICE ports. */
import { get, type IncomingMessage, request } from 'node:http';
import test from 'ava';
import { WebSocket } from 'ws';
import { ChannelType } from '../../src/spice/protocol/constants.ts';
import { pageIsNear } from '../../src/spice/websocket.ts';
import { openStream, SpiceClient } from '../helpers/spice-client.ts';
import { serve, until } from './support.ts';

for (const [name, webSocket] of [
	['the binary subprotocol', 'binary'],
	['no subprotocol', true],
] as const) {
	test(`a session through WebSockets with ${name}`, async (t) => {
		const { port, display, server } = await serve(t, { password: 'secret' });
		const client = await SpiceClient.connect({ port, webSocket, password: 'secret' });
		t.teardown(() => client.close());
		const channel = await client.open(ChannelType.display);
		await until(() => display.links.length === 1, 'the channel');
		display.link.send(400, [Buffer.alloc(3_000_000, 5)]);
		display.link.send(401, []);
		const large = await channel.next(400);
		t.true(large.body.length === 3_000_000 && large.body.every((byte) => byte === 5));
		await channel.next(401);
		channel.send(300, [Buffer.alloc(60_000, 6)]);
		await until(() => display.messages.length === 1, 'the message');
		t.is(display.messages[0].body.length, 60_000);
		client.close();
		await until(() => server.clients().length === 0, 'the end');
		t.is(display.closed, 1);
	});
}

test('WebSockets work over TLS too', async (t) => {
	const { server } = await serve(t, { port: undefined, tls: { port: 0 } });
	const { ca, tlsPort } = server.info();
	const client = await SpiceClient.connect({ port: tlsPort ?? 0, tls: { ca }, webSocket: 'binary' });
	t.true(server.clients()[0].tls);
	client.close();
	await until(() => server.clients().length === 0, 'the end');
});

test('the server ends a WebSocket session as it ends others', async (t) => {
	const { port, server } = await serve(t);
	const client = await SpiceClient.connect({ port, webSocket: true });
	const next = await SpiceClient.connect({ port });
	t.teardown(() => next.close());
	await client.main.closed;
	t.is(server.clients().length, 1);
});

test('a browser that asks for a page is told what this is', async (t) => {
	const { port, warnings } = await serve(t);
	const response = await new Promise<IncomingMessage>((resolve) => get({ port, path: '/' }, resolve));
	response.resume();
	t.is(response.statusCode, 426);
	t.is(warnings.length, 1);
});

test('requests that are no requests, half requests and other methods end', async (t) => {
	const { port, warnings } = await serve(t, {}, { linkTimeoutMs: 500 });
	for (const bytes of [
		'GET ',
		'GET / HTTP/1.1\r\nUpgrade: webso',
		'GET \0\0\0\r\n\r\n',
		`GET /${'x'.repeat(50_000)}`,
		'POST / HTTP/1.1\r\n\r\n',
	]) {
		const stream = await openStream({ port });
		stream.on('error', () => {});
		stream.resume();
		stream.write(bytes);
		await new Promise((resolve) => stream.on('close', resolve));
	}
	t.true(warnings.length > 0);
	(await SpiceClient.connect({ port })).close();
});

test('an upgrade to something else is refused', async (t) => {
	const { port } = await serve(t);
	const status = await new Promise((resolve) => {
		const req = request({ port, headers: { connection: 'upgrade', upgrade: 'h2c' } });
		req.on('response', (response) => resolve(response.statusCode));
		req.on('upgrade', () => resolve('upgraded'));
		req.on('error', (error) => resolve(error.message));
		req.end();
	});
	t.is(status, 400);
});

/** Whether a page from `origin` that reached the server as `host` gets a WebSocket. */
function openPage(port: number, origin: string, host = '127.0.0.1'): Promise<boolean> {
	return new Promise((resolve) => {
		const headers = { host: `${host}:${port}` };
		const socket = new WebSocket(`ws://127.0.0.1:${port}/`, 'binary', { origin, headers });
		socket.on('open', () => {
			socket.terminate();
			resolve(true);
		});
		socket.on('error', () => resolve(false));
	});
}

test('without a password, pages from elsewhere get no screen', async (t) => {
	const { port, warnings, server } = await serve(t);
	t.false(await openPage(port, 'https://evil.example'));
	t.regex(warnings[0], /a page from https:\/\/evil\.example asked 127\.0\.0\.1:\d+ for the screen; see --web-host/);
	t.false(await openPage(port, 'null'));
	t.true(await openPage(port, 'http://localhost:8000'));
	t.true(await openPage(port, 'file://'));
	server.setPassword('secret');
	t.true(await openPage(port, 'https://evil.example'), 'with a password it is the password that decides');
});

test('a page whose name leads here gets no screen, unless the operator gave that name', async (t) => {
	const { port } = await serve(t, { webHosts: ['Box.lan'] });
	t.false(await openPage(port, 'http://evil.example', 'evil.example'));
	t.false(await openPage(port, 'file://', 'evil.example'));
	t.false(await openPage(port, 'http://localhost', 'evil.example'));
	t.false(await openPage(port, 'http://evil.example', 'box.lan'));
	t.true(await openPage(port, 'http://box.lan:8080', 'box.lan'));
	t.true(await openPage(port, 'http://localhost:8000', 'box.lan'));
});

test('near pages', (t) => {
	const near = (origin: string | undefined, host: string | undefined, address = '10.0.0.5') =>
		pageIsNear({ origin, host, address }, ['box.lan']);
	t.true(near(undefined, 'h:1'));
	t.true(near('http://box.lan:8080', 'BOX.lan:5930'));
	t.true(near('http://[::1]:8000', '[::1]:5930'));
	t.true(near('http://10.0.0.5', '10.0.0.5:5930'));
	t.true(near('http://[fe80::1]', '[fe80::1]:5930', 'fe80::1'));
	t.false(near('http://10.0.0.6', '10.0.0.6:5930'));
	t.false(near('http://box.lan.evil.example', 'box.lan:5930'));
	t.false(near('http://localhost.evil.example', '127.0.0.1:5930'));
	t.false(near('http://box.lan', undefined));
	t.false(near('http://box.lan', 'a b'));
	t.false(near('garbage', 'garbage'));
});
