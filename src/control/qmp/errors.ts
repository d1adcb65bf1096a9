/** QMP errors (docs/interop/qmp-spec.txt, 2.4.2; qapi/error.json). */
import * as z from 'zod';
import { TsvmError } from '../../core/index.ts';

export type QmpErrorClass = 'GenericError' | 'CommandNotFound' | 'DeviceNotActive' | 'DeviceNotFound' | 'KVMMissingCap';

export class QmpError extends Error {
	readonly class: QmpErrorClass;
	constructor(desc: string, errorClass: QmpErrorClass = 'GenericError') {
		super(desc);
		this.name = 'QmpError';
		this.class = errorClass;
	}
}

/** Whatever a command threw, as the error that a client gets. */
export function asQmpError(error: unknown): QmpError {
	if (error instanceof QmpError) return error;
	if (error instanceof TsvmError) {
		const desc = error.hint === '' ? error.message : `${error.message}; ${error.hint}`;
		return new QmpError(desc, error.code === 'no-device' ? 'DeviceNotFound' : 'GenericError');
	}
	return new QmpError(error instanceof Error ? error.message : String(error));
}

/** JSON types in the words of qapi/qobject-input-visitor.c. */
const EXPECTED: Readonly<Record<string, string>> = {
	int: 'integer',
	number: 'integer',
	string: 'string',
	boolean: 'boolean',
	array: 'array',
	object: 'object',
	record: 'object',
};

/**
 * Checks arguments. Throws QmpError with the words that QEMU has for the same mistake: a member is missing, has the
 * wrong type or value, or is not known. Schemas must be of strict objects.
 */
export function validate<T extends z.ZodType>(schema: T, input: unknown): z.output<T> {
	const result = schema.safeParse(input, { reportInput: true });
	if (result.success) return result.data;
	throw new QmpError(wording(result.error.issues[0]));
}

function wording(issue: z.core.$ZodIssue): string {
	const path = pathText(issue.path);
	const last = String(issue.path.at(-1) ?? '');
	switch (issue.code) {
		case 'unrecognized_keys':
			return `Parameter '${pathText([...issue.path, issue.keys[0]])}' is unexpected`;
		case 'invalid_type':
			if (issue.input === undefined) return `Parameter '${path}' is missing`;
			return `Invalid parameter type for '${path}', expected: ${EXPECTED[issue.expected] ?? issue.expected}`;
		case 'invalid_value':
			if (issue.input === undefined) return `Parameter '${path}' is missing`;
			if (typeof issue.input !== 'string') return `Invalid parameter type for '${path}', expected: string`;
			return `Parameter '${last}' does not accept value '${issue.input}'`;
		case 'invalid_union': {
			// A discriminated union reports the discriminator's value by its name only.
			const key = issue.discriminator ?? last;
			const value = (issue.input as Record<string, unknown> | undefined)?.[key];
			const where = pathText([...issue.path.slice(0, issue.path.at(-1) === key ? -1 : undefined), key]);
			if (value === undefined) return `Parameter '${where}' is missing`;
			if (typeof value !== 'string') return `Invalid parameter type for '${where}', expected: string`;
			return `Parameter '${key}' does not accept value '${value}'`;
		}
		case 'too_big':
		case 'too_small':
			return `Invalid parameter type for '${path}', expected: ${EXPECTED[issue.origin] ?? issue.origin}`;
		default:
			return issue.message;
	}
}

/** `keys[0].data` */
function pathText(path: readonly PropertyKey[]): string {
	return path
		.map((part, i) => (typeof part === 'number' ? `[${part}]` : `${i > 0 ? '.' : ''}${String(part)}`))
		.join('');
}

/** An integer as QAPI means it. */
export const Int = z.int();
