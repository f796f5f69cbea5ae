use serde::Deserialize;

use super::*;

fn problems_of(text: &str) -> Vec<String> {
    let mut problems = Problems::default();
    let document = Document::parse(text, &mut problems).unwrap_or_default();
    problems.enter("[run]");
    let mut run: RunConfig = read_table(&document.run, &mut problems);
    run.resolve(2, &mut problems);
    problems.into_errors().iter().map(ToString::to_string).collect()
}

#[test]
fn all_problems_are_found_at_once() {
    let found = problems_of(
        "[run]\nworkrs = 2\nmemory = \"lots\"\ntries = \"x\"\ncommit_seconds = -1\n[ouptut]\npath = \"x\"\n",
    );
    let all = found.join("\n");
    assert!(
        all.contains("[run] workrs: there is no such setting\n    did you mean `workers`?"),
        "{all}"
    );
    assert!(all.contains("[run] memory: \"lots\" is not a size"), "{all}");
    assert!(all.contains("[run] tries:"), "{all}");
    assert!(all.contains("[run] commit_seconds: must be a positive"), "{all}");
    assert!(all.contains("ouptut: there is no such section\n    did you mean `output`?"), "{all}");
    assert_eq!(found.len(), 5, "{all}");
}

#[test]
fn what_was_expected_is_said_without_names_of_types() {
    let cases = [
        (
            "workers = \"x\"",
            "invalid type: string \"x\", expected a whole number that is not negative",
        ),
        (
            "workers = -1",
            "invalid value: integer `-1`, expected a whole number that is not negative",
        ),
        ("tries = 1.5", "expected a whole number from 0 to 4294967295"),
        ("stall_seconds = \"x\"", "invalid type: string \"x\", expected a number"),
        ("memory = true", "[run] memory: expected a size such as \"512MiB\", or a number of bytes"),
    ];
    for (line, said) in cases {
        let found = problems_of(&format!("[run]\n{line}\n"));
        assert!(matches!(&found[..], [only] if only.ends_with(said)), "{line}: {found:?}");
    }
}

#[test]
fn mistakes_in_a_table_of_a_table_hide_no_others() {
    #[derive(Debug, Default, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct Outer {
        inner: Inner,
        lists: Vec<Inner>,
        kept: u32,
    }
    #[derive(Debug, Default, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct Inner {
        crf: f64,
        size: u32,
        many: Vec<u32>,
    }
    let text = "kept = 3\nlists = [{ crf = 1 }, { crf = true }]\n\
                [inner]\ncrf = 7\nsiz = 1\nsize = -1\nmany = [1, \"2\"]\n\
                \"si.ze\" = 1\n";
    let mut problems = Problems::default();
    let outer: Outer = read_table(&text.parse().unwrap(), &mut problems);
    let mut keys: Vec<String> = problems.into_errors().into_iter().map(|e| e.key).collect();
    keys.sort();
    assert_eq!(keys, ["inner.many[1]", "inner.si.ze", "inner.siz", "inner.size", "lists[1].crf"]);
    let Outer { inner: Inner { crf, size, many }, lists, kept } = outer;
    assert!(crf == 7.0 && size == 0 && many.is_empty() && lists.is_empty() && kept == 3);
}

#[test]
fn a_syntax_error_names_its_line() {
    let found = problems_of("[run]\nworkers = = 2\n");
    assert!(found[0].starts_with("line 2"), "{found:?}");
}

#[test]
fn sizes_are_read() {
    assert_eq!(parse_bytes("512MiB"), Some(512 << 20));
    assert_eq!(parse_bytes("1.5 GB"), Some(1_500_000_000));
    assert_eq!(parse_bytes("17"), Some(17));
    assert_eq!(parse_bytes("many"), None);
    assert_eq!(parse_bytes("-1"), None);
}

#[test]
fn the_cpu_budget_is_shared_out() {
    let workers = |cpus, memory, decode_threads| {
        let mut run = RunConfig { cpus, memory, decode_threads, ..RunConfig::default() };
        run.resolve(2, &mut Problems::default());
        (run.workers, run.threads_each())
    };
    assert_eq!(workers(0, 1 << 30, 0), (2, 1), "the machine's cores");
    assert_eq!(workers(8, 1 << 30, 0), (8, 1));
    assert_eq!(workers(64, 1 << 30, 0), (16, 4), "memory for eight, and no core idle");
    assert_eq!(workers(64, 16 << 30, 0), (64, 1));
    assert_eq!(workers(64, 1 << 30, 2), (32, 2), "what is set holds");
}

#[test]
fn what_the_last_stage_holds_is_not_for_the_others() {
    let with = |held| {
        let mut run = RunConfig { cpus: 8, memory: 1 << 30, held, ..RunConfig::default() };
        run.resolve(2, &mut Problems::default());
        (run.in_flight(), run.workers, run.one_clip())
    };
    assert_eq!(with(0), (512 << 20, 8, 512 << 20));
    assert_eq!(with(512 << 20), (256 << 20, 4, 512 << 20));
}
