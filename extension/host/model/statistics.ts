import * as path from 'node:path';
import { nodeFiles } from '../../node/files';
import { LqError } from '../../core/errors';
import type { TensorStatistics } from '../../core/analysis/types';
import type { Model } from './models';

type Known = Map<string, TensorStatistics>;

/**
 * Statistics that were computed here before, so that tooltips and tables have them without an engine: one JSON file for
 * each version of a checkpoint, and a changed checkpoint begins with none.
 */
export class StatisticsCache {
  private readonly known = new Map<string, Promise<Known>>();
  private readonly unsaved = new Map<string, NodeJS.Timeout>();
  private readonly listeners = new Set<(model: Model, statistics: TensorStatistics[]) => void>();

  constructor(
    private readonly folder: string,
    private readonly warn: (message: string) => void,
    private readonly saveAfterMs = 1000,
  ) {}

  /** What is known of a checkpoint's tensors, by name. */
  of(model: Model): Promise<ReadonlyMap<string, TensorStatistics>> {
    return this.load(model.version);
  }

  async add(model: Model, statistics: TensorStatistics[]): Promise<void> {
    const known = await this.load(model.version);
    for (const each of statistics) known.set(each.name, each);
    // A whole checkpoint arrives a tensor at a time.
    clearTimeout(this.unsaved.get(model.version));
    this.unsaved.set(
      model.version,
      setTimeout(() => void this.save(model.version), this.saveAfterMs),
    );
    for (const listener of this.listeners) listener(model, statistics);
  }

  onAdd(listener: (model: Model, statistics: TensorStatistics[]) => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  /** Writes what is not yet written. */
  async flush(): Promise<void> {
    await Promise.all([...this.unsaved.keys()].map(version => this.save(version)));
  }

  private file(version: string): string {
    return path.join(this.folder, `${version}.json`);
  }

  private async save(version: string): Promise<void> {
    clearTimeout(this.unsaved.get(version));
    this.unsaved.delete(version);
    try {
      const values = [...(await this.load(version)).values()];
      await nodeFiles.makeFolder(this.folder);
      await nodeFiles.writeAtomic(this.file(version), JSON.stringify(values));
    } catch (error) {
      this.warn(`Statistics cannot be remembered: ${LqError.from(error).message}`);
    }
  }

  private load(version: string): Promise<Known> {
    const loading = this.known.get(version) ?? this.read(version);
    this.known.set(version, loading);
    return loading;
  }

  private async read(version: string): Promise<Known> {
    const file = this.file(version);
    if (!(await nodeFiles.stat(file))) return new Map();
    try {
      const values: unknown = JSON.parse(await nodeFiles.readText(file));
      return new Map(Array.isArray(values) ? values.filter(isStatistics).map(each => [each.name, each]) : []);
    } catch (error) {
      this.warn(`${file} cannot be read: ${LqError.from(error).message}`);
      return new Map();
    }
  }
}

const isStatistics = (value: unknown): value is TensorStatistics =>
  typeof value === 'object' &&
  value !== null &&
  typeof (value as TensorStatistics).name === 'string' &&
  typeof (value as TensorStatistics).count === 'number' &&
  Array.isArray((value as Partial<TensorStatistics>).histogram?.counts);
