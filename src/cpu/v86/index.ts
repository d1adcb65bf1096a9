import type { CpuBackend, CpuOptions } from '../backend.ts';
import { V86Backend } from './backend.ts';

/**
 * A CPU on the npm package v86's core, in its power-on state. Throws TsvmError when the core is missing or not the
 * version this was written for, or when the host cannot give the memory asked for.
 */
export async function createV86(options: CpuOptions): Promise<CpuBackend & Pick<V86Backend, 'notice' | 'jit'>> {
	return V86Backend.create(options);
}
