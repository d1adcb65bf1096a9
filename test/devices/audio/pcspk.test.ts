import test from 'ava';
import { PcSpeaker } from '../../../devices/audio/index.ts';
import { Pit } from '../../../devices/chipset/pit.ts';
import { PIT_HZ } from '../../../devices/chipset/pit-channel.ts';
import { Port61 } from '../../../devices/chipset/port61.ts';
import { FakeBoard } from '../../helpers/board.ts';
import { pitch, toneShare } from '../../helpers/sound.ts';
import { MemorySink, MS } from './machine.ts';

class SpeakerBoard extends FakeBoard {
	readonly sink = new MemorySink();
	readonly pit = new Pit(this.host, this.ports, this.irqs[0]);
	readonly port61 = new Port61(this.host, this.ports, this.pit.channels[2]);
	readonly speaker = new PcSpeaker(this.host, this.pit.channels[2], this.port61, this.sink);

	tune(hz: number): void {
		const count = Math.round(PIT_HZ / hz);
		this.ports.out8(0x43, 0xb6);
		this.ports.out8(0x42, count & 0xff);
		this.ports.out8(0x42, count >> 8);
	}
}

test('a beep: the pitch is that of the timer, the sound ends with it, and nothing sounds without the gate', (t) => {
	const board = new SpeakerBoard();
	board.tune(1000);
	board.host.advance(50 * MS);
	t.deepEqual(board.sink.log, []);
	board.ports.out8(0x61, 3);
	board.host.advance(500 * MS);
	board.ports.out8(0x61, 0);
	board.host.advance(1000 * MS);
	t.deepEqual(board.sink.log, ['start 48000', 'stop']);
	t.is(board.sink.format?.channels, 1);
	const { samples } = board.sink;
	const tone = samples.slice(4800, 19200);
	t.true(Math.abs(pitch(tone, 48000, 1000) - PIT_HZ / 1193) < 0.1);
	t.true(toneShare(tone, 48000, PIT_HZ / 1193) > 0.75, 'what a square wave has in its first harmonic');
	t.true(samples.slice(24000 + 4800).every((x) => Math.abs(x) < 200));
	t.is(samples.at(-1), 0);
});

test('a change of pitch falls where it was made', (t) => {
	const board = new SpeakerBoard();
	board.tune(500);
	board.ports.out8(0x61, 3);
	board.host.advance(103 * MS);
	board.tune(2000);
	board.host.advance(100 * MS);
	const { samples } = board.sink;
	const at = (ms: number) => Math.round(ms * 48);
	t.true(toneShare(samples.slice(at(83), at(103)), 48000, 500) > 0.7);
	t.true(toneShare(samples.slice(at(103), at(123)), 48000, PIT_HZ / 597) > 0.7);
});

test('samples by pulse width are heard as the wave that they make', (t) => {
	const board = new SpeakerBoard();
	// The timer without a count, output high: bit 1 alone moves the cone, 16 kHz pulses of a width that follows a 500 Hz wave.
	board.ports.out8(0x43, 0xb2);
	const period = 62_500;
	for (let n = 0; n < 3200; n++) {
		const width = period * (0.5 + 0.4 * Math.sin((2 * Math.PI * 500 * n) / 16000));
		board.ports.out8(0x61, 2);
		board.host.clock.advance(width);
		board.ports.out8(0x61, 0);
		board.host.clock.advance(period - width);
	}
	const samples = board.sink.samples.slice(2400, 7200);
	t.true(toneShare(samples, 48000, 500) > 0.2);
	t.true(toneShare(samples, 48000, 750) < 0.01);
});

test('reset silences it; a restored one beeps on', (t) => {
	const board = new SpeakerBoard();
	board.tune(1000);
	board.ports.out8(0x61, 3);
	board.host.advance(20 * MS);
	const saved = board.speaker.save();
	board.speaker.reset();
	board.host.advance(1000 * MS);
	t.deepEqual(board.sink.log, ['start 48000', 'stop']);
	board.speaker.restore(saved);
	t.deepEqual(board.speaker.save(), saved);
	const before = board.sink.samples.length;
	board.host.advance(100 * MS);
	t.true(toneShare(board.sink.samples.slice(before + 480), 48000, PIT_HZ / 1193) > 0.7);
});
