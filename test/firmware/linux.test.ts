/** Direct kernel boot: reading bzImages, unpacking kernels, placing the pieces, the option ROM's own code. */
import { execFileSync } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import test, { type ExecutionContext } from 'ava';
import fc from 'fast-check';
import { bootPath, fwCfgContents, loadLinux } from '../../firmware/index.ts';
import { linuxRom } from '../../firmware/linux/rom.ts';
import { undoX86Filter, unpackXz } from '../../firmware/linux/xz.ts';
import { fwCfgKey, TsvmError } from '../../src/core/index.ts';
import { sameBytes } from '../helpers/bytes.ts';

const MIB = 1 << 20;
const KERNEL_AT = 16 * MIB;

async function folder(t: ExecutionContext): Promise<string> {
	const path = await mkdtemp(join(tmpdir(), 'tsvm-linux-'));
	t.teardown(() => rm(path, { recursive: true, force: true }));
	return path;
}

/** An ELF executable with two segments, the second with zero-initialised data behind it. */
function vmlinux(patch: (view: DataView) => void = () => {}): Uint8Array {
	const elf = new Uint8Array(0x3000);
	const view = new DataView(elf.buffer);
	elf.set([0x7f, 0x45, 0x4c, 0x46, 1, 1, 1]);
	view.setUint16(16, 2, true);
	view.setUint16(18, 3, true);
	view.setUint32(24, KERNEL_AT + 0x10, true);
	view.setUint32(28, 52, true);
	view.setUint16(42, 32, true);
	view.setUint16(44, 2, true);
	const segment = (n: number, offset: number, paddr: number, filesz: number, memsz: number) =>
		[1, offset, paddr + 0xc0000000, paddr, filesz, memsz].forEach((v, i) => {
			view.setUint32(52 + 32 * n + 4 * i, v >>> 0, true);
		});
	segment(0, 0x1000, KERNEL_AT, 0x1000, 0x1000);
	segment(1, 0x2000, KERNEL_AT + 0x4000, 0x800, 0x9000);
	elf.fill(0x90, 0x1000, 0x2000);
	elf.fill(0x42, 0x2000, 0x2800);
	patch(view);
	return elf;
}

/** A bzImage around a payload as the kernel's build makes it: the unpacked size stands behind (in gzip: as its end). */
function bzImage(payload: Uint8Array, patch: (view: DataView) => void = () => {}): Uint8Array {
	const setup = 3 * 512;
	const image = new Uint8Array(setup + 0x200 + payload.length);
	const view = new DataView(image.buffer);
	image[0x1f1] = 2;
	view.setUint16(0x1fe, 0xaa55, true);
	view.setUint32(0x202, 0x53726448, true);
	view.setUint16(0x206, 0x020f, true);
	image[0x211] = 1;
	view.setUint32(0x214, MIB, true);
	view.setUint32(0x22c, 0x7fffffff, true);
	view.setUint32(0x238, 2047, true);
	view.setUint32(0x248, 0x200, true);
	view.setUint32(0x24c, payload.length, true);
	view.setUint32(0x260, 2 * MIB, true);
	image.set(payload, setup + 0x200);
	patch(view);
	return image;
}

async function boot(
	t: ExecutionContext,
	image: Uint8Array,
	options: { append?: string; initrd?: Uint8Array; memory?: number; cache?: string } = {},
) {
	const path = await folder(t);
	const kernel = join(path, 'vmlinuz');
	await writeFile(kernel, image);
	let initrd: string | undefined;
	if (options.initrd) {
		initrd = join(path, 'initrd');
		await writeFile(initrd, options.initrd);
	}
	return loadLinux({ memory: 128 * MIB, ...options, kernel, initrd });
}

const u32 = (bytes: Uint8Array | undefined, at = 0) => {
	if (!bytes) throw new Error('item is missing');
	return new DataView(bytes.buffer, bytes.byteOffset).getUint32(at, true);
};

test('a packed kernel is unpacked, flattened, and entered by the setup code itself', async (t) => {
	const { items, files, bootOrder } = await boot(t, bzImage(gzipSync(vmlinux())), { append: 'quiet' });
	t.is(u32(items.get(fwCfgKey.kernelAddr)), KERNEL_AT);
	const kernel = items.get(fwCfgKey.kernelData) as Uint8Array;
	t.is(kernel.length, 0x4800);
	t.is(u32(items.get(fwCfgKey.kernelSize)), kernel.length);
	t.deepEqual(
		[kernel[0], kernel[0xfff], kernel[0x1000], kernel[0x3fff], kernel[0x4000], kernel[0x47ff]],
		[0x90, 0x90, 0, 0, 0x42, 0x42],
	);
	const setup = items.get(fwCfgKey.setupData) as Uint8Array;
	t.is(u32(setup, 0x214), KERNEL_AT + 0x10, 'code32_start');
	t.is(u32(setup, 0x228), u32(items.get(fwCfgKey.cmdlineAddr)));
	t.is(Buffer.from(items.get(fwCfgKey.cmdlineData) as Uint8Array).toString(), 'quiet\0');
	t.is(u32(setup, 0x21c), 0, 'no initrd');
	t.is(bootOrder, '/rom@genroms/tsvm-linux.rom');
	t.true(files.has('genroms/tsvm-linux.rom'));
});

test('vga= becomes the video mode of the header, in whichever way C writes numbers; nothing said, the kernel chooses', async (t) => {
	const image = bzImage(gzipSync(vmlinux()), (v) => v.setUint16(0x1fa, 0x1234, true));
	const cases: readonly (readonly [append: string, mode: number])[] = [
		['quiet', 0x1234],
		['xvga=788 video=vga=788', 0x1234],
		['vga=788 --- quiet', 788],
		['quiet vga=0x314', 0x314],
		['vga=01424', 0x314],
		['vga=0', 0],
		['vga=65535', 0xffff],
		['vga=normal', 0xffff],
		['vga=ext', 0xfffe],
		['vga=ask', 0xfffd],
		['vga=788 quiet vga=791', 791],
	];
	for (const [append, mode] of cases) {
		const { items } = await boot(t, image, { append });
		const setup = items.get(fwCfgKey.setupData) as Uint8Array;
		t.is(setup[0x1fa] | (setup[0x1fb] << 8), mode, append);
		t.is(Buffer.from(items.get(fwCfgKey.cmdlineData) as Uint8Array).toString(), `${append}\0`);
	}
	for (const value of ['', '65536', '0x10000', '-1', '089', '788x', 'Normal', 'toString', '1e3', '9'.repeat(400)]) {
		const append = `quiet vga=${value}`;
		const error = await t.throwsAsync(
			boot(t, image, { append }),
			{ instanceOf: TsvmError, code: 'append-vga' },
			append,
		);
		t.is(error?.exitCode, 2);
	}
});

test('the initrd lies page-aligned, above the kernel, below what firmware keeps and what the kernel can reach', async (t) => {
	const initrd = new Uint8Array(3 * MIB + 5).fill(7);
	for (const limit of [0x7fffffff, 60 * MIB - 1]) {
		const image = bzImage(gzipSync(vmlinux()), (v) => v.setUint32(0x22c, limit, true));
		const { items } = await boot(t, image, { initrd });
		const at = u32(items.get(fwCfgKey.initrdAddr));
		t.is(at % 4096, 0);
		t.true(at > KERNEL_AT + 0xd000);
		t.true(at + initrd.length <= Math.min(128 * MIB - 0x28000, limit + 1));
		const setup = items.get(fwCfgKey.setupData) as Uint8Array;
		t.deepEqual([u32(setup, 0x218), u32(setup, 0x21c)], [at, initrd.length]);
	}
});

test('a payload that this host cannot unpack goes to the guest as it is', async (t) => {
	const lz4 = new Uint8Array(4096).fill(0x55);
	lz4.set([0x02, 0x21, 0x4c, 0x18]);
	const { items } = await boot(t, bzImage(lz4));
	t.is(u32(items.get(fwCfgKey.kernelAddr)), MIB);
	t.is(u32(items.get(fwCfgKey.setupData), 0x214), MIB);
	t.is((items.get(fwCfgKey.kernelData) as Uint8Array).length, 0x200 + lz4.length);
});

test('an unpacked kernel is kept in the cache and taken from there', async (t) => {
	const cache = join(await folder(t), 'kernels');
	const image = bzImage(gzipSync(vmlinux()));
	const first = await boot(t, image, { cache });
	const [kept] = await readdir(cache);
	t.deepEqual(await readdir(cache), [kept], 'nothing else is left there');
	const path = join(cache, kept);
	const bytes = await readFile(path);
	bytes[0x2000] = 0x43;
	await writeFile(path, bytes);
	const second = await boot(t, image, { cache });
	t.is((second.items.get(fwCfgKey.kernelData) as Uint8Array)[0x4000], 0x43, 'it was read');
	await writeFile(path, bytes.subarray(0, 100));
	const third = await boot(t, image, { cache });
	sameBytes(t, third.items.get(fwCfgKey.kernelData), first.items.get(fwCfgKey.kernelData), 'a cut one is not used');
	for (let i = 0; i < 6; i++) await boot(t, bzImage(gzipSync(vmlinux((v) => v.setUint8(0x1fff, i)))), { cache });
	t.is((await readdir(cache)).length, 4, 'it does not grow without bound');
});

test('a cache that cannot be written costs time only', async (t) => {
	const path = join(await folder(t), 'file');
	await writeFile(path, '');
	await t.notThrowsAsync(boot(t, bzImage(gzipSync(vmlinux())), { cache: join(path, 'sub') }));
});

const refused: Record<string, [code: string, () => Uint8Array]> = {
	'a 64-bit kernel, by its header': [
		'kernel-64bit',
		() => bzImage(gzipSync(vmlinux()), (v) => v.setUint16(0x236, 1, true)),
	],
	'a 64-bit kernel, by its payload': ['kernel-64bit', () => bzImage(gzipSync(vmlinux((v) => v.setUint8(4, 2))))],
	'a kernel for another machine': ['kernel-format', () => bzImage(gzipSync(vmlinux((v) => v.setUint16(18, 40, true))))],
	'what is no kernel': ['kernel-format', () => new Uint8Array(70000)],
	'an empty file': ['kernel-empty', () => new Uint8Array(0)],
	'boot protocol 2.05': ['kernel-old', () => bzImage(gzipSync(vmlinux()), (v) => v.setUint16(0x206, 0x0205, true))],
	'a zImage': ['kernel-format', () => bzImage(gzipSync(vmlinux()), (v) => v.setUint8(0x211, 0))],
	'a kernel cut short': ['kernel-format', () => bzImage(gzipSync(vmlinux())).subarray(0, 2100)],
	'a damaged payload': ['kernel-format', () => bzImage(gzipSync(vmlinux()).fill(0, 20, 60))],
	'a segment outside the file': [
		'kernel-format',
		() => bzImage(gzipSync(vmlinux((v) => v.setUint32(56, 0x2f00, true)))),
	],
	'a kernel that loads low': ['kernel-format', () => bzImage(gzipSync(vmlinux((v) => v.setUint32(64, 0x8000, true))))],
	'an entry point outside': ['kernel-format', () => bzImage(gzipSync(vmlinux((v) => v.setUint32(24, 12, true))))],
};
for (const [what, [code, make]] of Object.entries(refused))
	test(`${what} is refused with a hint`, async (t) => {
		const error = await t.throwsAsync(boot(t, make()), { instanceOf: TsvmError });
		t.is((error as TsvmError).code, code, error?.message);
		t.not((error as TsvmError).hint, '');
		t.false(error?.message.includes('\n'));
	});

test('missing files, folders, long command lines and too little memory are refused with a hint', async (t) => {
	const image = bzImage(gzipSync(vmlinux()));
	const code = async (run: Promise<unknown>) =>
		((await t.throwsAsync(run, { instanceOf: TsvmError })) as TsvmError).code;
	t.is(await code(loadLinux({ kernel: '/nowhere/vmlinuz', memory: MIB })), 'kernel-unreadable');
	t.is(await code(loadLinux({ kernel: tmpdir(), memory: MIB })), 'kernel-unreadable');
	t.is(await code(boot(t, image, { append: 'x'.repeat(2048) })), 'append-long');
	t.is(await code(boot(t, image, { memory: 16 * MIB })), 'memory-small');
	t.is(await code(boot(t, image, { memory: 20 * MIB, initrd: new Uint8Array(4 * MIB).fill(1) })), 'memory-small');
});

test('random changes to an image lead to a boot or a TsvmError, never to anything else', async (t) => {
	const good = bzImage(gzipSync(vmlinux()));
	const path = await folder(t);
	const kernel = join(path, 'vmlinuz');
	const change = fc.tuple(
		fc.oneof(fc.integer({ min: 0x1f0, max: 0x268 }), fc.integer({ min: 0x600, max: good.length - 1 })),
		fc.integer({ min: 0, max: 255 }),
	);
	await fc.assert(
		fc.asyncProperty(fc.array(change, { minLength: 1, maxLength: 6 }), async (changes) => {
			const image = good.slice();
			for (const [at, value] of changes) image[at] = value;
			await writeFile(kernel, image);
			await loadLinux({ kernel, memory: 128 * MIB }).catch((error) => {
				if (!(error instanceof TsvmError)) throw error;
			});
		}),
		{ numRuns: 200 },
	);
	t.pass();
});

test('xz streams as the kernel packs them come out as they went in', async (t) => {
	const path = await folder(t);
	// Real i386 code has the branches that the filter is made for.
	const code = await readFile('/usr/share/seabios/bios-256k.bin');
	const input = join(path, 'code');
	await writeFile(input, code);
	const pack = (...args: string[]) => execFileSync('xz', ['-c', ...args, input], { maxBuffer: 64 * MIB });
	sameBytes(t, Buffer.from(await unpackXz(pack('--check=crc32', '--x86', '--lzma2=dict=1MiB'), MIB)), code);
	sameBytes(t, Buffer.from(await unpackXz(pack('--check=crc64'), MIB)), code);
	sameBytes(t, Buffer.from(await unpackXz(pack('--check=none', '--x86', '--lzma2=preset=0'), MIB)), code);
	const packed = pack('--check=crc32', '--x86', '--lzma2');
	await t.throwsAsync(unpackXz(packed, 1000), { message: /more than 1000/ });
	await t.throwsAsync(unpackXz(packed.subarray(0, packed.length - 8), MIB), { message: /xz:/ });
	const broken = Uint8Array.from(packed);
	broken[packed.length >> 1] ^= 1;
	await t.throwsAsync(unpackXz(broken, MIB));
});

test('the branch filter leaves what is no branch alone and survives any bytes', (t) => {
	const code = Uint8Array.of(0xe8, 0x10, 0, 0, 0, 0x90, 0xe9, 0x20, 0, 0, 0x12, 0x90);
	undoX86Filter(code);
	t.deepEqual([...code.subarray(0, 5)], [0xe8, 0x0b, 0, 0, 0]);
	t.deepEqual([...code.subarray(6, 11)], [0xe9, 0x20, 0, 0, 0x12], 'top byte neither 00 nor ff');
	fc.assert(
		fc.property(fc.array(fc.constantFrom(0xe8, 0xe9, 0, 0xff, 1), { maxLength: 64 }), (bytes) => {
			const before = Uint8Array.from(bytes);
			undoX86Filter(before);
			return before.length === bytes.length;
		}),
	);
});

test('the option ROM is one that BIOSes accept, and its code is what the comments say', async (t) => {
	const rom = linuxRom([{ key: 0x11, length: 0x1234, address: 0x1000000 }], 0x1000);
	t.deepEqual([rom[0], rom[1], rom[2] * 512], [0x55, 0xaa, rom.length]);
	t.is(
		rom.reduce((a, b) => (a + b) & 0xff, 0),
		0,
	);
	const pnp = rom[0x1a];
	t.is(Buffer.from(rom.subarray(pnp, pnp + 4)).toString(), '$PnP');
	t.is(
		rom.subarray(pnp, pnp + 16 * rom[pnp + 5]).reduce((a, b) => (a + b) & 0xff, 0),
		0,
	);
	const path = join(await folder(t), 'rom.bin');
	await writeFile(path, rom);
	const entry = rom[pnp + 0x1a];
	const listing = execFileSync(
		'objdump',
		['-D', '-b', 'binary', '-m', 'i8086', '-M', 'intel', `--start-address=${entry}`, '--stop-address=0xae', path],
		{ encoding: 'utf8' },
	);
	const code = listing
		.split('\n')
		.flatMap((line) => line.split('\t')[2]?.trim().replace(/\s+/g, ' ') ?? [])
		.join('\n');
	for (const line of [
		'mov es,ax',
		'mov dx,0x514',
		'mov eax,0x7c0000',
		'mov dx,0x518',
		'test DWORD PTR es:0x0,0xfeffffff',
		'test BYTE PTR es:0x3,0x1',
		'mov esp,0xfff0',
		'jmp 0x1020:0x0',
		'int 0x18',
	])
		t.true(code.includes(line), `${line} in\n${code}`);
	t.false(code.includes('(bad)'));
});

test('fw_cfg holds what SeaBIOS asks for', async (t) => {
	const linux = await boot(t, bzImage(gzipSync(vmlinux())));
	const { items, files } = fwCfgContents({
		memory: 128 * MIB,
		serialPorts: [1],
		linux,
		bootOrder: [bootPath.ide(1, 0), bootPath.ide(0, 1)],
		bootMenu: { wait: 3000 },
		files: new Map([['opt/x', Uint8Array.of(1)]]),
	});
	t.is(u32(items.get(fwCfgKey.ramSize)), 128 * MIB);
	t.is(u32(items.get(fwCfgKey.irq0Override)), 0);
	t.is(
		Buffer.from(files.get('bootorder') as Uint8Array).toString(),
		'/rom@genroms/tsvm-linux.rom\n/pci@i0cf8/ide@1,1/drive@1/disk@0\n/pci@i0cf8/ide@1,1/drive@0/disk@1\0',
	);
	t.is(files.get('etc/e820')?.length, 20);
	const entry = (start: bigint, length: bigint, type: number) => {
		const view = new DataView(new ArrayBuffer(20));
		view.setBigUint64(0, start, true);
		view.setBigUint64(8, length, true);
		view.setUint32(16, type, true);
		return [...new Uint8Array(view.buffer)];
	};
	const taken = fwCfgContents({ memory: 64 * MIB, taken: 128 * MIB, serialPorts: [] }).files.get('etc/e820') ?? [];
	t.deepEqual([...taken], [...entry(0n, 64n << 20n, 1), ...entry(64n << 20n, 128n << 20n, 2)]);
	t.deepEqual([...(files.get('etc/boot-menu-wait') ?? [])], [0xb8, 0x0b]);
	t.is(u32(files.get('etc/boot-fail-wait')), 0xffffffff);
	t.deepEqual([...(files.get('opt/x') ?? [])], [1]);
	for (const name of files.keys()) t.true(name.length < 56, name);
});
