/** Ports and the log. */
import { createServer } from 'node:net';
import test from 'ava';
import { TsvmError } from '../../src/core/index.ts';
import type { SpiceControl } from '../../src/machine/control.ts';
import { WarningLimit } from '../../src/spice/log.ts';
import { SpiceServer } from '../../src/spice/server.ts';
import { SpiceClient } from '../helpers/spice-client.ts';
import { FakeInputs, serve } from './support.ts';

function make(): SpiceServer {
	return new SpiceServer({ inputs: new FakeInputs(), factories: new Map() });
}

test('a busy port is named, with a way out, and nothing stays open', async (t) => {
	const { port } = await serve(t);
	const server = make();
	const error = await t.throwsAsync(server.listen({ port: 0, tls: { port } }), { instanceOf: TsvmError });
	t.is(error?.message, `port ${port} on 127.0.0.1 is in use`);
	t.regex(error?.hint ?? '', /auto/);
	t.is(error?.exitCode, 1);
});

test('addresses that cannot be', async (t) => {
	for (const host of ['192.0.2.1', 'no-such-host.invalid']) {
		const error = await t.throwsAsync(make().listen({ host, port: 0 }), { instanceOf: TsvmError });
		t.not(error?.hint, '');
	}
});

test('auto takes the next free port', async (t) => {
	const taken = createServer();
	t.teardown(() => taken.close());
	await new Promise<void>((resolve) => {
		taken.once('error', () => resolve());
		taken.listen(5900, '127.0.0.1', resolve);
	});
	const { server, port } = await serve(t, { port: 'auto' });
	t.true(port > 5900 && port < 6900);
	t.is(server.info().port, port);
	(await SpiceClient.connect({ port })).close();
});

test('a closed server has let go of port and clients', async (t) => {
	const first = await serve(t);
	const client = await SpiceClient.connect({ port: first.port });
	await first.server.close();
	await client.main.closed;
	await first.server.close();
	const again = await serve(t, { port: first.port });
	t.is(again.port, first.port);
});

test('the server is what the machine asks of one', (t) => {
	const control: SpiceControl = make();
	t.is(control.info().auth, 'none');
});

test('a UUID that is none is refused', (t) => {
	const options = { inputs: new FakeInputs(), factories: new Map() };
	t.throws(() => new SpiceServer({ ...options, uuid: 'x' }), { instanceOf: TsvmError });
});

test('the log gets the first lines and then how many more there were', (t) => {
	const lines: string[] = [];
	const clock = { now: 0 };
	const limit = new WarningLimit(
		(line) => lines.push(line),
		() => clock.now,
	);
	for (let i = 0; i < 100; i++) limit.warn(`line ${i}`);
	t.deepEqual(lines, ['line 0', 'line 1', 'line 2', 'line 3', 'line 4']);
	clock.now = 1500;
	limit.warn('later');
	limit.warn('lost');
	t.deepEqual(lines.slice(5), ['later (and 95 more like it)']);
	clock.now = 60_000;
	for (let i = 0; i < 10; i++) limit.warn(`again ${i}`);
	t.is(lines.length, 11);
	t.is(lines[6], 'again 0 (and 1 more like it)');
});
