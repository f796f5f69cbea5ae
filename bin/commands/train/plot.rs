//! `curate train plot`: a run's log as a page of line charts, in one file without scripts.
//!
//! Each value is drawn over steps, thin as it is and thick as its running mean. Losses and norms are
//! drawn on a logarithmic scale where they are positive and span more than a factor of ten.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io::Write as _,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use curate_train::run::{Point, read_metrics};

use crate::{Exit, UsageError};

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 220.0;
/// Left of the plot, for numbers.
const MARGIN: f64 = 64.0;
/// Points of a line; more are averaged.
const MOST_POINTS: usize = 600;

pub(super) fn plot(run: &Path, output: Option<&Path>) -> anyhow::Result<Exit> {
    let log = run.join("metrics.jsonl");
    if !log.is_file() {
        let words = format!("{} has no metrics.jsonl: it is no folder of a run", run.display());
        return Err(UsageError(words).into());
    }
    let points = read_metrics(&log)?;
    if points.is_empty() {
        let words = format!("{} has no step yet", log.display());
        return Err(UsageError(words).into());
    }
    let path = output.map_or_else(|| run.join("plots.html"), PathBuf::from);
    let page = page(&run.display().to_string(), &points);
    std::fs::write(&path, page).with_context(|| format!("cannot write {}", path.display()))?;
    writeln!(std::io::stdout(), "{}", path.display())?;
    Ok(Exit::Complete)
}

fn page(title: &str, points: &[Point]) -> String {
    let mut series: BTreeMap<&str, Vec<(f64, f64)>> = BTreeMap::new();
    for point in points {
        for (name, value) in &point.values {
            series.entry(name).or_default().push((point.step as f64, *value));
        }
    }
    let title = escape(title);
    let mut page = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>{title}</title>\
         <style>body{{font:14px system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;\
         color-scheme:light dark}}svg{{width:100%;height:auto}}text{{font-size:11px;fill:currentColor}}\
         .raw{{fill:none;stroke:#7aa6d8;stroke-width:1;opacity:.6}}\
         .mean{{fill:none;stroke:#1f5fa8;stroke-width:2}}.axis{{stroke:#8886;stroke-width:1}}</style>\
         <h1>{title}</h1>"
    );
    // What a run is about comes first.
    let mut names: Vec<&str> = series.keys().copied().collect();
    names.sort_by_key(|name| (!name.contains("loss"), *name));
    for name in names {
        page.push_str(&chart(name, &series[name]));
    }
    page.push_str("</html>\n");
    page
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Points at about even distances, each the mean of those around it.
fn thinned(values: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let size = values.len().div_ceil(MOST_POINTS).max(1);
    let mean = |part: &[(f64, f64)]| {
        let count = part.len() as f64;
        let sum = part.iter().fold((0.0, 0.0), |sum, point| (sum.0 + point.0, sum.1 + point.1));
        (sum.0 / count, sum.1 / count)
    };
    values.chunks(size).map(mean).collect()
}

/// The running mean over a fiftieth of the points.
fn smoothed(values: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let keep = 1.0 - 1.0 / (values.len() as f64 / 50.0).max(1.0);
    let mut mean = values.first().map_or(0.0, |point| point.1);
    values
        .iter()
        .map(|(step, value)| {
            mean = keep * mean + (1.0 - keep) * value;
            (*step, mean)
        })
        .collect()
}

fn chart(name: &str, values: &[(f64, f64)]) -> String {
    let thin = thinned(values);
    let (low, high) =
        thin.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), (_, value)| {
            (low.min(*value), high.max(*value))
        });
    let is_log = low > 0.0 && high > 10.0 * low;
    let scale = |value: f64| if is_log { value.log10() } else { value };
    let (bottom, top) = (scale(low), scale(high));
    let span = if top > bottom { top - bottom } else { 1.0 };
    let (first, last) = (values[0].0, values[values.len() - 1].0);
    let length = (last - first).max(1.0);
    let x = |step: f64| MARGIN + (step - first) / length * (WIDTH - MARGIN - 8.0);
    let y = |value: f64| HEIGHT - 24.0 - (scale(value) - bottom) / span * (HEIGHT - 40.0);
    let line = |points: &[(f64, f64)]| {
        points.iter().fold(String::new(), |mut line, (step, value)| {
            // Writing to a string cannot fail.
            write!(line, "{:.1},{:.1} ", x(*step), y(*value)).unwrap_or_default();
            line
        })
    };
    let mut labels = String::new();
    for share in [0.0, 0.5, 1.0] {
        let at = bottom + share * span;
        let value = if is_log { 10_f64.powf(at) } else { at };
        let height = y(value);
        write!(
            labels,
            "<line class=\"axis\" x1=\"{MARGIN}\" x2=\"{WIDTH}\" y1=\"{height:.1}\" y2=\"{height:.1}\"/>\
             <text x=\"{:.0}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            MARGIN - 6.0,
            height + 4.0,
            short(value)
        )
        .unwrap_or_default();
    }
    let kind = if is_log { ", logarithmic" } else { "" };
    let now = values.last().map_or(0.0, |point| point.1);
    format!(
        "<h2>{name}</h2><p>{} at step {last:.0}{kind}</p><svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         role=\"img\" aria-label=\"{name} over steps\">{labels}<polyline class=\"raw\" points=\"{}\"/>\
         <polyline class=\"mean\" points=\"{}\"/><text x=\"{MARGIN}\" y=\"{:.0}\">step {first:.0}</text>\
         <text x=\"{WIDTH}\" y=\"{:.0}\" text-anchor=\"end\">step {last:.0}</text></svg>",
        short(now),
        line(&thin),
        line(&smoothed(&thin)),
        HEIGHT - 6.0,
        HEIGHT - 6.0,
        name = escape(name),
    )
}

/// A number in few digits.
fn short(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        size if (0.01..100_000.0).contains(&size) => format!("{value:.4}"),
        _ => format!("{value:.2e}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_has_its_chart_and_losses_come_first() {
        let points: Vec<Point> = (1..=2000)
            .map(|step| {
                let loss = 1.0 / f64::from(step as u32);
                Point::new(step).with("grad_norm", 2.0).with("loss", loss).with("<b>", 1.0)
            })
            .collect();
        let page = page("runs/a & b", &points);
        assert!(
            page.contains("runs/a &amp; b") && page.contains("&lt;b&gt;") && !page.contains("<b>")
        );
        assert!(page.find("<h2>loss").unwrap() < page.find("<h2>grad_norm").unwrap());
        assert_eq!(page.matches("<svg").count(), 3);
        assert!(page.contains("5.00e-4 at step 2000, logarithmic"), "{}", &page[900..1200]);
        let line = page.split("class=\"raw\" points=\"").nth(1).unwrap();
        let count = line.split('"').next().unwrap().split_whitespace().count();
        assert!((400..=600).contains(&count), "{count}");
    }
}
