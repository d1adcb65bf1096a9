export { IsaPvpanic, type PanicEvent, PciPvpanic, PVPANIC_EVENTS, PVPANIC_PORT } from './pvpanic.ts';
