import test from 'ava';
import { createV86 } from '../../src/cpu/v86/index.ts';
import { EAX, EBX, ECX, EDI, EDX, ESI, le32, mov } from '../helpers/asm.ts';

const PORT = 0x5658;
const RESULT = 0x400;
const ROUNDS = 400_000;

/** cmp reg, imm32; jne to `fail` (a rel32 that is filled in later). */
const expect = (reg: number, value: number) => [0x81, 0xf8 + reg, ...le32(value), 0x0f, 0x85, ...FAIL];
const FAIL = [0xfa, 0x11, 0xfa, 0x11];

/** As `out32` of the helpers, then stops. */
const finish = (value: number) => [...mov(EDX, RESULT), ...mov(EAX, value), 0xef, 0xfa, 0xf4];

/** Puts the distance to the last instructions into each jump that expect() made. */
function link(body: readonly number[]): Uint8Array {
	const bytes = Uint8Array.from([...body, ...finish(2)]);
	const view = new DataView(bytes.buffer);
	const marker = new DataView(Uint8Array.from(FAIL).buffer).getUint32(0, true);
	for (let at = 0; at + 4 <= body.length; at++)
		if (view.getUint32(at, true) === marker) view.setUint32(at, body.length - at - 4, true);
	return bytes;
}

test('a port handler sees and sets the registers, interpreted and translated', async (t) => {
	const cpu = await createV86({ memory: 16 << 20, videoMemory: 0, time: 'real', fastVideo: false });
	t.teardown(() => cpu.dispose());
	const { portRegisters } = cpu;
	if (!portRegisters) throw new Error('the core offers no registers');
	let calls = 0;
	let wrong = 0;
	cpu.ports.map(PORT, 4, {
		read32: () => {
			const [eax, ecx, edx, esi] = (['eax', 'ecx', 'edx', 'esi'] as const).map((name) => portRegisters.get(name));
			if (eax !== 0x564d5868 || ecx !== calls || edx !== PORT || esi !== calls) wrong++;
			portRegisters.set('ebx', ecx * 3);
			portRegisters.set('ecx', 0xfedcba98);
			portRegisters.set('edx', 0xabcd);
			calls++;
			return 77;
		},
	});
	let result: number | undefined;
	cpu.ports.map(RESULT, 4, {
		write32: (_, value) => {
			result = value;
		},
	});
	const round = [
		...mov(EAX, 0x564d5868),
		...[0x89, 0xf1], // mov ecx, esi
		...mov(EDX, PORT),
		...mov(EBX, 0xffffffff),
		0xed, // in eax, dx
		...expect(EAX, 77),
		...expect(ECX, 0xfedcba98),
		...expect(EDX, 0xabcd),
		...[0x8d, 0x3c, 0x76], // lea edi, [esi + esi * 2]
		...[0x39, 0xfb, 0x0f, 0x85, ...FAIL], // cmp ebx, edi; jne
		0x46, // inc esi
		...[0x81, 0xf8 + ESI, ...le32(ROUNDS)], // cmp esi, ROUNDS
	];
	const start = [...mov(ESI, 0), ...mov(EDI, 0)];
	const again = [0x0f, 0x85, ...le32(-(round.length + 6))]; // jne to the start of the round
	const program = link([...start, ...round, ...again, ...finish(1)]);
	cpu.dma.write(0x100000, program);
	cpu.startFlat(0x100000, { esp: 0x80000 });
	for (let slice = 0; slice < 20_000 && result === undefined; slice++) {
		cpu.runSlice();
		await new Promise((resolve) => setImmediate(resolve));
	}
	t.is(result, 1);
	t.is(calls, ROUNDS);
	t.is(wrong, 0);
});
