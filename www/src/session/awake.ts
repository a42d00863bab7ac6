/** Keeps the screen on and the tab unfrozen while a run goes on. Both are wishes: a run goes on without them too. */

/** Returns a function that ends both. */
export function stayAwake(): () => void {
  let over = false;
  let screen: WakeLockSentinel | undefined;

  // The browser drops a screen lock whenever the tab is hidden.
  const lockScreen = async () => {
    if (over || document.visibilityState !== "visible" || !("wakeLock" in navigator)) return;
    try {
      const lock = await navigator.wakeLock.request("screen");
      if (over) await lock.release();
      else screen = lock;
    } catch {
      // Refused, for instance on low battery.
    }
  };
  document.addEventListener("visibilitychange", lockScreen);
  void lockScreen();

  // Browsers do not freeze a hidden tab that holds a Web Lock.
  let releaseTab = () => {};
  const held = new Promise<void>((resolve) => (releaseTab = resolve));
  void navigator.locks?.request("postil-training", { mode: "shared" }, () => held);

  return () => {
    over = true;
    document.removeEventListener("visibilitychange", lockScreen);
    void screen?.release();
    releaseTab();
  };
}
