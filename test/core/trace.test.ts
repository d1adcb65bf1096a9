import test from 'ava';
import { listenTrace, type TraceEvent, traceNames, tracePoints } from '../../src/core/index.ts';

test('a point names its arguments for those who listen, and is silent for the rest', (t) => {
	const trace = tracePoints('dev', { start: ['base', 'count'], stop: [] });
	const seen: TraceEvent[] = [];
	trace.start(1, 2);
	const off = listenTrace(
		(name) => name === 'dev.start',
		(e) => seen.push(e),
	);
	trace.start(3, 4);
	trace.stop();
	off();
	trace.start(5, 6);
	t.deepEqual(seen, [{ device: 'dev', event: 'start', fields: { base: 3, count: 4 } }]);
});

test('listeners also hear points that are declared later, and all names are listed', (t) => {
	const seen: string[] = [];
	listenTrace(
		(name) => name.startsWith('later.'),
		(e) => seen.push(e.event),
	);
	tracePoints('later', { hello: [] }).hello();
	t.deepEqual(seen, ['hello']);
	t.true(traceNames().includes('later.hello'));
});
