/** `tsvm firmware`: which firmware a machine gets, and from where. */
import { createHash } from 'node:crypto';
import { Command } from 'commander';
import { createProgress } from '../progress.ts';

export function firmwareCommand(): Command {
	return new Command('firmware')
		.description('Show which firmware a machine gets and where it comes from; fetches it if it is not there.')
		.option('--bios <FILE>', 'system BIOS instead of the one found')
		.option('--vga-bios <FILE>', 'VGA BIOS instead of the one found')
		.action(async (flags: { readonly bios?: string; readonly vgaBios?: string }) => {
			const { findFirmware } = await import('../../../firmware/index.ts');
			const { fetchSeabios } = await import('../../../images/index.ts');
			const progress = createProgress();
			const found = await findFirmware({ ...flags, fetch: () => fetchSeabios({ progress }) }).finally(progress.done);
			const line = (what: string, path: string, bytes: Uint8Array) => {
				const version = seabiosVersion(bytes);
				const details = [`${bytes.length / 1024} KiB`, ...(version ? [version] : []), `sha256 ${sha256(bytes)}`];
				process.stdout.write(`${what.padEnd(9)} ${path}\n${' '.repeat(10)}${details.join(', ')}\n`);
			};
			line('BIOS', found.biosPath, found.bios);
			line('VGA BIOS', found.vgaBiosPath, found.vgaBios);
		});
}

function sha256(bytes: Uint8Array): string {
	return createHash('sha256').update(bytes).digest('hex').slice(0, 16);
}

/** SeaBIOS and its VGA BIOSes carry their version as a string of its own: `rel-1.16.2-0-gea1b7a0`, `1.16.2-debian-1.16.2-1`. */
function seabiosVersion(bytes: Uint8Array): string | undefined {
	const match = /\0((?:rel-)?\d+\.\d+\.\d+-[\w.+~-]+)/.exec(Buffer.from(bytes).toString('latin1'));
	return match ? `SeaBIOS ${match[1]}` : undefined;
}
