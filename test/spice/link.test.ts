/** The link stage over real sockets: every refusal that the protocol knows, and bytes in any pieces. */
import test, { type ExecutionContext } from 'ava';
import { decode, encode } from '../../src/core/index.ts';
import { u32 } from '../../src/core/wire.ts';
import { CapSet } from '../../src/spice/caps.ts';
import { ChannelType, CommonCap, LinkError } from '../../src/spice/protocol/constants.ts';
import { LinkHeader, LinkReply } from '../../src/spice/protocol/link.ts';
import { main } from '../../src/spice/protocol/main.ts';
import { ClientChannel, LinkRefused, linkMessage, openStream, SpiceClient, ticket } from '../helpers/spice-client.ts';
import { serve, until } from './support.ts';

const common = CapSet.of(CommonCap.authSelection, CommonCap.authSpice, CommonCap.miniHeader);
const none = new CapSet([]);

/** Sends bytes and collects what comes back until the server hangs up. */
async function exchange(port: number, bytes: Uint8Array): Promise<Buffer> {
	const stream = await openStream({ port });
	const chunks: Buffer[] = [];
	stream.on('data', (chunk: Buffer) => chunks.push(chunk));
	stream.on('error', () => {});
	stream.write(bytes);
	await new Promise((resolve) => stream.on('close', resolve));
	return Buffer.concat(chunks);
}

/** The error of a link reply, after checking the rest of it. */
function replyError(t: ExecutionContext, reply: Buffer): number {
	const header = decode(LinkHeader, reply);
	t.is(header.majorVersion, 2);
	t.is(reply.length, LinkHeader.min + header.size);
	return decode(LinkReply, reply, LinkHeader.min).error;
}

async function refusal(t: ExecutionContext, link: Promise<unknown>): Promise<LinkRefused> {
	const error = await t.throwsAsync(link, { instanceOf: LinkRefused });
	return error ?? t.fail();
}

const good = linkMessage(0, ChannelType.main, 0, common, none);
/** The link message with one word changed. */
function changed(offset: number, value: number): Buffer {
	const bytes = Buffer.from(good);
	bytes.writeUInt32LE(value, offset);
	return bytes;
}

test('what is no link message is answered with its error and one line in the log', async (t) => {
	const { port, warnings } = await serve(t);
	const cases: [string, Uint8Array, LinkError][] = [
		['garbage', Buffer.from('SSH-2.0-OpenSSH_9.2\r\n'), LinkError.invalidMagic],
		['one wrong byte', Buffer.from('REX'), LinkError.invalidMagic],
		['another version', changed(4, 1), LinkError.versionMismatch],
		['too short', changed(12, 17), LinkError.invalidData],
		['too long', changed(12, 4097), LinkError.invalidData],
		['too many common caps', changed(22, 1025), LinkError.invalidData],
		['too many channel caps', changed(26, 0xffffffff), LinkError.invalidData],
		['caps out of the message', changed(30, 19), LinkError.invalidData],
		['caps far out of the message', changed(30, 0xfffffffc), LinkError.invalidData],
	];
	for (const [index, [name, bytes, error]] of cases.slice(0, 5).entries()) {
		t.is(replyError(t, await exchange(port, bytes)), error, name);
		t.is(warnings.length, index + 1, name);
	}
	for (const [name, bytes, error] of cases.slice(5)) t.is(replyError(t, await exchange(port, bytes)), error, name);
	t.regex(warnings[0], /^SPICE client 127\.0\.0\.1:\d+ refused: does not speak SPICE$/);
});

test('a channel that does not exist is refused in the link reply', async (t) => {
	const { port } = await serve(t);
	for (const [type, id] of [
		[ChannelType.usbredir, 0],
		[ChannelType.display, 1],
		[0, 0],
		[255, 255],
	]) {
		const { error, stage } = await refusal(t, ClientChannel.link({ port }, type, { channelId: id }));
		t.deepEqual([error, stage], [LinkError.channelNotAvailable, 'reply']);
	}
});

test('a channel must name the session that is there', async (t) => {
	const { port, warnings } = await serve(t);
	for (const connectionId of [0, 1, 0xffffffff]) {
		const { error, stage } = await refusal(t, ClientChannel.link({ port }, ChannelType.display, { connectionId }));
		t.deepEqual([error, stage], [LinkError.badConnectionId, 'result']);
	}
	const { error } = await refusal(t, ClientChannel.link({ port }, ChannelType.main, { connectionId: 5 }));
	t.is(error, LinkError.badConnectionId, 'a main channel cannot join a session');

	const client = await SpiceClient.connect({ port });
	t.teardown(() => client.close());
	t.not(client.init.sessionId, 0);
	const other = (client.init.sessionId ^ 1) >>> 0;
	await refusal(t, ClientChannel.link({ port }, ChannelType.display, { connectionId: other }));
	await client.open(ChannelType.display);
	const twice = await refusal(t, client.open(ChannelType.display));
	t.is(twice.error, LinkError.error);
	t.true(client.main.open, 'the session goes on');
	t.true(warnings.length > 0);
});

test('passwords: right, wrong, expired, none set, changed while running', async (t) => {
	const { port, server } = await serve(t, { password: 'first' });
	const link = (password?: string) => ClientChannel.link({ port, password }, ChannelType.main);
	(await link('first')).close();
	for (const wrong of ['second', '', undefined, 'firstt', 'x'.repeat(60)]) {
		const { error, stage } = await refusal(t, link(wrong));
		t.deepEqual([error, stage], [LinkError.permissionDenied, 'result']);
	}
	server.setPassword('second');
	await refusal(t, link('first'));
	(await link('second')).close();
	server.expirePassword('now');
	t.is((await refusal(t, link('second'))).error, LinkError.permissionDenied);
	server.expirePassword('+3600');
	(await link('second')).close();
	server.disableTicketing();
	(await link('whatever')).close();
});

test('a ticket made for another link is refused', async (t) => {
	const { port } = await serve(t, { password: 'secret' });
	const replay = async (makeTicket: (publicKey: Uint8Array) => Uint8Array): Promise<number> => {
		const stream = await openStream({ port });
		stream.on('error', () => {});
		const chunks: Buffer[] = [];
		stream.on('data', (chunk: Buffer) => chunks.push(chunk));
		stream.write(good);
		await until(() => Buffer.concat(chunks).length >= LinkHeader.min + LinkReply.min, 'the reply');
		const reply = Buffer.concat(chunks);
		const length = LinkHeader.min + decode(LinkHeader, reply).size;
		const sealed = makeTicket(decode(LinkReply, reply, LinkHeader.min).publicKey);
		stream.write(Buffer.concat([encode(u32, CommonCap.authSpice), sealed]));
		await until(() => Buffer.concat(chunks).length >= length + 4, 'the result');
		stream.destroy();
		return Buffer.concat(chunks).readUInt32LE(length);
	};
	let overheard: Uint8Array = new Uint8Array(0);
	const first = await replay((key) => {
		overheard = ticket(key, 'secret');
		return overheard;
	});
	t.is(first, LinkError.ok);
	t.is(await replay(() => overheard), LinkError.permissionDenied);
});

test('a ticket that nobody looked into opens nothing when a password is asked for later', async (t) => {
	const { port, server, warnings } = await serve(t);
	const begin = async () => {
		const stream = await openStream({ port });
		t.teardown(() => stream.destroy());
		const chunks: Buffer[] = [];
		stream.on('data', (chunk: Buffer) => chunks.push(chunk));
		stream.write(good);
		await until(() => chunks.length > 0, 'the reply');
		const reply = Buffer.concat(chunks);
		const { publicKey } = decode(LinkReply, reply, LinkHeader.min);
		const end = async (sealed: Uint8Array) => {
			stream.write(Buffer.concat([encode(u32, CommonCap.authSpice), sealed]));
			await until(() => Buffer.concat(chunks).length >= reply.length + 4, 'the result');
			return Buffer.concat(chunks).readUInt32LE(reply.length);
		};
		return { publicKey, end };
	};
	const [open, replay, late] = [await begin(), await begin(), await begin()];
	const overheard = ticket(open.publicKey, 'secret');
	t.is(await open.end(overheard), LinkError.ok, 'a client may send a password that nobody asked for');
	server.setPassword('secret');
	t.is(await replay.end(overheard), LinkError.permissionDenied);
	t.regex(warnings.join(), /wrong password/);
	t.is(await late.end(ticket(late.publicKey, 'secret')), LinkError.ok, 'a ticket of its own is looked into');
});

test('a client whose user was not asked yet is told apart from one with a wrong password', async (t) => {
	const { port, warnings } = await serve(t, { password: 'secret' });
	for (const [password, reason] of [
		['', 'no password given'],
		['x', 'wrong password'],
	]) {
		const refused = await refusal(t, ClientChannel.link({ port, password }, ChannelType.main));
		t.is(refused.error, LinkError.permissionDenied);
		t.regex(warnings.at(-1) ?? '', new RegExp(`refused: ${reason}$`));
	}
});

test('an authentication mechanism that was not offered is refused', async (t) => {
	const { port } = await serve(t);
	const answer = await exchange(port, Buffer.concat([good, encode(u32, CommonCap.authSasl)]));
	t.is(answer.readUInt32LE(answer.length - 4), LinkError.invalidData);
});

test('a client without authentication selection sends its ticket right away', async (t) => {
	const { port } = await serve(t, { password: 'secret' });
	const stream = await openStream({ port });
	t.teardown(() => stream.destroy());
	const chunks: Buffer[] = [];
	stream.on('data', (chunk: Buffer) => chunks.push(chunk));
	stream.write(linkMessage(0, ChannelType.main, 0, none, none));
	await until(() => chunks.length > 0, 'the reply');
	const reply = Buffer.concat(chunks);
	stream.write(ticket(decode(LinkReply, reply, LinkHeader.min).publicKey, 'secret'));
	await until(() => Buffer.concat(chunks).length >= reply.length + 4 + 18, 'the result');
	const behind = Buffer.concat(chunks).subarray(reply.length);
	t.is(behind.readUInt32LE(0), LinkError.ok);
	t.is(behind.readBigUInt64LE(4), 1n, 'and gets full headers with serials, having no mini header capability');
});

test('every byte may come alone', async (t) => {
	const { port } = await serve(t);
	const stream = await openStream({ port });
	t.teardown(() => stream.destroy());
	const chunks: Buffer[] = [];
	stream.on('data', (chunk: Buffer) => chunks.push(chunk));
	for (const byte of good) {
		stream.write(Uint8Array.of(byte));
		await new Promise((resolve) => setImmediate(resolve));
	}
	await until(() => chunks.length > 0, 'the reply');
	const reply = Buffer.concat(chunks);
	const sealed = ticket(decode(LinkReply, reply, LinkHeader.min).publicKey, '');
	for (const byte of Buffer.concat([encode(u32, CommonCap.authSpice), sealed])) {
		stream.write(Uint8Array.of(byte));
		await new Promise((resolve) => setImmediate(resolve));
	}
	await until(() => Buffer.concat(chunks).length > reply.length + 10, 'the first message');
	const behind = Buffer.concat(chunks).subarray(reply.length);
	t.is(behind.readUInt32LE(0), LinkError.ok);
	t.is(behind.readUInt16LE(4), main.server.setAck[0]);
});

test('half a link message and silence end at the time limit', async (t) => {
	const { port, warnings } = await serve(t, {}, { linkTimeoutMs: 300 });
	const start = performance.now();
	for (const bytes of [good.subarray(0, 0), good.subarray(0, 3), good.subarray(0, 20), good]) {
		await exchange(port, bytes);
	}
	t.true(performance.now() - start >= 4 * 290);
	await until(() => warnings.length === 4, 'four warnings');
	for (const warning of warnings) t.regex(warning, /did not finish linking in time/);
});

test('channels that want TLS, or no TLS, say so', async (t) => {
	const { port, server } = await serve(t, {
		tls: { port: 0 },
		secureChannels: ['main'],
		plaintextChannels: ['display'],
	});
	const tlsPort = server.tlsPort ?? 0;
	const plain = await refusal(t, ClientChannel.link({ port }, ChannelType.main));
	t.deepEqual([plain.error, plain.stage], [LinkError.needSecured, 'reply']);
	const client = await SpiceClient.connect({ port: tlsPort, tls: {} });
	t.teardown(() => client.close());
	const secure = await refusal(t, client.open(ChannelType.display));
	t.deepEqual([secure.error, secure.stage], [LinkError.needUnsecured, 'reply']);
	const connectionId = client.init.sessionId;
	const display = await ClientChannel.link({ port }, ChannelType.display, { connectionId });
	t.true(display.open);
	display.close();
});
