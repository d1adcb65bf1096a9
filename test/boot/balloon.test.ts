/** Memory that the guest gives up comes back to the host, by the balloon and by the guest's own reports. */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import test from 'ava';
import { buildImage } from '../../images/index.ts';
import { Guest, tsvm } from '../helpers/guest.ts';
import { InnerGuest } from '../helpers/inner-guest.ts';
import { waitFor } from '../helpers/x11.ts';

const MIB = 2 ** 20;
const ALL = 512 * MIB;
/** Touches most of the guest's memory, and lets it go. */
const FILL =
	'mkdir -p /t; mount -t tmpfs -o size=95% t /t; dd if=/dev/zero of=/t/f bs=1M count=400 2>/dev/null; rm /t/f';

/** Resident memory of the guest's tsvm, MiB. */
function resident(guest: Guest): number {
	return Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${guest.pid}/status`, 'utf8'))?.[1]) / 1024;
}

/** What the guest has and what of it is free, MiB. */
async function free(guest: Guest): Promise<{ total: number; free: number }> {
	const [, total, , left] = (await guest.shell('free -m | grep Mem')).split(/\s+/).map(Number);
	return { total, free: left };
}

async function actual(guest: Guest): Promise<number> {
	return ((await guest.qmp('query-balloon')) as { actual: number }).actual;
}

const LINES = `${Array.from({ length: 50_000 }, (_, i) => i + 1).join('\n')}\n`;
const COPIES = 64;
const SUM = createHash('md5').update(LINES.repeat(COPIES)).digest('hex');

/** 18 MiB written and read back: memory that came back is memory. */
async function works(guest: Guest): Promise<boolean> {
	const copies = Array.from({ length: COPIES }, () => '/t/g').join(' ');
	await guest.shell(`seq 1 50000 >/t/g; cat ${copies} >/t/h`, 120_000);
	return (await guest.shell('md5sum </t/h; rm /t/g /t/h', 120_000)).startsWith(SUM);
}

test.serial('the balloon takes memory from the guest, gives it back, and tells how it is used', async (t) => {
	const guest = await Guest.start(['--memory', '512M']);
	t.teardown(() => guest.stop());
	await guest.until('TSVM-SHELL-READY');
	await guest.shell(FILL, 120_000);
	const [before, had] = [resident(guest), await free(guest)];
	const done = await tsvm(['qmp', guest.qmpSocket, 'balloon', `value=${128 * MIB}`]);
	t.is(done.code, 0, done.stderr);
	await waitFor(async () => (await actual(guest)) === 128 * MIB, 'the balloon to be full', 60_000);
	const has = await free(guest);
	t.true(had.total - has.total > 370, `the guest had ${had.total} MiB and has ${has.total}`);
	await waitFor(async () => before - resident(guest) >= 300, 'memory to come back to the host', 20_000);
	t.log(`RSS ${Math.round(before)} MiB, with the balloon full ${Math.round(resident(guest))} MiB`);

	await guest.qmp('balloon', { value: ALL });
	await waitFor(async () => (await actual(guest)) === ALL, 'the balloon to be empty', 60_000);
	t.is((await free(guest)).total, had.total);
	await guest.shell(FILL, 120_000);
	t.true(await works(guest));

	const path = '/machine/peripheral/balloon0';
	await guest.qmp('qom-set', { path, property: 'guest-stats-polling-interval', value: 1 });
	interface Told {
		readonly stats: Readonly<Record<string, number>>;
		readonly 'last-update': number;
	}
	const told = async () => (await guest.qmp('qom-get', { path, property: 'guest-stats' })) as Told;
	await waitFor(async () => (await told())['last-update'] > 0, 'statistics', 20_000);
	const { stats } = await told();
	t.is(Math.round(stats['stat-total-memory'] / MIB), had.total);
	t.true(Math.abs(stats['stat-free-memory'] / MIB - (await free(guest)).free) < 40, JSON.stringify(stats));
	t.notRegex(await guest.shell('dmesg'), /(balloon|virtio).*(fail|error|warn)/i);
});

test.serial('with free page reporting memory comes back by itself; out of memory, the guest takes some', async (t) => {
	const device = 'virtio-balloon-pci,id=b0,free-page-reporting=on,deflate-on-oom=on';
	const guest = await Guest.start(['--memory', '512M', '--device', device]);
	t.teardown(() => guest.stop());
	await guest.until('TSVM-SHELL-READY');
	await guest.shell(FILL.replace('; rm /t/f', ''), 120_000);
	const full = resident(guest);
	await guest.shell('rm /t/f');
	await waitFor(async () => full - resident(guest) >= 300, 'reported memory to come back to the host', 60_000);
	t.log(`RSS ${Math.round(full)} MiB, after the guest let go ${Math.round(resident(guest))} MiB`);
	t.true(await works(guest));

	await guest.qmp('balloon', { value: 96 * MIB });
	await waitFor(async () => (await actual(guest)) === 96 * MIB, 'the balloon to be full', 60_000);
	await guest.shell('dd if=/dev/zero of=/t/f bs=1M count=150 2>/dev/null', 120_000);
	t.is(await guest.shell('stat -c %s /t/f'), String(150 * MIB));
	t.true((await actual(guest)) > 96 * MIB);
});

test.serial('asked for hints, the guest names what is free, and goes on', async (t) => {
	const { kernel, initrd, append } = await buildImage('debian-mini');
	const guest = await InnerGuest.start({
		kernel,
		initrd,
		append,
		memory: '256M',
		devices: [{ driver: 'virtio-balloon-pci', 'free-page-hint': true }],
		spice: null,
	});
	t.teardown(() => guest.stop());
	await guest.until('TSVM-SHELL-READY');
	const { balloon } = guest.machine;
	const bytes = await new Promise<number>((done, refuse) => {
		if (!balloon?.hintFreePages(done)) refuse(new Error('the driver does not give hints'));
	});
	t.true(bytes > 128 * MIB, `${bytes / MIB} MiB`);
	t.is(await guest.shell('seq 1 50000 | md5sum | cut -c1-32'), createHash('md5').update(LINES).digest('hex'));
	t.true(
		balloon?.hintFreePages(() => {}),
		'the round is over',
	);
});
