/** A file of the browser's own that is written in place; the type is in TypeScript's library for workers only. */
interface FileSystemSyncAccessHandle {
  /** Bytes written; fewer, or nonsense, when there is no room. */
  write(bytes: Uint8Array<ArrayBuffer>, options: { at: number }): number;
  truncate(size: number): void;
  getSize(): number;
  flush(): void;
  close(): void;
}

interface FileSystemFileHandle {
  createSyncAccessHandle(): Promise<FileSystemSyncAccessHandle>;
}
