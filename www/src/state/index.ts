/** Everything the page shows, as signals. Only the modules in `session/` write here. */
export * from "./charts";
export * from "./compare";
export * from "./data";
export * from "./download";
export * from "./engine";
export * from "./model";
export * from "./path";
export * from "./run";
export * from "./runs";
export * from "./settings";
export * from "./share";
export * from "./sweep";
export * from "./targets";
