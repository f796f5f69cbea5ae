//! `motion` with RAFT, through the real binary.

use curate_testing::make;

use crate::util::{Folder, curate};

fn recipe(folder: &Folder, out: &str, settings: &str) -> String {
    let recipe = folder.recipe(&format!("{out}.toml"), out, "");
    let text = std::fs::read_to_string(&recipe).unwrap();
    std::fs::write(&recipe, format!("{text}[[stage]]\nkind = \"motion\"\n{settings}\n")).unwrap();
    recipe
}

/// A still picture, and one over which the camera moves to the right, 40 pixels a second.
fn videos(folder: &Folder, picture: &std::path::Path) {
    let still = format!(
        "-i {} -an -vf trim=end_frame=1,loop=100:1:0,fps=25 -t 3.2 -c:v libx264 -crf 12",
        picture.display()
    );
    let crop = |x: &str| {
        still.replace(
            "fps=25",
            &format!("fps=25,format=gbrp,crop=640:360:x='{x}':y=200,format=yuv420p"),
        )
    };
    make(&folder.path("videos"), "still.mp4", &crop("200"));
    make(&folder.path("videos"), "pan.mp4", &crop("200+40*t"));
}

#[test]
fn raft_sees_the_motion_that_is_there() {
    let (Some(_), Some(samples)) = (curate_testing::models(), curate_testing::samples()) else {
        return;
    };
    let folder = Folder::new();
    videos(&folder, &samples.join("bigbuckbunny.mp4"));
    let run = curate(&["run", &recipe(&folder, "out", "method = \"raft-small\"")]);
    assert_eq!(run.code, Some(0), "{}", run.err);
    // 40 pixels per second of a picture of 640x360.
    let true_speed = 40.0 / 640_f64.hypot(360.0);
    let rows = folder.rows(
        "out",
        "select source_uri, motion, camera_motion, status, motion_method from clips order by 1",
    );
    let pan: Vec<&str> = rows.lines().nth(1).unwrap().split(',').collect();
    let found: f64 = pan[1].parse().unwrap();
    assert!((found / true_speed - 1.0).abs() < 0.2, "{found} for {true_speed}");
    assert_eq!(pan[2..], ["pan_right", "kept", "raft-small"]);
    let still: Vec<&str> = rows.lines().nth(2).unwrap().split(',').collect();
    assert_eq!(still[2..], ["static", "dropped", "raft-small"], "{rows}");

    // The prefilter decides the clear case and leaves the other one to the network.
    let settings = "method = \"raft-small\"\nprefilter = \"dis\"";
    let run = curate(&["run", &recipe(&folder, "spared", settings)]);
    assert_eq!(run.code, Some(0), "{}", run.err);
    let methods = "select motion_method, status from clips order by source_uri";
    assert_eq!(
        folder.rows("spared", methods),
        "motion_method,status\nraft-small,kept\ndis,dropped\n"
    );
}

#[test]
fn a_missing_model_is_named_before_anything_runs() {
    let folder = Folder::new();
    folder.video("a.mp4", &[4]);
    let settings = "method = \"raft-large\"\nweights = \"torchvision\"";
    let said = curate(&["run", &recipe(&folder, "out", settings)]);
    assert_eq!(said.code, Some(2), "{}", said.err);
    assert!(said.err.contains("curate models pull raft-large-torchvision"), "{}", said.err);
    assert!(!folder.path("out").exists());
}
