use super::*;
use crate::{BuildContext, BuildError, Stage};

#[derive(Debug)]
struct Fake {
    shape: Shape,
    reads: &'static [&'static str],
    writes: &'static [&'static str],
    setting: i64,
}

impl StageConfig for Fake {
    fn shape(&self) -> Shape {
        self.shape
    }
    fn reads(&self) -> &'static [&'static str] {
        self.reads
    }
    fn writes(&self) -> &'static [&'static str] {
        self.writes
    }
    fn measuring(&self) -> Json {
        json!(self.setting)
    }
    fn models(&self) -> Vec<&'static str> {
        if self.setting >= NO_MODEL { vec!["big"] } else { Vec::new() }
    }
    fn validate(&self, problems: &mut Problems) {
        if self.setting == UNREADABLE {
            problems.report("other", "does not go with this `setting`");
        }
    }
    fn build(&self, _context: &BuildContext<'_>) -> Result<Stage, BuildError> {
        unreachable!("plans are compiled without building")
    }
}

/// The setting of a stage whose model is not there.
const NO_MODEL: i64 = 1000;
/// What cannot be read of a `text` stage, whose default then lacks a model and is faulty.
const UNREADABLE: i64 = 1001;

fn setting(table: &toml::Table) -> i64 {
    table.get("setting").and_then(toml::Value::as_integer).unwrap_or(0)
}

const ENTRIES: &[StageEntry] = &[
    StageEntry {
        kind: "scenes",
        summary: "",
        parse: |t, _| {
            Box::new(Fake {
                shape: Shape::Split,
                reads: &[],
                writes: &["width"],
                setting: setting(t),
            })
        },
        schema: || Json::Null,
        example: "",
    },
    StageEntry {
        kind: "motion",
        summary: "",
        parse: |t, _| {
            Box::new(Fake {
                shape: Shape::Map,
                reads: &["width"],
                writes: &["motion"],
                setting: setting(t),
            })
        },
        schema: || Json::Null,
        example: "",
    },
    StageEntry {
        kind: "text",
        summary: "",
        parse: |t, problems| {
            let setting = setting(t);
            if setting == UNREADABLE {
                problems.report("setting", "cannot be read");
            }
            Box::new(Fake { shape: Shape::Batch, reads: &[], writes: &["text_area_max"], setting })
        },
        schema: || Json::Null,
        example: "",
    },
    StageEntry {
        kind: "late",
        summary: "",
        parse: |t, _| {
            Box::new(Fake {
                shape: Shape::Map,
                reads: &["text_area_max"],
                writes: &["aesthetic_mean"],
                setting: setting(t),
            })
        },
        schema: || Json::Null,
        example: "",
    },
    StageEntry {
        kind: "last",
        summary: "",
        parse: |t, _| {
            Box::new(Fake {
                shape: Shape::Map,
                reads: &[],
                writes: &["video"],
                setting: setting(t),
            })
        },
        schema: || Json::Null,
        example: "",
    },
];

fn compile(recipe: &str) -> (Plan, Vec<String>) {
    let mut problems = Problems::default();
    let document = Document::parse(recipe, &mut problems).unwrap_or_default();
    let ingredients = Ingredients {
        entries: ENTRIES,
        last: None,
        identity: json!({"ids": "location"}),
        cores: 2,
        around: Surroundings { base: Path::new("."), variable: |_| None },
        models: Models {
            dir: Path::new("."),
            check: &|id| Err(format!("there is no model `{id}`")),
        },
    };
    let plan = Plan::compile(&document, ingredients, &mut problems);
    (plan, problems.into_errors().iter().map(ToString::to_string).collect())
}

fn recipe(stages: &[(&str, i64)]) -> String {
    stages
        .iter()
        .map(|(kind, s)| format!("[[stage]]\nkind = \"{kind}\"\nsetting = {s}\n"))
        .collect()
}

#[test]
fn wrong_recipes_are_reported_whole() {
    let (_, found) = compile(&recipe(&[("scenes", 0), ("motoin", 0), ("txet", 0)]));
    assert_eq!(
        found,
        [
            "stage 2 kind: there is no stage \"motoin\"\n    did you mean \"motion\"?",
            "stage 3 kind: there is no stage \"txet\"\n    did you mean \"text\"?",
        ]
    );
    assert!(compile("").1.join("").contains("no stages"));
}

#[test]
fn one_mistake_is_one_problem() {
    let found = |stages: &[(&str, i64)]| compile(&recipe(stages)).1;
    let twice =
        "kind: this stage is there twice\n    a column has one writer: remove one of the two";
    assert_eq!(
        found(&[("motion", 0), ("scenes", 0), ("scenes", 0)]),
        [
            "stage 2 (scenes) kind: must be the first stage: the others measure the clips that it \
             cuts\n    move it before \"motion\"",
            &format!("stage 3 (scenes) {twice}"),
        ]
    );
    assert_eq!(
        found(&[("motion", 0), ("text", 0)]),
        ["stage 1 (motion) kind: the first stage must cut sources into clips\n    \
          put a stage of kind \"scenes\" first"]
    );
    assert_eq!(
        found(&[("scenes", 0), ("late", 0), ("text", 0)]),
        ["stage 2 (late) kind: reads `text_area_max` before it is written\n    \
          move \"text\", which does that, before \"late\""]
    );
    assert_eq!(
        found(&[("scenes", 0), ("late", 0)]),
        ["stage 2 (late) kind: reads `text_area_max` before it is written\n    \
          no stage of this recipe does that"]
    );
}

/// A stage that cannot be read counts, and what its default would lack is not looked for.
#[test]
fn problems_name_stages_by_their_place_in_the_recipe() {
    let (_, found) = compile(&recipe(&[("scenes", 0), ("motoin", 0), ("text", NO_MODEL)]));
    assert_eq!(found[1..], ["stage 3 (text): there is no model `big`".to_owned()], "{found:?}");
    let (_, found) = compile(&recipe(&[("scenes", 0), ("text", UNREADABLE)]));
    assert_eq!(found, ["stage 2 (text) setting: cannot be read"]);
}

#[test]
fn keys_follow_what_is_measured_and_nothing_else() {
    let keys = |r: &[(&str, i64)]| -> Vec<String> {
        let (plan, found) = compile(&recipe(r));
        assert!(found.is_empty(), "{found:?}");
        plan.stages.into_iter().map(|stage| stage.key).collect()
    };
    let base = keys(&[("scenes", 1), ("motion", 1), ("text", 1)]);
    assert_eq!(base, keys(&[("scenes", 1), ("motion", 1), ("text", 1)]));
    let moved = keys(&[("scenes", 1), ("motion", 2), ("text", 1)]);
    assert_eq!((&base[0], &base[2]), (&moved[0], &moved[2]));
    assert_ne!(base[1], moved[1]);
    let split = keys(&[("scenes", 2), ("motion", 1), ("text", 1)]);
    assert!(base.iter().zip(&split).all(|(a, b)| a != b));
}

#[test]
fn stages_change_places_but_stay_behind_what_they_read() {
    let text = recipe(&[("scenes", 0), ("motion", 0), ("text", 0)]);
    let (plan, _) = compile(&format!("{text}[[stage]]\nkind = \"last\"\n"));
    let kinds = |plan: &Plan| plan.stages.iter().map(|s| s.kind).collect::<Vec<_>>();
    let keys = |plan: &Plan| {
        let mut keys: Vec<String> = plan.stages.iter().map(|s| s.key.clone()).collect();
        keys.sort();
        keys
    };
    assert_eq!(kinds(&plan), ["scenes", "motion", "text", "last"]);
    let mut moved = plan.clone();
    moved.reorder(&["text", "motion"]);
    assert_eq!(kinds(&moved), ["scenes", "text", "motion", "last"]);
    assert_eq!(moved.judge[1]["stage"], "text");
    assert_eq!(keys(&moved), keys(&plan));
    // "late" reads what "text" writes.
    let text = recipe(&[("scenes", 0), ("text", 0), ("late", 0), ("motion", 0)]);
    let (mut plan, _) = compile(&format!("{text}[[stage]]\nkind = \"last\"\n"));
    plan.reorder(&["late", "motion", "text"]);
    assert_eq!(kinds(&plan), ["scenes", "motion", "text", "late", "last"]);
}

#[test]
fn canonical_json_ignores_the_order_of_keys() {
    let a: Json = serde_json::from_str(r#"{"a": {"x": 1, "y": [2, 3]}, "b": 2}"#).unwrap();
    let b: Json = serde_json::from_str(r#"{"b": 2, "a": {"y": [2, 3], "x": 1}}"#).unwrap();
    assert_eq!(canonical(&a), canonical(&b));
}
