//! Pieces and wholes: streams, chunks, tiles, smoothing, and videos that cannot be cut.

use candle_core::Tensor;
use curate_models::vae::{
    Chunking, Posterior, Resample, Session as _, SliceVae, Tiling, VaeConfig, VaeError, parity,
};

use super::{difference, joined, made, noise, pieces, small};

#[test]
fn streams_give_what_whole_videos_give() {
    for (preset, frames) in [("tiny", 25), ("tiny", 16), ("tiny-carried", 17)] {
        let config = small(preset);
        let (vae, _params) = made(&config);
        let x = noise(&[1, 3, frames, 16, 24], 1);
        let moments = vae.moments(&x).unwrap();
        let z = Posterior::new(&moments).unwrap().mode().clone();
        let y = vae.decode(&z).unwrap();
        assert_eq!(y.dims(), x.dims());
        let smooth = vae.smooth(&y).unwrap();
        assert!(difference(&smooth, &y) > 1e-4, "smoothing changes something");
        for length in [1, 3, 8, 100] {
            let stream = vae.encode_stream(frames, pieces(&x, length)).unwrap();
            assert_eq!(difference(&joined(stream), &moments), 0.0);
            let stream = vae.decode_stream(z.dim(2).unwrap(), pieces(&z, length)).unwrap();
            assert_eq!(difference(&joined(stream), &y), 0.0);
            let stream = vae.smooth_stream(frames, pieces(&y, length)).unwrap();
            assert!(difference(&joined(stream), &smooth) < 1e-6);
        }
        // One behind the other, from latents to smoothed frames.
        let latents = z.dim(2).unwrap();
        let decoded = vae.decode_stream(latents, pieces(&z, 1)).unwrap();
        let both = vae.smooth_stream(frames, decoded).unwrap();
        assert!(difference(&joined(both), &smooth) < 1e-6);
    }
}

#[test]
fn streams_hold_a_slice_and_its_neighbours_at_most() {
    let (vae, _params) = made(&small("tiny"));
    let mut decoding = vae.decoding(37).unwrap();
    let z = noise(&[1, 4, 37, 2, 2], 1);
    let mut ready = Vec::new();
    for index in 0..37 {
        let frames = decoding.push(&z.narrow(2, index, 1).unwrap()).unwrap();
        ready.push(frames.iter().map(|frames| frames.dim(2).unwrap()).sum::<usize>());
    }
    // The image at once; a slice when its next neighbours are there.
    assert_eq!(ready[..9], [1, 0, 0, 0, 8, 0, 8, 0, 8]);
    // The last two slices end together: the last has no neighbour to wait for.
    assert_eq!(ready[35..], [0, 16]);
    assert!(matches!(decoding.push(&z), Err(VaeError::Count { announced: 37, .. })));
}

#[test]
fn smoothing_leaves_the_ends_and_averages_the_rest() {
    let (vae, _params) = made(&small("tiny"));
    let y = noise(&[1, 3, 24, 16, 16], 1);
    let smooth = vae.smooth(&y).unwrap();
    let middle = y.narrow(2, 4, 16).unwrap();
    let second = vae.decode(vae.encode(&middle).unwrap().mode()).unwrap();
    let wanted = ((middle + second).unwrap() * 0.5).unwrap();
    let part = |from, count| smooth.narrow(2, from, count).unwrap();
    assert!(difference(&part(4, 16), &wanted) < 1e-6);
    assert_eq!(difference(&part(0, 4), &y.narrow(2, 0, 4).unwrap()), 0.0);
    assert_eq!(difference(&part(20, 4), &y.narrow(2, 20, 4).unwrap()), 0.0);
    // A slice or less stays as it is.
    let short = y.narrow(2, 0, 8).unwrap();
    assert_eq!(difference(&vae.smooth(&short).unwrap(), &short), 0.0);
}

#[test]
fn what_cannot_be_smoothed_stays_as_it_is() {
    // Time by eight: of 16 frames 8 would go through again, which are an image's single latent.
    let between = vec![Resample::SpatialTemporal; 3];
    let chunking = Chunking::Slice { frames: 8, latents: 1, neighbours: true };
    let config = VaeConfig { down: between.clone(), up: between, chunking, ..small("tiny") };
    let (vae, _params) = made(&config);
    let y = noise(&[1, 3, 24, 16, 16], 1);
    let short = y.narrow(2, 0, 16).unwrap();
    assert_eq!(difference(&vae.smooth(&short).unwrap(), &short), 0.0);
    assert!(difference(&vae.smooth(&y).unwrap(), &y) > 1e-4);
}

#[test]
fn carried_chunks_leave_no_seam() {
    let config = small("tiny-carried");
    let (_, mut params) = made(&config);
    let mut with_chunks_of = |latents: usize| {
        let chunking = Chunking::Carried { frames: 4 * latents, latents };
        let config = VaeConfig { chunking, ..config.clone() };
        params.build(|scope| SliceVae::new(&config, scope)).unwrap()
    };
    let (one, two, all) = (with_chunks_of(1), with_chunks_of(2), with_chunks_of(100));
    let x = noise(&[1, 3, 29, 16, 16], 1);
    let moments = all.moments(&x).unwrap();
    assert_eq!(moments.dim(2).unwrap(), 8);
    let z = noise(&[1, 4, 8, 2, 2], 2);
    let y = all.decode(&z).unwrap();
    assert_eq!(y.dim(2).unwrap(), 29);
    for vae in [&one, &two] {
        assert!(difference(&vae.moments(&x).unwrap(), &moments) < 1e-5);
        assert!(difference(&vae.decode(&z).unwrap(), &y) < 1e-5);
    }
    // Causal: later latents change no earlier frame.
    let changed =
        Tensor::cat(&[z.narrow(2, 0, 5).unwrap(), noise(&[1, 4, 3, 2, 2], 3)], 2).unwrap();
    let (y, other) = (two.decode(&z).unwrap(), two.decode(&changed).unwrap());
    let first = |y: &Tensor| y.narrow(2, 0, 17).unwrap();
    assert_eq!(difference(&first(&other), &first(&y)), 0.0);
    let next = |y: &Tensor| y.narrow(2, 17, 4).unwrap();
    assert!(difference(&next(&other), &next(&y)) > 1e-3);
}

#[test]
fn tiles_differ_from_the_whole_most_where_they_meet() {
    // Nowhere are they equal: norms and attention see a tile, not the picture.
    let Some(folder) = curate_testing::shared("fixtures/easyanimate_v3") else { return };
    let (config, mut params) = parity::reference(&folder).unwrap();
    let tiling = Some(Tiling { side: 128, stride: 96 });
    let tiled = VaeConfig { tiling, ..config.clone() };
    let whole = params.build_frozen(|scope| SliceVae::new(&config, scope)).unwrap();
    let tiled = params.build_frozen(|scope| SliceVae::new(&tiled, scope)).unwrap();
    let x = noise(&[1, 3, 8, 64, 224], 3).clamp(-1.0, 1.0).unwrap();
    let (a, b) = (whole.moments(&x).unwrap(), tiled.moments(&x).unwrap());
    let by_column = (&a - &b).unwrap().abs().unwrap().mean((0, 1, 2, 3)).unwrap();
    let mean = |from: usize, count: usize| -> f32 {
        by_column.narrow(0, from, count).unwrap().mean_all().unwrap().to_scalar().unwrap()
    };
    // The second tile begins at column 12 and has faded in at 16.
    let (left, seam, right) = (mean(0, 11), mean(13, 3), mean(18, 10));
    assert!(seam > 1.5 * left && seam > 1.5 * right, "{left} {seam} {right}");
    let size: f32 = a.abs().unwrap().mean_all().unwrap().to_scalar().unwrap();
    assert!(left < 0.2 * size && right < 0.2 * size, "{left} {right} of {size}");
    // A picture of one tile is not cut.
    let x = x.narrow(4, 0, 128).unwrap();
    assert_eq!(difference(&whole.moments(&x).unwrap(), &tiled.moments(&x).unwrap()), 0.0);
}

#[test]
fn a_tile_carries_its_own_frames() {
    let config = small("tiny-carried");
    let tiled = VaeConfig { tiling: Some(Tiling { side: 32, stride: 24 }), ..config.clone() };
    let (_, mut params) = made(&config);
    let whole = params.build_frozen(|scope| SliceVae::new(&config, scope)).unwrap();
    let tiled = params.build_frozen(|scope| SliceVae::new(&tiled, scope)).unwrap();
    let x = noise(&[1, 3, 13, 16, 56], 3);
    let moments = tiled.moments(&x).unwrap();
    // Columns of one tile alone: those before the second, and those behind where it fades in.
    let first = whole.moments(&x.narrow(4, 0, 32).unwrap()).unwrap();
    let second = whole.moments(&x.narrow(4, 24, 32).unwrap()).unwrap();
    let part = |x: &Tensor, from, count| x.narrow(4, from, count).unwrap();
    assert!(difference(&part(&moments, 0, 3), &part(&first, 0, 3)) < 1e-6);
    assert!(difference(&part(&moments, 4, 2), &part(&second, 1, 2)) < 1e-6);
}

#[test]
fn wrong_sizes_lengths_and_channels_say_what_is_right() {
    let (vae, _params) = made(&small("tiny"));
    let text = vae.encode(&noise(&[1, 3, 12, 16, 16], 1)).unwrap_err().to_string();
    assert_eq!(text, "a video of 12 frames cannot be encoded; 9 and 16 can");
    let text = vae.encode(&noise(&[1, 3, 1, 20, 16], 1)).unwrap_err().to_string();
    assert!(
        text.contains("16x20") && text.contains("multiples of 8") && text.contains("16x16"),
        "{text}"
    );
    let text = vae.encode(&noise(&[1, 4, 1, 16, 16], 1)).unwrap_err().to_string();
    assert!(text.contains("frames must be [batch, 3, time, height, width]"), "{text}");
    let text = vae.decode(&noise(&[1, 3, 1, 2, 2], 1)).unwrap_err().to_string();
    assert!(text.contains("latents must be [batch, 4, "), "{text}");
    let x = noise(&[1, 3, 8, 16, 16], 1);
    let few = vae.encode_stream(9, pieces(&x, 4)).unwrap();
    let error = few.last().unwrap().unwrap_err().to_string();
    assert_eq!(error, "9 frames were announced, and 8 came");
}
