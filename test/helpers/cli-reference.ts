/** The part of docs/cli.md that lists commands and flags, made from the program itself. */
import type { Command } from 'commander';
import { allCommands, createProgram } from '../../src/cli/program.ts';

export const BEGIN = '<!-- made from the program: UPDATE_DOCS=1 npx ava dist/test/cli/docs.test.js -->';
export const END = '<!-- end -->';

export function cliReference(): string {
	const commands = allCommands(createProgram()).filter((command) => command.commands.length === 0);
	return commands.map(section).join('\n');
}

function section(command: Command): string {
	const lines = [
		`### ${path(command)} ${command.usage().replace('[options] ', '')}`.trimEnd(),
		'',
		command.description(),
		'',
	];
	if (command.registeredArguments.length > 0) {
		lines.push('| argument | |', '|---|---|');
		for (const argument of command.registeredArguments)
			lines.push(`| \`${argument.name()}\`${argument.required ? '' : ', optional'} | ${cell(argument.description)} |`);
		lines.push('');
	}
	if (command.options.length > 0) {
		lines.push('| flag | | default |', '|---|---|---|');
		for (const option of command.options) {
			const fallback = option.defaultValue;
			const shown = typeof fallback === 'string' ? `\`${fallback}\`` : '';
			lines.push(`| \`${option.flags}\` | ${cell(option.description)} | ${shown} |`);
		}
		lines.push('');
	}
	return lines.join('\n');
}

function path(command: Command): string {
	return command.parent ? `${path(command.parent)} ${command.name()}` : command.name();
}

function cell(text: string): string {
	return text.replaceAll('|', '\\|').replaceAll('<', '&lt;');
}
