//! Batches, the order of an epoch, and the held-out part.

use postil::ErrorKind;
use postil::data::{Batch, EpochOrder, Example, Examples, group_by_length, split};

#[test]
fn batches_lay_examples_end_to_end() {
    let first = Example { input_ids: vec![10, 11, 12], trained: vec![false, false, true] };
    let second = Example { input_ids: vec![20, 21], trained: vec![false, true] };
    let batch = Batch::new(&[&first, &second], 4);
    let expected = Batch {
        input_ids: vec![10, 11, 12, 20, 21, 0, 0, 0],
        positions: vec![0, 1, 2, 0, 1, 0, 0, 0],
        kv_range: vec![0, 1, 0, 2, 0, 3, 3, 4, 3, 5, 5, 6, 6, 7, 7, 8],
        query_range: vec![0, 3, 1, 3, 2, 3, 3, 5, 4, 5, 5, 6, 6, 7, 7, 8],
        target_rows: [&[1, 3][..], &[u32::MAX; 6]].concat(),
        target_ids: [&[12, 21][..], &[u32::MAX; 6]].concat(),
        tokens: 5,
        targets: 2,
    };
    assert_eq!(batch, expected);
    assert_eq!(batch.rows(), 8);
    assert_eq!(Batch::new(&[&first, &second], 5).rows(), 5);
    assert_eq!(Batch::new(&[&first], 1).rows(), 3);
    assert_eq!(Batch::new(&[], 4).rows(), 0);
}

#[test]
fn ranges_of_keys_and_queries_are_each_others_transpose() {
    let examples: Vec<Example> =
        [5, 1, 9, 2, 16].map(|len| Example { input_ids: vec![7; len], trained: vec![true; len] }).into();
    let batch = Batch::new(&examples.iter().collect::<Vec<_>>(), 16);
    assert_eq!((batch.rows(), batch.tokens, batch.targets), (48, 33, 33 - 5));
    let inside =
        |ranges: &[u32], i: usize, j: usize| (ranges[2 * i]..ranges[2 * i + 1]).contains(&(j as u32));
    for query in 0..48 {
        for key in 0..48 {
            assert_eq!(
                inside(&batch.kv_range, query, key),
                inside(&batch.query_range, key, query),
                "{query} {key}"
            );
        }
        assert_eq!(batch.kv_range[2 * query + 1], query as u32 + 1);
    }
}

#[test]
fn windows_cut_keys_and_queries_alike() {
    let examples: Vec<Example> =
        [5, 1, 9].map(|len| Example { input_ids: vec![7; len], trained: vec![true; len] }).into();
    let batch = Batch::new(&examples.iter().collect::<Vec<_>>(), 16);
    let document = |row: usize| [0, 5, 6, 15].into_iter().rposition(|start| row >= start);
    for window in [1, 3, 9, usize::MAX] {
        let (keys, queries) = (batch.sliding_kv_range(window), batch.sliding_query_range(window));
        for query in 0..16 {
            for key in 0..16 {
                // A window counts the token itself, as in transformers: key > query - window.
                let seen = key <= query && query - key < window && document(query) == document(key);
                let inside = |ranges: &[u32], i: usize, j: usize| {
                    (ranges[2 * i]..ranges[2 * i + 1]).contains(&(j as u32))
                };
                assert_eq!(inside(&keys, query, key), seen, "{window}: {query} {key}");
                assert_eq!(inside(&queries, key, query), seen, "{window}: {query} {key}");
            }
        }
    }
}

#[test]
fn orders_are_pinned() {
    let order = EpochOrder { seed: 42, shuffle: true };
    // Computed by a ChaCha8 written from RFC 8439 in Python.
    assert_eq!(order.order(0, 10), [4, 5, 7, 0, 2, 8, 1, 9, 3, 6]);
    assert_eq!(order.order(1, 10), [8, 4, 2, 6, 9, 1, 0, 3, 7, 5]);
    assert_eq!(EpochOrder { seed: 43, ..order }.order(0, 10), [6, 4, 9, 3, 1, 2, 5, 8, 0, 7]);
    let mut sorted = order.order(7, 1000);
    assert_ne!(sorted, (0..1000).collect::<Vec<_>>());
    sorted.sort_unstable();
    assert_eq!(sorted, (0..1000).collect::<Vec<_>>());
    assert_eq!(EpochOrder { shuffle: false, ..order }.order(3, 4), [0, 1, 2, 3]);
    assert_eq!(order.order(0, 0), [0; 0]);
}

#[test]
fn shuffling_is_even() {
    // Each of 6 permutations of 3 in about a sixth of 6000 epochs: 1000 ± 29 (1 σ); 5 σ allowed.
    let order = EpochOrder { seed: 0, shuffle: true };
    let mut counts = std::collections::BTreeMap::new();
    for epoch in 0..6000 {
        *counts.entry(order.order(epoch, 3)).or_insert(0i32) += 1;
    }
    assert_eq!(counts.len(), 6);
    assert!(counts.values().all(|count| (count - 1000).abs() < 145), "{counts:?}");
}

#[test]
fn splits_are_pinned_and_never_empty() {
    let numbered = |count: u32| {
        Examples::new((0..count).map(|i| Example { input_ids: vec![i, i], trained: vec![false, true] }))
    };
    let ids = |examples: &Examples| -> Vec<u32> {
        examples.iter().map(|example| example.unwrap().input_ids[0]).collect()
    };
    let data = numbered(10).unwrap();
    let (train, held_out) = split(&data, 0.3, 42).unwrap();
    assert_eq!(ids(&held_out), [0, 2, 8]);
    assert_eq!(ids(&train), [1, 3, 4, 5, 6, 7, 9]);
    assert_ne!(ids(&split(&data, 0.3, 43).unwrap().1), ids(&held_out));
    assert_eq!(split(&data, 0.001, 42).unwrap().1.len(), 1);
    assert_eq!(split(&data, 0.999, 42).unwrap().0.len(), 1);
    for fraction in [0.0, 1.0, -1.0, f64::NAN] {
        assert_eq!(split(&data, fraction, 42).unwrap_err().kind(), ErrorKind::Config);
    }
    assert_eq!(split(&numbered(1).unwrap(), 0.5, 42).unwrap_err().kind(), ErrorKind::Data);
}

#[test]
fn lengths_are_grouped_as_transformers_does() {
    // get_length_grouped_indices of transformers 5.23 with the identity for its random order.
    let lengths = [3, 9, 1, 7, 5, 8, 2, 6, 4, 10, 11, 12];
    let order: Vec<usize> = (0..12).collect();
    // batch_size 2: chunks of min(12 / 8, 50) = 1 batch.
    assert_eq!(group_by_length(&order, 2, |i| lengths[i]), [11, 0, 3, 2, 5, 4, 7, 6, 9, 8, 1, 10]);
    // batch_size 1: chunks of 3.
    assert_eq!(group_by_length(&order, 1, |i| lengths[i]), [11, 0, 2, 5, 3, 4, 7, 8, 6, 1, 10, 9]);
    assert_eq!(group_by_length(&[], 4, |i| lengths[i]), [0; 0]);
}
