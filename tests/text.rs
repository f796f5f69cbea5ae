//! `text` and `quality` through the real binary.

use std::fs;

use curate_testing::make;

use crate::util::{Folder, curate};

/// A recipe over `videos` with these stages after the scenes.
fn recipe(folder: &Folder, out: &str, stages: &str) -> String {
    let recipe = folder.recipe(&format!("{out}.toml"), out, "");
    let text = fs::read_to_string(&recipe).unwrap();
    fs::write(&recipe, format!("{text}{stages}\n")).unwrap();
    recipe
}

#[test]
fn clips_with_burnt_in_text_are_dropped_and_others_kept() {
    let (Some(_), Some(media)) = (curate_testing::models(), curate_testing::shared("media/text"))
    else {
        return;
    };
    let folder = Folder::new();
    fs::create_dir_all(folder.path("videos")).unwrap();
    let names = ["burn_lowerthird_friday.mp4", "burn_none_car.mp4", "burn_sub1_flower.mp4"];
    for name in names {
        fs::copy(media.join(name), folder.path("videos").join(name)).unwrap();
    }
    let path = recipe(&folder, "out", "[[stage]]\nkind = \"text\"\narea = { max = 0.01 }");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("kind = \"scenes\"\n", "kind = \"scenes\"\nmin_s = 0.5\n"))
        .unwrap();
    let said = curate(&["run", &path]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    let verdicts = "select distinct source_uri, status, drop_reason from clips order by 1";
    let rows = folder.rows("out", verdicts);
    let found: Vec<&str> =
        rows.lines().skip(1).map(|row| row.rsplit_once('/').unwrap().1).collect();
    assert_eq!(
        found,
        [
            "burn_lowerthird_friday.mp4,dropped,too_much_text",
            "burn_none_car.mp4,kept,",
            "burn_sub1_flower.mp4,dropped,too_much_text",
        ]
    );
    // The truth by construction is 0.0426 and 0.0588; boxes have a margin.
    let values = "select source_uri, text_area_mean, text_persistence, text_content from clips \
                  where status = 'dropped' order by 1";
    let rows = folder.rows("out", values);
    for (name, truth) in [("friday", 0.0588), ("flower", 0.0426)] {
        let row = rows.lines().find(|row| row.contains(name)).unwrap();
        let fields: Vec<&str> = row.split(',').collect();
        let area: f64 = fields[1].parse().unwrap();
        assert!(area > truth && area < 1.6 * truth, "{row}");
        assert_eq!(fields[2].parse::<f64>().unwrap(), 1.0, "{row}");
    }
    assert!(rows.contains("quick brown fox"), "{rows}");

    // Another threshold costs no second look.
    let said = curate(&["refilter", &folder.text("out"), "--set", "text.area.max=0.5"]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert_eq!(
        folder.rows("out", "select count(*) from clips where status = 'kept'"),
        "count(*)\n3\n"
    );
}

#[test]
fn technical_faults_are_measured_and_judged() {
    let Some(samples) = curate_testing::samples() else { return };
    let folder = Folder::new();
    let film = samples.join("bigbuckbunny.mp4");
    let film = film.display();
    let line = |filter: &str, how: &str| format!("-i {film} -an -vf {filter} -c:v libx264 {how}");
    let videos = folder.path("videos");
    make(&videos, "barred.mp4", &line("scale=640:240,pad=640:480:0:120", "-crf 18"));
    make(&videos, "blurred.mp4", &line("scale=640:360,gblur=sigma=4", "-crf 18"));
    make(&videos, "coded.mp4", &line("scale=640:360", "-crf 51"));
    make(&videos, "dark.mp4", &line("scale=640:360,eq=brightness=-0.9", "-crf 18"));
    make(&videos, "good.mp4", &line("scale=640:360", "-crf 12"));
    let path = recipe(&folder, "out", "[[stage]]\nkind = \"quality\"\nsharpness = { min = 30.0 }");
    let said = curate(&["run", &path]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    let verdicts = "select distinct source_uri, drop_reason from clips \
                    where coalesce(drop_reason, '') <> 'too_short' order by 1";
    let rows = folder.rows("out", verdicts);
    let found: Vec<&str> =
        rows.lines().skip(1).map(|row| row.rsplit_once('/').unwrap().1).collect();
    for wanted in
        ["barred.mp4,black_bars", "blurred.mp4,blurred", "dark.mp4,badly_lit", "good.mp4,"]
    {
        assert!(found.contains(&wanted), "{wanted}: {found:?}");
    }
    let worse = |column: &str, name: &str| {
        let sql = format!(
            "select (select avg({column}) from clips where source_uri like '%/{name}.mp4') > \
             (select avg({column}) from clips where source_uri like '%/good.mp4') as worse"
        );
        assert_eq!(folder.rows("out", &sql), "worse\ntrue\n", "{column} of {name}");
    };
    worse("technical_brisque", "blurred");
    worse("technical_blockiness", "coded");
    worse("technical_bars", "barred");
}
