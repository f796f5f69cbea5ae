//! How much faster the operations are than the same in candle's own, on this machine.
//!
//! Both take turns, so that what else the machine does hits both; the median of each is compared.
//! `cargo bench --bench ratios -- NAME` runs the cases whose name contains it.

#![expect(clippy::unwrap_used, reason = "a bench that fails to run says so")]
#![expect(clippy::print_stdout, reason = "the table is what this is for")]

mod cases;

use std::time::Instant;

fn main() {
    let wanted: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let rounds = 7;
    println!("{:<32}{:>10}{:>10}{:>8}{:>12}", "", "own ms", "candle ms", "ratio", "values/us");
    for mut case in cases::all() {
        if !wanted.is_empty() && !wanted.iter().any(|wanted| case.name.contains(wanted.as_str())) {
            continue;
        }
        let mut times = [Vec::new(), Vec::new()];
        for round in 0..=rounds {
            let runs: [&mut dyn FnMut(); 2] = [&mut case.ours, &mut case.candle];
            for (times, run) in times.iter_mut().zip(runs) {
                let start = Instant::now();
                run();
                // The first round warms up.
                if round > 0 {
                    times.push(start.elapsed().as_secs_f64() * 1e3);
                }
            }
        }
        let [ours, candle] = times.map(|mut times| {
            times.sort_by(f64::total_cmp);
            times[times.len() / 2]
        });
        let rate = case.elements as f64 / ours / 1e3;
        println!("{:<32}{ours:>10.2}{candle:>10.2}{:>8.2}{rate:>12.1}", case.name, candle / ours);
    }
}
