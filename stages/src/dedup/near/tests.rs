//! The search against looking at all pairs, and the result against the rule.

use proptest::prelude::*;

use super::*;
use crate::dedup::hash::distance;

type Key = (&'static str, i64);

fn seen(key: Key, hash: u64) -> Row<Key> {
    Row { key, print: Print::Seen(hash), seconds: 5.0, source: source_of(key), looks: [None; 2] }
}

/// Each row of these tests is of a source of its own.
fn source_of(key: Key) -> u64 {
    key.1.unsigned_abs() * 256 + u64::from(key.0.as_bytes()[0])
}

#[test]
fn spans_of_one_source_must_be_much_more_alike() {
    let mut copies = Copies::new(Limits::default());
    let first = seen(("film", 0), 0);
    let of_one = |key, hash| Row { source: first.source, ..seen(key, hash) };
    copies.add([
        first.clone(),
        of_one(("film", 1), 0b111),
        of_one(("film", 2), 0b11),
        seen(("other", 3), 0b111),
    ]);
    let found: Vec<Option<i64>> =
        (0..4).map(|row| copies.original(row).map(|original| original.key.1)).collect();
    assert_eq!(found, [None, None, Some(0), Some(0)]);
}

/// Number, and key and bits of what it is a copy of.
fn result<K: Ord + Clone>(copies: &Copies<K>) -> Vec<(K, Option<(K, u32)>)> {
    let mut all: Vec<_> = (0..copies.len())
        .map(|row| {
            let copy = copies.original(row).map(|copy| (copy.key.clone(), copy.bits));
            (copies.key(row).unwrap().clone(), copy)
        })
        .collect();
    all.sort();
    all
}

/// The rule, word for word: in order, a copy of the earliest kept row that agrees.
fn by_rule(rows: &[Row<u32>], limits: &Limits) -> Vec<(u32, Option<(u32, u32)>)> {
    let mut rows = rows.to_vec();
    rows.sort_by_key(|row| row.key);
    let mut kept: Vec<Row<u32>> = Vec::new();
    let mut all = Vec::new();
    for row in rows {
        let agrees = |other: &Row<u32>| {
            let bits = match (other.print, row.print) {
                (Print::Seen(a), Print::Seen(b)) => distance(a, b),
                (a, b) if a == b => 0,
                _ => return None,
            };
            let near = bits <= limits.bits
                && (other.source != row.source || bits <= limits.same_source_bits)
                && (other.seconds - row.seconds).abs() <= 0.2
                && (bits <= limits.sure_bits || other.looks == row.looks);
            near.then_some((other.key, bits))
        };
        let copy = kept.iter().find_map(agrees);
        all.push((row.key, copy));
        if copy.is_none() {
            kept.push(row);
        }
    }
    all
}

#[test]
fn the_earliest_wins_and_closeness_is_not_handed_on() {
    // A chain: each is three bits from the next.
    let (a, b, c) = (0_u64, 0b111, 0b11_1111);
    let limits = Limits { bits: 4, ..Limits::default() };
    let mut copies = Copies::new(limits);
    assert_eq!(copies.add([seen(("film", 1), b)]), [0; 0]);
    assert_eq!(copies.add([seen(("film", 2), c)]), [0; 0]);
    assert_eq!(copies.original(1), Some(Original { key: &("film", 1), bits: 3 }));
    // What comes before both takes the first, and sets the second free.
    assert_eq!(copies.add([seen(("a film", 9), a)]), [0, 1]);
    assert_eq!(copies.original(0), Some(Original { key: &("a film", 9), bits: 3 }));
    assert_eq!(copies.original(1), None);
    assert_eq!(copies.original(2), None);
    // What comes after changes nothing.
    assert_eq!(copies.add([seen(("z", 0), b)]), [0; 0]);
    assert_eq!(copies.original(3), Some(Original { key: &("a film", 9), bits: 3 }));
    assert_eq!((copies.len(), copies.is_empty()), (4, false));
    assert_eq!(copies.original(4), None);
}

#[test]
fn mirrored_copies_and_other_lengths() {
    let hash = 0x1234_5678_9abc_def0;
    let mut copies = Copies::new(Limits::default());
    copies.add([
        seen(("a", 0), hash),
        seen(("b", 0), mirrored(hash) ^ 1),
        Row { seconds: 5.2, ..seen(("c", 0), hash) },
        Row { seconds: 5.6, ..seen(("d", 0), hash) },
        Row { seconds: 0.1, ..seen(("e", 0), hash) },
        Row { seconds: 0.3, ..seen(("f", 0), hash) },
    ]);
    let of_and_bits = |row| copies.original(row).map(|copy| (copy.key.0, copy.bits));
    assert_eq!(of_and_bits(1), Some(("a", 1)));
    assert_eq!(of_and_bits(2), Some(("a", 0)));
    assert_eq!(of_and_bits(3), None);
    assert_eq!(of_and_bits(4), None);
    assert_eq!(of_and_bits(5), Some(("e", 0)));
}

#[test]
fn looks_count_where_bits_leave_doubt() {
    let looks = |bits: u32, contrast, exposure| {
        let mut copies = Copies::new(Limits::default());
        let hash = 0x1234_5678_9abc_def0;
        copies.add([
            Row { looks: [Some(0.2), Some(0.9)], ..seen(("a", 0), hash) },
            Row { looks: [contrast, exposure], ..seen(("b", 0), hash ^ ((1 << bits) - 1)) },
        ]);
        copies.original(1).is_some()
    };
    assert!(looks(6, Some(0.1), Some(0.1)));
    assert!(!looks(7, Some(0.1), Some(0.9)));
    assert!(!looks(7, Some(0.2), Some(0.1)));
    assert!(looks(10, Some(0.23), Some(0.8)));
    assert!(looks(10, None, Some(0.9)));
    assert!(!looks(11, Some(0.2), Some(0.9)));
}

#[test]
fn what_shows_nothing_is_a_copy_of_the_same_packets_only() {
    let packets = |key, hash| Row { print: Print::Packets(hash), ..seen(key, 0) };
    let mut copies = Copies::new(Limits::default());
    copies.add([
        packets(("a", 0), 7),
        packets(("b", 0), 8),
        packets(("c", 0), 7),
        seen(("d", 0), 7),
    ]);
    assert_eq!(copies.original(1), None);
    assert_eq!(copies.original(2), Some(Original { key: &("a", 0), bits: 0 }));
    assert_eq!(copies.original(3), None);
}

/// Hashes in clumps, some mirrored, so that many are near the limit.
fn clumped() -> impl Strategy<Value = u64> {
    let flips = prop::collection::vec(0_u32..64, 0..8);
    (0_u64..4, flips, any::<bool>()).prop_map(|(clump, flips, mirror)| {
        let start = clump.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let hash = flips.into_iter().fold(start, |hash, bit| hash ^ 1 << bit);
        if mirror { mirrored(hash) } else { hash }
    })
}

fn rows() -> impl Strategy<Value = Vec<Row<u32>>> {
    let print = prop_oneof![
        9 => clumped().prop_map(Print::Seen),
        1 => (0_u128..3).prop_map(Print::Packets),
    ];
    let row =
        (print, prop_oneof![Just(2.0), Just(2.125), Just(2.25)], prop_oneof![Just(0.1), Just(0.2)]);
    prop::collection::vec(row, 0..60).prop_map(|rows| {
        let numbered = (0_u32..).zip(rows);
        let row = |(key, (print, seconds, contrast))| Row {
            key,
            print,
            seconds,
            source: u64::from(key % 3),
            looks: [Some(contrast), Some(0.5)],
        };
        numbered.map(row).collect()
    })
}

proptest! {
    #[test]
    fn none_is_missed(
        hashes in prop::collection::vec(clumped(), 1..50), bits in 0..=Limits::MOST_BITS,
    ) {
        let mut index = Index::new(bits);
        for (node, hash) in (0..).zip(&hashes) {
            index.insert(*hash, node);
        }
        let mut near = Vec::new();
        index.near(hashes[0], |_| true, &mut near);
        let all = (0..).zip(&hashes).map(|(node, hash)| (node, distance(hashes[0], *hash)));
        prop_assert_eq!(near, all.filter(|(_, d)| *d <= bits).collect::<Vec<_>>());
    }

    #[test]
    fn any_order_and_any_batches_give_what_the_rule_says(
        (in_order, shuffled) in rows().prop_flat_map(|rows| {
            (Just(rows.clone()), Just(rows).prop_shuffle())
        }),
        bits in 0..12_u32,
        batch in 1..20_usize,
    ) {
        let limits = Limits { bits, ..Limits::default() };
        let mut copies = Copies::new(limits);
        for batch in shuffled.chunks(batch) {
            let before = result(&copies);
            let known: Vec<u32> = (0..copies.len()).map(|row| *copies.key(row).unwrap()).collect();
            let changed: BTreeSet<u32> =
                copies.add(batch.to_vec()).into_iter().map(|row| known[row]).collect();
            // What is said to have changed did, and nothing else.
            let after: HashMap<_, _> = result(&copies).into_iter().collect();
            for (key, copy) in before {
                prop_assert_eq!(after[&key] != copy, changed.contains(&key));
            }
        }
        prop_assert_eq!(result(&copies), by_rule(&in_order, &limits));
    }
}
