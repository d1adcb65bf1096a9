/** Scalars that a machine's description is made of: sizes, paths, and how a failed check says what to do. */
import * as z from 'zod';

export const KiB = 1024;
export const MiB = 1024 * KiB;
const GiB = 1024 * MiB;

/**
 * Reads `512M`, `1G`, `65536K`; a number alone means MiB, as for QEMU's -m.
 * Returns undefined for anything else.
 */
export function parseSize(text: string): number | undefined {
	const match = /^(\d+(?:\.\d+)?)\s*([kmg]?)(?:i?b)?$/i.exec(text.trim());
	if (!match) return undefined;
	const unit = { k: KiB, m: MiB, g: GiB }[match[2].toLowerCase()] ?? MiB;
	const bytes = Number(match[1]) * unit;
	return Number.isSafeInteger(bytes) ? bytes : undefined;
}

/** `1919 MiB`, `64 KiB`: the largest unit that divides it. */
export function formatSize(bytes: number): string {
	if (bytes % MiB === 0) return `${bytes / MiB} MiB`;
	return bytes % KiB === 0 ? `${bytes / KiB} KiB` : `${bytes} bytes`;
}

/** Adds what to do next to a failed check; `describe` below prints it. */
export function refuse(ctx: z.RefinementCtx, message: string, hint = '', path: PropertyKey[] = []): never {
	ctx.addIssue({ code: 'custom', message, params: { hint }, path });
	return z.NEVER;
}

export const Size = z
	.union([z.number(), z.string()], { error: 'expected a size such as 512M or 1G' })
	.transform((value, ctx) => {
		const bytes = typeof value === 'number' ? value : parseSize(value);
		if (bytes === undefined || !Number.isSafeInteger(bytes) || bytes <= 0)
			return refuse(ctx, `'${value}' is not a size`, 'write it as 512M or 1G');
		return bytes;
	})
	.meta({ description: 'bytes, or a string such as 512M or 1G; a string without a unit counts MiB' });

export const Path = z.string().min(1, 'expected a file name');
/** What sockaddr_un.sun_path holds with its closing zero. */
export const UnixPath = Path.max(107, 'a unix socket path has at most 107 characters');
