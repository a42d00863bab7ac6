//! How much of a device's memory may be used, which no API tells.

use super::device::Gpu;

const GIB: u64 = 1 << 30;

/// Largest buffer that a probe asks for at once.
const PROBE_CHUNK: u64 = GIB;

/// Smallest: a refused probe knows what there is to within this.
const PROBE_LEAST: u64 = 64 << 20;

/// Bytes that tensors may take together, and why.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct MemoryBudget {
    /// Bytes.
    pub bytes: u64,
    /// Where the number comes from, for people.
    pub source: String,
    #[serde(skip)]
    guess: Option<Guess>,
}

/// What is known of a budget that nobody has given.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Guess {
    source: &'static str,
    /// Whether it follows the device upwards too.
    rises: bool,
    /// Bytes that the device has granted; nothing is asked for within them.
    granted: u64,
    /// The device has refused: it is known what it has.
    is_final: bool,
}

impl MemoryBudget {
    /// What a person allows: no probe changes it.
    pub fn given(bytes: u64) -> Self {
        Self { bytes, source: "given".to_owned(), guess: None }
    }

    /// What is likely, until [`Self::correct`] knows better; `rises`: also if there is more.
    pub fn guessed(bytes: u64, source: &'static str, rises: bool) -> Self {
        let guess = Guess { source, rises, granted: 0, is_final: false };
        Self { bytes, source: source.to_owned(), guess: Some(guess) }
    }

    /// What most devices of a kind have to spare:
    ///
    /// - discrete: 6 GiB, since 8 GiB is the usual least and the desktop takes its share;
    /// - integrated: 4 GiB, as systems lend their GPU half of the memory, and 16 GiB with a browser open is usual;
    /// - software: 4 GiB of the system's memory;
    /// - unknown, which is every GPU in a browser: 2 GiB, what an integrated GPU in an 8 GiB laptop has.
    pub fn default_for(gpu: &Gpu) -> Self {
        match gpu.caps().adapter.device_type.as_str() {
            "DiscreteGpu" => Self::guessed(6 * GIB, "the default for a discrete GPU", true),
            "IntegratedGpu" => Self::guessed(4 * GIB, "the default for an integrated GPU", true),
            // It promises memory that the system may not have.
            "Cpu" => Self::guessed(4 * GIB, "the default for a software driver", false),
            _ => Self::guessed(2 * GIB, "the default for a GPU of unknown kind", true),
        }
    }

    /// What a person allows, or else the default.
    pub fn for_gpu(gpu: &Gpu, given: Option<u64>) -> Self {
        given.map_or_else(|| Self::default_for(gpu), Self::given)
    }

    /// Corrects a default by what the device grants for a moment, before `needed` bytes in all are taken: up to
    /// them, or down to what there is. A given budget stays as it is.
    pub async fn correct(&mut self, gpu: &Gpu, needed: u64) {
        self.correct_by(needed, gpu.allocated_bytes(), async |bytes| gpu.probe(bytes).await).await;
    }

    /// As [`Self::correct`], of a device that has given `taken` bytes and of any more grants so many as `probe`
    /// says.
    pub async fn correct_by(&mut self, needed: u64, taken: u64, probe: impl AsyncFnOnce(u64) -> u64) {
        let Some(guess) = &mut self.guess else { return };
        let wanted = if guess.rises { needed } else { needed.min(self.bytes) };
        if guess.is_final || wanted <= guess.granted {
            return;
        }
        let missing = wanted.saturating_sub(taken);
        let granted = probe(missing).await.min(missing);
        guess.is_final = granted < missing;
        guess.granted = taken.saturating_add(granted);
        let found = if guess.is_final { guess.granted } else { self.bytes.max(wanted) };
        if found != self.bytes {
            let how = if found > self.bytes { "raised" } else { "lowered" };
            self.source = format!("{}, {how} to what the device grants", guess.source);
            self.bytes = found;
        }
    }
}

impl Gpu {
    /// How many of so many bytes the device has left: takes them inside error scopes and gives them back.
    async fn probe(&self, bytes: u64) -> u64 {
        let mut chunk = self.caps().limits.max_buffer_size.min(PROBE_CHUNK) & !3;
        let (mut granted, mut taken) = (0, Vec::new());
        while granted < bytes {
            let size = (bytes - granted).min(chunk).next_multiple_of(4);
            let scope = self.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
            let buffer = self.storage("probe", size);
            if scope.pop().await.is_none() {
                granted += size;
                taken.push(buffer);
            } else if size / 2 >= PROBE_LEAST {
                chunk = (size / 2) & !3;
            } else {
                break;
            }
        }
        taken.iter().for_each(wgpu::Buffer::destroy);
        drop(taken);
        // Natively memory is given back when the device is next driven.
        #[cfg(not(target_arch = "wasm32"))]
        let _ = self.device.poll(wgpu::PollType::Poll);
        granted
    }
}
