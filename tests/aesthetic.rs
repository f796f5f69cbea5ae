//! `aesthetic` through the real binary: the published head, and a checkpoint of the published tower's
//! names, sizes and length that holds mostly nothing (the published one is 1.7 GB and cannot be had
//! everywhere; parity with it is tested on small networks in `models/src/aesthetic`).

use std::{collections::BTreeMap, fs, io::Write as _, os::unix::fs::FileExt as _, path::Path};

use curate_testing::{make, program, root};

use crate::util::{CURATE, Folder, said};

/// The published file's length in bytes, which the hub looks at.
const BYTES: u64 = 1_710_540_580;

/// Writes a checkpoint of CLIP ViT-L/14 in which the last token sees the mean of the picture, through
/// the first layer. All other layers are zero, and holes in the file.
fn write_tower(path: &Path) {
    let shapes = fs::read(root().join("models/graphs/clip_vit_l14.weights.json")).unwrap();
    let shapes: BTreeMap<String, Vec<u64>> = serde_json::from_slice(&shapes).unwrap();
    let bytes = |shape: &[u64]| 4 * shape.iter().product::<u64>();
    let (mut places, mut at) = (serde_json::Map::new(), 0);
    let entry = |shape: &[u64], from: u64, to: u64| serde_json::json!({ "dtype": "F32", "shape": shape, "data_offsets": [from, to] });
    for (name, shape) in &shapes {
        places.insert(name.clone(), entry(shape, at, at + bytes(shape)));
        at += bytes(shape);
    }
    // The text half, as far as its length matters. The header's own length is fixed first.
    const HEADER: u64 = 65_536;
    let rest = (BYTES - 8 - HEADER - at) / 4;
    places.insert("text_model.rest".to_owned(), entry(&[rest], at, at + 4 * rest));
    let mut header = serde_json::to_vec(&places).unwrap();
    header.resize(HEADER as usize, b' ');

    let mut file = fs::File::create(path).unwrap();
    file.write_all(&HEADER.to_le_bytes()).unwrap();
    file.write_all(&header).unwrap();
    file.set_len(BYTES).unwrap();
    let mut noise = 1_u32;
    let mut next = || {
        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (noise >> 8) as f32 / 16_777_216.0 - 0.5
    };
    for (name, shape) in &shapes {
        let in_first = name.starts_with("vision_model.encoder.layers.0.")
            && ["v_proj.weight", "out_proj.weight"].iter().any(|end| name.ends_with(end));
        let is_matrix = in_first
            || name == "visual_projection.weight"
            || name == "vision_model.embeddings.patch_embedding.weight";
        let is_scale = name.ends_with("norm.weight")
            || name.ends_with("layrnorm.weight")
            || name.ends_with("layer_norm1.weight");
        let count = shape.iter().product::<u64>();
        let values: Vec<u8> = match (is_matrix, is_scale) {
            (true, _) => (0..count).flat_map(|_| (0.1 * next()).to_le_bytes()).collect(),
            (_, true) => (0..count).flat_map(|_| 1.0_f32.to_le_bytes()).collect(),
            _ => continue,
        };
        let at = places[name]["data_offsets"][0].as_u64().unwrap();
        file.write_all_at(&values, 8 + HEADER + at).unwrap();
    }
}

#[test]
fn frames_are_scored_and_a_missed_cut_shows() {
    let (Some(models), Some(heads)) =
        (curate_testing::models(), curate_testing::shared("media/weights"))
    else {
        return;
    };
    let folder = Folder::new();
    let hub = folder.path("hub");
    for model in ["onnxruntime", "clip-vit-l14", "laion-aesthetic-v2"] {
        fs::create_dir_all(hub.join(model)).unwrap();
    }
    for file in fs::read_dir(models.join("onnxruntime")).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), hub.join("onnxruntime").join(file.file_name())).unwrap();
    }
    fs::copy(
        heads.join("sac+logos+ava1-l14-linearMSE.pth"),
        hub.join("laion-aesthetic-v2/sac_logos_ava1-l14-linearMSE.pth"),
    )
    .unwrap();
    let videos = folder.path("videos");
    let still = "-f lavfi -i color=c=orange:s=320x180:r=10 -t 3 -c:v libx264";
    make(&videos, "one.mp4", still);
    let two = "-f lavfi -t 1.5 -i color=c=orange:s=320x180:r=10 \
               -f lavfi -t 1.5 -i testsrc2=s=320x180:r=10 -filter_complex \
               [0]format=yuv420p[a];[1]format=yuv420p[b];[a][b]concat=n=2:v=1[o] -map [o] -c:v libx264";
    make(&videos, "two.mp4", two);
    let recipe = folder.recipe("p.toml", "out", "");
    let text = fs::read_to_string(&recipe).unwrap();
    let rest = "detectors = [{ kind = \"content\", threshold = 255.0 }]\nmin_s = 1.0\n\
                [[stage]]\nkind = \"aesthetic\"\nframes = 1\nmean = {}\nconsistency = { min = 0.99 }\n";
    fs::write(&recipe, format!("{text}{rest}")).unwrap();
    let run = |verb: &str| {
        let mut command = program(CURATE);
        said(&command.args([verb, &recipe]).env("CURATE_MODELS", &hub).output().unwrap())
    };

    let missing = run("check");
    assert_eq!(missing.code, Some(2), "{}", missing.err);
    assert!(missing.err.contains("curate models pull clip-vit-l14"), "{}", missing.err);

    write_tower(&hub.join("clip-vit-l14/model.safetensors"));
    let done = run("run");
    assert_eq!(done.code, Some(0), "{}", done.err);
    let rows = folder.rows(
        "out",
        "select source_uri, status, drop_reason, aesthetic_model, aesthetic_mean, aesthetic_min, \
         consistency_min, embedding from clips order by 1",
    );
    let rows: Vec<&str> =
        rows.lines().skip(1).map(|row| row.rsplit_once("/videos/").unwrap().1).collect();
    assert_eq!(rows.len(), 2, "{rows:?}");
    let fields = |row: &str| row.splitn(7, ',').map(str::to_owned).collect::<Vec<_>>();
    let (one, two) = (fields(rows[0]), fields(rows[1]));
    assert_eq!(one[..4], ["one.mp4", "kept", "", "laion-v2"], "{one:?}");
    assert_eq!(two[..4], ["two.mp4", "dropped", "changes_content", "laion-v2"], "{two:?}");
    let number = |text: &str| text.parse::<f64>().unwrap();
    // Both begin with the same picture, and one frame is scored.
    assert_eq!(one[4], one[5]);
    assert!((number(&one[4]) - number(&two[4])).abs() < 1e-2, "{one:?} {two:?}");
    let consistency = |fields: &[String]| number(fields[6].split(',').next().unwrap());
    assert!(consistency(&one) > 0.999, "{one:?}");
    assert!(consistency(&two) < 0.99, "{two:?}");
    let embedding: Vec<f64> = one[6]
        .split(|c: char| "[]\", ".contains(c))
        .filter_map(|part| part.parse().ok())
        .skip(1)
        .collect();
    assert_eq!(embedding.len(), 768);
    assert!((embedding.iter().map(|value| value * value).sum::<f64>() - 1.0).abs() < 1e-4);
}
