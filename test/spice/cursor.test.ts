/** The cursor channel: what the guest shows, and only the newest of it for a slow client. */
import test, { type ExecutionContext } from 'ava';
import { type CursorShape, CursorType } from '../../src/core/index.ts';
import {
	type CursorEvent,
	type CursorSource,
	type CursorState,
	createCursorChannel,
} from '../../src/spice/channels/cursor.ts';
import { baseServer } from '../../src/spice/protocol/base.ts';
import { ChannelType } from '../../src/spice/protocol/constants.ts';
import { cursor as spec } from '../../src/spice/protocol/cursor.ts';
import { main } from '../../src/spice/protocol/main.ts';
import { type ClientChannel, SpiceClient } from '../helpers/spice-client.ts';
import { serve, until } from './support.ts';

const hidden: CursorState = { shape: undefined, x: 0, y: 0, visible: false };

class FakeCursor implements CursorSource {
	cursor = hidden;
	readonly #listeners = new Set<(event: CursorEvent) => void>();
	onCursor(listener: (event: CursorEvent) => void): () => void {
		this.#listeners.add(listener);
		return () => this.#listeners.delete(listener);
	}
	emit(event: CursorEvent): void {
		const { cursor } = this;
		if (event.type === 'set') this.cursor = { shape: event.shape, x: event.x, y: event.y, visible: event.visible };
		else if (event.type === 'move') this.cursor = { ...cursor, x: event.x, y: event.y, visible: true };
		else if (event.type === 'hide') this.cursor = { ...cursor, visible: false };
		else if (event.type === 'reset') this.cursor = hidden;
		for (const listener of this.#listeners) listener(event);
	}
	get listening(): number {
		return this.#listeners.size;
	}
}

function shape(fill: number, type: CursorShape['type'] = CursorType.alpha): CursorShape {
	return { unique: 0n, type, width: 2, height: 3, hotSpotX: 1, hotSpotY: 2, data: new Uint8Array(24).fill(fill) };
}

async function open(t: ExecutionContext, polite = true) {
	const source = new FakeCursor();
	const factories = new Map([[ChannelType.cursor, createCursorChannel(source)]]);
	const { port } = await serve(t, {}, { factories });
	const client = await SpiceClient.connect({ port, polite });
	t.teardown(() => client.close());
	return { source, client };
}

async function types(channel: ClientChannel, count: number): Promise<number[]> {
	const out: number[] = [];
	while (out.length < count) out.push((await channel.next()).type);
	return out;
}

test('a new client gets the cursor as it is', async (t) => {
	const { source, client } = await open(t);
	const first = await client.open(ChannelType.cursor);
	t.deepEqual(await first.read(spec.server.init), {
		position: { x: 0, y: 0 },
		trailLength: 0,
		trailFrequency: 0,
		visible: 0,
		cursor: { type: 'none' },
	});
	first.close();
	await until(() => source.listening === 0, 'the end of the first');
	source.emit({ type: 'set', shape: shape(9, CursorType.mono), x: 40_000, y: -5, visible: true });
	const second = await client.open(ChannelType.cursor);
	const init = await second.read(spec.server.init);
	t.deepEqual(init.position, { x: 32767, y: -5 });
	t.is(init.visible, 1);
	if (init.cursor.type !== 'shape') throw new Error('no shape');
	const { data, ...header } = init.cursor;
	t.deepEqual(header, {
		type: 'shape',
		unique: 0n,
		cursorType: CursorType.mono,
		width: 2,
		height: 3,
		hotSpotX: 1,
		hotSpotY: 2,
	});
	t.deepEqual([...data], new Array(24).fill(9));
});

test('every change is told in order', async (t) => {
	const { source, client } = await open(t);
	const channel = await client.open(ChannelType.cursor);
	await channel.read(spec.server.init);
	source.emit({ type: 'set', shape: shape(1), x: 3, y: 4, visible: false });
	const set = await channel.read(spec.server.set);
	t.deepEqual([set.position, set.visible], [{ x: 3, y: 4 }, 0]);
	source.emit({ type: 'move', x: 5, y: 6 });
	t.deepEqual(await channel.read(spec.server.move), { position: { x: 5, y: 6 } });
	source.emit({ type: 'trail', length: 2, frequency: 3 });
	t.deepEqual(await channel.read(spec.server.trail), { length: 2, frequency: 3 });
	source.emit({ type: 'hide' });
	source.emit({ type: 'reset' });
	// spice-gtk takes nothing after a reset until the next init.
	const { hide, reset, init } = spec.server;
	t.deepEqual(await types(channel, 3), [hide[0], reset[0], init[0]]);
	t.is(channel.waiting.length, 0);
});

test('a slow client gets the newest state, not every step', async (t) => {
	const { source, client } = await open(t, false);
	const channel = await client.open(ChannelType.cursor);
	const { generation } = await channel.read(baseServer.setAck);
	await channel.read(spec.server.init);
	for (let i = 0; i < 1000; i++) source.emit({ type: 'move', x: i, y: i });
	source.emit({ type: 'set', shape: shape(1), x: 0, y: 0, visible: true });
	source.emit({ type: 'hide' });
	source.emit({ type: 'set', shape: shape(2), x: 7, y: 7, visible: true });
	source.emit({ type: 'move', x: 8, y: 9 });
	source.emit({ type: 'trail', length: 1, frequency: 1 });
	await until(() => channel.received === 40, 'two windows');
	t.true(channel.waiting.every(({ type }) => type === spec.server.move[0]));
	channel.waiting.length = 0;
	channel.sender({ ackSync: main.client.ackSync }).ackSync({ generation });
	t.deepEqual(await channel.read(spec.server.trail), { length: 1, frequency: 1 });
	const set = await channel.read(spec.server.set);
	t.deepEqual(set.position, { x: 8, y: 9 });
	t.is(set.cursor.type === 'shape' && set.cursor.data[0], 2);
	source.emit({ type: 'hide' });
	await channel.next(spec.server.hide[0]);
});

test('what happened before a reset is forgotten by a slow client', async (t) => {
	const { source, client } = await open(t, false);
	const channel = await client.open(ChannelType.cursor);
	const { generation } = await channel.read(baseServer.setAck);
	await channel.read(spec.server.init);
	for (let i = 0; i < 50; i++) source.emit({ type: 'move', x: i, y: i });
	source.emit({ type: 'set', shape: shape(1), x: 0, y: 0, visible: true });
	source.emit({ type: 'reset' });
	await until(() => channel.received === 40, 'two windows');
	channel.waiting.length = 0;
	channel.sender({ ackSync: main.client.ackSync }).ackSync({ generation });
	t.is((await channel.next()).type, spec.server.reset[0]);
	t.is((await channel.read(spec.server.init)).cursor.type, 'none');
	await new Promise((resolve) => setTimeout(resolve, 50));
	t.is(channel.waiting.length, 0);
});
