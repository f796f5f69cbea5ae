//! What finding the copies among a million clips takes: seconds and memory, by limit.
//!
//!     cargo bench --profile release --workspace --bench dedup_search -- [ROWS [BITS..]]
//!
//! Three clips of ten are copies of another one, up to four bits from it and half of them mirrored;
//! one in a hundred is of one hash that everybody has. The other hashes are even random bits or, as
//! real ones are, lean to one side: of each four bits one is set in 69 % of them. Rows come
//! in no order: nine tenths at once, the rest in batches of a thousand.
#![expect(clippy::print_stdout, reason = "a bench reports")]

use curate_stages::dedup::{
    hash::mirrored,
    near::{Copies, Limits, Print, Row},
};

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

fn rows(count: u64, leans: bool) -> Vec<Row<u64>> {
    let mut random = Random(1);
    let mut hashes: Vec<u64> = Vec::new();
    for _ in 0..count {
        let kind = random.below(100);
        let hash = if kind < 30 && !hashes.is_empty() {
            let mut hash = hashes[random.below(hashes.len() as u64) as usize];
            for _ in 0..random.below(5) {
                hash ^= 1 << random.below(64);
            }
            if kind < 15 { mirrored(hash) } else { hash }
        } else if kind == 30 {
            0x0123_4567_89ab_cdef
        } else if leans {
            // A half, and of the other half three in eight.
            random.next()
                | (random.next() & (random.next() | random.next()) & 0x1111_1111_1111_1111)
        } else {
            random.next()
        };
        hashes.push(hash);
    }
    let mut rows: Vec<Row<u64>> = (0..)
        .zip(hashes)
        .map(|(key, hash)| Row {
            key,
            print: Print::Seen(hash),
            seconds: 5.0,
            source: key,
            looks: [None; 2],
        })
        .collect();
    for at in (1..rows.len()).rev() {
        rows.swap(at, random.below(at as u64 + 1) as usize);
    }
    rows
}

/// Seconds that this process has computed for: on a busy machine the clock tells nothing.
fn busy() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("the process's times");
    let fields: Vec<&str> = stat.rsplit(')').next().expect("fields").split_whitespace().collect();
    // Hundredths of a second, as user and in the system.
    let ticks = |at: usize| fields[at].parse::<f64>().expect("a number");
    (ticks(11) + ticks(12)) / 100.0
}

/// Memory of this process in MiB.
fn memory() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("the process's status");
    let line = status.lines().find(|line| line.starts_with("VmRSS")).expect("its memory");
    let kib = line.split_whitespace().nth(1).expect("a number");
    kib.parse::<f64>().expect("a number") / 1024.0
}

fn main() {
    // Cargo adds words of its own.
    let mut numbers = std::env::args().filter_map(|word| word.parse::<u32>().ok());
    let count = numbers.next().unwrap_or(1_000_000);
    let limits: Vec<u32> = numbers.collect();
    let limits = if limits.is_empty() { vec![6, 8, 10] } else { limits };
    println!("{count} rows; seconds for nine tenths, ms for a thousand more, MiB, copies");
    for leans in [false, true] {
        for bits in limits.iter().copied() {
            let mut rows = rows(u64::from(count), leans);
            let before = memory();
            let late = rows.split_off(rows.len() / 10 * 9);
            let mut copies = Copies::new(Limits { bits, ..Limits::default() });
            let start = busy();
            copies.add(rows);
            let first = busy() - start;
            let start = busy();
            let mut changed = 0;
            for batch in late.chunks(1000) {
                changed += copies.add(batch.to_vec()).len();
            }
            let batches = late.len().div_ceil(1000).max(1) as f64;
            let more = (busy() - start) * 1000.0 / batches;
            let found = (0..copies.len()).filter(|row| copies.original(*row).is_some()).count();
            println!(
                "  {} bits, {}: {first:.1} s, {more:.0} ms, {:.0} MiB, {found} copies, {changed} \
                 earlier rows changed",
                bits,
                if leans { "leaning" } else { "even" },
                memory() - before,
            );
        }
    }
}
