/** `tsvm run`: a machine from the command line, until its guest powers off or somebody ends it. */
import { readFile } from 'node:fs/promises';
import { freemem, totalmem } from 'node:os';
import { basename } from 'node:path';
import { Command, Option } from 'commander';
import { TsvmError, traceNames } from '../../core/index.ts';
import { formatSize, type MachineConfig, type MachineOptions, parseConfig } from '../../machine/config.ts';
import type { MachineControl, MachineEnd } from '../../machine/control.ts';
import { connectText, writeViewerFile } from '../connect.ts';
import { printWarning } from '../errors.ts';
import { createProgress, type Progress } from '../progress.ts';
import { startTraces } from '../trace.ts';
import { panicAction, type WordFlags, wordHelp, wordOptions } from '../words.ts';

const DEFAULT_SPICE_PORT = '5930';

/** What commander makes of the flags. */
export interface RunFlags extends WordFlags {
	readonly spice: string;
	readonly spiceAddr: string;
	readonly password?: string;
	readonly passwordFile?: string;
	readonly tlsPort?: string;
	readonly webHost?: string[];
	readonly tlsCert?: string;
	readonly tlsKey?: string;
	readonly tlsCa?: string;
	readonly secureChannels?: string;
	readonly playbackCompression: 'on' | 'off';
	readonly memory: string;
	readonly kernel?: string;
	readonly initrd?: string;
	readonly append?: string;
	readonly cdrom?: string;
	readonly boot?: string;
	readonly serial?: readonly string[];
	readonly sound: boolean;
	readonly audio?: readonly string[];
	readonly qmp?: readonly string[];
	readonly snapshot?: true;
	readonly name?: string;
	readonly uuid?: string;
	readonly vv?: string;
	readonly trace?: readonly string[];
	readonly bios?: string;
	readonly vgaBios?: string;
	readonly fastVideo: boolean;
	readonly virtualTime?: true;
	readonly action?: string;
	readonly balloon?: string | false;
	readonly agent: boolean;
	readonly copyPaste: boolean;
	readonly fileTransfer: boolean;
}

export function runCommand(): Command {
	return new Command('run')
		.description('Run a machine. Without a disk, a kernel or a CD it boots debian-mini.')
		.argument('[disk]', 'raw disk image, or a block device')
		.optionsGroup('Machine:')
		.option('-m, --memory <SIZE>', 'guest memory, such as 512M or 1G', '512M')
		.option('--snapshot', 'keep the disk as it is: writes are forgotten at the end')
		.option('--cdrom <FILE>', 'CD image in the CD-ROM drive')
		.option('--boot <ORDER>', 'c hard disk, d CD-ROM: c, d, cd or dc; or order=cd,once=d,menu=on (default: cd)')
		.option('--kernel <FILE>', 'Linux kernel (bzImage) to boot directly')
		.option('--initrd <FILE>', 'initial RAM disk for --kernel')
		.option('--append <WORDS>', 'kernel command line')
		.option(
			'--serial <WHERE>',
			'serial port: stdio, none, file:PATH, unix:PATH or chardev:ID; repeat for COM2..COM4',
			collect,
		)
		.option('--audio <WHERE>', 'sound beside SPICE: wav:FILE; or none, not even to SPICE clients (repeatable)', collect)
		.option('--no-sound', 'no AC97 controller, no PC speaker')
		.option('--balloon <SIZE>', 'memory that the guest is to keep; the balloon takes the rest')
		.option('--no-balloon', 'no memory balloon')
		.option('--name <NAME>', 'name of the machine, shown by clients (default: from the disk)')
		.option('--uuid <UUID>', 'UUID that firmware and clients see')
		.optionsGroup('Display (SPICE):')
		.option('--spice <PORT>', 'port, auto for the next free one from 5900, or none', DEFAULT_SPICE_PORT)
		.option('--spice-addr <ADDRESS>', 'address to listen on', '127.0.0.1')
		.option('--password <PASSWORD>', 'password that clients must give')
		.addOption(new Option('--password-file <FILE>', 'file that holds the password').conflicts('password'))
		.option('--tls-port <PORT>', 'port for TLS')
		.option('--tls-cert <FILE>', 'certificate, PEM (default: one made for this run)')
		.option('--tls-key <FILE>', 'its key, PEM')
		.option('--tls-ca <FILE>', 'certificate authority for --vv, PEM')
		.option('--secure-channels <LIST>', 'channels only on the TLS port, such as main,inputs; all for all')
		.option('--web-host <NAME>', 'name by which browsers reach this machine, such as box.lan (repeatable)', collect)
		.addOption(
			new Option('--playback-compression <MODE>', 'Opus for sound, or raw samples')
				.choices(['on', 'off'])
				.default('on'),
		)
		.option('--vv <FILE>', 'write a connection file for remote-viewer')
		.option('--no-agent', 'no port for the guest agent')
		.option('--no-copy-paste', 'guest and clients do not share clipboards')
		.option('--no-file-transfer', 'clients cannot send files to the guest')
		.optionsGroup("In QEMU's words; help lists what there is:")
		.option('--device <DRIVER[,PROP=VALUE]...>', 'add a device; DRIVER,help lists its properties (repeatable)', collect)
		.option('--drive <PROP=VALUE,...>', 'add a drive: file=, if=ide|virtio|none, id=, … (repeatable)', collect)
		.option('--chardev <BACKEND,id=ID[,...]>', 'a byte stream for a device: socket, file, … (repeatable)', collect)
		.optionsGroup('Control:')
		.option('--qmp <WHERE>', 'QMP socket, unix:PATH (repeatable)', collect)
		.option('--action <EVENT=ACTION>', 'when the guest panics: panic=shutdown, pause, exit-failure or none')
		.option('--trace <GLOB[=FILE]>', 'write trace points to stderr or FILE; help lists them (repeatable)', collect)
		.optionsGroup('Firmware and core:')
		.option('--bios <FILE>', 'system BIOS instead of SeaBIOS')
		.option('--vga-bios <FILE>', 'VGA BIOS instead of the one for QXL')
		.option('--no-fast-video', 'plain MMIO for video memory: slow')
		.option('--virtual-time', 'time from the instruction count: the same input gives the same run')
		.action(run);
}

/** Where the schema finds fault, and the flag that it came from. */
const FLAGS: Readonly<Record<string, string>> = {
	'boot.once': '--boot',
	'boot.order': '--boot',
	'spice.password': '--password',
	'spice.secureChannels': '--secure-channels',
	'spice.tls': '--tls-cert',
	'spice.webHosts': '--web-host',
	agent: '--no-agent',
	append: '--append',
	audio: '--audio',
	'balloon.target': '--balloon',
	cdrom: '--cdrom',
	chardevs: '--chardev',
	devices: '--device',
	disks: '--drive',
	drives: '--drive',
	initrd: '--initrd',
	memory: '--memory',
	name: '--name',
	panic: '--action',
	qmp: '--qmp',
	serials: '--serial',
	spice: '--spice',
	trace: '--trace',
	uuid: '--uuid',
};

/** parseConfig, its complaints in the operator's own terms. */
function parseFlags(options: MachineOptions): MachineConfig {
	try {
		return parseConfig(options);
	} catch (error) {
		if (!(error instanceof TsvmError) || error.code !== 'config') throw error;
		const [, where = '', inside = '', what = ''] = /^([\w.]+)(?:\[\d+\]\.?([\w-]*))?: (.*)$/s.exec(error.message) ?? [];
		const flag = FLAGS[where];
		if (flag === undefined) throw error;
		const place = inside === '' || inside === 'driver' || inside === 'backend' ? flag : `${flag} ${inside}`;
		throw new TsvmError(error.code, `${place}: ${what}`, error.hint, error.exitCode);
	}
}

function collect(value: string, list: readonly string[] = []): string[] {
	return [...list, value];
}

async function run(disk: string | undefined, flags: RunFlags): Promise<void> {
	const { Machine } = await import('../../machine/machine.ts');
	if (flags.trace?.includes('help')) {
		process.stdout.write(`${traceNames().join('\n')}\n`);
		return;
	}
	const help = wordHelp(flags);
	if (help !== undefined) {
		process.stdout.write(help);
		return;
	}
	const progress = createProgress();
	let machine: MachineControl | undefined;
	let stopTraces = () => {};
	try {
		// Checked once before anything is fetched or built for it.
		const given = await machineOptions(disk, flags);
		checkHostMemory(parseFlags(given));
		await prepareNative(progress);
		const options = await withDefaultGuest(given, flags, progress);
		stopTraces = startTraces(parseFlags(options).trace);
		machine = await Machine.create(options, {
			progress,
			warn: printWarning,
			resume: `${flags.qmp ? 'cont, or ' : ''}kill -CONT ${process.pid}`,
			quit: () => void machine?.quit('host-ui'),
		});
		progress.done();
		process.exitCode = exitCode(await operate(machine, flags));
	} finally {
		progress.done();
		stopTraces();
	}
}

/** Runs a machine that stands ready, to its end. */
async function operate(machine: MachineControl, flags: RunFlags): Promise<MachineEnd> {
	const { serveConfigured } = await import('../../control/qmp/server.ts');
	const ignoreSignals = endOnSignals(machine);
	const ignoreDefects = endOnDefects(machine);
	const ignoreContinue = goOnWhenContinued(machine);
	let qmp: { close(): Promise<void> } | undefined;
	try {
		qmp = await serveConfigured(machine);
		await tellHowToConnect(machine, flags);
		machine.cont();
		return await machine.ended;
	} finally {
		await machine.quit('host-error');
		await qmp?.close();
		ignoreSignals();
		ignoreDefects();
		ignoreContinue();
	}
}

function exitCode(end: MachineEnd): 0 | 1 {
	if (end.failure === undefined) return 0;
	throw new TsvmError('machine', end.failure);
}

/** The first signal ends the machine with its disks written, the second ends the process at once. */
function endOnSignals(machine: MachineControl): () => void {
	let ending = false;
	const onSignal = (signal: NodeJS.Signals) => {
		if (ending) process.exit(130);
		ending = true;
		if (signal === 'SIGINT' && process.stderr.isTTY)
			process.stderr.write('\ntsvm: ending; Ctrl-C again ends it at once\n');
		void machine.quit('host-signal');
	};
	const signals: NodeJS.Signals[] = ['SIGINT', 'SIGTERM', 'SIGHUP'];
	for (const signal of signals) process.on(signal, onSignal);
	return () => {
		for (const signal of signals) process.off(signal, onSignal);
	};
}

/** SIGCONT is cont for a machine that a failing disk or a panic has stopped: there may be no QMP socket. */
function goOnWhenContinued(machine: MachineControl): () => void {
	const onContinue = () => {
		if (machine.status === 'io-error' || machine.status === 'guest-panicked') machine.cont();
	};
	process.on('SIGCONT', onContinue);
	return () => {
		process.off('SIGCONT', onContinue);
	};
}

/** A defect of ours ends the machine with its disks written, and shows where it was for whoever mends it. */
function endOnDefects(machine: MachineControl): () => void {
	const onDefect = (error: unknown) => {
		const { message, stack } = error instanceof Error ? error : new Error(String(error));
		process.stderr.write(`${stack ?? message}\n`);
		void machine.quit('host-error', `internal error: ${message}`);
	};
	process.on('uncaughtException', onDefect);
	return () => {
		process.off('uncaughtException', onDefect);
	};
}

async function tellHowToConnect(machine: MachineControl, flags: RunFlags): Promise<void> {
	const config = machine.config.spice;
	// The guest's own words may have stdout; then ours go beside them.
	const { serials, chardevs } = machine.config;
	const taken = serials.some(({ kind }) => kind === 'stdio') || chardevs.some(({ backend }) => backend === 'stdio');
	const out = taken ? process.stderr : process.stdout;
	if (!config || !machine.spice) {
		if (serials.every((serial) => serial.kind === 'none'))
			out.write('The machine runs without SPICE and without a serial port. Ctrl-C ends it.\n');
		return;
	}
	const connection = { title: machine.name, info: machine.spice.info(), config };
	if (flags.vv !== undefined) await writeViewerFile(flags.vv, connection);
	out.write(`${connectText({ ...connection, vv: flags.vv })}\n`);
}

/** Flags as a machine's description. Throws TsvmError for flags that make no sense together. */
async function machineOptions(disk: string | undefined, flags: RunFlags): Promise<MachineOptions> {
	const words = wordOptions(flags);
	const named = disk ?? flags.kernel ?? flags.cdrom ?? words.drives?.find(({ file }) => file !== undefined)?.file;
	return {
		name: flags.name ?? defaultName(named),
		uuid: flags.uuid,
		memory: flags.memory,
		kernel: flags.kernel,
		initrd: flags.initrd,
		append: isBare(disk, flags) ? undefined : flags.append,
		disks: disk === undefined ? [] : [{ file: disk, snapshot: flags.snapshot ?? false }],
		...words,
		drives: flags.snapshot ? words.drives?.map((drive) => ({ ...drive, snapshot: 'on' })) : words.drives,
		balloon: flags.balloon === false ? null : { target: flags.balloon },
		agent: flags.agent ? { copyPaste: flags.copyPaste, fileTransfer: flags.fileTransfer } : null,
		cdrom: flags.cdrom,
		boot: parseBoot(flags.boot),
		sound: flags.sound,
		audio: flags.audio?.slice(),
		serials: flags.serial?.slice(),
		spice: await spiceOptions(flags),
		qmp: flags.qmp?.slice(),
		display: { fastVideo: flags.fastVideo },
		panic: panicAction(flags.action),
		clock: flags.virtualTime ? 'virtual' : 'real',
		firmware: { bios: flags.bios, vgaBios: flags.vgaBios },
		trace: flags.trace?.slice(),
	};
}

/** Whether nothing to boot from was named. */
function isBare(disk: string | undefined, flags: RunFlags): boolean {
	return [disk, flags.kernel, flags.cdrom, flags.drive].every((source) => source === undefined);
}

function defaultName(file: string | undefined): string {
	return file === undefined ? 'debian-mini' : basename(file).replace(/\.(img|raw|iso)$/, '');
}

async function withDefaultGuest(given: MachineOptions, flags: RunFlags, progress: Progress): Promise<MachineOptions> {
	if (given.kernel !== undefined || given.cdrom !== undefined) return given;
	if ([given.disks, given.drives].some((list) => list !== undefined && list.length > 0)) return given;
	if (flags.initrd !== undefined) throw new TsvmError('usage', '--initrd needs --kernel', 'give a kernel too', 2);
	const { buildImage } = await import('../../../images/index.ts');
	const image = await buildImage('debian-mini', { progress });
	const append = [image.append, flags.append].filter((words) => words !== undefined && words !== '').join(' ');
	return { ...given, kernel: image.kernel, initrd: image.initrd, append };
}

async function spiceOptions(flags: RunFlags): Promise<MachineOptions['spice']> {
	const { tlsPort, tlsCert, tlsKey, tlsCa, secureChannels } = flags;
	if (tlsPort === undefined && (tlsCert ?? tlsKey ?? tlsCa) !== undefined)
		throw new TsvmError('usage', '--tls-cert, --tls-key and --tls-ca need --tls-port', 'give a TLS port too', 2);
	if (tlsPort === undefined && secureChannels !== undefined)
		throw new TsvmError('usage', '--secure-channels needs --tls-port', 'give a TLS port too', 2);
	if (flags.spice === 'none' && tlsPort === undefined) {
		for (const [flag, value] of Object.entries({
			'--vv': flags.vv,
			'--password': flags.password ?? flags.passwordFile,
			'--web-host': flags.webHost,
		}))
			if (value !== undefined) throw new TsvmError('usage', `${flag} needs SPICE`, 'leave --spice none out', 2);
		return null;
	}
	const channels = secureChannels === undefined ? [] : await channelList(secureChannels);
	return {
		port: flags.spice === 'none' ? undefined : flags.spice === 'auto' ? 'auto' : portNumber(flags.spice, '--spice'),
		addr: flags.spiceAddr,
		password: flags.passwordFile === undefined ? flags.password : await readPassword(flags.passwordFile),
		tls:
			tlsPort === undefined
				? undefined
				: { port: portNumber(tlsPort, '--tls-port'), cert: tlsCert, key: tlsKey, ca: tlsCa },
		secureChannels: channels,
		webHosts: flags.webHost,
		playbackCompression: flags.playbackCompression === 'on',
	};
}

type Channels = NonNullable<NonNullable<MachineOptions['spice']>['secureChannels']>;

/** Names that are none of ours are left to the schema, whose message lists those that are. */
async function channelList(text: string): Promise<Channels> {
	const { SPICE_CHANNELS } = await import('../../machine/config.ts');
	if (text === 'all') return [...SPICE_CHANNELS];
	return text.split(',') as Channels;
}

function portNumber(text: string, flag: string): number {
	const port = Number(text);
	if (!/^\d+$/.test(text) || port < 1 || port > 65535) {
		const hint = flag === '--spice' ? 'give a number from 1 to 65535, auto or none' : 'give a number from 1 to 65535';
		throw new TsvmError('usage', `${flag}: '${text}' is no port`, hint, 2);
	}
	return port;
}

async function readPassword(file: string): Promise<string> {
	let text: string;
	try {
		text = await readFile(file, 'utf8');
	} catch (error) {
		throw new TsvmError('password', `cannot read ${file}: ${(error as Error).message}`, 'check --password-file');
	}
	const password = text.replace(/\r?\n$/, '');
	if (password === '') throw new TsvmError('password', `${file} holds no password`, 'write it on the first line');
	return password;
}

/** `cd`, or `order=cd,once=d,menu=on` in any part. */
function parseBoot(text: string | undefined): MachineOptions['boot'] {
	if (text === undefined) return {};
	if (!text.includes('=')) return { order: text };
	const boot: { order?: string; once?: string; menu?: boolean } = {};
	for (const part of text.split(',')) {
		const [key, value = ''] = part.split('=', 2);
		if (key === 'order' || key === 'once') boot[key] = value;
		else if (key === 'menu' && (value === 'on' || value === 'off')) boot.menu = value === 'on';
		else throw new TsvmError('usage', `--boot: '${part}' is not known`, 'write order=cd,once=d,menu=on', 2);
	}
	return boot;
}

/** Memory that this host cannot have at all is refused; more than is free now is worth a warning. */
function checkHostMemory(config: MachineConfig): void {
	const limit = process.constrainedMemory?.() ?? 0;
	const total = limit > 0 ? Math.min(limit, totalmem()) : totalmem();
	if (config.memory > total) {
		const most = formatSize(Math.floor(total / 2 ** 20) * 2 ** 20);
		const hint = `this host has ${most}; give less with --memory`;
		throw new TsvmError('memory', `${formatSize(config.memory)} of guest memory do not fit`, hint);
	}
	if (config.memory > freemem())
		printWarning(
			`${formatSize(config.memory)} of guest memory, but this host has only ${Math.floor(freemem() / 2 ** 20)} MiB free`,
		);
}

/** Without the addon pictures go out uncompressed: it is built once where that is possible, and done without elsewhere. */
async function prepareNative(progress: Progress): Promise<void> {
	const { native, ensureNative } = await import('../../spice/codecs/native.ts');
	if (native().addon !== undefined || process.env.TSVM_NATIVE === '0') return;
	progress('building the native codecs (once)');
	const reason = await ensureNative();
	progress.done();
	if (reason !== undefined)
		printWarning(`no native codecs: ${reason}; pictures are sent uncompressed (see tsvm doctor)`);
}
