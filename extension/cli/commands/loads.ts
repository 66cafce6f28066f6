import { storedModel } from '../../core/export/loads/stored';
import { loads } from '../../core/export/loads/loads';
import { openComplete } from '../../core/opened';
import { loadsRequest } from '../../core/requests/requests';
import { nodeFiles } from '../../node/files';
import { define } from '../command';
import { loadsRows } from '../report';

export const loadsCommand = define({
  summary: 'Say which programs load a checkpoint as it is, from its headers: version read, yes or no, and why.',
  request: loadsRequest,
  examples: ['lq-studio loads ./model-ct', 'lq-studio loads ./model.gguf --json'],
  async run({ request, terminal }) {
    const index = await openComplete(nodeFiles, request.model);
    const verdicts = loads(storedModel(index));
    for (const line of loadsRows(verdicts)) terminal.print(line);
    return { path: index.path, loads: verdicts };
  },
});
