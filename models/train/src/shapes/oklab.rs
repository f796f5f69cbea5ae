//! OKLab (Björn Ottosson, "A perceptual color space for image processing", 2020): lightness and two
//! axes of colour in which distances are about as large as they look.
//!
//! Rather than CIELAB, in which blue and purple are too close for telling them apart when blurred.

use std::sync::OnceLock;

/// Lightness (0 to 1), green to red, blue to yellow.
pub(super) type Lab = [f32; 3];

/// Of an sRGB pixel.
pub(super) fn oklab(rgb: [u8; 3]) -> Lab {
    static LINEAR: OnceLock<[f32; 256]> = OnceLock::new();
    let linear = LINEAR.get_or_init(|| {
        std::array::from_fn(|level| {
            let level = level as f32 / 255.0;
            if level <= 0.040_45 { level / 12.92 } else { ((level + 0.055) / 1.055).powf(2.4) }
        })
    });
    let [red, green, blue] = rgb.map(|level| linear[usize::from(level)]);
    let mix = |[r, g, b]: [f32; 3]| r * red + g * green + b * blue;
    let long = mix([0.412_221_47, 0.536_332_55, 0.051_445_995]).cbrt();
    let middle = mix([0.211_903_5, 0.680_699_5, 0.107_396_96]).cbrt();
    let short = mix([0.088_302_46, 0.281_718_85, 0.629_978_7]).cbrt();
    [
        0.210_454_26 * long + 0.793_617_8 * middle - 0.004_072_047 * short,
        1.977_998_5 * long - 2.428_592_2 * middle + 0.450_593_7 * short,
        0.025_904_037 * long + 0.782_771_77 * middle - 0.808_675_77 * short,
    ]
}

/// How far apart two colours look: 0 for the same, 1 for black and white.
pub(super) fn distance(a: Lab, b: Lab) -> f32 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum::<f32>().sqrt()
}

#[cfg(test)]
mod tests {
    use super::{
        super::words::{Background, Color},
        *,
    };

    #[test]
    fn known_colours_have_their_places() {
        // From the published table of the paper's page: white, and sRGB's red.
        for (rgb, lab) in [
            ([255, 255, 255], [1.0, 0.0, 0.0]),
            ([255, 0, 0], [0.627_955, 0.224_863, 0.125_846]),
            ([0, 0, 0], [0.0, 0.0, 0.0]),
        ] {
            assert!(distance(oklab(rgb), lab) < 1e-3, "{rgb:?}: {:?}", oklab(rgb));
        }
    }

    #[test]
    fn the_words_for_colours_are_far_apart() {
        let shapes: Vec<Lab> = Color::ALL.iter().map(|color| oklab(color.rgb())).collect();
        for (index, color) in shapes.iter().enumerate() {
            for (other, name) in shapes[..index].iter().zip(Color::ALL) {
                let apart = distance(*color, *other);
                assert!(apart > 0.15, "{} and {name}: {apart}", Color::ALL[index]);
            }
            for behind in Background::ALL {
                let apart = distance(*color, oklab(behind.rgb()));
                assert!(apart > 0.18, "{} over {behind}: {apart}", Color::ALL[index]);
            }
        }
    }
}
