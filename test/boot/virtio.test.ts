/**
 * Debian's own virtio drivers on our devices: each binds without a word of complaint, and bytes, keys, movements and
 * random numbers arrive. Over the modern interface, with packed rings, and over the legacy one.
 */
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { createConnection, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { buildImage } from '../../images/index.ts';
import { Guest } from '../helpers/guest.ts';
import { waitFor } from '../helpers/x11.ts';

const MIB = 1 << 20;
/** Kernel messages that mean that a driver did not like what it found. */
const COMPLAINTS =
	/virtio.*(fail|error|warn|not|unable|invalid)|WARNING:|BUG:|Oops|nobody cared|timed out|Call Trace|hvc.*fail/i;
const md5 = (bytes: Uint8Array) => createHash('md5').update(bytes).digest('hex');

interface Rig {
	readonly guest: Guest;
	readonly data: Socket;
	readonly console: Socket;
}

/** A guest with one of each; `more` are further words of every virtio device that can have them. */
async function boot(t: ExecutionContext, more: string, modernOnly = ''): Promise<Rig> {
	const folder = mkdtempSync(join(tmpdir(), 'tsvm-virtio-'));
	const disk = join(folder, 'disk.img');
	writeFileSync(disk, '');
	truncateSync(disk, 16 * MIB);
	const { kernel, initrd, append } = await buildImage('debian-mini');
	if (!kernel || !initrd) throw new Error('debian-mini has no kernel');
	const socket = (id: string) => `socket,id=${id},path=${join(folder, id)},server=on,wait=off`;
	const guest = await Guest.start([
		...['--kernel', kernel, '--initrd', initrd, '--append', `${append} tsvm.noreport`],
		...['--device', `virtio-serial-pci${more}`, '--device', `virtio-balloon-pci${more}`],
		...['--device', `virtio-rng-pci${more}`],
		...['--device', `virtio-tablet-pci${modernOnly}`, '--device', `virtio-keyboard-pci${modernOnly}`],
		...[
			'--drive',
			`file=${disk},if=none,id=disk,format=raw`,
			'--device',
			`virtio-blk-pci,drive=disk,serial=TSVM-1${more}`,
		],
		...['--chardev', socket('console'), '--device', 'virtconsole,chardev=console'],
		...['--chardev', socket('data'), '--device', 'virtserialport,chardev=data,name=org.example.data'],
	]);
	t.teardown(async () => {
		await guest.stop();
		rmSync(folder, { recursive: true, force: true });
	});
	const connect = async (id: string) => {
		const to = createConnection(join(folder, id));
		to.on('error', () => {});
		await once(to, 'connect');
		return to;
	};
	const rig = { guest, data: await connect('data'), console: await connect('console') };
	await guest.until('TSVM-SHELL-READY');
	return rig;
}

/** The first `length` bytes that come. */
function receive(from: Socket, length: number): Promise<Buffer> {
	return new Promise((resolve, reject) => {
		const pieces: Buffer[] = [];
		let have = 0;
		const take = (piece: Buffer) => {
			pieces.push(piece);
			have += piece.length;
			if (have < length) return;
			from.off('data', take);
			resolve(Buffer.concat(pieces).subarray(0, length));
		};
		from.on('data', take);
		from.once('close', () => reject(new Error(`the socket closed after ${have} of ${length} bytes`)));
	});
}

async function drivers(t: ExecutionContext, { guest }: Rig): Promise<void> {
	const bound = await guest.shell(
		'for d in /sys/bus/virtio/devices/*; do echo $(cat $d/device) $(basename $(readlink $d/driver)); done | sort',
	);
	t.deepEqual(bound.split('\n'), [
		'0x0002 virtio_blk',
		'0x0003 virtio_console',
		'0x0004 virtio_rng',
		'0x0005 virtio_balloon',
		'0x0012 virtio_input',
		'0x0012 virtio_input',
	]);
	const complaints = (await guest.shell('dmesg')).split('\n').filter((line) => COMPLAINTS.test(line));
	t.deepEqual(complaints, []);
}

/** Feature bits that the driver of the device with this id has accepted, as sysfs shows them. */
async function features({ guest }: Rig, id: string): Promise<string> {
	return guest.shell(`grep -l ${id} /sys/bus/virtio/devices/*/device | sed s,device$,features, | xargs cat`);
}

/** Interrupts of virtio devices by the kind of controller that brought them, as /proc/interrupts counts them. */
async function interrupts({ guest }: Rig): Promise<{ messages: number; lines: number }> {
	const counts = { messages: 0, lines: 0 };
	for (const line of (await guest.shell('grep virtio /proc/interrupts')).split('\n')) {
		const [, count, controller] = line.trim().split(/\s+/);
		counts[controller === 'PCI-MSI' ? 'messages' : 'lines'] += Number(count);
	}
	return counts;
}

async function bytes(t: ExecutionContext, { guest, data }: Rig, size: number): Promise<void> {
	const port = '/dev/virtio-ports/org.example.data';
	const down = randomBytes(size);
	const reading = guest.shell(`head -c ${size} ${port} | md5sum`, 120_000);
	data.write(down);
	t.is((await reading).split(' ')[0], md5(down), `${size} bytes from the host to the guest`);

	await guest.shell(`head -c ${size} /dev/urandom >/tmp/up`, 60_000);
	const sum = (await guest.shell('md5sum </tmp/up')).split(' ')[0];
	const [up] = await Promise.all([receive(data, size), guest.shell(`cat /tmp/up >${port}`, 120_000)]);
	t.is(md5(up), sum, `${size} bytes from the guest to the host`);
	await guest.shell('rm /tmp/up');
}

async function hvc(t: ExecutionContext, { guest, console }: Rig): Promise<void> {
	let said = '';
	console.on('data', (piece: Buffer) => {
		said += piece.toString('latin1');
	});
	await guest.shell('setsid -c sh </dev/hvc0 >/dev/hvc0 2>&1 &');
	console.write('echo the $((6 * 7))nd answer\n');
	await waitFor(() => said.includes('the 42nd answer'), `an answer on hvc0, not: ${said}`);
	console.write('seq 1 5000; echo E""ND\n');
	await waitFor(() => said.includes('END\r\n'), `the end of a long answer, not: ${said.slice(-200)}`);
	const numbers = said.split('\r\n').filter((line) => /^\d+$/.test(line));
	t.deepEqual(
		numbers,
		Array.from({ length: 5000 }, (_, i) => String(i + 1)),
		'nothing is lost or doubled',
	);
}

/** What evdev said while `work` was done, as `type code value`; the kernel's struct input_event has 16 bytes here. */
async function evdev({ guest }: Rig, name: string, count: number, work: () => Promise<unknown>): Promise<string[]> {
	const event = await guest.shell(`grep -A5 "${name}" /proc/bus/input/devices | grep -o "event[0-9]*"`);
	await guest.shell('rm -f /tmp/events');
	await guest.shell(`dd if=/dev/input/${event} of=/tmp/events bs=16 count=${count} 2>/dev/null &`);
	await guest.shell('sleep 0.3');
	await work();
	await waitFor(async () => (await guest.shell('wc -c </tmp/events')) === String(16 * count), `${count} events`);
	const text = await guest.shell('hexdump -v -e \'16/1 "%02x" "\\n"\' /tmp/events');
	return text.split('\n').map((line) => {
		const event = Buffer.from(line.trim(), 'hex');
		return `${event.readUInt16LE(8)} ${event.readUInt16LE(10)} ${event.readInt32LE(12)}`;
	});
}

async function input(t: ExecutionContext, rig: Rig): Promise<void> {
	const { guest } = rig;
	t.deepEqual(
		await evdev(rig, 'QEMU Virtio Tablet', 5, () =>
			guest.qmp('input-send-event', {
				events: [
					{ type: 'abs', data: { axis: 'x', value: 12345 } },
					{ type: 'abs', data: { axis: 'y', value: 321 } },
					{ type: 'btn', data: { button: 'left', down: true } },
					{ type: 'btn', data: { button: 'wheel-down', down: true } },
				],
			}),
		),
		['3 0 12345', '3 1 321', '1 272 1', '2 8 -1', '0 0 0'],
	);
	t.deepEqual(
		await evdev(rig, 'QEMU Virtio Keyboard', 4, () => guest.qmp('send-key', { keys: [{ type: 'qcode', data: 'up' }] })),
		['1 103 1', '0 0 0', '1 103 0', '0 0 0'],
	);
}

async function entropy(t: ExecutionContext, { guest }: Rig): Promise<void> {
	t.regex(await guest.shell('cat /sys/class/misc/hw_random/rng_current'), /^virtio_rng/);
	const once = await guest.shell('head -c 4096 /dev/hwrng | md5sum');
	t.not(await guest.shell('head -c 4096 /dev/hwrng | md5sum'), once);
	t.is(await guest.shell('head -c 100000 /dev/hwrng | wc -c'), '100000');
}

async function disk(t: ExecutionContext, { guest }: Rig): Promise<void> {
	t.is(await guest.shell('cat /sys/block/vda/size; cat /sys/block/vda/serial'), '32768\nTSVM-1');
	await guest.shell('head -c 3000000 /dev/urandom >/tmp/r; dd if=/tmp/r of=/dev/vda bs=1000 conv=fsync');
	await guest.shell('echo 3 >/proc/sys/vm/drop_caches');
	t.is(await guest.shell('head -c 3000000 /dev/vda | md5sum'), await guest.shell('md5sum </tmp/r'));
	await guest.shell('rm /tmp/r');
}

test.serial('modern interface, split rings', async (t) => {
	const rig = await boot(t, '');
	await drivers(t, rig);
	const accepted = await features(rig, '0x0003');
	t.is(accepted[32], '1', 'VERSION_1');
	t.is(accepted[34], '0', 'no packed rings');
	t.is(accepted[29], '1', 'event index');
	await bytes(t, rig, 10 * MIB);
	await hvc(t, rig);
	await input(t, rig);
	await entropy(t, rig);
	await disk(t, rig);
	t.true((await interrupts(rig)).messages > 100, 'MSI-X');
	t.is(rig.guest.stderr.match(/guest:/), null, rig.guest.stderr);
});

test.serial('modern interface, packed rings, interrupts over INTA#', async (t) => {
	const rig = await boot(t, ',packed=on,vectors=0', ',packed=on,vectors=0');
	await drivers(t, rig);
	for (const id of ['0x0002', '0x0003', '0x0004', '0x0005'])
		t.is((await features(rig, id))[34], '1', `${id}: packed rings`);
	await bytes(t, rig, 3 * MIB);
	await hvc(t, rig);
	await input(t, rig);
	await entropy(t, rig);
	await disk(t, rig);
	const { messages, lines } = await interrupts(rig);
	t.is(messages, 0);
	t.true(lines > 100);
	t.is(rig.guest.stderr.match(/guest:/), null, rig.guest.stderr);
});

test.serial('legacy interface', async (t) => {
	const rig = await boot(t, ',disable-modern=on');
	await drivers(t, rig);
	for (const id of ['0x0002', '0x0003', '0x0004', '0x0005'])
		t.is((await features(rig, id))[32], '0', `${id}: from before virtio 1.0`);
	await bytes(t, rig, 3 * MIB);
	await hvc(t, rig);
	await entropy(t, rig);
	await disk(t, rig);
	t.true((await interrupts(rig)).messages > 100, 'MSI-X');
	t.is(rig.guest.stderr.match(/guest:/), null, rig.guest.stderr);
});
