/** What is told about connecting. */
import test from 'ava';
import { connectText, viewerFile } from '../../src/cli/connect.ts';
import { formatTrace } from '../../src/cli/trace.ts';
import { parseConfig } from '../../src/machine/config.ts';
import type { SpiceInfo } from '../../src/machine/control.ts';

function connection(spice: Parameters<typeof parseConfig>[0]['spice'], info: Partial<SpiceInfo>) {
	const config = parseConfig({ spice }).spice;
	if (!config) throw new Error('no SPICE');
	return {
		title: 'pc',
		config,
		info: { host: '127.0.0.1', auth: 'none', mouseMode: 'server', channels: [], ...info } as const,
	};
}

test('an open port on this host', (t) => {
	const text = connectText(connection({ port: 5930 }, { port: 5930 }));
	t.is(text, 'pc is running; to see it:\n\n    remote-viewer spice://127.0.0.1:5930\n\nCtrl-C ends it.');
});

test('listening everywhere without a password is warned of; clients here use the loopback address', (t) => {
	for (const [host, url] of [['0.0.0.0', 'spice://127.0.0.1:5930'] as const, ['::', 'spice://[::1]:5930'] as const]) {
		const text = connectText(connection({ port: 5930, addr: host }, { host, port: 5930 }));
		t.true(text.includes(url), text);
		t.regex(text, /Anybody who reaches this port may connect/);
	}
});

test('TLS needs the viewer file', (t) => {
	const tls = connection({ tls: { port: 5931 } }, { tlsPort: 5931, auth: 'spice' });
	t.regex(connectText(tls), /start it with --vv FILE.*The viewer asks for the password/s);
	t.regex(connectText({ ...tls, vv: 'a.vv' }), /remote-viewer a\.vv\n\nTLS is on port 5931/);
	t.regex(viewerFile(tls), /^secure-channels=all$/m);
	const mixed = connection(
		{ port: 5930, tls: { port: 5931 }, secureChannels: ['main', 'inputs'] },
		{ port: 5930, tlsPort: 5931 },
	);
	t.false(connectText(mixed).includes('spice://'));
	t.regex(viewerFile(mixed), /^port=5930\ntls-port=5931\nsecure-channels=main;inputs$/m);
});

test('values in the viewer file are escaped', (t) => {
	const file = viewerFile(connection({ port: 1, password: '  a\\b\nc' }, { port: 1 }));
	t.true(file.includes('password=\\s\\sa\\\\b\\nc\n'), file);
});

test('trace lines', (t) => {
	const fields = { port: 5, value: 255, name: 'a b', big: 4096n, on: true, x: -3 };
	t.is(
		formatTrace({ device: 'qxl', event: 'io_write', fields }, 1234.5),
		'1.234500 qxl.io_write port=5 value=0xff name="a b" big=0x1000 on=true x=-3',
	);
});
