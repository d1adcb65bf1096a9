/** `tsvm qmp`: one QMP command to a running machine. */
import { Command } from 'commander';
import { TsvmError } from '../../core/index.ts';

export function qmpCommand(): Command {
	return new Command('qmp')
		.description('Send one QMP command to a machine started with --qmp, and print what it returns as JSON.')
		.argument('<socket>', 'path of the QMP socket (unix:PATH works too)')
		.argument('<command>', 'such as query-status or screendump')
		.argument('[arguments...]', 'arguments as name=value; a value is JSON where it reads as JSON, else text')
		.addHelpText('after', '\nExample: tsvm qmp qmp.sock screendump filename=screen.png format=png')
		.action(async (socket: string, command: string, pairs: readonly string[]) => {
			const { qmpExecute } = await import('../../control/qmp/client.ts');
			const value = await qmpExecute(socket.replace(/^unix:/, ''), command, parseArguments(pairs));
			process.stdout.write(`${JSON.stringify(value, null, 2)}\n`);
		});
}

/** Throws TsvmError for a word without `=`. */
export function parseArguments(pairs: readonly string[]): Record<string, unknown> {
	const result: Record<string, unknown> = {};
	for (const pair of pairs) {
		const at = pair.indexOf('=');
		if (at <= 0) throw new TsvmError('usage', `'${pair}' is no argument`, 'write name=value', 2);
		result[pair.slice(0, at)] = parseValue(pair.slice(at + 1));
	}
	return result;
}

function parseValue(text: string): unknown {
	try {
		return JSON.parse(text);
	} catch {
		return text;
	}
}
