/** Progress of something that takes a while, on stderr: a line that replaces itself on a terminal, else plain lines. */

export interface Progress {
	(line: string): void;
	/** Leaves the terminal's line free for what comes next. */
	done(): void;
}

export function createProgress(stream: NodeJS.WriteStream = process.stderr): Progress {
	let shown = false;
	const report = (line: string) => {
		const text = line.replace(/\s+/g, ' ').trim();
		if (!stream.isTTY) {
			stream.write(`tsvm: ${text}\n`);
			return;
		}
		const width = Math.max(20, (stream.columns ?? 80) - 1);
		stream.write(`\r\x1b[K${`tsvm: ${text}`.slice(0, width)}`);
		shown = true;
	};
	const done = () => {
		if (shown) stream.write('\r\x1b[K');
		shown = false;
	};
	return Object.assign(report, { done });
}
