/** QMP's JSON: values out of a byte stream, errors in QEMU's words, bounds. */
import test from 'ava';
import fc from 'fast-check';
import { type JsonResult, JsonStream, stringify } from '../../src/control/json.ts';

function read(...chunks: (string | Uint8Array)[]): JsonResult[] {
	const results: JsonResult[] = [];
	const stream = new JsonStream((result) => results.push(result));
	for (const chunk of chunks) stream.feed(typeof chunk === 'string' ? Buffer.from(chunk) : chunk);
	return results;
}
const plain = (value: unknown) => JSON.parse(stringify(value));

test('values follow each other with nothing between them, and come in pieces', (t) => {
	t.deepEqual(plain(read('{"a":1}{"b":[true,null', ',-1.5e3]}"x"')), [
		{ value: { a: 1 } },
		{ value: { b: [true, null, -1500] } },
		{ value: 'x' },
	]);
});

test('strings may be quoted singly; escapes and UTF-8 are undone', (t) => {
	t.deepEqual(read(`'it\\'s "x"' "\\u00e9\\n\\ud83d\\ude00é"`), [{ value: 'it\'s "x"' }, { value: 'é\n😀é' }]);
});

test('a member called __proto__ is only a member', (t) => {
	const [result] = read('{"__proto__":{"evil":1}}');
	if (!('value' in result)) return t.fail();
	t.deepEqual(Object.keys(result.value as object), ['__proto__']);
	t.is(Reflect.get({}, 'evil'), undefined);
});

test('what is read is written again as it was: integers of any size, strings like marks, NUL', (t) => {
	const texts = [
		...['9007199254740993', '-18446744073709551616', '0', '-1.5', '"\\u0000"', '"\\u0000integer 12"'],
		...['{"a":[18446744073709551615,{"b":"\\"\\u0000integer 3\\""}],"c":null}', '["9007199254740993"]'],
	];
	for (const text of texts) {
		const [result] = read(`${text}\n`);
		t.is('value' in result ? stringify(result.value) : result.error, text);
	}
	t.is(stringify({ a: undefined, b: [undefined] }), '{"b":[null]}');
});

test('an integer of more digits than anybody counts in is a double', (t) => {
	const [result] = read(`1${'0'.repeat(100)} `);
	t.deepEqual(result, { value: 1e100 });
});

test('whatever JSON.stringify writes is read back, however it is cut', (t) => {
	fc.assert(
		fc.property(fc.array(fc.json(), { maxLength: 4 }), fc.array(fc.nat(50)), (texts, cuts) => {
			const bytes = Buffer.from(texts.join('\n'));
			const ends = cuts.map((_, i) => cuts.slice(0, i + 1).reduce((sum, cut) => sum + cut, 0));
			const chunks = [0, ...ends].map((start, i) => bytes.subarray(start, ends[i]));
			chunks.push(Buffer.from('\n'));
			t.deepEqual(plain(read(...chunks)), plain(texts.map((text) => ({ value: JSON.parse(text) }))));
		}),
	);
});

test('after random bytes, a newline and enough brackets the next value is read', (t) => {
	const alphabet = fc.constantFrom(...Buffer.from('{}[]:,"\'\\ua1.-e0nt\n\t '), 0, 0x80, 0xc3, 0xff);
	fc.assert(
		fc.property(fc.array(alphabet, { maxLength: 200 }), (bytes) => {
			const results = read(Uint8Array.from(bytes), `\n${'}]'.repeat(bytes.length)}\n"the end"`);
			t.deepEqual(results.at(-1), { value: 'the end' });
		}),
		{ numRuns: 500 },
	);
});

test('a value may be only so long, so deep and so finely divided, and reading goes on after it', (t) => {
	const cases = {
		'JSON token size limit exceeded': `["${'x'.repeat(2 << 20)}"]\n"ok"`,
		'JSON nesting depth limit exceeded': `${'['.repeat(5000)}\n"ok"`,
		'JSON token count limit exceeded': `[${'1,'.repeat(70000)}1]\n"ok"`,
	};
	for (const [error, text] of Object.entries(cases)) t.deepEqual(read(text), [{ error }, { value: 'ok' }]);
});
