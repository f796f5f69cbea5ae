//! Which clips are copies of which: exact search for close hashes, and who is kept.
//!
//! **Who is kept.** Rows have an order (source, start). In that order, a row that agrees with a
//! kept one is a copy of the earliest such row, any other row is kept. So a copy is always as close
//! to what it is a copy of as the limits say: closeness is not handed on. With connected groups
//! instead, long chains join films that have nothing in common; with the nearest kept row instead
//! of the earliest, rows of one hash would have to be looked at one by one.
//!
//! The rule names one result for a set of rows, however they came in. [`Copies::add`] keeps that
//! result as rows come: a decision depends on earlier rows only, so the rows that a new one touches
//! are decided again in order, each once.
//!
//! **Search.** A hash is cut into four bands of 16 bits. If two hashes differ in at most `d` bits,
//! then in some band they differ by no more than its radius, given that the radii and 4 add up to
//! more than `d` (Norouzi, Punjani, Fleet 2012, "Fast search in Hamming space with multi-index
//! hashing", proposition 1 and what follows). All values of the band within the radius are looked
//! up, so none is missed. Within 10 bits that is 428 values, twice because of mirroring; 3 or 5
//! bands would mean several times the look-ups or the hashes to compare. About 300 bytes are held
//! for each row.
//!
//! Rows of one hash share an entry. To decide on a row only kept ones are gathered, which are few
//! however many copies there are; all are gathered only for a row that is kept no longer, or newly.

use std::collections::{BTreeSet, HashMap};

use super::hash::mirrored;

const BANDS: usize = 4;
const VALUES: usize = 1 << 16;

/// What a clip is compared by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Print {
    /// The perceptual hash.
    Seen(u64),
    /// The clip shows too little for one: the first bytes of its packets' hash. Such clips are
    /// copies only of clips with the same packets.
    Packets(u128),
}

/// A clip to be compared.
#[derive(Clone, Debug, PartialEq)]
pub struct Row<K> {
    /// Where it stands in the order; no two rows have the same.
    pub key: K,
    /// What it is compared by.
    pub print: Print,
    /// Length in seconds.
    pub seconds: f64,
    /// Which source it is a span of.
    pub source: u64,
    /// Contrast and exposure, if they were measured: `technical_contrast`, `technical_exposure`.
    pub looks: [Option<f32>; 2],
}

/// How close copies are.
///
/// Among a million unrelated clips of one length, 64 bits alone would take about 67,000 pairs
/// within 10 bits for copies, 3,200 within 8 and 84 within 6, by the distances of clips at hand. So
/// lengths have to agree, and where more than a few bits differ, looks as well: those of one pair
/// of unrelated clips in four do. Tables of many millions of clips do better with 8 bits, for 89 %
/// instead of 96 % of cropped copies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Most bits in which the hashes differ, the mirrored hash counting as well. At most 15. Found
    /// within 10 bits, the default, are 99 % of copies that were encoded anew or resized and 96 %
    /// of those cropped by 5 %; clips of different films at hand are 18 and more apart (docs/LOG.md).
    pub bits: u32,
    /// Up to so many bits, looks do not count; 6 by default.
    pub sure_bits: u32,
    /// Most bits for spans of one source; 2 by default. A camera that stands still makes spans that are
    /// no copies as alike as copies are elsewhere: 3 to 10 bits.
    pub same_source_bits: u32,
    /// Most that looks differ, as a share of the larger value; 0.2 by default.
    pub looks_share: f32,
    /// Most seconds by which lengths differ; 0.2 by default: two frames at 10 a second.
    pub seconds: f64,
    /// Most that lengths differ as a share of the longer one, if that is more; 0.05 by default:
    /// film at 24 frames a second is often shown at 25.
    pub share: f64,
}

impl Limits {
    /// Bits that two hashes of copies can differ in, at most: more would look up most values.
    pub const MOST_BITS: u32 = 15;

    /// Whether rows whose prints are so many bits apart agree.
    fn agree<K>(&self, a: &Row<K>, b: &Row<K>, bits: u32) -> bool {
        let most = self.seconds.max(self.share * a.seconds.max(b.seconds));
        (a.seconds - b.seconds).abs() <= most
            && (a.source != b.source || bits <= self.same_source_bits)
            && (bits <= self.sure_bits
                || a.looks.iter().zip(b.looks).all(|pair| match pair {
                    (Some(a), Some(b)) => (a - b).abs() <= self.looks_share * a.max(b),
                    _ => true,
                }))
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            bits: 10,
            sure_bits: 6,
            same_source_bits: 2,
            looks_share: 0.2,
            seconds: 0.2,
            share: 0.05,
        }
    }
}

/// What a row is a copy of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Original<'a, K> {
    /// The row that is kept.
    pub key: &'a K,
    /// Bits in which the two differ.
    pub bits: u32,
}

/// A row as it is stored.
struct Held<K> {
    row: Row<K>,
    node: u32,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Undecided,
    Kept,
    CopyOf { row: u32, bits: u32 },
}

/// All rows of one print.
struct Node {
    rows: Vec<u32>,
    kept: Vec<u32>,
}

/// Rows, and which are copies of which.
pub struct Copies<K> {
    limits: Limits,
    rows: Vec<Held<K>>,
    nodes: Vec<Node>,
    by_print: HashMap<Print, u32>,
    index: Index,
}

impl<K: Ord + Clone> Copies<K> {
    /// No rows yet. More bits than [`Limits::MOST_BITS`] are taken for so many.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        let limits = Limits { bits: limits.bits.min(Limits::MOST_BITS), ..limits };
        Self {
            limits,
            rows: Vec::new(),
            nodes: Vec::new(),
            by_print: HashMap::new(),
            index: Index::new(limits.bits),
        }
    }

    /// How many rows there are; they are numbered as they came.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// A row's place in the order.
    #[must_use]
    pub fn key(&self, row: usize) -> Option<&K> {
        self.rows.get(row).map(|held| &held.row.key)
    }

    /// What a row is a copy of; `None` if it is kept.
    #[must_use]
    pub fn original(&self, row: usize) -> Option<Original<'_, K>> {
        match self.rows.get(row)?.state {
            State::CopyOf { row, bits } => {
                Some(Original { key: &self.rows[row as usize].row.key, bits })
            }
            State::Kept | State::Undecided => None,
        }
    }

    /// Adds rows. Returns the numbers of the earlier rows for which something changed, in order of
    /// their numbers.
    pub fn add(&mut self, rows: impl IntoIterator<Item = Row<K>>) -> Vec<usize> {
        let before = self.rows.len();
        let mut open: BTreeSet<(K, u32)> = BTreeSet::new();
        for row in rows {
            let number = self.rows.len() as u32;
            open.insert((row.key.clone(), number));
            let node = self.node(row.print);
            self.nodes[node as usize].rows.push(number);
            self.rows.push(Held { row, node, state: State::Undecided });
        }
        let mut changed = BTreeSet::new();
        let mut near = Vec::new();
        while let Some((key, number)) = open.pop_first() {
            let held = &self.rows[number as usize];
            self.near(held.row.print, true, &mut near);
            let (print, node, old) = (held.row.print, held.node, held.state);
            let new = self.decide(held, &near);
            if new == old {
                continue;
            }
            self.rows[number as usize].state = new;
            if (number as usize) < before {
                changed.insert(number as usize);
            }
            let kept = &mut self.nodes[node as usize].kept;
            match (old == State::Kept, new == State::Kept) {
                (false, true) => kept.push(number),
                (true, false) => kept.retain(|other| *other != number),
                _ => continue,
            }
            if before == 0 {
                continue;
            }
            // Rows that are new and later are still to come.
            self.near(print, false, &mut near);
            for later in near.iter().flat_map(|(node, _)| &self.nodes[*node as usize].rows) {
                let other = &self.rows[*later as usize];
                if (*later as usize) < before && other.row.key > key {
                    open.insert((other.row.key.clone(), *later));
                }
            }
        }
        changed.into_iter().collect()
    }

    /// The entry of a print, a new one if there is none.
    fn node(&mut self, print: Print) -> u32 {
        *self.by_print.entry(print).or_insert_with(|| {
            let node = self.nodes.len() as u32;
            self.nodes.push(Node { rows: Vec::new(), kept: Vec::new() });
            if let Print::Seen(hash) = print {
                self.index.insert(hash, node);
            }
            node
        })
    }

    /// Entries that are close enough, with the bits by which they differ, each once; only those of
    /// kept rows if so wanted, which are few even where there are copies without number.
    fn near(&self, print: Print, only_kept: bool, near: &mut Vec<(u32, u32)>) {
        near.clear();
        let wanted = |node: u32| !(only_kept && self.nodes[node as usize].kept.is_empty());
        match print {
            Print::Seen(hash) => self.index.near(hash, wanted, near),
            Print::Packets(_) => near.extend(self.by_print.get(&print).map(|node| (*node, 0))),
        }
    }

    /// A copy of the earliest kept row before it, or kept itself.
    fn decide(&self, held: &Held<K>, near: &[(u32, u32)]) -> State {
        let mut first: Option<(&K, u32, u32)> = None;
        for (node, bits) in near {
            for number in &self.nodes[*node as usize].kept {
                let other = &self.rows[*number as usize].row;
                if other.key < held.row.key
                    && self.limits.agree(other, &held.row, *bits)
                    && first.is_none_or(|(key, ..)| other.key < *key)
                {
                    first = Some((&other.key, *number, *bits));
                }
            }
        }
        first.map_or(State::Kept, |(_, row, bits)| State::CopyOf { row, bits })
    }
}

/// Hashes by the values of their bands.
struct Index {
    bits: u32,
    /// For each band, what its value may be changed by.
    flips: [Vec<u16>; BANDS],
    /// For each band and value, the hashes that have it.
    buckets: Vec<Vec<(u64, u32)>>,
}

impl Index {
    fn new(bits: u32) -> Self {
        // The radii add up to `bits + 1 - BANDS`; a band of radius -1 need not be looked up.
        let flips = std::array::from_fn(|band| {
            let radius = (bits as usize + BANDS - band) / BANDS;
            let within = |flip: &u16| (flip.count_ones() as usize) < radius;
            (0..=u16::MAX).filter(within).collect()
        });
        Self { bits, flips, buckets: vec![Vec::new(); BANDS * VALUES] }
    }

    fn insert(&mut self, hash: u64, node: u32) {
        for band in 0..BANDS {
            self.buckets[band * VALUES + usize::from(part(hash, band))].push((hash, node));
        }
    }

    fn near(&self, hash: u64, wanted: impl Fn(u32) -> bool, near: &mut Vec<(u32, u32)>) {
        for seen in [hash, mirrored(hash)] {
            for (band, flips) in self.flips.iter().enumerate() {
                for flip in flips {
                    let value = usize::from(part(seen, band) ^ flip);
                    for (other, node) in &self.buckets[band * VALUES + value] {
                        let bits = (other ^ seen).count_ones();
                        if bits <= self.bits && wanted(*node) {
                            near.push((*node, bits));
                        }
                    }
                }
            }
        }
        near.sort_unstable();
        near.dedup_by_key(|(node, _)| *node);
    }
}

/// One band of a hash.
fn part(hash: u64, band: usize) -> u16 {
    (hash >> (16 * band)) as u16
}

#[cfg(test)]
mod tests;
