/**
 * A hostile client against the SPICE server: random bytes, random messages, and a thousand connections that end at
 * random bytes. After each the server must serve the next client, and nothing may pile up.
 */
import { connect, type Socket } from 'node:net';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import test, { type ExecutionContext } from 'ava';
import fc from 'fast-check';
import { encode, listenTrace } from '../../src/core/index.ts';
import { u32 } from '../../src/core/wire.ts';
import { CapSet } from '../../src/spice/caps.ts';
import { createCursorChannel } from '../../src/spice/channels/cursor.ts';
import { createDisplayChannel } from '../../src/spice/channels/display.ts';
import { Display } from '../../src/spice/display/display.ts';
import { ChannelType, CommonCap } from '../../src/spice/protocol/constants.ts';
import { drawPattern } from '../helpers/pattern.ts';
import { linkMessage, openStream, SpiceClient } from '../helpers/spice-client.ts';
import { serve, until } from '../spice/support.ts';

const seed = Number(process.env.FUZZ_SEED ?? Date.now() & 0x7fffffff);
const common = CapSet.of(CommonCap.authSelection, CommonCap.authSpice, CommonCap.miniHeader);

function machine(): { display: Display; factories: Map<number, ReturnType<typeof createDisplayChannel>> } {
	const display = new Display();
	drawPattern(display);
	const factories = new Map([
		[ChannelType.display as number, createDisplayChannel(display)],
		[ChannelType.cursor as number, createCursorChannel(display)],
	]);
	return { display, factories };
}

/** Sends bytes in the given pieces, reads whatever comes, and hangs up or waits for the server to do so. */
async function throwBytes(port: number, pieces: readonly Uint8Array[], linger: number): Promise<void> {
	const stream = await openStream({ port });
	stream.on('error', () => {});
	stream.resume();
	for (const piece of pieces) {
		if (stream.destroyed) break;
		stream.write(piece);
		await new Promise((resolve) => setImmediate(resolve));
	}
	if (linger > 0) await new Promise((resolve) => setTimeout(resolve, linger));
	stream.destroy();
}

function message(type: number, body: Uint8Array): Buffer {
	const header = Buffer.alloc(6);
	header.writeUInt16LE(type, 0);
	header.writeUInt32LE(body.length, 2);
	return Buffer.concat([header, body]);
}

/** Everything a client says to link one channel of a server that asks for no password. */
function linkBytes(connectionId: number, channelType: number): Buffer {
	const link = linkMessage(connectionId, channelType, 0, common, new CapSet([0xffffffff]));
	return Buffer.concat([link, encode(u32, CommonCap.authSpice), Buffer.alloc(128, 1)]);
}

test.before((t) => t.log(`FUZZ_SEED=${seed}`));

test.serial('random bytes to the port', async (t) => {
	const { port, server } = await serve(t, {}, { ...machine(), linkTimeoutMs: 500 });
	const prefix = fc.constantFrom('', 'REDQ', 'GET / HTTP/1.1\r\n', '\x02\0\0\0', 'REDQ\x02\0\0\0\x02\0\0\0');
	const piece = fc.uint8Array({ maxLength: 200 });
	const mutated = fc.array(fc.record({ at: fc.nat(200), value: fc.nat(255) }), { maxLength: 6 }).map((changes) => {
		const bytes = linkBytes(0, ChannelType.main);
		for (const { at, value } of changes) bytes[at % bytes.length] = value;
		return [bytes];
	});
	const garbage = fc
		.tuple(prefix, fc.array(piece, { maxLength: 4 }))
		.map(([start, rest]) => [Buffer.from(start), ...rest]);
	await fc.assert(
		fc.asyncProperty(fc.oneof(garbage, mutated), fc.constantFrom(0, 0, 5), async (pieces, linger) => {
			await throwBytes(port, pieces, linger);
		}),
		{ seed, numRuns: 400 },
	);
	const client = await SpiceClient.connect({ port });
	t.is(client.channels.length, 3);
	client.close();
	await until(() => server.clients().length === 0, 'the end');
});

test.serial('random messages on every channel', async (t) => {
	const { port, server } = await serve(t, {}, machine());
	// An error that is not the client's but ours comes with its stack.
	const ours: string[] = [];
	t.teardown(
		listenTrace(
			(name) => name === 'spice.channel.close',
			({ fields }) => {
				if (String(fields.reason).includes('\n')) ours.push(String(fields.reason));
			},
		),
	);
	const type = fc.oneof(
		{ weight: 4, arbitrary: fc.integer({ min: 1, max: 116 }) },
		{ weight: 1, arbitrary: fc.nat(65535) },
	);
	const messages = fc.array(fc.tuple(type, fc.uint8Array({ maxLength: 40 })), { minLength: 1, maxLength: 12 });
	const channelType = fc.constantFrom(ChannelType.main, ChannelType.display, ChannelType.inputs, ChannelType.cursor);
	await fc.assert(
		fc.asyncProperty(channelType, messages, fc.nat(), async (kind, list, cut) => {
			const client = await SpiceClient.connect({ port, polite: false });
			try {
				const channel = kind === ChannelType.main ? client.main : await client.open(kind);
				const bytes = Buffer.concat(list.map(([number, body]) => message(number, body)));
				const at = cut % bytes.length;
				channel.stream.write(bytes.subarray(0, at));
				await new Promise((resolve) => setImmediate(resolve));
				channel.stream.write(bytes.subarray(at));
				await new Promise((resolve) => setTimeout(resolve, 2));
			} finally {
				client.close();
			}
		}),
		{ seed, numRuns: 150 },
	);
	const client = await SpiceClient.connect({ port });
	client.close();
	await until(() => server.clients().length === 0, 'the end');
	t.deepEqual(ours, []);
});

test.serial('a thousand clients that leave at random bytes', async (t) => {
	const { port, server, inputs, warnings } = await serve(t, {}, { ...machine(), linkTimeoutMs: 500 });
	const say = Buffer.concat([
		message(104, Buffer.alloc(0)),
		message(1, Buffer.alloc(4)),
		message(105, Buffer.of(2, 0)),
	]);
	const script = Buffer.concat([linkBytes(0, ChannelType.main), say]);
	const random = fc.sample(fc.nat(0x7fffffff), { seed, numRuns: 1000 });
	const listening = inputs.listening;
	const run = async (cuts: readonly number[]): Promise<void> => {
		for (const [index, cut] of cuts.entries()) {
			if (index % 10 !== 9) {
				await throwBytes(port, [script.subarray(0, cut % (script.length + 1))], 0);
				continue;
			}
			// Every tenth leaves in the middle of a display channel.
			const client = await SpiceClient.connect({ port });
			const link = linkBytes(client.init.sessionId, ChannelType.display);
			const display = Buffer.concat([link, message(101, Buffer.alloc(14, 1))]);
			await throwBytes(port, [display.subarray(0, cut % (display.length + 1))], cut % 3);
			client.close();
		}
	};
	await run(random.slice(0, 200));
	await until(() => server.clients().length === 0, 'the end of the first');
	const before = memory();
	await run(random.slice(200));
	await until(() => server.clients().length === 0, 'the end of the last');
	await new Promise((resolve) => setTimeout(resolve, 700));
	const grown = memory() - before;
	t.log(`800 clients: ${(grown / 1024).toFixed(0)} KiB more`);
	t.true(grown < 4 * 1024 * 1024);
	t.is(inputs.listening, listening);
	t.true(warnings.length < 100, 'the log is not flooded');
	const client = await SpiceClient.connect({ port });
	client.close();
});

test.serial('a flood of half-open links shuts nobody out', async (t) => {
	const { port, server } = await serve(t, { password: 'secret' });
	const { lost, open } = floodOf(t, port);
	for (let i = 0; i < 600; i++)
		open(i % 2 === 0 ? 'REDQ' : linkMessage(0, ChannelType.main, 0, common, new CapSet([])));
	const quiet = floodOf(t, port, '127.0.0.2');
	for (let i = 0; i < 50; i++) quiet.open('REDQ');
	await until(() => lost() >= 600 + 50 - 512, 'the end of the oldest');
	t.is(quiet.lost(), 0, 'who came from elsewhere is left alone');
	await new Promise((resolve) => setTimeout(resolve, 50));
	t.is(lost(), 600 + 50 - 512, 'and no more than must go');
	t.is(server.clients().length, 0);
});

test.serial('right logins pass while links come by the hundred from the same address', async (t) => {
	const { port } = await serve(t, { password: 'secret' });
	const { open } = floodOf(t, port);
	const message = linkMessage(0, ChannelType.main, 0, common, new CapSet([]));
	const flood = setInterval(() => {
		for (let i = 0; i < 13; i++) open(message);
	}, 10);
	t.teardown(() => clearInterval(flood));
	for (let i = 0; i < 60; i++) {
		const client = await SpiceClient.connect({ port, password: 'secret' });
		t.true(client.main.open);
		client.close();
	}
});

/** Opens connections that say something and wait; `lost` counts those that the server has ended. */
function floodOf(t: ExecutionContext, port: number, localAddress = '127.0.0.1') {
	const sockets = new Set<Socket>();
	let ended = 0;
	t.teardown(() => {
		for (const socket of sockets) socket.destroy();
	});
	const open = (bytes: string | Uint8Array) => {
		const socket = connect({ port, host: '127.0.0.1', localAddress });
		sockets.add(socket);
		socket.on('error', () => {});
		socket.on('close', () => {
			sockets.delete(socket);
			ended++;
		});
		socket.resume();
		socket.write(bytes);
	};
	return { open, lost: () => ended };
}

/** Bytes in use after a full collection. */
function memory(): number {
	setFlagsFromString('--expose-gc');
	const collect = runInNewContext('gc') as () => void;
	collect();
	collect();
	const { heapUsed, external, arrayBuffers } = process.memoryUsage();
	return heapUsed + external + arrayBuffers;
}
