//! How much goes to the GPU at once: submissions short enough that whoever shares the device gets a turn.
//!
//! A GPU finishes what it was given before it paints, and a driver's watchdog resets one that does not come back. So a
//! list of operations is handed over in pieces of about [`PIECE_SECONDS`], no more than two of which wait on the
//! device. What an operation takes is learned from the pieces themselves. Once a whole list takes less than a piece,
//! it is one submission, and nothing is waited for.
//!
//! One operation is never split, however long it takes.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};

use futures_channel::oneshot;
use web_time::Instant;

use super::device::Gpu;
use super::readback::{drive, lost};
use crate::error::Result;

/// What a submission may take. A person notices a delay of a tenth of a second; two pieces and the painting itself
/// fit into that.
pub(super) const PIECE_SECONDS: f32 = 0.025;

/// Pieces that may be on the device: one runs, the next is ready behind it.
const AHEAD: f32 = 2.0;

/// Of so many submissions two are waited for, and so measured, even if nothing must wait: a device slows down when it
/// gets hot or busy.
const WATCHED: u32 = 32;

/// How far an estimate follows a measurement that is longer, and one that is shorter. A piece takes longer than its
/// operations do whenever the machine is busy, so the short ones are believed.
const GAIN: [f32; 2] = [0.3, 0.7];

/// No measurement makes an estimate that there was before longer than so many times itself.
const MOST: f32 = 8.0;

/// What is known of the operations of a plan.
pub(super) struct Costs {
    /// For each operation its kind and, among its kind, its size.
    ops: Vec<(usize, f32)>,
    /// Seconds of each; `None` before it has run.
    seconds: Mutex<Vec<Option<f32>>>,
}

/// Operations of one submission, in the order in which they run.
#[derive(Default)]
pub(super) struct Piece {
    parts: Vec<(Arc<Costs>, Range<usize>)>,
    seconds: f32,
}

impl Piece {
    pub fn add(&mut self, costs: &Arc<Costs>, ops: Range<usize>, seconds: f32) {
        self.parts.push((Arc::clone(costs), ops));
        self.seconds += seconds;
    }

    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }
}

/// A piece on the device.
struct Submitted {
    piece: Piece,
    at: Instant,
    done: oneshot::Receiver<()>,
}

/// When a piece was seen to be done; not `exact` if it may have been done long before.
#[derive(Clone, Copy)]
struct Done {
    at: Instant,
    exact: bool,
}

#[derive(Default)]
struct State {
    kinds: HashMap<String, usize>,
    /// Seconds by size of each kind.
    rates: Vec<Option<f32>>,
    /// Seconds of an operation of a kind that has never run.
    guess: f32,
    queue: VecDeque<Submitted>,
    last: Option<Done>,
    submissions: u32,
}

impl State {
    fn estimate(&self, costs: &Costs, seconds: &[Option<f32>], op: usize) -> f32 {
        let (kind, size) = costs.ops[op];
        seconds[op].or_else(|| Some(self.rates[kind]? * size)).unwrap_or(self.guess)
    }

    /// Spreads what a piece took over its operations, each in proportion to what it was thought to take: since
    /// pieces end elsewhere when estimates change, these come to fit every piece (as the multiplicative algebraic
    /// reconstruction of Gordon, Bender & Herman, 1970, does for sums along rays).
    fn learn(&mut self, piece: &Piece, took: f32) {
        let mut ops = 0;
        let mut estimated = 0.0;
        let mut unknown = false;
        for (costs, range) in &piece.parts {
            let seconds = costs.seconds.lock().expect("no panic holds this lock");
            for op in range.clone() {
                estimated += self.estimate(costs, &seconds, op);
                unknown |= self.rates[costs.ops[op].0].is_none();
                ops += 1;
            }
        }
        if ops == 0 {
            return;
        }
        if unknown {
            // By and by: the next of an unknown kind may take much longer.
            self.guess = (took / ops as f32).max(self.guess / 4.0);
        }
        let factor = took.max(1e-7) / estimated.max(1e-9);
        for (costs, range) in &piece.parts {
            let mut seconds = costs.seconds.lock().expect("no panic holds this lock");
            for op in range.clone() {
                let before = self.estimate(costs, &seconds, op);
                let now = match seconds[op] {
                    None => before * factor,
                    Some(_) => {
                        let gain = GAIN[usize::from(factor < 1.0)];
                        before * (1.0 + gain * (factor.min(MOST) - 1.0))
                    }
                };
                seconds[op] = Some(now);
                let (kind, size) = costs.ops[op];
                let rate = now / size;
                self.rates[kind] = Some(self.rates[kind].map_or(rate, |old| old + 0.1 * (rate - old)));
            }
        }
    }

    /// Notes that a piece is done.
    fn done(&mut self, submitted: &Submitted, done: Done) {
        let (piece, at) = (&submitted.piece, submitted.at);
        // It began when it was submitted, or when the one before it was done.
        let before = self.last.replace(done).filter(|before| before.at > at);
        let begun = before.map_or(at, |before| if before.exact { before.at } else { at });
        let took = done.at.saturating_duration_since(begun).as_secs_f32();
        let exact = done.exact && before.is_none_or(|before| before.exact);
        // Otherwise it took no longer than this.
        if exact || took < piece.seconds {
            self.learn(piece, took);
        }
    }
}

/// Cuts lists of operations into pieces, and says when the next may be submitted.
pub(super) struct Governor {
    piece_seconds: f32,
    state: Mutex<State>,
}

impl Governor {
    pub fn new(piece_seconds: f32) -> Self {
        Self {
            piece_seconds,
            state: Mutex::new(State { guess: piece_seconds.clamp(1e-4, 1.0), ..Default::default() }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic holds this lock")
    }

    /// What to learn of operations, each given by the name of its kind and its size.
    pub fn costs(&self, ops: impl Iterator<Item = (String, f32)>) -> Arc<Costs> {
        let state = &mut *self.state();
        let ops: Vec<_> = ops
            .map(|(name, size)| {
                let next = state.rates.len();
                let kind = *state.kinds.entry(name).or_insert(next);
                if kind == next {
                    state.rates.push(None);
                }
                (kind, size.max(1.0))
            })
            .collect();
        let seconds = Mutex::new(vec![None; ops.len()]);
        Arc::new(Costs { ops, seconds })
    }

    /// Adds operations from `first` on to a piece, as many as still fit (one at least if the piece is empty), and
    /// returns one past the last.
    pub fn fill(&self, piece: &mut Piece, costs: &Arc<Costs>, first: usize) -> usize {
        let state = self.state();
        let seconds = costs.seconds.lock().expect("no panic holds this lock");
        let (mut end, mut sum) = (first, 0.0);
        while end < costs.ops.len() {
            let one = state.estimate(costs, &seconds, end);
            let is_first = piece.is_empty() && end == first;
            if !is_first && piece.seconds + sum + one >= self.piece_seconds {
                break;
            }
            sum += one;
            end += 1;
        }
        drop(seconds);
        if end > first {
            piece.add(costs, first..end, sum);
        }
        end
    }

    /// Takes out what must be done before a piece of so many seconds may be submitted; call until there is nothing.
    fn ahead_of(&self, seconds: f32) -> Option<Submitted> {
        let state = &mut *self.state();
        while let Some(oldest) = state.queue.front_mut() {
            if !matches!(oldest.done.try_recv(), Ok(Some(()))) {
                break;
            }
            if let Some(oldest) = state.queue.pop_front() {
                state.done(&oldest, Done { at: Instant::now(), exact: false });
            }
        }
        let waiting: f32 = state.queue.iter().map(|submitted| submitted.piece.seconds).sum();
        let full = waiting + seconds > AHEAD * self.piece_seconds;
        if full || state.submissions % WATCHED < 2 { state.queue.pop_front() } else { None }
    }
}

impl Gpu {
    /// Pieces that were submitted so far.
    pub fn submitted_pieces(&self) -> u32 {
        self.governor.state().submissions
    }

    /// Hands a piece over as soon as the device may have it.
    pub(super) async fn submit_piece(&self, commands: Vec<wgpu::CommandBuffer>, piece: Piece) -> Result<()> {
        if piece.is_empty() {
            self.queue.submit(commands);
            return Ok(());
        }
        #[cfg(not(target_arch = "wasm32"))]
        self.device.poll(wgpu::PollType::Poll).map_err(|error| lost(&error))?;
        while let Some(oldest) = self.governor.ahead_of(piece.seconds) {
            self.wait_for(oldest).await?;
        }
        let at = Instant::now();
        self.queue.submit(commands);
        let (sender, done) = oneshot::channel();
        self.queue.on_submitted_work_done(move || {
            // The receiver is gone only when nobody waits any more.
            let _ = sender.send(());
        });
        let mut state = self.governor.state();
        state.submissions = state.submissions.wrapping_add(1);
        state.queue.push_back(Submitted { piece, at, done });
        Ok(())
    }

    async fn wait_for(&self, mut submitted: Submitted) -> Result<()> {
        drive(self, &mut submitted.done).await?.map_err(|error| lost(&error))?;
        self.governor.state().done(&submitted, Done { at: Instant::now(), exact: true });
        self.check()
    }
}
