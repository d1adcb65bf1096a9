/** The agent's bytes, cut anywhere: chunks, messages, and the queue to the guest. */
import test from 'ava';
import fc from 'fast-check';
import { WireError } from '../../src/core/index.ts';
import { ChunkReader } from '../../src/spice/agent/chunks.ts';
import { AgentMessage } from '../../src/spice/agent/messages.ts';
import { Outbox } from '../../src/spice/agent/outbox.ts';
import { MessageStream, type Verdict, wholeMessage } from '../../src/spice/agent/stream.ts';
import { MAX_AGENT_DATA } from '../../src/spice/agent.ts';
import { chunk, FakeGuest, Messages } from '../helpers/agent-ends.ts';

const PASS = 4;
const DROP = 7;
const COLLECT = 6;
const verdicts: Readonly<Record<number, Verdict>> = { [PASS]: 'pass', [DROP]: 'drop', [COLLECT]: 'collect' };

/** Bytes and the places where they are cut. */
function inPieces(bytes: Uint8Array, cuts: readonly number[]): Uint8Array[] {
	const places = [...new Set(cuts.map((at) => at % (bytes.length + 1)))].sort((a, b) => a - b);
	return [0, ...places].map((at, i) => bytes.subarray(at, places[i] ?? bytes.length));
}

const someMessages = fc.array(
	fc.record({ type: fc.constantFrom(PASS, DROP, COLLECT), body: fc.uint8Array({ maxLength: 5000 }) }),
	{ maxLength: 6 },
);
const someCuts = fc.array(fc.nat({ max: 40_000 }), { maxLength: 40 });

test('messages pass, are dropped or collected whole, wherever their bytes are cut', (t) => {
	fc.assert(
		fc.property(someMessages, someCuts, (messages, cuts) => {
			const passed = new Messages();
			const sizes: number[] = [];
			const collected: string[] = [];
			const stream = new MessageStream({
				judge: (type) => verdicts[type],
				piece: (bytes) => {
					sizes.push(bytes.length);
					passed.add(bytes);
				},
				collected: (type, body) => collected.push(`${type} ${Buffer.from(body).toString('hex')}`),
			});
			const bytes = Buffer.concat(messages.map(({ type, body }) => wholeMessage(type, body)));
			for (const piece of inPieces(bytes, cuts)) stream.feed(piece);
			const of = (wanted: number) => messages.filter(({ type }) => type === wanted);
			t.deepEqual(
				passed.all.map(({ body }) => body.toString('hex')),
				of(PASS).map(({ body }) => Buffer.from(body).toString('hex')),
			);
			t.deepEqual(
				collected,
				of(COLLECT).map(({ type, body }) => `${type} ${Buffer.from(body).toString('hex')}`),
			);
			t.true(sizes.every((size) => size > 0 && size <= MAX_AGENT_DATA));
		}),
		{ numRuns: 200 },
	);
});

test('a piece belongs to one message, and the first one of a message has its whole header', (t) => {
	const pieces: Uint8Array[] = [];
	const stream = new MessageStream({
		judge: () => 'pass',
		piece: (bytes) => pieces.push(bytes),
		collected: () => t.fail(),
	});
	const bytes = Buffer.concat([wholeMessage(PASS, Buffer.alloc(3000)), wholeMessage(DROP, Buffer.alloc(1))]);
	stream.feed(bytes.subarray(0, 7));
	t.is(pieces.length, 0);
	stream.feed(bytes.subarray(7));
	t.deepEqual(
		pieces.map(({ length }) => length),
		[MAX_AGENT_DATA, 20 + 3000 - MAX_AGENT_DATA, 21],
	);
});

test('random bytes are passed on, dropped or refused, and nothing is held', (t) => {
	let refused = 0;
	fc.assert(
		fc.property(fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 20 }), fc.boolean(), (pieces, likely) => {
			let out = 0;
			let fed = 0;
			const stream = new MessageStream({
				judge: (type) => (type & 1 ? 'pass' : 'drop'),
				piece: (bytes) => {
					out += bytes.length;
				},
				collected: () => {},
			});
			try {
				for (const piece of pieces) {
					// Half of the runs get beyond the first check.
					if (likely && piece.length >= 4) piece.set([1, 0, 0, 0]);
					fed += piece.length;
					stream.feed(piece);
				}
			} catch (error) {
				if (!(error instanceof WireError)) throw error;
				refused++;
			}
			t.true(out <= fed);
		}),
		{ numRuns: 300 },
	);
	t.true(refused > 0);
});

test('a message to be collected must be small; the rest of an abandoned one goes nowhere', (t) => {
	const seen: string[] = [];
	const stream = new MessageStream({
		judge: (type) => verdicts[type],
		piece: (bytes) => seen.push(`piece ${bytes.length}`),
		collected: (_type, body) => seen.push(`collected ${body.length}`),
	});
	const big = wholeMessage(COLLECT, Buffer.alloc(16 * 1024 + 1));
	t.throws(() => stream.feed(big.subarray(0, 20)), { instanceOf: WireError });
	stream.reset();
	for (const type of [PASS, COLLECT]) {
		const message = wholeMessage(type, Buffer.alloc(1000));
		stream.feed(message.subarray(0, 500));
		stream.abandon();
		stream.feed(message.subarray(500));
	}
	t.deepEqual(seen, ['piece 500']);
	stream.feed(wholeMessage(PASS, Buffer.alloc(1)));
	t.deepEqual(seen, ['piece 500', 'piece 21']);
});

test("chunks of both ports, cut anywhere: the client's bytes come out, the server's are left out", (t) => {
	const someChunks = fc.array(fc.record({ server: fc.boolean(), body: fc.uint8Array({ maxLength: 3000 }) }), {
		maxLength: 8,
	});
	fc.assert(
		fc.property(someChunks, someCuts, (chunks, cuts) => {
			const out: Uint8Array[] = [];
			const reader = new ChunkReader((data) => out.push(data.slice()));
			const bytes = Buffer.concat(chunks.map(({ server, body }) => chunk(server ? 2 : 1, body)));
			for (const piece of inPieces(bytes, cuts)) reader.feed(piece);
			const wanted = Buffer.concat(chunks.filter(({ server }) => !server).map(({ body }) => body));
			t.deepEqual(Buffer.concat(out), wanted);
		}),
		{ numRuns: 200 },
	);
	const reader = new ChunkReader(() => {});
	t.throws(() => reader.feed(chunk(3 as 1, Buffer.alloc(1))), { instanceOf: WireError });
});

interface Queue {
	readonly outbox: Outbox;
	readonly guest: FakeGuest;
	taken: number;
}

function queue(room: number): Queue {
	const made: { queue?: Queue } = {};
	const outbox = new Outbox((count) => {
		if (made.queue) made.queue.taken += count;
	});
	const guest = new FakeGuest({
		write: () => 0,
		attach: (device) => outbox.attach(device),
		ready: () => outbox.pump(),
		close: () => {},
	});
	guest.room = room;
	made.queue = { outbox, guest, taken: 0 };
	return made.queue;
}

test("a guest with little room gets everything in order, and a client's token comes back when all of it is taken", (t) => {
	fc.assert(
		fc.property(
			fc.array(fc.uint8Array({ minLength: 1, maxLength: 2000 }), { minLength: 1, maxLength: 9 }),
			fc.integer({ min: 1, max: 700 }),
			(bodies, step) => {
				const state = queue(0);
				for (const body of bodies) state.outbox.client(wholeMessage(AgentMessage.clipboard, body), true);
				state.outbox.pump();
				t.is(state.taken, 0);
				for (let i = 0; i < 100_000 && state.taken < bodies.length; i++) state.guest.make(step);
				t.deepEqual(
					state.guest.messages.map(({ body }) => Buffer.from(body)),
					bodies.map((body) => Buffer.from(body)),
				);
				t.is(state.taken, bodies.length);
			},
		),
		{ numRuns: 60 },
	);
});

test('the pointer overtakes a file but never breaks into a chunk, and old places are left out', (t) => {
	const { outbox, guest } = queue(10);
	const state = { x: 1, y: 2, buttons: 0, displayId: 0 };
	outbox.client(wholeMessage(AgentMessage.fileXferData, Buffer.alloc(100)), true);
	outbox.client(wholeMessage(AgentMessage.fileXferData, Buffer.alloc(101)), true);
	outbox.pump();
	for (let x = 0; x < 1000; x++) outbox.mouse({ ...state, x });
	outbox.mouse({ ...state, buttons: 2 });
	outbox.mouse({ ...state, x: 5, buttons: 0 });
	guest.make(1_000_000);
	t.deepEqual(
		guest.messages.map(({ port, type }) => [port, type]),
		[
			[1, AgentMessage.fileXferData],
			[2, AgentMessage.mouseState],
			[2, AgentMessage.mouseState],
			[2, AgentMessage.mouseState],
			[1, AgentMessage.fileXferData],
		],
	);
	t.deepEqual(
		guest.messages.filter(({ port }) => port === 2).map(({ body }) => [body.readUInt32LE(0), body.readUInt32LE(8)]),
		[
			[999, 0],
			[1, 2],
			[5, 0],
		],
	);
});

test('a guest that does not read is told only so many places of the pointer', (t) => {
	const { outbox, guest } = queue(0);
	for (let i = 0; i < 10_000; i++) outbox.mouse({ x: i, y: 0, buttons: i & 1 ? 2 : 0, displayId: 0 });
	guest.make(1_000_000);
	t.true(guest.messages.length < 100, `${guest.messages.length} states`);
	t.is(guest.messages.at(-1)?.body.readUInt32LE(0), 9999);
});
