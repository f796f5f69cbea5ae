//! What every frame pays for scene detection, and what every clip pays for the engine.
//!
//! `cargo bench --bench kernels`. Decoding a 720p H.264 frame takes about two milliseconds of one
//! core; the analysis of the same frame (`analysis`) must stay far below that. `channel` is the
//! price of handing a clip from one stage to the next.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use curate_media::{
    Converter, DecodeOptions, Decoder, Frame, Hsv, MediaError, PixelFormat, analysis_size,
    sum_abs_diff,
};
use curate_pipeline::channel;
use curate_stages::scenes::{DetectorConfig, Scorer};

fn frame(line: &str) -> Frame {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = curate_testing::make(folder.path(), "a.mp4", line);
    let mut decoder = Decoder::open(&path, &DecodeOptions::default()).expect("a readable file");
    decoder.next_frame().expect("a frame").expect("a frame")
}

/// From a decoded frame to a score, in its parts; per source frame.
fn analysis(c: &mut Criterion) {
    let mut group = c.benchmark_group("analysis");
    group.throughput(Throughput::Elements(1));
    for (name, line) in [
        ("720p", "-f lavfi -i testsrc2=s=1280x720:d=0.2 -c:v libx264 -pix_fmt yuv420p"),
        (
            "1080p 10 bit",
            "-f lavfi -i testsrc2=s=1920x1080:d=0.2 -c:v libx265 -pix_fmt yuv420p10le",
        ),
    ] {
        let frame = frame(line);
        let size = analysis_size(frame.width(), frame.height());
        let mut converter = Converter::new(PixelFormat::Bgr8);
        group.bench_function(format!("shrink {name}"), |b| {
            b.iter(|| {
                let small = frame.small(&mut converter, size)?;
                small.recycle(&mut converter);
                Ok::<_, MediaError>(())
            });
        });
        let small = frame.small(&mut converter, size).expect("a small frame");
        let mut planes = Hsv::default();
        group.bench_function(format!("hsv {name}"), |b| b.iter(|| small.hsv(&mut planes)));
        group.bench_function(format!("difference {name}"), |b| {
            b.iter(|| sum_abs_diff(black_box(&planes.hue), black_box(&planes.value)));
        });
        let config = DetectorConfig::default();
        let mut detector = config.build();
        let mut scorer = Scorer::new(&[config]);
        let mut index = 0;
        group.bench_function(format!("whole {name}"), |b| {
            b.iter(|| {
                let small = frame.small(&mut converter, size)?;
                let seen = scorer.push(index, &small, (0.0, false))?;
                small.recycle(&mut converter);
                index += 1;
                detector.push(index, seen)
            });
        });
    }
    group.finish();
}

/// A message through the byte-bounded channel, from one thread to another.
fn channel_hop(c: &mut Criterion) {
    const MESSAGES: usize = 10_000;
    let mut group = c.benchmark_group("channel");
    group.throughput(Throughput::Elements(MESSAGES as u64));
    group.bench_function("hop", |b| {
        b.iter(|| {
            let (sender, receiver) = channel::bounded::<usize>(1 << 20, channel::MAX_MESSAGES);
            std::thread::scope(|scope| {
                scope.spawn(move || {
                    for message in 0..MESSAGES {
                        sender.send(message, 1000).unwrap_or_default();
                    }
                });
                let mut sum = 0;
                while let Some(message) = receiver.recv() {
                    sum += *message;
                }
                sum
            })
        });
    });
    group.finish();
}

criterion_group!(benches, analysis, channel_hop);
criterion_main!(benches);
