//! Which fragments are worth merging.
//!
//! Every commit adds one, and every reader opens all of them, so they must be merged again and again while
//! a run goes on. Merging all each time would write the first rows hundreds of times. So only the newest
//! are merged, as many as can be without one of them being larger than all the others together: a row
//! that is written again then ends in a fragment at least twice as large as the one that it was in,
//! and is written again as often as its fragment can double before it is large enough to be left alone.

use lance::Dataset;
use lance_table::format::Fragment;

/// The newest fragments that are worth merging, and those of which many rows were deleted.
pub(crate) fn worth_merging(table: &Dataset) -> Vec<Fragment> {
    let fragments: Vec<&Fragment> = table.iter_fragments().collect();
    let rows: Vec<usize> = fragments.iter().map(|it| it.num_rows().unwrap_or(0)).collect();
    let first = fragments.len() - newest(&rows);
    let chosen = fragments.into_iter().enumerate();
    chosen
        .filter(|(index, it)| *index >= first || is_ragged(it))
        .map(|(_, it)| it.clone())
        .collect()
}

/// Whether more than a tenth of the rows were deleted.
pub(crate) fn is_ragged(fragment: &Fragment) -> bool {
    let rows = fragment.num_rows().unwrap_or(0);
    rows * 10 < fragment.physical_rows.unwrap_or(rows) * 9
}

/// How many of the newest, of fragments with so many rows in order of age.
fn newest(rows: &[usize]) -> usize {
    let (mut sum, mut largest, mut count) = (0, 0, 0);
    for (index, rows) in rows.iter().rev().enumerate() {
        sum += rows;
        largest = largest.max(*rows);
        if 2 * largest <= sum {
            count = index + 1;
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_fragment_is_rewritten_for_the_sake_of_little() {
        assert_eq!(newest(&[]), 0);
        assert_eq!(newest(&[5]), 0);
        assert_eq!(newest(&[5, 5]), 2);
        assert_eq!(newest(&[64, 1, 1, 1]), 3);
        assert_eq!(newest(&[3, 1, 1, 1]), 4);
        assert_eq!(newest(&[100, 7, 1, 3, 90, 2]), 6);
        assert_eq!(newest(&[0, 0]), 2, "empty ones cost nothing");
    }

    /// Commits of all sizes, merged whenever there are many fragments.
    #[test]
    fn fragments_stay_few_and_rows_are_rewritten_seldom() {
        const MANY: usize = 64;
        for scale in [1, 7, 1000] {
            let (mut fragments, mut written, mut total, mut most) = (Vec::new(), 0, 0, 0);
            for commit in 0..20_000_usize {
                let rows = 1 + (commit * 7_919) % scale;
                fragments.push(rows);
                total += rows;
                most = most.max(fragments.len());
                let count = newest(&fragments);
                if count >= MANY {
                    let merged = fragments.drain(fragments.len() - count..).sum();
                    written += merged;
                    fragments.push(merged);
                }
            }
            // Nine doublings lead from 64 commits to 20,000.
            assert!(written <= 9 * total, "{written} rows written for {total}");
            assert!(most <= 2 * MANY, "{most} fragments");
        }
    }
}
