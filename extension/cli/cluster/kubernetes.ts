import { memoryGB, shellLine, stepsOf, timeLimit, type ClusterJob, type Step } from './job';

/**
 * Manifests of one Job a step, to be applied one after the other: Kubernetes has no dependencies between jobs. Model,
 * texts, output and cache lie on a volume that all pods mount at the same paths.
 */
export function kubernetesManifests(job: ClusterJob, image: string, claim: string, mount: string): string {
  const steps = stepsOf(job);
  const usage = steps.flatMap(step => [
    `#   kubectl apply -l step=${step.name} -f THIS_FILE && kubectl wait --for=condition=complete --timeout=-1s job/lq-${step.name}`,
  ]);
  const head = ['# The steps wait for one another; run them in this order:', ...usage];
  return [...head, ...steps.map(step => manifest(job, step, image, claim, mount))].join('\n');
}

function manifest(job: ClusterJob, step: Step, image: string, claim: string, mount: string): string {
  const [hours, minutes] = timeLimit(step.seconds).split(':').map(Number);
  const text = (value: string): string => JSON.stringify(value);
  return [
    '---',
    'apiVersion: batch/v1',
    'kind: Job',
    'metadata:',
    `  name: lq-${step.name}`,
    `  labels: {step: ${step.name}}`,
    'spec:',
    `  completions: ${step.count}`,
    `  parallelism: ${step.count}`,
    '  completionMode: Indexed',
    `  backoffLimit: ${2 * step.count}`,
    `  activeDeadlineSeconds: ${(hours! * 60 + minutes!) * 60}`,
    '  template:',
    '    spec:',
    '      restartPolicy: Never',
    '      volumes:',
    `        - {name: shared, persistentVolumeClaim: {claimName: ${text(claim)}}}`,
    '      containers:',
    '        - name: lq-studio',
    `          image: ${text(image)}`,
    `          command: ["sh", "-c", ${text(`exec ${shellLine(step.command)}`)}]`,
    '          env:',
    `            - {name: LQ_STUDIO_SHARDS, value: "${step.count}"}`,
    '          volumeMounts:',
    `            - {name: shared, mountPath: ${text(mount)}}`,
    '          resources:',
    `            requests: {memory: ${memoryGB(job)}G}`,
    ...(job.gpus > 0 ? [`            limits: {nvidia.com/gpu: ${job.gpus}}`] : []),
    '',
  ].join('\n');
}
