/** `tsvm image`: guests made from Debian packages. */
import { Command } from 'commander';
import { createProgress } from '../progress.ts';

export function imageCommand(): Command {
	const image = new Command('image').description('Make guests from Debian packages.');
	image.addCommand(
		new Command('build')
			.description('Make an image, or bring it up to date, and print where it is.')
			.argument('<name>', 'debian-mini or debian-desktop')
			.argument('[out]', 'where to put a copy of your own: a file for a disk, a folder for a kernel and its initrd')
			.option('--force', 'replace files that are there')
			.option('--refresh', 'look for newer packages even if it was made lately')
			.action(build),
	);
	image.addCommand(new Command('list').description('List the images there are recipes for.').action(list));
	return image;
}

interface BuildFlags {
	readonly force?: true;
	readonly refresh?: true;
}

async function build(name: string, out: string | undefined, flags: BuildFlags): Promise<void> {
	const { buildImage, exportImage } = await import('../../../images/index.ts');
	const progress = createProgress();
	try {
		const made = await buildImage(name, { progress, refresh: flags.refresh });
		const files = [made.kernel, made.initrd, made.disk].filter((file) => file !== undefined);
		const paths = out === undefined ? files : await exportImage(made, out, flags.force);
		progress.done();
		for (const path of paths) process.stdout.write(`${path}\n`);
	} finally {
		progress.done();
	}
}

async function list(): Promise<void> {
	const { listImages } = await import('../../../images/index.ts');
	for (const { name, summary, built } of await listImages())
		process.stdout.write(`${name.padEnd(16)} ${(built ? 'built' : 'not built').padEnd(10)} ${summary}\n`);
}
