import { formatBytes } from '../../core/format';
import { jobSettings } from '../../core/requests/requests';
import { define } from '../command';

export const doctorCommand = define({
  summary: 'Show what LQ Studio found on this machine: native module, devices, libraries, cache.',
  request: jobSettings,
  async run({ request, engine, terminal, signal }) {
    const report = await engine.request('doctor', request, { signal });
    terminal.print(`LQ Studio ${report.version}, Node ${report.node}, ${report.platform}`);
    terminal.print(`native module ${report.native.version}: ${report.native.path}`);
    for (const device of report.devices) {
      const memory =
        device.memoryTotal > 0 ? `, ${formatBytes(device.memoryFree)} free of ${formatBytes(device.memoryTotal)}` : '';
      terminal.print(`${device.id.padEnd(8)} ${device.name}${memory}: ${device.detail}`);
    }
    for (const library of report.libraries) terminal.print(`found    ${library.name}: ${library.path}`);
    for (const problem of report.problems) terminal.print(`missing  ${problem}`);
    terminal.print(
      `cache    ${report.cache.folder}: ${report.cache.entries} entries, ${formatBytes(report.cache.bytes)}`,
    );
    return report;
  },
});
