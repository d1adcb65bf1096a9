/** Message-signalled interrupts on a bare machine: each that the local APIC takes arrives, from wherever it is sent. */
import test from 'ava';
import { createV86 } from '../../src/cpu/v86/index.ts';
import {
	cli,
	code,
	countDown,
	EAX,
	ECX,
	EDX,
	hlt,
	inc,
	iret,
	le32,
	load,
	mov,
	out8,
	popad,
	pushad,
	sti,
	store,
	store32,
	untilHalt,
	VECTOR,
	withInterrupts,
} from '../helpers/asm.ts';
import { guestErrors } from '../helpers/virtio-driver.ts';

const START = 0x10000;
const HANDLER = 0x9000;
const COUNTER = 0x20000;
const SEEN = 0x20010;
/** mov [SEEN], ecx */
const saveEcx = [0x89, 0x0d, ...le32(SEEN)];
const DEVICE = 0xfeb00000;
const APIC = 0xfee00000;
const EOI = APIC + 0xb0;
const LOGICAL_DESTINATION = APIC + 0xd0;
const SPURIOUS = APIC + 0xf0;
const TO_ALL = APIC + 0xff000;
const LOGICAL = 4;
const MESSAGE = VECTOR + 8;
const options = { memory: 1 << 20, videoMemory: 0, time: 'virtual', fastVideo: false } as const;

/** A machine that counts MESSAGE at COUNTER, its APIC enabled with logical id 2, ready to run `body` after sti. */
async function counting(body: readonly number[], enable = 0x1ff) {
	const cpu = await createV86(options);
	cpu.dma.write(HANDLER, code(pushad, inc(COUNTER), mov(EAX, 0), store(EOI), popad, iret));
	const apic = [...mov(EAX, enable), ...store(SPURIOUS), ...mov(EAX, 2 << 24), ...store(LOGICAL_DESTINATION)];
	const setup = withInterrupts(cpu, START, new Map([[MESSAGE, HANDLER]]));
	cpu.dma.write(START, code([...setup], apic, sti, body));
	cpu.startFlat(START);
	return cpu;
}

const asleep = [...hlt, ...[0xeb, 0xfd]];

test('a message wakes a halted guest at once, and each is taken', async (t) => {
	const cpu = await counting(asleep);
	untilHalt(cpu);
	let woken = 0;
	cpu.onWake = () => woken++;
	for (let n = 1; n <= 20; n++) {
		cpu.message(APIC, MESSAGE);
		t.is(woken, n);
		cpu.runSlice();
		t.is(cpu.dma.read32(COUNTER), n);
	}
});

test('a message to a busy guest comes before it has gone far', async (t) => {
	const cpu = await counting([...mov(ECX, 0x7fffffff), ...countDown]);
	cpu.dma.write(HANDLER, code(pushad, saveEcx, inc(COUNTER), mov(EAX, 0), store(EOI), popad, iret));
	// Long enough for the loop to be translated.
	while (cpu.instructions < 2_000_000) cpu.runSlice();
	const { ecx } = cpu.registers().general;
	cpu.message(APIC, MESSAGE);
	cpu.runSlice();
	t.is(cpu.dma.read32(COUNTER), 1);
	// Translated code looks up only every 100 000 instructions; this loop has two.
	t.true(ecx - cpu.dma.read32(SEEN) <= 51_000, `${ecx - cpu.dma.read32(SEEN)}`);
});

for (const [what, access] of [
	['port', mov(EDX, 0x300).concat(0xee)],
	['memory', store32(DEVICE, 1)],
] as const)
	test(`each message that a ${what} handler sends arrives`, async (t) => {
		const turns = 2000;
		const body = [...access, ...mov(EAX, 1000), ...[0x48, 0x75, 0xfd]]; // dec eax, jnz back
		const cpu = await counting([
			...mov(ECX, turns),
			...body,
			0x49, // dec ecx, jnz body
			...[0x0f, 0x85, ...le32(-(body.length + 7))],
			...cli,
			...hlt,
		]);
		let sent = 0;
		const write8 = () => {
			if (cpu.dma.read32(COUNTER) !== sent) return;
			sent++;
			cpu.message(APIC, MESSAGE);
		};
		if (what === 'port') cpu.ports.map(0x300, 1, { write8 });
		else cpu.mmio.map(DEVICE, 4, { write32: write8 });
		untilHalt(cpu, 20_000);
		t.true(sent > 10, `${sent}`);
		// The last one may come too late, when the guest is at its end.
		t.true(cpu.dma.read32(COUNTER) >= sent - 1);
		t.is(cpu.registers().general.ecx, 0);
	});

test('a message waits until the guest takes interrupts', async (t) => {
	const cpu = await counting([...cli, ...mov(ECX, 3_000_000), ...countDown, ...load(COUNTER), ...sti, ...asleep]);
	cpu.runSlice();
	cpu.message(APIC, MESSAGE);
	untilHalt(cpu);
	t.is(cpu.registers().general.eax, 0, 'not while they were off');
	t.is(cpu.dma.read32(COUNTER), 1);
});

for (const [what, address, taken] of [
	['its id', APIC, 1],
	['everybody', TO_ALL, 1],
	['another id', APIC + 0x3000, 0],
	['its logical id', APIC + 0x2000 + LOGICAL, 1],
	['a set with its logical id', APIC + 0x6000 + LOGICAL, 1],
	['another logical id', APIC + 0x5000 + LOGICAL, 0],
] as const)
	test(`a message to ${what} is ${taken ? 'taken' : 'not taken'}`, async (t) => {
		const cpu = await counting(asleep);
		untilHalt(cpu);
		for (const data of [MESSAGE, 0x100 | MESSAGE]) {
			cpu.message(address, data);
			cpu.runSlice();
		}
		t.is(cpu.dma.read32(COUNTER), 2 * taken, 'fixed and lowest priority');
	});

test('an APIC that is switched off takes none', async (t) => {
	const cpu = await counting(asleep, 0xff);
	untilHalt(cpu);
	cpu.message(APIC, MESSAGE);
	cpu.runSlice();
	t.is(cpu.dma.read32(COUNTER), 0);
});

for (const [address, data] of [
	[0, MESSAGE],
	[0xffffffff, MESSAGE],
	[0xfec00000, MESSAGE],
	[APIC, 15],
	[APIC, 0x400 | MESSAGE],
	[APIC, 0xffffffff],
])
	test(`no message for an APIC: 0x${data.toString(16)} at 0x${address.toString(16)}, one line in the log`, async (t) => {
		const cpu = await counting(asleep);
		untilHalt(cpu);
		const before = cpu.save();
		const log = guestErrors(() => {
			cpu.message(address, data);
			cpu.message(address, data);
		});
		t.deepEqual(cpu.save().controllers, before.controllers);
		t.is(log.length, 1);
		t.regex(log[0], /^apic: a message-signalled interrupt .* is dropped/);
	});

test('a message that a port handler sends comes before the guest has gone far', async (t) => {
	// The handler has run when the guest, a few hundred instructions on, looks.
	const look = [0x8b, 0x1d, ...le32(COUNTER)]; // mov ebx, [COUNTER]
	const cpu = await counting([...mov(EDX, 0x300), 0xee, ...mov(ECX, 300), ...countDown, ...look, ...cli, ...hlt]);
	cpu.ports.map(0x300, 1, { write8: () => cpu.message(APIC, MESSAGE) });
	untilHalt(cpu);
	t.is(cpu.registers().general.ebx, 1);
});

test('a message is edge triggered, whatever its vector was before', async (t) => {
	const [ioSelect, ioWindow, triggerMode] = [0xfec00000, 0xfec00010, APIC + 0x180 + 0x10 * (MESSAGE >> 5)];
	const pin = 5;
	const cpu = await counting([
		...[...out8(0x21, 0xff), ...out8(0xa1, 0xff)],
		...[...store32(ioSelect, 0x10 + 2 * pin), ...store32(ioWindow, 0x8000 | MESSAGE)],
		...asleep,
	]);
	cpu.dma.write(
		HANDLER,
		code(pushad, inc(COUNTER), load(triggerMode), store(SEEN), mov(EAX, 0), store(EOI), popad, iret),
	);
	untilHalt(cpu);
	const bit = 1 << (MESSAGE & 31);
	cpu.irq(pin).set(true);
	cpu.irq(pin).set(false);
	cpu.runSlice();
	t.is(cpu.dma.read32(SEEN) & bit, bit, 'the line is level triggered');
	const taken = cpu.dma.read32(COUNTER);
	cpu.message(APIC, MESSAGE);
	cpu.runSlice();
	t.is(cpu.dma.read32(COUNTER), taken + 1);
	t.is(cpu.dma.read32(SEEN) & bit, 0);
});

test('a message that waits is part of a saved state', async (t) => {
	const cpu = await counting([...cli, ...mov(ECX, 3_000_000), ...countDown, ...sti, ...asleep]);
	cpu.runSlice();
	cpu.message(APIC, MESSAGE);
	const state = cpu.save();
	const next = await createV86(options);
	next.restore(state);
	untilHalt(next);
	t.is(next.dma.read32(COUNTER), 1);
});
