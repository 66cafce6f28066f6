/** Cancellation and progress of one call. The buffer is shared with native code: element 0 non-zero means stop. */
export interface NativeControl {
  cancel?: Int32Array<SharedArrayBuffer>;
  /** Threads that the call's loops on the CPU take; 0 or absent: as `setThreads` said. Calls beside it keep theirs. */
  threads?: number;
  progress?: (done: number, total: number) => void;
}
