//! Reading a model in slices: how many at a time, how large, and how fast.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::ops::Range;
use std::task::Poll;
use std::time::Duration;

use pollster::block_on;
use postil::checkpoint::{IN_FLIGHT, Meter, SLICE, Slices, TensorInfo, TensorSource};
use postil::source::BoxFuture;
use postil::{ErrorKind, Result};
use safetensors::Dtype;
use web_time::Instant;

/// Tensors whose every byte is its offset in the tensor, mod 251. Reads take some polls to finish, so that all that
/// may be under way are; the later they begin, the sooner they finish.
struct Counting {
    tensors: Vec<(String, TensorInfo, u64)>,
    under_way: Cell<usize>,
    most: Cell<usize>,
    reads: RefCell<Vec<(String, Range<u64>)>>,
    short: bool,
}

impl Counting {
    /// Tensors with these bytes and granules, called 0, 1, …
    fn new(tensors: &[(u64, u64)]) -> Self {
        let tensor = |(at, &(bytes, granule)): (usize, &(u64, u64))| {
            (at.to_string(), TensorInfo { dtype: Dtype::U8, shape: vec![bytes as usize] }, granule)
        };
        Self {
            tensors: tensors.iter().enumerate().map(tensor).collect(),
            under_way: Cell::new(0),
            most: Cell::new(0),
            reads: RefCell::default(),
            short: false,
        }
    }

    fn names(&self) -> Vec<String> {
        self.tensors.iter().map(|(name, ..)| name.clone()).collect()
    }
}

impl TensorSource for Counting {
    fn name(&self) -> &str {
        "counting"
    }

    fn names(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        Box::new(self.tensors.iter().map(|(name, ..)| name.as_str()))
    }

    fn info(&self, name: &str) -> Option<&TensorInfo> {
        self.tensors.iter().find(|(found, ..)| found == name).map(|(_, info, _)| info)
    }

    fn granule(&self, name: &str) -> u64 {
        self.tensors.iter().find(|(found, ..)| found == name).map_or(1, |(.., granule)| *granule)
    }

    fn read<'a>(&'a self, name: &'a str, bytes: Range<u64>) -> BoxFuture<'a, Result<Vec<u8>>> {
        self.under_way.set(self.under_way.get() + 1);
        self.most.set(self.most.get().max(self.under_way.get()));
        let polls = 4 * IN_FLIGHT - self.reads.borrow().len() % IN_FLIGHT;
        self.reads.borrow_mut().push((name.to_owned(), bytes.clone()));
        Box::pin(async move {
            let mut left = polls;
            poll_fn(|context| {
                context.waker().wake_by_ref();
                left -= 1;
                if left == 0 { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
            self.under_way.set(self.under_way.get() - 1);
            let end = bytes.end - u64::from(self.short);
            Ok((bytes.start..end).map(|at| (at % 251) as u8).collect())
        })
    }
}

#[test]
fn every_byte_once_in_order_a_few_slices_at_a_time() {
    let sizes =
        [(3 * SLICE + 5, 1), (0, 1), (7, 1), (SLICE, 1), (2 * SLICE, 96), (SLICE + 8, SLICE + 4), (40, 2)];
    let source = Counting::new(&sizes);
    let names = source.names();
    let mut slices = Slices::new(&source, &names);
    let (mut next, mut taken) = ((0, 0), 0);
    while let Some(slice) = block_on(slices.next()).expect("a slice") {
        if next.1 == sizes[next.0].0 {
            next = (next.0 + 1, 0);
        }
        assert_eq!((slice.tensor, slice.offset), next);
        // Read or being read, and not yet handed over but for this one.
        assert!(source.reads.borrow().len() - taken <= IN_FLIGHT);
        taken += 1;
        assert!(slice.bytes.len() as u64 <= SLICE);
        assert!(slice.offset % 4 == 0, "uploads start at multiples of four");
        assert!(
            slice.bytes.iter().enumerate().all(|(i, &b)| u64::from(b) == (slice.offset + i as u64) % 251)
        );
        next.1 += slice.bytes.len() as u64;
    }
    assert_eq!(next, (6, 40));
    assert_eq!(source.most.get(), IN_FLIGHT, "no more, and no fewer");
    let reads = source.reads.borrow();
    assert!(reads.iter().all(|(_, range)| range.end - range.start <= SLICE));
    let aligned = reads.iter().filter(|(name, _)| name == "4");
    assert!(aligned.clone().count() > 2 && aligned.clone().all(|(_, range)| range.start.is_multiple_of(96)));
}

#[test]
fn fewer_bytes_than_asked_for_are_an_error() {
    let mut source = Counting::new(&[(10, 1)]);
    source.short = true;
    let names = source.names();
    let error = block_on(Slices::new(&source, &names).next()).err().expect("a byte is missing");
    assert_eq!(error.kind(), ErrorKind::Format);
    for part in ["counting", "tensor 0", "expected 10", "found 9"] {
        assert!(error.to_string().contains(part), "{error}");
    }
    let unknown = ["x".to_owned()];
    assert!(block_on(Slices::new(&source, &unknown).next()).is_err());
}

#[test]
fn speed_is_of_the_last_seconds() {
    let start = Instant::now();
    let at = |seconds: f64| start + Duration::from_secs_f64(seconds);
    let mut meter = Meter::new(10_000, start);
    let first = meter.add(0, start);
    assert_eq!(
        (first.done, first.total, first.bytes_per_second, first.seconds_left()),
        (0, 10_000, 0.0, None)
    );
    let mut last = first;
    for second in 1..=5 {
        last = meter.add(1000, at(f64::from(second)));
    }
    assert_eq!((last.done, last.bytes_per_second, last.seconds_left()), (5000, 1000.0, Some(5.0)));
    // Ten seconds at a tenth of the speed: the fast ones no longer count.
    for second in 6..=15 {
        last = meter.add(100, at(f64::from(second)));
    }
    assert_eq!((last.done, last.bytes_per_second, last.seconds_left()), (6000, 100.0, Some(40.0)));
}
