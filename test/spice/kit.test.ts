import test from 'ava';
import { WireError, wire } from '../../src/core/index.ts';
import { channel, receiver, sender } from '../../src/spice/protocol/kit.ts';

const { Empty, rest, struct, u8, u32 } = wire;
const spec = channel(99, {
	server: { hello: [101, struct({ x: u32, data: rest })], bye: [102, Empty] },
	client: { answer: [101, struct({ y: u8 })], nothing: [102, Empty] },
});

test('senders encode by name, foreign bytes by reference', (t) => {
	const sent: { type: number; parts: readonly Uint8Array[] }[] = [];
	const send = sender({ send: (type, parts) => sent.push({ type, parts }) }, spec.server);
	const data = Uint8Array.of(7, 8);
	send.hello({ x: 0x01020304, data });
	send.bye();
	t.deepEqual(
		sent.map(({ type, parts }) => [type, Buffer.concat(parts).toString('hex')]),
		[
			[101, '040302010708'],
			[102, ''],
		],
	);
	t.is(sent[0].parts[1], data);
});

test('receivers dispatch by number, let go what has no handler, and refuse what is not declared', (t) => {
	const got: number[] = [];
	const receive = receiver(spec.client, { answer: ({ y }) => got.push(y) });
	receive(101, Uint8Array.of(5));
	receive(102, Uint8Array.of());
	t.deepEqual(got, [5]);
	t.throws(() => receive(103, Uint8Array.of()), { instanceOf: WireError });
	t.throws(() => receive(101, Uint8Array.of()), { instanceOf: WireError });
});
