/** Ports of a real guest, with spice-gtk at their other end: bytes both ways, opening and closing, waiting for each other. */
import { createHash, randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { Guest } from '../helpers/guest.ts';
import { Probe } from '../helpers/probe.ts';
import { waitFor } from '../helpers/x11.ts';

const NAME = 'org.tsvm.test.0';
const PORT = `/dev/virtio-ports/${NAME}`;
const SIZE = 10 << 20;

const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');

test.serial('a program in the guest and one at the client talk through a named port', async (t) => {
	const port = ['--chardev', `spiceport,id=p,name=${NAME}`, '--device', `virtserialport,chardev=p,name=${NAME}`];
	const folder = mkdtempSync(join(tmpdir(), 'tsvm-ports-'));
	t.teardown(() => rmSync(folder, { recursive: true, force: true }));
	const kept = join(folder, 'kept');
	const file = ['--chardev', `file,id=f,path=${kept}`, '--device', 'virtserialport,chardev=f,name=org.tsvm.file'];
	const guest = await Guest.start([...port, ...file]);
	t.teardown(() => guest.stop());
	await guest.until('TSVM-SHELL-READY');
	const probe = new Probe(['--port', String(guest.port)]);
	t.teardown(() => probe.stop());
	const path = (name: string) => join(guest.folder, name);
	const opened = (is: boolean) => probe.event('port', (event) => event.port === NAME && event.opened === is);

	await probe.do('connect');
	await opened(false);
	const { channels } = await probe.do('state');
	t.true((channels as string[]).includes('port 0'));

	// From the guest, with the events around it.
	guest.send(`echo from the guest >${PORT}\n`);
	await opened(true);
	await probe.do(`port-get ${NAME} 15 ${path('words')}`);
	t.is(readFileSync(path('words'), 'latin1'), 'from the guest\n');
	await opened(false);

	// To the guest.
	writeFileSync(path('line'), 'to the guest\n');
	const line = guest.shell(`read -r line <${PORT}; echo "$line"`);
	await opened(true);
	await probe.do(`port-send ${NAME} ${path('line')}`);
	t.is(await line, 'to the guest');
	await opened(false);

	// Much more than all buffers on the way, to a reader that takes its time.
	const much = randomBytes(SIZE);
	writeFileSync(path('much'), much);
	const copy = `dd of=/much bs=65536 count=${SIZE / 65536} iflag=fullblock 2>/dev/null`;
	const sum = guest.shell(`{ sleep 2; ${copy}; } <${PORT}; sha256sum /much`, 120_000);
	await opened(true);
	const sent = await probe.do(`port-send ${NAME} ${path('much')} 50`);
	t.is((await sum).split(' ')[0], sha256(much));
	t.log(`to the guest: ${SIZE} bytes in ${sent.seconds} s, after a pause of 2 s`);
	await opened(false);

	// And back, past words that nobody in the guest reads.
	guest.send(`exec 3<>${PORT}; cat /much >&3; exec 3>&-\n`);
	await opened(true);
	writeFileSync(path('unread'), much.subarray(0, 2 << 20));
	await probe.do(`port-send ${NAME} ${path('unread')} 50`);
	const got = await probe.do(`port-get ${NAME} ${SIZE} ${path('back')} 50`);
	t.is(got.sha256, sha256(much));
	t.log(`from the guest: ${SIZE} bytes in ${got.seconds} s`);
	await opened(false);

	// A writer waits while nobody reads at the client, and goes on with the next one that does.
	await probe.do('disconnect');
	t.regex(await guest.shell(`dd if=/much of=${PORT} bs=4096 count=1 2>&1 & sleep 1; kill $!; echo over`), /over/);
	await probe.do('connect');
	guest.send(`echo again >${PORT}\n`);
	await opened(true);
	await opened(false);

	// A port of the host's, and a guest that is reset with its end open.
	await guest.shell('sha256sum /much >/dev/virtio-ports/org.tsvm.file');
	await waitFor(() => readFileSync(kept, 'latin1') === `${sha256(much)}  /much\n`, 'what the guest wrote in the file');
	guest.send(`exec 3<>${PORT}\n`);
	await opened(true);
	await guest.qmp('system_reset');
	await opened(false);
});
