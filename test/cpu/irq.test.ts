import test from 'ava';
import { createV86 } from '../../src/cpu/v86/index.ts';
import { IrqLines } from '../../src/cpu/v86/irq.ts';
import {
	cli,
	code,
	countDown,
	countingHandler,
	EAX,
	ECX,
	EDI,
	EDX,
	forever,
	hlt,
	inc,
	le32,
	mov,
	sti,
	store32,
	untilHalt,
	VECTOR,
	withInterrupts,
} from '../helpers/asm.ts';

const START = 0x10000;
const HANDLER = 0x9000;
const COUNTER = 0x20000;
const DEVICE = 0xfeb00000;
const options = { memory: 1 << 20, videoMemory: 0, time: 'virtual', fastVideo: false } as const;

/** A machine whose IRQ `line` is counted at COUNTER, ready to run `body` after sti. */
async function counting(line: number, body: (at: number) => readonly number[]) {
	const cpu = await createV86(options);
	cpu.dma.write(HANDLER, countingHandler(line, COUNTER));
	const setup = withInterrupts(cpu, START, new Map([[VECTOR + line, HANDLER]]));
	cpu.dma.write(START, code([...setup], sti, body(START + setup.length + 1)));
	cpu.startFlat(START);
	return cpu;
}

/** body; dec ecx; jnz body */
const loop = (turns: number, body: readonly number[]): number[] => [
	...mov(ECX, turns),
	...body,
	0x49,
	...[0x0f, 0x85, ...le32(-(body.length + 7))],
];

test('a level that changes while the guest is busy waits, and edges survive', (t) => {
	const calls: string[] = [];
	let busy = false;
	let waiting = 0;
	const lines = new IrqLines(
		{ device_raise_irq: (line) => calls.push(`+${line}`), device_lower_irq: (line) => calls.push(`-${line}`) },
		() => busy,
		() => waiting++,
		(line) => calls.push(`quietly -${line}`),
	);
	lines.lines[3].set(true);
	lines.lines[3].set(true);
	t.deepEqual(calls.splice(0), ['+3']);
	busy = true;
	lines.lines[3].set(false);
	lines.lines[5].set(true);
	lines.lines[6].set(true);
	lines.lines[6].set(false);
	t.deepEqual(calls.splice(0), ['quietly -3'], 'a fall does not wait, a rise does');
	t.true(waiting > 0);
	busy = false;
	lines.settle();
	t.deepEqual(calls.splice(0), ['+5', '+6', '-6']);
	lines.settle();
	t.deepEqual(calls, []);
	busy = true;
	lines.lines[5].set(false);
	t.deepEqual(calls.splice(0), ['quietly -5']);
	lines.lines[5].set(true);
	lines.lines[6].set(true);
	lines.lines[6].set(false);
	lines.lines[6].set(true);
	busy = false;
	lines.settle();
	t.deepEqual(calls.splice(0), ['+5', '+6', '-6', '+6']);
	t.is(lines.levels, (1 << 5) | (1 << 6));
});

for (const line of [1, 9]) {
	test(`each interrupt that an MMIO handler raises on line ${line} arrives`, async (t) => {
		const turns = 1000000;
		const cpu = await counting(line, () => [...loop(turns, [...store32(DEVICE, 1)]), ...cli, ...hlt]);
		// The next edge comes when the handler has seen the last one: the controller would merge them.
		let raised = 0;
		const irq = cpu.irq(line);
		cpu.mmio.map(DEVICE, 4, {
			write32: () => {
				if (cpu.dma.read32(COUNTER) !== raised) return;
				raised++;
				irq.set(true);
				irq.set(false);
			},
		});
		untilHalt(cpu, 20000);
		cpu.runSlice();
		t.true(raised > 10, `${raised}`);
		// Without the queue most of them would vanish. The last one may come too late, when the guest is at its end.
		t.true(cpu.dma.read32(COUNTER) >= raised - 1);
		t.is(cpu.registers().general.ecx, 0);
	});
}

test('string input keeps its place when its port raises an interrupt', async (t) => {
	const bytes = 20000;
	const target = 0x30000;
	const cpu = await counting(5, () => [
		...[...mov(EDX, 0x300), ...mov(EDI, target), ...mov(ECX, bytes), 0xf3, 0x6c], // rep insb
		...cli,
		...hlt,
	]);
	let next = 0;
	const irq = cpu.irq(5);
	cpu.ports.map(0x300, 1, {
		read8: () => {
			irq.set(next % 2 === 0);
			return next++ & 0xff;
		},
	});
	untilHalt(cpu);
	t.is(next, bytes);
	t.true(cpu.dma.read(target, bytes).every((byte, i) => byte === (i & 0xff)));
	t.true(cpu.dma.read32(COUNTER) >= 1);
});

test('an interrupt raised by a port write comes before the guest has gone far', async (t) => {
	// The handler has run when the guest, a few hundred instructions on, looks.
	const cpu = await counting(4, () => [
		...mov(EDX, 0x300),
		0xee, // out dx, al
		...mov(ECX, 300),
		...countDown,
		...[0x8b, 0x1d, ...le32(COUNTER)], // mov ebx, [COUNTER]
		...cli,
		...hlt,
	]);
	cpu.ports.map(0x300, 1, { write8: () => cpu.irq(4).set(true) });
	untilHalt(cpu);
	t.is(cpu.registers().general.ebx, 1);
});

test('a level-triggered line that stays up interrupts until it is lowered', async (t) => {
	const cpu = await counting(10, () => [
		...[...mov(EDX, 0x4d1), ...mov(EAX, 0x04), 0xee], // ELCR: IRQ 10 is level-triggered
		...[...mov(EDX, 0x300), 0xee], // out dx, al
		...forever,
	]);
	const irq = cpu.irq(10);
	cpu.ports.map(0x300, 1, { write8: () => irq.set(true) });
	for (let i = 0; i < 100 && cpu.dma.read32(COUNTER) < 5; i++) cpu.runSlice();
	t.true(cpu.dma.read32(COUNTER) >= 5);
	irq.set(false);
	cpu.runSlice();
	const count = cpu.dma.read32(COUNTER);
	for (let i = 0; i < 5; i++) cpu.runSlice();
	t.is(cpu.dma.read32(COUNTER), count);
});

test('a halted guest wakes by an interrupt from outside, and says so once', async (t) => {
	const cpu = await counting(3, () => [...hlt, ...inc(COUNTER + 4), ...cli, ...hlt]);
	let woken = 0;
	cpu.onWake = () => woken++;
	t.true(cpu.runSlice() > 0);
	t.true(cpu.registers().halted);
	cpu.irq(3).set(true);
	t.is(woken, 1);
	untilHalt(cpu);
	t.is(cpu.dma.read32(COUNTER), 1);
	t.is(cpu.dma.read32(COUNTER + 4), 1);
	t.throws(() => cpu.irq(16), { instanceOf: RangeError });
	t.throws(() => cpu.irq(-1), { instanceOf: RangeError });
});

test('an interrupt raised by deferred work ends a halt at once', async (t) => {
	const cpu = await counting(3, () => [...hlt, ...cli, ...hlt]);
	cpu.runSlice();
	let woken = 0;
	cpu.onWake = () => woken++;
	cpu.defer(() => cpu.irq(3).set(true));
	t.is(woken, 1);
	t.is(cpu.dma.read32(COUNTER), 0);
	untilHalt(cpu);
	t.is(cpu.dma.read32(COUNTER), 1);
});

test('deferred work from a handler runs outside it, in order, and soon', async (t) => {
	const cpu = await createV86(options);
	const log: string[] = [];
	cpu.ports.map(0x300, 1, {
		write8: () => {
			cpu.defer(() => log.push('first'));
			cpu.defer(() => {
				log.push('second');
				cpu.defer(() => log.push('fourth'));
			});
			cpu.defer(() => {
				log.push('third');
				throw new Error('of the device');
			});
			log.push('handler');
		},
	});
	cpu.dma.write(START, code(mov(EDX, 0x300), [0xee], forever));
	cpu.startFlat(START);
	cpu.runSlice();
	cpu.runSlice();
	t.deepEqual(log, ['handler', 'first', 'second', 'third', 'fourth']);
});
