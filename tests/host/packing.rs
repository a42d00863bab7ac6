//! Rows of packed examples.

use postil::data::{Batch, Example, Examples, Rows};

fn examples(lengths: &[usize]) -> Examples {
    let example = |(i, &len): (usize, &usize)| {
        let trained = (0..len).map(|at| at > 0 && at % 3 != 0).collect();
        Example { input_ids: vec![i as u32; len], trained }
    };
    Examples::new(lengths.iter().enumerate().map(example)).unwrap()
}

fn members(rows: &Rows) -> Vec<Vec<usize>> {
    (0..rows.len()).map(|row| rows.members(row)).collect()
}

#[test]
fn the_best_fit_is_taken_longest_first() {
    // 7 and 6 open rows, 4 fills the second, 3 the first; the other 3 opens a third.
    let rows = Rows::packed(examples(&[3, 7, 3, 6, 4, 2]), 10);
    assert_eq!(members(&rows), [vec![1, 0], vec![3, 4], vec![2, 5]]);
    assert_eq!((0..3).map(|row| rows.tokens(row)).collect::<Vec<_>>(), [10, 10, 5]);
    // 3 has room beside 7 and beside 5: it goes where it leaves less.
    assert_eq!(members(&Rows::packed(examples(&[5, 7, 3]), 10)), [vec![1, 2], vec![0]]);
    // Nothing is split: what is longer than a row is one of its own.
    assert_eq!(members(&Rows::packed(examples(&[12, 2, 5]), 10)), [vec![0], vec![2, 1]]);
    assert_eq!(members(&Rows::single(examples(&[5, 2]))), [vec![0], vec![1]]);
    assert!(Rows::packed(examples(&[]), 10).is_empty());
}

#[test]
fn every_example_is_in_one_row() {
    let mut state = 1u32;
    let lengths: Vec<usize> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        2 + (state >> 16) as usize % 300
    })
    .take(2000)
    .collect();
    let rows = Rows::packed(examples(&lengths), 512);
    let mut all: Vec<_> = members(&rows).concat();
    all.sort_unstable();
    assert_eq!(all, (0..2000).collect::<Vec<_>>());
    assert!((0..rows.len()).all(|row| rows.tokens(row) <= 512));
    let total: usize = lengths.iter().sum();
    // Best-fit decreasing needs at most 11/9 of the best possible (Johnson et al., 1974); here it is close to full.
    assert!(total as f64 > 0.99 * 512.0 * rows.len() as f64, "{total} tokens in {} rows", rows.len());
}

#[test]
fn a_row_keeps_its_examples_apart() {
    let all = examples(&[3, 7, 3, 6, 4, 2]);
    let rows = Rows::packed(all.clone(), 10);
    let of = |indices: &[usize]| {
        let examples: Vec<_> = indices.iter().map(|&i| all.get(i).unwrap()).collect();
        Batch::new(&examples.iter().collect::<Vec<_>>(), 16)
    };
    assert_eq!(rows.batch(&[2, 0], 16).unwrap(), of(&[2, 5, 1, 0]));
    let batch = rows.batch(&[0], 1).unwrap();
    assert_eq!(batch.positions, [0, 1, 2, 3, 4, 5, 6, 0, 1, 2]);
    assert_eq!(batch.kv_range[14..], [7, 8, 7, 9, 7, 10]);
    // The last row of the first document predicts nothing of the second.
    assert!(!batch.target_rows[..batch.targets].contains(&6));
}
