/** Keeps the screen on and the tab unfrozen while a run goes on. Both are wishes: a run goes on without them too. */
import { screenAwake } from "../state";

export interface Awake {
  /** For how long the tab was hidden. */
  secondsHidden(): number;
  end(): void;
}

export function stayAwake(): Awake {
  let over = false;
  let screen: WakeLockSentinel | undefined;
  let hidden = 0;
  let hiddenSince = document.hidden ? performance.now() : undefined;
  const hiddenNow = () => hidden + (hiddenSince === undefined ? 0 : performance.now() - hiddenSince);

  // The browser drops a screen lock whenever the tab is hidden.
  const lockScreen = async () => {
    if (over || document.visibilityState !== "visible" || !("wakeLock" in navigator)) return;
    try {
      const lock = await navigator.wakeLock.request("screen");
      if (over) {
        await lock.release();
        return;
      }
      screen = lock;
      screenAwake.value = true;
      lock.addEventListener("release", () => {
        if (screen === lock) screenAwake.value = false;
      });
    } catch {
      // Refused, for instance on low battery.
    }
  };
  const onVisibility = () => {
    hidden = hiddenNow();
    hiddenSince = document.hidden ? performance.now() : undefined;
    void lockScreen();
  };
  document.addEventListener("visibilitychange", onVisibility);
  void lockScreen();

  // Browsers do not freeze a hidden tab that holds a Web Lock.
  let releaseTab = () => {};
  const held = new Promise<void>((resolve) => (releaseTab = resolve));
  void navigator.locks?.request("postil-training", { mode: "shared" }, () => held);

  return {
    secondsHidden: () => hiddenNow() / 1000,
    end() {
      over = true;
      document.removeEventListener("visibilitychange", onVisibility);
      void screen?.release();
      screenAwake.value = false;
      releaseTab();
    },
  };
}
