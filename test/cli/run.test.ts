/** `tsvm` as a user meets it: mistakes, connecting, ending. Machines here have a blank disk and stay in SeaBIOS. */
import { type ChildProcess, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import {
	existsSync,
	mkdirSync,
	mkdtempSync,
	readFileSync,
	rmSync,
	statSync,
	truncateSync,
	writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import test, { type ExecutionContext } from 'ava';
import { reportError } from '../../src/cli/errors.ts';
import { createProgram } from '../../src/cli/program.ts';
import { qmpExecute } from '../../src/control/qmp/client.ts';
import { cli, type Finished, freePort, tsvm } from '../helpers/guest.ts';
import { writePanickingBios } from '../helpers/panicking-bios.ts';
import { waitFor } from '../helpers/x11.ts';

function folderFor(t: ExecutionContext): string {
	const folder = mkdtempSync(join(tmpdir(), 'tsvm-cli-'));
	t.teardown(() => rmSync(folder, { recursive: true, force: true }));
	return folder;
}

function blankDisk(folder: string, name = 'blank.img'): string {
	const disk = join(folder, name);
	writeFileSync(disk, '');
	truncateSync(disk, 1 << 20);
	return disk;
}

/** The command line in this process: what a process costs, it need not cost for every mistake. */
async function inProcess(args: readonly string[]): Promise<Finished> {
	const { stdout, stderr } = process;
	const original = [stdout.write, stderr.write] as const;
	const text = { stdout: '', stderr: '' };
	const writer = (name: 'stdout' | 'stderr') => (data: string | Uint8Array) => {
		text[name] += data;
		return true;
	};
	[stdout.write, stderr.write] = [writer('stdout'), writer('stderr')];
	try {
		await createProgram().parseAsync([process.execPath, cli, ...args]);
		return { code: 0, ...text };
	} catch (error) {
		const code = reportError(error);
		return { code, ...text };
	} finally {
		[stdout.write, stderr.write] = original;
	}
}

/** One line, beginning `tsvm: `, on stderr and nothing on stdout. */
async function refused(
	t: ExecutionContext,
	args: readonly string[],
	code: number,
	message: RegExp,
	runner: (args: readonly string[]) => Promise<Finished> = tsvm,
): Promise<void> {
	const done = await runner(args);
	t.is(done.code, code, `${args.join(' ')}: ${done.stderr}`);
	t.regex(done.stderr, message);
	t.regex(done.stderr, /^tsvm: [^\n]+\n$/, 'one line');
	t.is(done.stdout, '');
}

test.serial('mistakes are told in one line with what to do, exit codes say whose they are', async (t) => {
	const folder = folderFor(t);
	const disk = blankDisk(folder);
	const empty = join(folder, 'empty.img');
	writeFileSync(empty, '');
	const text = join(folder, 'text');
	writeFileSync(text, 'no kernel\n');
	const before = createHash('sha256').update(readFileSync(disk)).digest('hex');
	const usage: readonly (readonly [args: readonly string[], message: RegExp])[] = [
		[['run', '--foo'], /unknown option '--foo'/],
		[['run', '--memry', '1G'], /Did you mean --memory\?/],
		[['frobnicate'], /unknown command 'frobnicate'/],
		[['run', disk, 'two'], /too many arguments/],
		[['run', '--memory'], /argument missing/],
		[['run', disk, '--memory', '3G'], /--memory: 3072 MiB is more than .* give at most 1919 MiB/],
		[['run', disk, '--memory', 'lots'], /--memory: 'lots' is not a size/],
		[['run', disk, '--spice', '99999'], /--spice: '99999' is no port/],
		[['run', disk, '--serial', 'tcp:1'], /--serial: 'tcp:1' is no serial back end; write stdio/],
		[['run', disk, '--boot', 'z'], /--boot: expected c/],
		[['run', disk, '--boot', 'menu=maybe'], /--boot: 'menu=maybe' is not known/],
		[['run', disk, '--append', 'x'], /--append: a kernel command line needs a kernel/],
		[['run', disk, '--spice', 'none', '--vv', 'x.vv'], /--vv needs SPICE/],
		[['run', disk, '--tls-cert', 'x'], /need --tls-port/],
		[['run', disk, '--secure-channels', 'main'], /needs --tls-port/],
		[['run', disk, '--web-host', 'box.lan:80'], /--web-host: expected a host name without a port/],
		[['run', disk, '--tls-port', '5949', '--secure-channels', 'sound'], /--secure-channels: expected one of main/],
		[['run', disk, '--trace', 'nothing.*'], /no trace point is called nothing/],
		[['run', disk, '--action', 'panic=reset'], /--action: expected none, pause, shutdown or exit-failure/],
		[['run', disk, '--action', 'reboot=shutdown'], /--action: 'reboot=shutdown' is no action; write panic=/],
		[['run', disk, '--action', 'panic=none,x=1'], /is no action/],
		[['run', disk, '--password', 'x', '--password-file', 'y'], /cannot be used with option/],
		[['qmp', 'x.sock', 'stop', 'word'], /'word' is no argument; write name=value/],
		[['image', 'build', 'windows'], /there is no image windows; there are: debian-mini/],
	];
	for (const [args, message] of usage) await refused(t, args, 2, message, inProcess);
	await refused(t, usage[0][0], 2, usage[0][1]);
	const failures: readonly (readonly [args: readonly string[], message: RegExp])[] = [
		[['run', join(folder, 'none.img')], /does not exist/],
		[['run', empty], /is empty/],
		[['run', folder], /is a directory/],
		[['run', '--cdrom', join(folder, 'none.iso')], /CD-ROM image .* does not exist/],
		[['run', '--kernel', text], /kernel/],
		[['run', disk, '--bios', text], /is no PC BIOS/],
		[['run', disk, '--password-file', join(folder, 'none')], /cannot read .*none/],
		[['run', disk, '--password-file', empty], /holds no password/],
		[['run', disk, '--trace', `qxl.*=${folder}/no/x`], /cannot write .* check the path given with --trace/],
		[['run', disk, '--qmp', `unix:${folder}/no/x`, '--spice', 'auto'], /cannot listen on .*\/no\/x/],
		[['qmp', join(folder, 'x.sock'), 'stop'], /no machine listens on/],
	];
	for (const [args, message] of failures) await refused(t, args, 1, message, inProcess);
	await refused(t, failures[0][0], 1, failures[0][1]);
	t.is(createHash('sha256').update(readFileSync(disk)).digest('hex'), before);
	t.is(statSync(empty).size, 0);
	t.false(existsSync(join(folder, 'none.img')));
});

test.serial('a busy port', async (t) => {
	const server = createServer().listen(0, '127.0.0.1');
	await once(server, 'listening');
	t.teardown(() => server.close());
	const address = server.address();
	const port = typeof address === 'object' && address ? address.port : 0;
	const args = ['run', blankDisk(folderFor(t)), '--spice', String(port)];
	await refused(t, args, 1, /is in use; choose another port, or auto for the next free one/);
});

test.serial('help and version', async (t) => {
	const version = await tsvm(['--version']);
	t.deepEqual([version.code, version.stderr], [0, '']);
	t.regex(version.stdout, /^\d+\.\d+\.\d+\n$/);
	const help = await tsvm(['run', '--help']);
	t.deepEqual([help.code, help.stderr], [0, '']);
	t.regex(help.stdout, /--secure-channels/);
	const bare = await tsvm([]);
	t.is(bare.code, 2);
	t.regex(bare.stderr, /Commands:\n {2}run/);
	const traces = await tsvm(['run', '--trace', 'help']);
	t.is(traces.code, 0);
	t.regex(traces.stdout, /^qxl\.\w+$/m);
});

interface Running {
	readonly child: ChildProcess;
	readonly stdout: () => string;
	readonly stderr: () => string;
	ended(): Promise<number | null>;
}

/** `tsvm run ARGS`, once it says how to connect. */
async function running(t: ExecutionContext, args: readonly string[], node: readonly string[] = []): Promise<Running> {
	const child = spawn(process.execPath, [...node, cli, 'run', ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
	const text = { stdout: '', stderr: '' };
	child.stdout.on('data', (data) => {
		text.stdout += data;
	});
	child.stderr.on('data', (data) => {
		text.stderr += data;
	});
	const gone = once(child, 'close');
	t.teardown(() => child.kill('SIGKILL'));
	for (const end = Date.now() + 60_000; !/Ctrl-C ends it/.test(text.stdout + text.stderr); await sleep(20)) {
		if (child.exitCode !== null || Date.now() > end) throw new Error(`it did not start: ${text.stdout}${text.stderr}`);
	}
	return {
		child,
		stdout: () => text.stdout,
		stderr: () => text.stderr,
		ended: async () => (await gone)[0] as number | null,
	};
}

test.serial('it says how to connect, and Ctrl-C, SIGTERM and quit end it with exit code 0', async (t) => {
	const folder = folderFor(t);
	const disk = blankDisk(folder, 'my-pc.img');
	const socket = join(folder, 'q.sock');
	const ends: readonly ((machine: Running) => unknown)[] = [
		({ child }) => child.kill('SIGINT'),
		({ child }) => child.kill('SIGTERM'),
		() => qmpExecute(socket, 'quit', {}),
	];
	for (const end of ends) {
		const port = await freePort();
		const machine = await running(t, [disk, '--spice', String(port), '--qmp', `unix:${socket}`]);
		t.regex(machine.stdout(), new RegExp(`^my-pc is running.*remote-viewer spice://127\\.0\\.0\\.1:${port}\n`, 's'));
		await end(machine);
		t.is(await machine.ended(), 0);
		t.is(machine.stderr(), '');
		t.false(existsSync(socket), 'its QMP socket is gone');
	}
});

test.serial('a panic ends it, with the exit code that --action says, or pauses it until SIGCONT', async (t) => {
	const folder = folderFor(t);
	const bios = join(folder, 'bios.bin');
	writePanickingBios(bios);
	const args = [blankDisk(folder), '--device', 'pvpanic', '--bios', bios];
	const ends = async (...action: readonly string[]) => {
		const { code, stderr } = await tsvm(['run', ...args, '--spice', 'none', '--serial', 'none', ...action]);
		return [code, stderr];
	};
	t.deepEqual(await ends(), [0, 'tsvm: warning: the guest has panicked, which ends its machine\n']);
	t.deepEqual(await ends('--action', 'panic=exit-failure'), [1, 'tsvm: the guest has panicked\n']);

	const socket = join(folder, 'q.sock');
	const more = ['--spice', 'auto', '--qmp', `unix:${socket}`, '--action', 'panic=pause'];
	const { child, stderr, ended } = await running(t, [...args, ...more]);
	const paused = `tsvm: warning: the guest has panicked; the machine is paused until cont, or kill -CONT ${child.pid}\n`;
	await waitFor(() => stderr() === paused, 'the warning');
	const status = async () => JSON.parse((await inProcess(['qmp', socket, 'query-status'])).stdout).status;
	t.is(await status(), 'guest-panicked');
	child.kill('SIGCONT');
	await waitFor(async () => (await status()) === 'running', 'the machine to go on');
	child.kill('SIGTERM');
	t.is(await ended(), 0);
});

test.serial('a second signal ends it at once', async (t) => {
	const { child, ended } = await running(t, [blankDisk(folderFor(t)), '--spice', 'auto']);
	// Both arrive before the first has ended anything; two of one kind would be taken for one.
	for (const signal of ['SIGSTOP', 'SIGINT', 'SIGTERM', 'SIGCONT'] as const) child.kill(signal);
	t.is(await ended(), 130);
});

test.serial('QMP on a real machine: status, events, picture, media, monitor', async (t) => {
	const folder = folderFor(t);
	const iso = blankDisk(folder, 'cd.iso');
	const socket = join(folder, 'q.sock');
	const machine = await running(t, [blankDisk(folder), '--spice', 'auto', '--qmp', `unix:${socket}`, '--name', 'vm1']);
	const ask = (command: string, ...args: readonly string[]) => inProcess(['qmp', socket, command, ...args]);
	const value = async (command: string, ...args: readonly string[]) => {
		const done = await ask(command, ...args);
		t.is(done.code, 0, done.stderr);
		return JSON.parse(done.stdout);
	};
	t.deepEqual(await value('query-status'), { status: 'running', running: true, singlestep: false });
	t.deepEqual(JSON.parse((await tsvm(['qmp', `unix:${socket}`, 'query-name'])).stdout), { name: 'vm1' });
	t.regex(String((await value('query-spice')).port), /^59\d\d$/);
	await value('stop');
	t.is((await value('query-status')).status, 'paused');
	await value('cont');
	await value('blockdev-change-medium', 'device=ide1-cd0', `filename=${iso}`);
	t.is((await value('query-block')).find((b: { device: string }) => b.device === 'ide1-cd0').inserted.file, iso);
	await value('eject', 'device=ide1-cd0', 'force=true');
	t.false('inserted' in (await value('query-block')).find((b: { device: string }) => b.device === 'ide1-cd0'));
	const picture = join(folder, 'screen.ppm');
	await value('screendump', `filename=${picture}`);
	t.regex(readFileSync(picture).toString('latin1', 0, 20), /^P6\n\d+ \d+\n255\n/);
	const pci = await value('human-monitor-command', 'command-line=info pci');
	t.regex(pci, /VGA controller: PCI device 1b36:0100/);
	const tree = await value('human-monitor-command', 'command-line=info qtree');
	for (const part of [
		/bus: pci\.0\r\n {6}type PCI/,
		/dev: ide-hd, id ""/,
		/class VGA controller, addr 00:02\.0, pci id 1b36/,
	])
		t.regex(tree, part);
	t.regex(await value('human-monitor-command', 'command-line=info registers'), /EIP=[0-9a-f]{8} EFL=/);
	const refusal = await ask('eject', 'device=ide0-hd0');
	t.is(refusal.code, 1);
	t.is(refusal.stderr, "tsvm: Device 'ide0-hd0' is not removable\n");
	await value('quit');
	t.is(await machine.ended(), 0);
});

test.serial('a viewer file: TLS, password, only for its owner', async (t) => {
	const folder = folderFor(t);
	const [vv, secret] = [join(folder, 'screen.vv'), join(folder, 'secret')];
	writeFileSync(secret, 'pass word\n');
	const port = await freePort();
	const args = [
		blankDisk(folder),
		'--spice',
		'none',
		'--tls-port',
		String(port),
		'--password-file',
		secret,
		'--vv',
		vv,
	];
	const machine = await running(t, args);
	t.regex(machine.stdout(), /remote-viewer .*screen\.vv/);
	t.false(machine.stdout().includes('pass word'));
	const entries = readFileSync(vv, 'utf8').split('\n');
	t.is(entries[0], '[virt-viewer]');
	const value = (name: string) => entries.find((line) => line.startsWith(`${name}=`))?.slice(name.length + 1);
	t.is(value('type'), 'spice');
	t.is(value('title'), 'blank');
	t.is(value('host'), '127.0.0.1');
	t.is(value('port'), undefined);
	t.is(value('tls-port'), String(port));
	t.is(value('password'), 'pass word');
	t.is(value('delete-this-file'), '0');
	t.regex(value('ca') ?? '', /^-----BEGIN CERTIFICATE-----\\n.*\\n-----END CERTIFICATE-----/);
	t.regex(value('host-subject') ?? '', /CN=/);
	t.is(statSync(vv).mode & 0o777, 0o600);
	machine.child.kill('SIGTERM');
	t.is(await machine.ended(), 0);
});

test.serial('with a serial port on stdio, stdout is the guest’s alone', async (t) => {
	const machine = await running(t, [blankDisk(folderFor(t)), '--spice', 'auto', '--serial', 'stdio']);
	t.regex(machine.stderr(), /remote-viewer spice:/);
	t.is(machine.stdout(), '');
	machine.child.kill('SIGINT');
	t.is(await machine.ended(), 0);
});

test.serial('traces go where they are sent', async (t) => {
	const folder = folderFor(t);
	const log = join(folder, 'vga.log');
	const args = [blankDisk(folder), '--spice', 'none', '--trace', `vga.*=${log}`, '--serial', `file:${folder}/serial`];
	const child = spawn(process.execPath, [cli, 'run', ...args], { stdio: 'ignore' });
	t.teardown(() => child.kill('SIGKILL'));
	for (const end = Date.now() + 60_000; Date.now() < end; await sleep(100))
		if (existsSync(log) && statSync(log).size > 0) break;
	const gone = once(child, 'close');
	child.kill('SIGTERM');
	t.deepEqual(await gone, [0, null]);
	t.regex(readFileSync(log, 'utf8').split('\n')[0], /^\d+\.\d{6} vga\.\w+( \w+=\S+)*$/);
});

test.serial('a disk that another tsvm writes is refused', async (t) => {
	const disk = blankDisk(folderFor(t));
	const first = await running(t, [disk, '--spice', 'auto']);
	await refused(t, ['run', disk, '--spice', 'auto'], 1, /blank\.img/);
	first.child.kill('SIGKILL');
	await first.ended();
	const second = await running(t, [disk, '--spice', 'auto']);
	second.child.kill('SIGTERM');
	t.is(await second.ended(), 0);
});

test.serial('a defect ends the machine in order, says where it was, and exits with 1', async (t) => {
	const folder = folderFor(t);
	const socket = join(folder, 'q.sock');
	const boom = "data:text/javascript,process.on('SIGUSR2',()=>{throw new Error('boom')})";
	const args = [blankDisk(folder), '--spice', 'auto', '--qmp', `unix:${socket}`];
	const machine = await running(t, args, ['--import', boom]);
	machine.child.kill('SIGUSR2');
	t.is(await machine.ended(), 1);
	t.regex(machine.stderr(), /^Error: boom\n {4}at .*\ntsvm: internal error: boom\n$/s);
	t.false(existsSync(socket));
});

test.serial('firmware, doctor and image list report', async (t) => {
	const firmware = await tsvm(['firmware']);
	t.is(firmware.code, 0, firmware.stderr);
	t.regex(firmware.stdout, /^BIOS +\/\S+bios-256k\.bin\n +256 KiB, SeaBIOS \d/);
	const doctor = await tsvm(['doctor']);
	t.is(doctor.code, 0, doctor.stdout);
	for (const name of ['Node.js', 'CPU core', 'native codecs', 'firmware', 'Debian packages', 'SPICE client', 'memory'])
		t.regex(doctor.stdout, new RegExp(`^(ok|lacking) +${name}: `, 'm'));
	const images = await tsvm(['image', 'list']);
	t.regex(images.stdout, /^debian-mini .*\ndebian-desktop /m);
	const folder = folderFor(t);
	mkdirSync(join(folder, 'bin'));
	const bare = spawn(process.execPath, [cli, 'doctor'], { env: { PATH: join(folder, 'bin') }, stdio: 'pipe' });
	let text = '';
	bare.stdout.on('data', (data) => {
		text += data;
	});
	await once(bare, 'close');
	t.regex(text, /lacking +SPICE client: none on this host\n +→ apt-get install virt-viewer/);
});
