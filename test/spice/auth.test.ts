import test from 'ava';
import { TsvmError } from '../../src/core/index.ts';
import { Ticketing, type TicketKey, TicketKeys } from '../../src/spice/auth.ts';
import { PUBLIC_KEY_BYTES } from '../../src/spice/protocol/link.ts';
import { ticket } from '../helpers/spice-client.ts';
import { until } from './support.ts';

function take(keys: TicketKeys): Promise<TicketKey> {
	return new Promise((resolve) => keys.take(resolve));
}

test('a key opens the tickets made with it, and only those', async (t) => {
	const [one, other] = await Promise.all([1, 2].map(() => take(new TicketKeys(() => 0))));
	t.is(one.publicKey.length, PUBLIC_KEY_BYTES);
	t.notDeepEqual(one.publicKey, other.publicKey);
	const sealed = ticket(one.publicKey, 'pässword');
	t.is(one.open(sealed)?.toString(), 'pässword');
	t.is(other.open(sealed), undefined);
	t.is(one.open(new Uint8Array(128)), undefined);
});

test('a ticket can be used once, however many others came between', async (t) => {
	const key = await take(new TicketKeys(() => 0));
	const sealed = ticket(key.publicKey, 'secret');
	t.true(key.use(sealed));
	for (let i = 0; i < 100; i++) t.true(key.use(ticket(key.publicKey, 'secret')), 'the same password, another ticket');
	t.false(key.use(sealed));
	t.false(key.use(Uint8Array.from(sealed)));
});

test('one key serves all links until it has had 1024 tickets or is ten minutes old', async (t) => {
	const clock = { now: 0 };
	const keys = new TicketKeys(() => clock.now);
	t.teardown(() => keys.close());
	const made: TicketKey[] = [await take(keys)];
	const replaced = async () => {
		const old = made[0];
		keys.take((key) => t.is(key, old, 'nobody waits for the next one'));
		for (let key = old; key === old; ) {
			keys.take((next) => {
				key = next;
			});
			await new Promise((resolve) => setTimeout(resolve, 5));
			made[0] = key;
		}
	};
	for (let i = 0; i < 1023; i++) made[0].use(Uint8Array.of(i, i >> 8));
	t.is(await take(keys), made[0]);
	made[0].use(new Uint8Array(128));
	await replaced();
	clock.now = 599_999;
	t.is(await take(keys), made[0]);
	clock.now = 600_000;
	await replaced();
});

test('a key that remembers too much is not handed out, and who gave up waiting gets none', async (t) => {
	const keys = new TicketKeys(() => 0);
	const key = await take(keys);
	for (let i = 0; i < 2048; i++) key.use(Uint8Array.of(i, i >> 8));
	const given: string[] = [];
	keys.take(() => given.push('gave up'))();
	keys.take((next) => given.push(next === key ? 'the old one' : 'a new one'));
	t.deepEqual(given, []);
	await until(() => given.length > 0, 'a key');
	t.deepEqual(given, ['a new one']);
	keys.close();
});

test('a password is right until it expires', (t) => {
	const clock = { now: 1_000_000 };
	const ticketing = new Ticketing(() => clock.now);
	const check = (password: string | undefined) =>
		ticketing.check(password === undefined ? undefined : Buffer.from(password));
	t.false(ticketing.enabled);
	t.is(check(undefined), undefined);

	ticketing.setPassword('secret');
	t.true(ticketing.enabled);
	t.is(check('secret'), undefined);
	for (const wrong of ['Secret', 'secret2', 'secre', undefined]) t.is(check(wrong), 'wrong password');
	t.is(check(''), 'no password given');

	ticketing.expire('+5');
	t.is(check('secret'), undefined);
	clock.now += 5000;
	t.is(check('secret'), 'the password has expired');
	ticketing.setPassword('other');
	t.is(check('other'), 'the password has expired', 'an expiry outlives the password, as in QEMU');
	ticketing.expire('never');
	t.is(check('other'), undefined);
	ticketing.expire('now');
	t.is(check('other'), 'the password has expired');
	ticketing.expire('1006');
	t.is(check('other'), undefined);
	clock.now = 1_006_000;
	t.is(check('other'), 'the password has expired');

	ticketing.disable();
	t.is(check(undefined), undefined);
});

test('passwords and times that cannot work are refused with a hint', (t) => {
	const ticketing = new Ticketing();
	for (const password of ['', 'x'.repeat(61), 'ä'.repeat(31), 'a\0b']) {
		const error = t.throws(() => ticketing.setPassword(password), { instanceOf: TsvmError });
		t.not(error?.hint, '');
	}
	t.false(ticketing.enabled);
	t.notThrows(() => ticketing.setPassword('x'.repeat(60)));
	for (const when of ['', 'tomorrow', '-1', '1.5', '+'])
		t.throws(() => ticketing.expire(when), { instanceOf: TsvmError });
});
