/**
 * The engine process: answers the protocol on its IPC channel with the pipeline's stages. In a worker of that process the
 * same bundle plans.
 */
import { isMainThread } from 'node:worker_threads';
import { createMessageConnection, IPCMessageReader, IPCMessageWriter } from 'vscode-jsonrpc/node';
import { handlers } from './handlers';
import { servePlanner } from './planner';
import { serve } from './server';

function serveEngine(): void {
  if (process.send === undefined) {
    process.stderr.write('The engine is started by LQ Studio or lq-studio, not by hand.\n');
    process.exit(2);
  }
  const connection = createMessageConnection(new IPCMessageReader(process), new IPCMessageWriter(process));
  serve(connection, handlers);
  // Without its client the engine has nobody to work for.
  process.on('disconnect', () => process.exit(0));
  // A terminal's Ctrl-C reaches the whole process group; the client decides what it means.
  process.on('SIGINT', () => undefined);
  connection.listen();
}

if (isMainThread) serveEngine();
else servePlanner();
