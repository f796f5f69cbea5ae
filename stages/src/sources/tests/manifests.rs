//! The three forms of manifest hold the same contract.

use super::*;

const EXTRA: &str = r#"{"Zoom":"1.5","n":"7"}"#;

#[test]
fn csv() {
    let dir = tree(&["v/a.mp4", "v/b.mp4"]);
    let text = "\u{feff}Zoom,video,caption,n\n\
                1.5,v/a.mp4,\"two\nlines, \"\"quoted\"\"\",7\n\
                1,v/b.mp4\n\
                1.5,v/b.mp4,,7\n\
                1.5,  ,nothing,7\n\
                1.5,v/a.mp4,again,7\n\
                1.5,v/c.mp4,gone,7\n\
                1.5,https://me:pw@b/d.mp4?key=1,far,7\n\
                1.5,v,folder,7\n";
    write(&dir, "list.csv", text);
    let config = config(&["list.csv"]);
    check(
        &dir,
        &config,
        &[
            "v/a.mp4",
            "list.csv! bad_row",
            "v/b.mp4",
            "list.csv: row_without_path",
            "v/a.mp4: duplicate",
            "v/c.mp4! missing",
            "list.csv! unsupported",
            "v! not_a_file",
        ],
    );
    let found = sources(&dir, &config);
    assert_eq!(found[0].caption.as_deref(), Some("two\nlines, \"quoted\""));
    assert_eq!(found[0].extra.as_deref(), Some(EXTRA));
    assert_eq!((&found[1].caption, found[1].extra.as_deref()), (&None, Some(EXTRA)));
    let Listing::Failed(bad) = &list(&dir, &config)[1] else { panic!() };
    assert!(bad.message.contains("row 2: line 4 has 2 fields where the header has 4"), "{bad}");
    assert!(bad.uri.ends_with("/list.csv#row=2"), "{}", bad.uri);
    let Listing::Failed(remote) = &list(&dir, &config)[6] else { panic!() };
    assert!(remote.message.starts_with("`https://b/d.mp4?...` (row 7 of"), "{remote}");
}

#[test]
fn a_quote_that_is_never_closed_is_found() {
    let dir = tree(&["a.mp4", "b.mp4", "c.mp4"]);
    write(&dir, "list.csv", "path,caption\na.mp4,5\" screen\nb.mp4,\"open\nc.mp4,lost\n");
    write(&dir, "fine.csv", "path,caption\nc.mp4,5\" screen\n");
    check(&dir, &config(&["fine.csv"]), &["c.mp4"]);
    write(&dir, "list.csv", "path,caption\na.mp4,plain\nb.mp4,\"open\nc.mp4,lost\n");
    check(&dir, &config(&["list.csv"]), &["a.mp4", "list.csv! bad_row"]);
}

/// Nothing is replaced in silence: what a caption was is not known.
#[test]
fn text_in_another_encoding_is_refused_with_its_line() {
    let dir = tree(&["a.mp4", "b.mp4", "c.mp4"]);
    let put = |name: &str, bytes: &[u8]| fs::write(dir.path().join(name), bytes).unwrap();
    put("l.csv", b"path,caption,note\na.mp4,x,y\nb.mp4,caf\xe9,y\nc.mp4,x,\xff\n");
    check(&dir, &config(&["l.csv"]), &["a.mp4", "l.csv! bad_row", "l.csv! bad_row"]);
    let messages = |name: &str| -> Vec<String> {
        let failed = |listing| match listing {
            Listing::Failed(failure) => Some(failure.message),
            _ => None,
        };
        list(&dir, &config(&[name])).into_iter().filter_map(failed).collect()
    };
    let found = messages("l.csv");
    let file = dir.path().join("l.csv").display().to_string();
    assert!(found[0].contains(&file), "{}", found[0]);
    assert!(found[0].contains("line 3 is not UTF-8 text in its column `caption`"), "{}", found[0]);
    assert!(found[1].contains("line 4 is not UTF-8 text in its column `note`"), "{}", found[1]);
    put("l.jsonl", b"{\"path\": \"a.mp4\"}\n{\"path\": \"b.mp4\", \"caption\": \"caf\xe9\"}\n");
    check(&dir, &config(&["l.jsonl"]), &["a.mp4", "l.jsonl! bad_row"]);
    let found = messages("l.jsonl");
    assert!(found[0].contains("row 2: the line is not UTF-8 text"), "{}", found[0]);
    put("h.csv", b"path,l\xe9gende\na.mp4,x\n");
    let problem = problems(&dir, &config(&["h.csv"])).remove(0);
    assert!(problem.contains("`h.csv`: is not UTF-8 text in line 1"), "{problem}");
}

/// What is recorded of a missing file is found under the file's own name when it has come.
#[test]
fn a_missing_file_is_called_what_it_will_be_called() {
    let dir = tree(&["lists/l.csv", "v/b.mp4"]);
    write(&dir, "lists/l.csv", "path\n../v/a.mp4\nhttps://far/c.mp4\n");
    let config = config(&["v/../lists/l.csv"]);
    let listed = list(&dir, &config);
    let [Listing::Failed(missing), Listing::Failed(far)] = &listed[..] else {
        panic!("{listed:?}")
    };
    let root = dir.path().canonicalize().unwrap();
    assert_eq!(far.uri, format!("{}#row=2", uri::from_path(&root.join("lists/l.csv"))));
    write(&dir, "v/a.mp4", "here");
    assert_eq!(missing.uri, sources(&dir, &config)[0].uri);
}

#[test]
fn json_lines() {
    let dir = tree(&["v/a.mp4", "v/b.mp4"]);
    let text = "\u{feff}{\"path\": \"a.mp4\", \"text\": \"one\", \"b\": {\"y\": 1, \"x\": [null]}, \
                \"a\": 2.5}\r\n\
                \n\
                {\"path\": \"b.mp4\"\n\
                [1]\n\
                {\"path\": 3}\n\
                {\"text\": \"no path\"}\n\
                {\"path\": \"a.mp4\"}\n\
                {\"path\": \"b.mp4\"}";
    write(&dir, "lists/l.jsonl", text);
    let config = InputConfig { base: Some("v".to_owned()), ..config(&["lists/*.jsonl"]) };
    check(
        &dir,
        &config,
        &[
            "v/a.mp4",
            "lists/l.jsonl! bad_row",
            "lists/l.jsonl! bad_row",
            "lists/l.jsonl! bad_row",
            "lists/l.jsonl: row_without_path",
            "v/a.mp4: duplicate",
            "v/b.mp4",
        ],
    );
    let found = sources(&dir, &config);
    assert_eq!(found[0].caption.as_deref(), Some("one"));
    assert_eq!(found[0].extra.as_deref(), Some(r#"{"a":2.5,"b":{"x":[null],"y":1}}"#));
    assert_eq!((&found[1].caption, &found[1].extra), (&None, &None));
    let Listing::Failed(bad) = &list(&dir, &config)[1] else { panic!() };
    assert!(bad.message.contains("row 3: not JSON at column"), "{bad}");
}

#[test]
fn parquet() {
    let dir = tree(&["a.mp4", "b.mp4"]);
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("file_path", Arc::new(StringArray::from(vec![Some("a.mp4"), None, Some("b.mp4")]))),
        ("prompt", Arc::new(StringArray::from(vec![Some("one"), None, None]))),
        ("score", Arc::new(Float64Array::from(vec![0.1, 1.0, f64::NAN]))),
        ("count", Arc::new(Int64Array::from(vec![Some(i64::MAX), None, None]))),
        ("jpeg", Arc::new(BinaryArray::from_vec(vec![b"\xff"; 3]))),
    ];
    let fields: Vec<Field> = columns
        .iter()
        .map(|(name, array)| Field::new(*name, array.data_type().clone(), true))
        .collect();
    assert_eq!(fields[4].data_type(), &DataType::Binary);
    let arrays: Vec<ArrayRef> = columns.into_iter().map(|(_, array)| array).collect();
    let schema = Arc::new(Schema::new(fields));
    let batch = curate_schemas::batch::record_batch(schema.clone(), arrays, 3).unwrap();
    let file = fs::File::create(dir.path().join("l.parquet")).unwrap();
    let mut writer = ArrowWriter::try_new(file, schema, None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();

    let by_default = config(&["l.parquet"]);
    check(&dir, &by_default, &["a.mp4", "l.parquet: row_without_path", "b.mp4"]);
    let found = sources(&dir, &by_default);
    assert_eq!(found[0].caption.as_deref(), Some("one"));
    assert_eq!(found[0].extra.as_deref(), Some(r#"{"count":9223372036854775807,"score":0.1}"#));
    assert_eq!(found[1].extra.as_deref(), Some(r#"{"count":null,"score":null}"#));

    let bytes = InputConfig { caption_column: Some("jpeg".to_owned()), ..by_default };
    assert!(problems(&dir, &bytes)[0].contains("holds bytes"));
    write(&dir, "no.parquet", "text");
    assert!(problems(&dir, &config(&["no.parquet"]))[0].contains("is not Parquet"));
}
