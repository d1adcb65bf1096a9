/**
 * A desktop whose owner wants neither clipboards shared nor files dropped on it. Its agent moves the pointer all the
 * same, spice-gtk is told what it must not ask for, and a client that asks nevertheless gets nowhere.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { buildImage } from '../../images/index.ts';
import { AgentMessage } from '../../src/spice/agent/messages.ts';
import { wholeMessage } from '../../src/spice/agent/stream.ts';
import { main } from '../../src/spice/protocol/main.ts';
import { Guest } from '../helpers/guest.ts';
import { Probe } from '../helpers/probe.ts';
import { SpiceClient } from '../helpers/spice-client.ts';
import { waitFor } from '../helpers/x11.ts';

const X = 'DISPLAY=:0 XAUTHORITY=/run/tsvm.Xauth';
const GUESTS = 'what the guest has copied';

let guest: Guest;

test.before(async (t) => {
	t.timeout(300_000);
	const { disk } = await buildImage('debian-desktop', { progress: (line) => console.error(line) });
	if (disk === undefined) throw new Error('debian-desktop has no disk');
	const apart = ['--no-copy-paste', '--no-file-transfer', '--trace', 'spice.agent.from_*'];
	guest = await Guest.start([disk, '--snapshot', '--memory', '512M', ...apart]);
	await guest.until('TSVM-DESKTOP-OK', 240_000);
	await guest.shell(`${X} xev -root -event mouse >/tmp/xev.log 2>&1 &`);
});

test.after.always(() => guest?.stop());

function spiceGtk(t: ExecutionContext): Probe {
	const probe = new Probe(['--port', String(guest.port)]);
	t.teardown(() => probe.stop());
	return probe;
}

/** Messages of a type that went nowhere so far. */
function dropped(from: 'guest' | 'client', type: number): number {
	const number = type < 10 ? String(type) : `0x${type.toString(16)}`;
	return guest.stderr.split(`spice.agent.from_${from} type=${number} verdict="drop"`).length - 1;
}

async function waitDropped(from: 'guest' | 'client', type: number, already: number): Promise<void> {
	await waitFor(() => dropped(from, type) > already, `the ${from}'s message ${type} to be dropped`, 20_000);
}

/** Points at the bare desktop until the guest's pointer is there; whatever the client said before has then passed through the agent, too. */
async function pointTo(probe: Probe, x: number, y: number): Promise<void> {
	await waitFor(
		async () => {
			// Somewhere else first: X tells of motion only.
			await probe.do(`position ${x + 40} ${y}`);
			await probe.do(`position ${x} ${y}`);
			const last = await guest.shell('grep -o "root:([0-9]*,[0-9]*)" /tmp/xev.log | tail -1; true');
			const [, gotX, gotY] = /root:\((\d+),(\d+)\)/.exec(last) ?? [];
			return Math.abs(Number(gotX) - x) <= 1 && Math.abs(Number(gotY) - y) <= 1;
		},
		`the guest's pointer at ${x},${y}`,
		20_000,
	);
}

async function guestCopies(): Promise<void> {
	await guest.shell(`echo -n "${GUESTS}" | xclip -selection clipboard -i >/dev/null 2>&1`);
}

async function expectGuestUntouched(t: ExecutionContext): Promise<void> {
	t.is(await guest.shell('timeout 10 xclip -selection clipboard -o'), GUESTS);
	t.is(await guest.shell('find /home/demo /tmp -name "dropped*"'), '');
}

test.serial('spice-gtk moves the pointer and sizes the screen, and shares neither clipboards nor files', async (t) => {
	const folder = mkdtempSync(join(tmpdir(), 'tsvm-apart-'));
	t.teardown(() => rmSync(folder, { recursive: true, force: true }));
	const file = join(folder, 'dropped.txt');
	writeFileSync(file, "the client's");
	const probe = spiceGtk(t);
	await probe.do('connect');
	await probe.do('wait-primary 20');
	await probe.do('wait-capability file-xfer-disabled 30');
	const { mouseMode, capabilities } = await probe.do('state');
	t.is(mouseMode, 'client');
	const can = capabilities as string[];
	t.deepEqual(
		can.filter((name) => /^(clipboard|clipboard-by-demand|clipboard-selection)$/.test(name)),
		[],
	);
	t.true(can.includes('mouse-state'));
	await pointTo(probe, 300, 500);
	await probe.do('display-size 1152x864+0+0');
	await waitFor(
		async () => (await guest.shell(`${X} xrandr`)).includes('connected primary 1152x864+0+0'),
		'the screen to be as large as the window',
		30_000,
	);

	// The guest's agent tells of its clipboard, and nobody hears it.
	const before = dropped('guest', AgentMessage.clipboardGrab);
	await guestCopies();
	await waitDropped('guest', AgentMessage.clipboardGrab, before);
	await probe.do(`clip-set clipboard text ${file}`);
	await t.throwsAsync(probe.do(`copy ${file}`), { message: /0 succeed, 0 cancelled, 1 failed/ });
	await pointTo(probe, 500, 700);
	// It knows better than to ask.
	t.is(dropped('client', AgentMessage.clipboardGrab), 0);
	t.is(dropped('client', AgentMessage.fileXferStart), 0);
	t.deepEqual(
		probe.lines.filter(({ event }) => String(event).startsWith('clipboard')),
		[],
	);
	await expectGuestUntouched(t);
});

test.serial('a client that offers its clipboard and a file all the same is not heard', async (t) => {
	await guestCopies();
	const client = await SpiceClient.connect({ port: guest.port });
	t.teardown(() => client.close());
	t.is(client.init.agentConnected, 1);
	const send = client.main.sender(main.client);
	send.agentStart({ numTokens: 100 });
	const ask = async (type: number, body: Uint8Array): Promise<void> => {
		const before = dropped('client', type);
		send.agentData({ data: wholeMessage(type, body) });
		await waitDropped('client', type, before);
	};
	// A selection with its padding and VD_AGENT_CLIPBOARD_UTF8_TEXT; a transfer's number and its key file.
	await ask(AgentMessage.clipboardGrab, Buffer.from([0, 0, 0, 0, 1, 0, 0, 0]));
	await ask(AgentMessage.clipboardRequest, Buffer.from([0, 0, 0, 0, 1, 0, 0, 0]));
	const offer = '[vdagent-file-xfer]\nname=dropped.bin\nsize=4\n\0';
	await ask(AgentMessage.fileXferStart, Buffer.concat([Buffer.from([1, 0, 0, 0]), Buffer.from(offer)]));
	client.close();

	// What the next one says comes behind all that.
	const probe = spiceGtk(t);
	await probe.do('connect');
	await probe.do('wait-capability mouse-state 30');
	await probe.do('wait-primary 20');
	await pointTo(probe, 300, 500);
	await expectGuestUntouched(t);
});
