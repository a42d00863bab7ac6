interface ImportMetaEnv {
  /** The Hub that the page asks unless told otherwise; set when the page is built (`vite.config.ts`). */
  readonly VITE_HUB_ADDRESS?: string;
  /** Further origins that the page may ask. */
  readonly VITE_HUB_ORIGINS?: string;
}
