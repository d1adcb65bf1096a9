/** All commands and flags of the command line. */
import { Command } from 'commander';
import { packageVersion } from '../version.ts';
import { doctorCommand } from './commands/doctor.ts';
import { firmwareCommand } from './commands/firmware.ts';
import { imageCommand } from './commands/image.ts';
import { qmpCommand } from './commands/qmp.ts';
import { runCommand } from './commands/run.ts';

export function createProgram(): Command {
	const program = new Command('tsvm');
	program.description('A whole PC in TypeScript, with a SPICE server built in.').version(packageVersion());
	for (const command of [runCommand(), imageCommand(), firmwareCommand(), doctorCommand(), qmpCommand()])
		program.addCommand(command);
	for (const command of [program, ...allCommands(program)])
		command.exitOverride().configureOutput({ outputError: () => {} });
	return program;
}

/** Every command below `parent`, in the order of the help. */
export function allCommands(parent: Command): Command[] {
	return parent.commands.flatMap((command) => [command, ...allCommands(command)]);
}
