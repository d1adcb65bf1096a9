import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import test from 'ava';
import type { CpuFailure } from '../../src/cpu/backend.ts';
import { createV86 } from '../../src/cpu/v86/index.ts';
import { freeLargePages } from '../../src/cpu/v86/largepages.ts';
import { code, EAX, hlt, le32, load, mov, run, store32 } from '../helpers/asm.ts';

const MIB = 1 << 20;
const DIRECTORY = 0x3000;
const POINTERS = 0x4000;
/** Page table bits: present, writable, user; and a large page. */
const TABLE = 0x7;
const LARGE = 0x87;
const PSE = 0x10;
const PAE = 0x20;

const wrapped = createRequire(import.meta.url).resolve('v86/build/v86.wasm');
/** mov cr3, eax; mov cr4, eax; mov eax, cr0; or eax, 80000000h; mov cr0, eax */
const paging = (directory: number, cr4: number) => [
	...[...mov(EAX, cr4), 0x0f, 0x22, 0xe0],
	...[...mov(EAX, directory), 0x0f, 0x22, 0xd8],
	...[0x0f, 0x20, 0xc0, 0x0d, ...le32(0x80000000), 0x0f, 0x22, 0xc0],
];

async function guest() {
	const cpu = await createV86({ memory: 16 * MIB, videoMemory: 1 << 16, time: 'virtual', fastVideo: true });
	const failures: CpuFailure[] = [];
	cpu.onFailure = (failure) => failures.push(failure);
	const entry = (at: number, value: number) => cpu.dma.write(at, Uint8Array.from([...le32(value), ...le32(0)]));
	return { cpu, failures, entry };
}

for (const [name, cr4] of [
	['alone', PAE],
	['with CR4.PSE', PAE | PSE],
] as const) {
	test(`PAE ${name}: an entry with PS set maps 2 MiB (Intel SDM volume 3, 4.4.2)`, async (t) => {
		const { cpu, failures, entry } = await guest();
		entry(POINTERS, DIRECTORY | 1);
		entry(DIRECTORY, LARGE);
		entry(DIRECTORY + 8, (6 * MIB) | LARGE);
		entry(DIRECTORY + 16, 0x5000 | TABLE);
		// The third 2 MiB are small pages: the first of them is at 8 MiB + 4 KiB.
		entry(0x5000, (8 * MIB + 0x1000) | TABLE);
		cpu.dma.write(6 * MIB + 0x123454, Uint8Array.from(le32(0x600d0001)));
		cpu.dma.write(8 * MIB + 0x1008, Uint8Array.from(le32(0x600d0002)));
		run(
			cpu,
			code(
				paging(POINTERS, cr4),
				[...load(4 * MIB + 8), 0x89, 0xc3], // mov ebx, eax
				store32(3 * MIB, 0x600d0003),
				load(2 * MIB + 0x123454),
				hlt,
			),
		);
		t.deepEqual(failures, []);
		const { general } = cpu.registers();
		t.is(general.eax, 0x600d0001);
		t.is(general.ebx, 0x600d0002);
		t.deepEqual([...cpu.dma.view(7 * MIB, 4)], [...Uint8Array.from(le32(0x600d0003))]);
	});
}

for (const [name, cr4, expected] of [
	['without CR4.PSE an entry with bit 7 set is a page table', 0, 0x600d0002],
	['with CR4.PSE an entry with bit 7 set maps 4 MiB', PSE, 0x600d0001],
] as const) {
	test(`32-bit paging: ${name}`, async (t) => {
		const { cpu, failures } = await guest();
		const entry = (at: number, value: number) => cpu.dma.write(at, Uint8Array.from(le32(value)));
		entry(DIRECTORY, 0x5000 | TABLE);
		for (let page = 0; page < 1024; page++) entry(0x5000 + page * 4, (page << 12) | TABLE);
		// As a table, 8 MiB holds an entry for what stands 4 KiB further on; as a page, it is data itself.
		entry(DIRECTORY + 4, (8 * MIB) | LARGE);
		entry(8 * MIB + 4, (8 * MIB + 0x2000) | TABLE);
		entry(8 * MIB + 0x1008, 0x600d0001);
		entry(8 * MIB + 0x2008, 0x600d0002);
		run(cpu, code(paging(DIRECTORY, cr4), load(4 * MIB + 0x1008), hlt));
		t.deepEqual(failures, []);
		t.is(cpu.registers().general.eax, expected);
	});
}

test('a core whose page walk is another, or stands there twice, is refused', async (t) => {
	const module = await readFile(wrapped);
	const free = freeLargePages(module);
	t.is(module.filter((byte, i) => byte !== free[i]).length, 1);
	t.true(WebAssembly.validate(free));
	t.throws(() => freeLargePages(free), { message: /page walk/ });
	t.throws(() => freeLargePages(Buffer.concat([module, module])), { message: /page walk/ });
});
