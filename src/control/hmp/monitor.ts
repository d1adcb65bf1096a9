/** The human monitor: a line in, text out. */

import type { ControlContext } from '../qmp/context.ts';
import { asQmpError } from '../qmp/errors.ts';
import { type HmpCommand, HmpUsageError, helpLine, names, parseArguments } from './command.ts';
import { COMMANDS } from './commands.ts';
import { INFO } from './info.ts';

const HELP: HmpCommand = {
	name: 'help|?',
	args: '',
	params: '[cmd]',
	help: 'show the help',
	run: () => '',
};
const INFO_COMMAND: HmpCommand = {
	name: 'info',
	args: '',
	params: '[subcommand]',
	help: 'show various information about the system state',
	run: () => '',
};

/** Runs one line; mistakes come back as text too. Lines end with \n. */
export async function executeHmp(context: ControlContext, line: string): Promise<string> {
	const { word, rest } = firstWord(line);
	if (word === '') return '';
	if (names(HELP).includes(word)) return help(rest);
	if (word !== 'info') {
		const command = find(COMMANDS, word);
		return command ? run(context, command, word, rest) : unknown(word);
	}
	const sub = firstWord(rest);
	if (sub.word === '') return listOf(INFO, 'info ');
	const command = find(INFO, sub.word);
	return command ? run(context, command, `info ${sub.word}`, sub.rest) : unknown(`info ${sub.word}`);
}

async function run(context: ControlContext, command: HmpCommand, path: string, rest: string): Promise<string> {
	try {
		return await command.run(context, parseArguments(command, path, rest));
	} catch (error) {
		if (error instanceof HmpUsageError) return error.message;
		return `Error: ${asQmpError(error).message}\n`;
	}
}

function help(rest: string): string {
	const { word, rest: more } = firstWord(rest);
	if (word === '') return listOf([...COMMANDS, HELP, INFO_COMMAND], '');
	if (word === 'info') {
		const sub = firstWord(more).word;
		if (sub === '') return listOf(INFO, 'info ');
		const command = find(INFO, sub);
		return command ? helpLine(command, 'info ') : unknown(`info ${sub}`);
	}
	const command = find([...COMMANDS, HELP], word);
	return command ? helpLine(command) : unknown(word);
}

function listOf(commands: readonly HmpCommand[], prefix: string): string {
	const sorted = [...commands].sort((a, b) => (a.name < b.name ? -1 : 1));
	return sorted.map((command) => helpLine(command, prefix)).join('');
}

function find(commands: readonly HmpCommand[], word: string): HmpCommand | undefined {
	return commands.find((command) => names(command).includes(word));
}

function unknown(what: string): string {
	return `unknown command: '${what}'\n`;
}

function firstWord(line: string): { readonly word: string; readonly rest: string } {
	const text = line.trim();
	const word = /^\S*/.exec(text)?.[0] ?? '';
	return { word, rest: text.slice(word.length).trim() };
}
