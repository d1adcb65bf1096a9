import test from 'ava';
import { AudioMixer } from '../../src/audio/index.ts';
import { type AudioSink, type AudioSource, type AudioVolume, HOST_AUDIO, ManualClock } from '../../src/core/index.ts';
import { AudioBoard, MASTER, MIXER, PO } from '../devices/audio/machine.ts';
import { correlation, longestGap, pitch } from '../helpers/sound.ts';

const MS = 1e6;

class Recorder implements AudioSink {
	readonly latency = 0;
	readonly left: number[] = [];
	readonly right: number[] = [];
	readonly log: string[] = [];
	start(): void {
		this.log.push('start');
	}
	write(samples: Int16Array): void {
		for (let i = 0; i < samples.length; i += 2) {
			this.left.push(samples[i]);
			this.right.push(samples[i + 1]);
		}
	}
	stop(): void {
		this.log.push('stop');
	}
}
class VolumeRecorder extends Recorder {
	heard: AudioVolume | undefined;
	volume(volume: AudioVolume): void {
		this.heard = volume;
	}
}

/** A device that plays a tone into `voice` at the clock's pace, in pieces of `ms`. */
class Player {
	readonly #clock: ManualClock;
	readonly #voice: AudioSink;
	readonly #rate: number;
	readonly #hz: number;
	#played = 0;
	constructor(clock: ManualClock, voice: AudioSink, { rate = 48000, hz = 440 } = {}) {
		this.#clock = clock;
		this.#voice = voice;
		this.#rate = rate;
		this.#hz = hz;
		voice.start({ rate, channels: 2 });
	}
	play(ms: number, piece = 10): void {
		for (let done = 0; done < ms; done += piece) {
			this.#clock.advance(piece * MS);
			this.push(piece);
		}
	}
	push(ms: number): void {
		const frames = (this.#rate * ms) / 1000;
		const samples = new Int16Array(frames * 2);
		for (let i = 0; i < frames; i++) {
			const value = Math.round(10000 * Math.sin((2 * Math.PI * this.#hz * this.#played++) / this.#rate));
			samples[i * 2] = value;
			samples[i * 2 + 1] = value;
		}
		this.#voice.write(samples);
	}
}

test('a voice is heard as it was played, a moment later, by every back end', (t) => {
	const clock = new ManualClock();
	const mixer = new AudioMixer(clock);
	const sinks = [new Recorder(), new Recorder()];
	for (const sink of sinks) mixer.addSink(sink);
	const player = new Player(clock, mixer.voice('v', true), { rate: 44100 });
	player.play(3000);
	for (const { left, log } of sinks) {
		t.deepEqual(log, ['start']);
		t.true(Math.abs(left.length - 3 * 48000) <= 2 * 480, `${left.length}`);
		const start = left.findIndex((x) => Math.abs(x) > 10);
		t.true(start < 48 * 25, `starts at ${start}`);
		const heard = left.slice(start + 2000);
		t.true(Math.abs(pitch(heard, 48000, 440) - 440) < 0.01);
		t.true(longestGap(heard, 48000, 300) < 0.001);
		t.is(Math.round(Math.max(...heard) / 100), 100);
	}
	t.like(mixer.info().voices[0], { underruns: 0, overruns: 0, rate: 44100, active: true });
});

test('the end: what was written is heard, then silence, then the back ends are stopped', (t) => {
	const clock = new ManualClock();
	const mixer = new AudioMixer(clock);
	const sink = new Recorder();
	mixer.addSink(sink);
	const voice = mixer.voice('v', true);
	const player = new Player(clock, voice);
	player.play(100);
	voice.stop();
	clock.advance(1000 * MS);
	t.deepEqual(sink.log, ['start', 'stop']);
	const last = sink.left.findLastIndex((x) => x !== 0);
	t.true(last > 48 * 105 && last < 48 * 135, `${last}`);
	t.is(mixer.info().voices[0].frames, 4800);
	t.is(mixer.info().voices[0].underruns, 0);
	t.false(mixer.info().running);
	voice.start(HOST_AUDIO);
	t.deepEqual(sink.log, ['start', 'stop', 'start']);
});

test('volumes: in the samples, or told to a back end that has its own; never both', (t) => {
	const clock = new ManualClock();
	const mixer = new AudioMixer(clock);
	const plain = new Recorder();
	const own = new VolumeRecorder();
	const voice = mixer.voice('main', true);
	mixer.addSink(plain);
	mixer.addSink(own);
	voice.volume({ left: 0.5, right: 0.25, mute: false });
	t.deepEqual(own.heard, { left: 0.5, right: 0.25, mute: false });
	const player = new Player(clock, voice);
	player.play(500);
	const peak = (samples: number[]) => Math.round(Math.max(...samples.slice(-4800)) / 100);
	t.deepEqual([peak(plain.left), peak(plain.right), peak(own.left), peak(own.right)], [50, 25, 100, 100]);
	voice.volume({ left: 1, right: 1, mute: true });
	player.play(200);
	t.is(peak(plain.left), 0);
	t.is(peak(own.left), 100);
	t.true(own.heard?.mute);
	// Another voice's volume is not the back end's.
	const other = mixer.voice('other');
	other.volume({ left: 0.1, right: 0.1, mute: false });
	t.true(own.heard?.mute);
});

test('two voices are added, and their sum is kept in range', (t) => {
	const clock = new ManualClock();
	const mixer = new AudioMixer(clock);
	const sink = new Recorder();
	mixer.addSink(sink);
	const voices = [mixer.voice('a', true), mixer.voice('b')];
	for (const voice of voices) voice.start({ rate: 48000, channels: 1 });
	for (let i = 0; i < 20; i++) {
		clock.advance(10 * MS);
		for (const voice of voices) voice.write(new Int16Array(480).fill(i < 10 ? 1000 : 30000));
	}
	t.true(sink.left.includes(2000));
	t.is(Math.max(...sink.left), 32767);
});

test('a host that was busy: nothing is lost, nothing is made up', (t) => {
	const clock = new ManualClock();
	const mixer = new AudioMixer(clock);
	const sink = new Recorder();
	mixer.addSink(sink);
	const player = new Player(clock, mixer.voice('v', true));
	player.play(500);
	// The device is as late as everything else, and gives it all at once.
	for (const stall of [30, 50, 40]) {
		clock.advance(stall * MS);
		player.push(stall);
		player.play(300);
	}
	t.like(mixer.info().voices[0], { underruns: 0, overruns: 0 });
	const start = sink.left.findIndex((x) => x !== 0);
	const ideal = Float64Array.from({ length: 48000 }, (_, i) => Math.sin((2 * Math.PI * 440 * i) / 48000));
	t.true(correlation(ideal, sink.left.slice(start - 1), 0, 1000, 47000) > 0.9999);
});

/** An AC97 that plays a tone into a mixer, and its guest, which refills what was played as soon as it gets to run. */
class Player97 {
	static readonly PERIOD = 1024;
	readonly sink = new Recorder();
	readonly board: AudioBoard;
	readonly mixer: AudioMixer;
	#written = 0;
	#next = 0;

	constructor() {
		let made: AudioMixer | undefined;
		this.board = new AudioBoard((clock) => {
			made = new AudioMixer(clock);
			made.addSink(this.sink);
			return made.voice('ac97.po', true);
		});
		if (!made) throw new Error('the board made no mixer');
		this.mixer = made;
		const { ports } = this.board;
		ports.out16(MIXER + 2, 0);
		ports.out16(MIXER + 0x18, 0x0808);
		const { PERIOD } = Player97;
		this.board.describe(
			0x1000,
			Array.from({ length: 32 }, (_, i) => [0x10000 + i * PERIOD * 4, PERIOD * 2] as const),
		);
		while (this.#next < 16) this.#fill();
		this.board.play(PO, 0x1000, 15);
	}

	/** Sample `n` of the tone. */
	static wave(n: number): number {
		return Math.round(10000 * Math.sin((2 * Math.PI * 440 * n) / 48000)) + 0;
	}

	run(ms: number): void {
		for (let i = 0; i < ms; i++) {
			this.board.host.clock.advance(MS);
			while ((this.#next - this.board.civ(PO) + 32) % 32 < 16) {
				const index = this.#next;
				this.#fill();
				this.board.ports.out8(MASTER + PO + 5, index);
			}
		}
	}

	#fill(): void {
		const { dma } = this.board.host;
		const { PERIOD, wave } = Player97;
		for (let n = 0; n < PERIOD; n++, this.#written++) {
			dma.write16(0x10000 + (this.#next * PERIOD + n) * 4, wave(this.#written) & 0xffff);
			dma.write16(0x10000 + (this.#next * PERIOD + n) * 4 + 2, wave(this.#written) & 0xffff);
		}
		this.#next = (this.#next + 1) % 32;
	}
}

test('an AC97 and a host that is busy now and then: nothing is lost, mended or made up', (t) => {
	const player = new Player97();
	for (const stall of [30, 90, 150, 240]) {
		player.board.host.clock.stall(stall * MS);
		player.run(300);
	}
	t.like(player.mixer.info().voices[0], { underruns: 0, overruns: 0 });
	const { left } = player.sink;
	const start = left.findIndex((x) => x !== 0) - 1;
	t.true(left.length - start > 1.6 * 48000);
	// The first 10 ms fade in.
	const wrong = left.findIndex((x, n) => n >= start + 960 && x !== Player97.wave(n - start));
	t.is(wrong, -1, `${left.length} frames, the first at ${start}`);
});

test('an AC97 and a host that was away for long: that time is lost, and then all is as before', (t) => {
	const player = new Player97();
	player.run(500);
	for (let i = 0; i < 5; i++) {
		player.board.host.clock.stall(800 * MS);
		player.run(500);
	}
	const { left } = player.sink;
	const { buffered } = player.mixer.info().voices[0];
	t.true(buffered < 60, `${buffered} ms are held back`);
	const before = left.length;
	player.run(1000);
	t.true(Math.abs(left.length - before - 48000) <= 960, 'neither behind for ever nor ahead');
	// What came through is the tone without a jump.
	const last = left.slice(-24000);
	t.true(Math.abs(pitch(last, 48000, 440) - 440) < 0.05);
	t.true(longestGap(last, 48000, 10) < 0.001);
	t.is(player.mixer.info().voices[0].overruns, 0);
});

test('a device that stays behind is mended: counted once, no click, and it goes on with more in hand', (t) => {
	const clock = new ManualClock();
	const mixer = new AudioMixer(clock);
	const sink = new Recorder();
	mixer.addSink(sink);
	const player = new Player(clock, mixer.voice('v', true));
	player.play(500);
	const { buffered } = mixer.info().voices[0];
	clock.advance(150 * MS);
	player.play(500);
	t.is(mixer.info().voices[0].underruns, 1);
	const steps = sink.left.slice(1).map((x, i) => Math.abs(x - sink.left[i]));
	const steepest = 10000 * Math.sin((2 * Math.PI * 440) / 48000);
	t.true(Math.max(...steps) < steepest * 1.5, `${Math.max(...steps)} beside ${steepest}`);
	t.true(longestGap(sink.left.slice(2000), 48000, 10) < 0.16);
	t.is(mixer.info().voices[0].buffered, buffered + 10);
});

test('a host that was away for long owes a quarter of a second, not all of it', (t) => {
	const clock = new ManualClock();
	const mixer = new AudioMixer(clock);
	const sink = new Recorder();
	mixer.addSink(sink);
	// It says that it plays, and gives nothing: what back ends get for it is silence.
	mixer.voice('v', true).start(HOST_AUDIO);
	clock.advance(100 * MS);
	const before = sink.left.length;
	clock.stall(10_000 * MS);
	clock.advance(10 * MS);
	const given = (sink.left.length - before) / 48;
	t.true(given > 200 && given <= 270, `${given} ms`);
});

test('latency stays small however long it plays and whatever happened', (t) => {
	const clock = new ManualClock();
	const mixer = new AudioMixer(clock);
	mixer.addSink(new Recorder());
	const player = new Player(clock, mixer.voice('v', true));
	for (let i = 0; i < 20; i++) {
		player.play(200);
		clock.advance(100 * MS);
		if (i % 2) player.push(100);
		t.true(mixer.info().voices[0].buffered < 250, `${mixer.info().voices[0].buffered}`);
	}
	// A device that gives far more than its rate loses the excess.
	player.push(2000);
	t.true(mixer.info().voices[0].overruns > 0);
	t.true(mixer.info().voices[0].buffered <= 400);
});

test('back ends come and go in the middle', (t) => {
	const clock = new ManualClock();
	const mixer = new AudioMixer(clock);
	const player = new Player(clock, mixer.voice('v', true));
	player.play(100);
	const sink = new Recorder();
	const remove = mixer.addSink(sink);
	player.play(100);
	remove();
	const heard = sink.left.length;
	player.play(100);
	t.is(sink.left.length, heard);
	t.true(heard >= 4800 - 480 && heard <= 4800 + 480);
	t.deepEqual(sink.log, ['start', 'stop']);
});

/** A client's microphone: frames of a tone at the clock's pace, off by `skew`. */
class Microphone implements AudioSource {
	readonly log: string[] = [];
	readonly #clock: ManualClock;
	readonly #skew: number;
	#since = 0;
	#frames = 0;
	constructor(clock: ManualClock, skew = 1) {
		this.#clock = clock;
		this.#skew = skew;
	}
	start(): void {
		this.log.push('start');
		this.#since = this.#clock.now();
		this.#frames = 0;
	}
	read(into: Int16Array): number {
		const due = Math.floor((this.#clock.now() - this.#since) * this.#skew * 48e-6) - this.#frames;
		const frames = Math.min(into.length / 2, due);
		for (let i = 0; i < frames; i++) {
			const value = Math.round(10000 * Math.sin((2 * Math.PI * 440 * this.#frames++) / 48000));
			into[i * 2] = value;
			into[i * 2 + 1] = value;
		}
		return frames;
	}
	stop(): void {
		this.log.push('stop');
	}
}

function record(clock: ManualClock, capture: AudioSource, rate: number, ms: number): number[] {
	const out: number[] = [];
	const into = new Int16Array((rate / 100) * 2);
	for (let done = 0; done < ms; done += 10) {
		clock.advance(10 * MS);
		const frames = capture.read(into);
		for (let i = 0; i < rate / 100; i++) out.push(i < frames ? into[i * 2] : 0);
	}
	return out;
}

for (const rate of [8000, 44100, 48000])
	test(`recording at ${rate} Hz is what the source plays`, (t) => {
		const clock = new ManualClock();
		const mixer = new AudioMixer(clock);
		const source = new Microphone(clock);
		mixer.addSource(source);
		const capture = mixer.capture('c');
		t.deepEqual(source.log, []);
		capture.start({ rate, channels: 2 });
		const heard = record(clock, capture, rate, 2000);
		capture.stop();
		t.deepEqual(source.log, ['start', 'stop']);
		const start = heard.findIndex((x) => x !== 0);
		t.true(start < rate * 0.06, `${start}`);
		const steady = heard.slice(start + 200);
		t.true(Math.abs(pitch(steady, rate, 440) - 440) < 0.05);
		t.true(longestGap(steady, rate, 600) < 0.002);
		t.like(mixer.info().captures[0], { underruns: 0, overruns: 0 });
	});

test('a source with another clock: the delay stays bounded, and slips are counted', (t) => {
	for (const skew of [1.01, 0.99]) {
		const clock = new ManualClock();
		const mixer = new AudioMixer(clock);
		mixer.addSource(new Microphone(clock, skew));
		const capture = mixer.capture('c');
		capture.start(HOST_AUDIO);
		record(clock, capture, 48000, 30_000);
		const info = mixer.info().captures[0];
		t.true(info.buffered <= 250);
		t.true(info.overruns + info.underruns > 0 && info.overruns + info.underruns < 20);
	}
});

test('a recording while the host is busy now and then: nothing is lost, and the delay does not stay', (t) => {
	const clock = new ManualClock();
	const mixer = new AudioMixer(clock);
	mixer.addSource(new Microphone(clock));
	const capture = mixer.capture('c');
	capture.start({ rate: 48000, channels: 2 });
	const out = record(clock, capture, 48000, 500);
	const into = new Int16Array(960 * 2);
	for (const stall of [60, 150, 230]) {
		clock.stall(stall * MS);
		// The device makes up for it in steps of 20 ms each 4 ms.
		for (let due = stall; due > 0; ) {
			clock.advance(4 * MS);
			due += 4;
			const frames = Math.min(20, due) * 48;
			due -= frames / 48;
			t.is(capture.read(into.subarray(0, frames * 2)), frames);
			for (let i = 0; i < frames; i++) out.push(into[i * 2]);
		}
		out.push(...record(clock, capture, 48000, 700));
	}
	t.like(mixer.info().captures[0], { underruns: 0, overruns: 0 });
	const first = out.findIndex((x) => x !== 0);
	const ideal = Float64Array.from(out, (_, i) => Math.sin((2 * Math.PI * 440 * i) / 48000));
	t.true(correlation(ideal, out.slice(first - 1), 0, 0, out.length - first) > 0.9999);
	t.true(mixer.info().captures[0].buffered < 150);
});

test('volume and mute of a recording; without a source there is silence; the last source counts', (t) => {
	const clock = new ManualClock();
	const mixer = new AudioMixer(clock);
	const capture = mixer.capture('c');
	capture.start(HOST_AUDIO);
	t.true(record(clock, capture, 48000, 100).every((x) => x === 0));
	const [one, two] = [new Microphone(clock), new Microphone(clock)];
	mixer.addSource(one);
	const remove = mixer.addSource(two);
	t.deepEqual([one.log, two.log], [['start', 'stop'], ['start']]);
	capture.volume({ left: 0.5, right: 0.5, mute: false });
	t.is(Math.round(Math.max(...record(clock, capture, 48000, 200)) / 100), 50);
	capture.volume({ left: 0.5, right: 0.5, mute: true });
	t.true(record(clock, capture, 48000, 100).every((x) => x === 0));
	remove();
	t.deepEqual([one.log.at(-1), two.log.at(-1)], ['start', 'stop']);
});
