/** The cushion between server and client, judged by a client that plays what it has and nothing else. */
import test from 'ava';
import fc from 'fast-check';
import { Cushion } from '../../src/spice/cushion.ts';

const PACKET = 10;

/** A server that sends sound as it falls due but is late now and then, and what its client makes of it. */
class Line {
	now = 0xffff_ff00;
	readonly cushion = new Cushion(() => this.now >>> 0);
	/** What the client has, ms; times that it had nothing in the middle; the longest such time. */
	held = 0;
	gaps = 0;
	longest = 0;
	#due = 0;
	#begun = false;

	/** Sends what has fallen due in `ms`, at their end. */
	pass(ms: number): void {
		this.now += ms;
		if (this.#begun && ms > this.held) {
			this.gaps++;
			this.longest = Math.max(this.longest, ms - this.held);
		}
		this.held = Math.max(0, this.held - ms);
		this.#due += ms;
		const packets = Math.floor(this.#due / PACKET);
		if (packets === 0) return;
		this.#due -= packets * PACKET;
		const silence = this.cushion.missing(packets * PACKET);
		for (let sent = 0; sent < silence; sent += PACKET) this.#send();
		for (let n = 0; n < packets; n++) this.#send();
	}

	#send(): void {
		this.#begun = true;
		this.held += PACKET;
		this.cushion.sent(PACKET);
	}
}

test('a server late by less than the cushion is not heard', (t) => {
	const line = new Line();
	for (let n = 0; n < 10_000; n++) line.pass(n % 7 === 0 ? 30 : 10);
	t.is(line.gaps, 0);
	t.is(line.cushion.dry, 0);
	t.true(line.held <= 50, `${line.held} ms`);
});

test('a server late by more is heard once and has learnt', (t) => {
	const line = new Line();
	line.pass(10);
	for (let n = 0; n < 50; n++) line.pass(10);
	line.pass(110);
	t.is(line.gaps, 1);
	t.true(line.longest <= 70, `${line.longest} ms`);
	for (let n = 0; n < 100; n++) line.pass(n % 9 === 0 ? 100 : 10);
	t.is(line.gaps, 1);
	t.is(line.cushion.dry, 1);
});

test('a long stop in the middle: the cushion is there again', (t) => {
	const line = new Line();
	for (let n = 0; n < 20; n++) line.pass(10);
	// The machine stood still, and nothing fell due meanwhile.
	line.now += 60_000;
	line.held = 0;
	line.pass(10);
	t.true(line.held >= 40, `${line.held} ms`);
});

test('what was learnt is kept from stream to stream and forgotten in quiet times', (t) => {
	const line = new Line();
	for (let n = 0; n < 20; n++) line.pass(10);
	line.pass(100);
	for (let n = 0; n < 20; n++) line.pass(10);
	line.cushion.restart();
	const learnt = line.cushion.missing(0);
	t.true(learnt >= 90, `${learnt} ms`);
	for (let n = 0; n < 30_000; n++) line.pass(10);
	line.cushion.restart();
	t.is(line.cushion.missing(0), 40);
});

test('under any jitter the delay stays bounded and the count is right', (t) => {
	const pause = fc.oneof({ weight: 20, arbitrary: fc.integer({ min: 1, max: 30 }) }, fc.integer({ min: 1, max: 250 }));
	fc.assert(
		fc.property(fc.array(pause, { minLength: 50, maxLength: 400 }), (pauses) => {
			const line = new Line();
			line.pass(PACKET);
			for (const ms of pauses) {
				line.pass(ms);
				t.true(line.held <= 260, `${line.held} ms held`);
				t.true(Math.abs(line.cushion.left - line.held) <= 1);
			}
			t.true(line.cushion.dry <= line.gaps);
		}),
	);
});
