// Makes lq-studio-linux-x64.vsix: minified bundles, the portable native module and CUDA backend, licences. Then opens what
// it made and checks it.
//   --no-cuda   leaves out the CUDA backend, whose first build takes minutes, for a quick look at the rest
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { inRoot, run, step } from './lib.mjs';
import { setup } from './setup.mjs';
import { thirdPartyNotices } from './package/notices.mjs';
import { verifyPackage } from './package/verify.mjs';

const vsix = inRoot('lq-studio-linux-x64.vsix');
const cuda = !process.argv.includes('--no-cuda');
const script = (name, ...args) => run(process.execPath, [inRoot('scripts', `${name}.mjs`), ...args]);

setup();
script('build-native', '--portable');
// A library that was built for tests, for one architecture, is not for users.
rmSync(inRoot('dist', 'native', 'liblq_cuda.so'), { force: true });
if (cuda) script('build-cuda', '--portable');
run('strip', ['--strip-unneeded', inRoot('dist', 'native', 'lqstudio.node')]);
script('build', '--production');
mkdirSync(inRoot('dist'), { recursive: true });
writeFileSync(inRoot('dist', 'THIRD_PARTY_NOTICES.txt'), thirdPartyNotices({ cuda }));

step('Packaging');
run(process.execPath, [
  inRoot('node_modules', '@vscode', 'vsce', 'vsce'),
  'package',
  ...[
    '--target',
    'linux-x64',
    '--no-dependencies',
    '--allow-missing-repository',
    '--no-rewrite-relative-links',
    '--out',
    vsix,
  ],
]);

step('Checking the package');
const { bytes, files, problems } = verifyPackage(vsix, { cuda });
for (const file of files) console.log(`${String(file.bytes).padStart(10)}  ${file.name}`);
console.log(`${vsix}: ${files.length} files, ${(bytes / 1024 / 1024).toFixed(1)} MiB`);
for (const problem of problems) console.error(`not right: ${problem}`);
process.exit(problems.length === 0 ? 0 : 1);
