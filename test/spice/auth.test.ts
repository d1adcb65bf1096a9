import test from 'ava';
import { TsvmError } from '../../src/core/index.ts';
import { openTicket, Ticketing, type TicketKey, TicketKeys } from '../../src/spice/auth.ts';
import { PUBLIC_KEY_BYTES } from '../../src/spice/protocol/link.ts';
import { ticket } from '../helpers/spice-client.ts';

function take(keys: TicketKeys): Promise<TicketKey> {
	return new Promise((resolve) => keys.take(resolve));
}

test('a key opens the tickets made with it, and only those', async (t) => {
	const keys = new TicketKeys();
	t.teardown(() => keys.close());
	const [one, other] = [await take(keys), await take(keys)];
	t.is(one.publicKey.length, PUBLIC_KEY_BYTES);
	t.notDeepEqual(one.publicKey, other.publicKey);
	const sealed = ticket(one.publicKey, 'pässword');
	t.is(openTicket(one, sealed)?.toString(), 'pässword');
	t.is(openTicket(other, sealed), undefined);
	t.is(openTicket(one, new Uint8Array(128)), undefined);
});

test('a key that was given back serves whoever waits; who gave up waiting gets none', async (t) => {
	const keys = new TicketKeys();
	t.teardown(() => keys.close());
	const key = await take(keys);
	const given: string[] = [];
	keys.take(() => given.push('gave up'))();
	keys.take((next) => given.push(next === key ? 'the same' : 'another'));
	keys.giveBack(key);
	t.deepEqual(given, ['the same']);
	await take(keys);
	t.deepEqual(given, ['the same']);
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
	for (const wrong of ['Secret', 'secret2', 'secre', '', undefined]) t.is(check(wrong), 'wrong password');

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
