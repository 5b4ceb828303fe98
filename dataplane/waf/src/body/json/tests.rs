use super::*;

const LIMITS: Limits = Limits { items: 100, depth: 4 };

fn read(input: &str) -> Result<Vec<(String, String)>, String> {
    let arguments = parse(input.as_bytes(), LIMITS);
    let text = |part: &[u8]| String::from_utf8(part.to_vec()).unwrap();
    match arguments.error {
        Some(error) => Err(error.to_string()),
        None => Ok(arguments
            .pairs
            .iter()
            .map(|(name, value)| (text(name), text(value)))
            .collect()),
    }
}

#[track_caller]
fn is(input: &str, pairs: &[(&str, &str)]) {
    let pairs: Vec<_> = pairs
        .iter()
        .map(|(name, value)| ((*name).into(), (*value).into()))
        .collect();
    assert_eq!(read(input), Ok(pairs), "{input}");
}

#[track_caller]
fn fails(input: &str, message: &str) {
    assert_eq!(read(input), Err(message.into()), "{input}");
}

#[test]
fn names_are_paths_and_scalars_are_text() {
    is(
        r#" {"a": {"b": 1, "c": [true, false, null, "x", {"d": -1.5e+3}, [2]]}, "e": ""} "#,
        &[
            ("json.a.b", "1"),
            ("json.a.c.array_0", "true"),
            ("json.a.c.array_1", "false"),
            ("json.a.c.array_2", ""),
            ("json.a.c.array_3", "x"),
            ("json.a.c.array_4.d", "-1.5e+3"),
            ("json.a.c.array_5.array_0", "2"),
            ("json.e", ""),
        ],
    );
    is(
        "[1,[2,3],4]",
        &[
            ("json.array_0", "1"),
            ("json.array_1.array_0", "2"),
            ("json.array_1.array_1", "3"),
            ("json.array_2", "4"),
        ],
    );
}

#[test]
fn a_scalar_is_a_document_and_nothing_is_none() {
    is("1", &[("json", "1")]);
    is("\"x\"", &[("json", "x")]);
    is("", &[]);
    is(" \n", &[]);
    is("{}", &[]);
    is("[]", &[]);
    is(r#"{"a":[],"b":{}}"#, &[]);
}

#[test]
fn one_byte_order_mark_is_passed_over() {
    is("\u{feff}{\"a\": 1}", &[("json.a", "1")]);
    is("\u{feff}", &[]);
    fails("\u{feff}\u{feff}{}", "not JSON at byte 3: there must be a value");
    fails(" \u{feff}{}", "not JSON at byte 1: there must be a value");
}

#[test]
fn equal_names_are_all_kept_and_an_empty_one_has_a_name() {
    is(
        r#"{"a":1,"a":2,"":3}"#,
        &[("json.a", "1"), ("json.a", "2"), ("json.empty-key", "3")],
    );
}

#[test]
fn escapes_are_decoded() {
    is(
        r#"["\"\\\/\b\f\n\r\t", "\u003cscript\u003E \u00e9\uD83D\ude00", "\ud800x\udc00\u0000"]"#,
        &[
            ("json.array_0", "\"\\/\x08\x0c\n\r\t"),
            ("json.array_1", "<script> é😀"),
            ("json.array_2", "?x?\0"),
        ],
    );
    is(r#"{"\u0061":1}"#, &[("json.a", "1")]);
    is(r#""\ud800\u0041""#, &[("json", "?A")]);
}

#[test]
fn what_is_not_json_is_named_with_its_place() {
    fails("{", "not JSON at byte 1: there must be a name in quotes");
    fails("{\"a\"", "not JSON at byte 4: there must be `:`");
    fails("{\"a\":", "not JSON at byte 5: it ends where a value must stand");
    fails("{\"a\":1", "not JSON at byte 6: it ends within an object or array");
    fails("{\"a\":1,}", "not JSON at byte 7: there must be a name in quotes");
    fails("{a:1}", "not JSON at byte 1: there must be a name in quotes");
    fails("[1,]", "not JSON at byte 3: there must be a value");
    fails("[1 2]", "not JSON at byte 3: there must be `,` or `]`");
    fails("{\"a\":1]", "not JSON at byte 6: there must be `,` or `}`");
    fails("[1}", "not JSON at byte 2: there must be `,` or `]`");
    fails("1 2", "not JSON at byte 2: there is more behind its end");
    fails("[1]]", "not JSON at byte 3: there is more behind its end");
    fails("'a'", "not JSON at byte 0: there must be a value");
    fails("\"a", "not JSON at byte 2: it ends within a string");
    fails(
        "\"a\nb\"",
        "not JSON at byte 2: a string must not hold a control character",
    );
    fails("\"\\x\"", "not JSON at byte 1: this is no escape");
    fails("\"\\u12\"", "not JSON at byte 1: this is no escape");
    assert!(parse(b"\"a\xff\"", LIMITS).error.is_some());
}

#[test]
fn of_a_document_that_is_cut_anywhere_nothing_is_wrong_but_its_end() {
    let at_end = |input: &[u8]| parse(input, LIMITS).error.map(|error| error.at_end);
    let whole = r#"{"a\n": [true, false, null, -10.5e+3, 0], "é": "\u00e9\ud83d\ude00", "": {}}"#.as_bytes();
    assert_eq!(at_end(whole), None);
    for end in 1..whole.len() {
        assert_eq!(at_end(&whole[..end]), Some(true), "{end}");
    }
    for wrong in [
        "[tru]",
        "[trx",
        "[01",
        "[1.x",
        "[-,",
        "[1 2",
        "{a",
        "{\"a\" 1",
        "[\"\\x",
        "[\"\\u00g",
        "[\"\n",
        "[\"\\ud83d\\n\" x",
        "[] x",
    ] {
        assert_eq!(at_end(wrong.as_bytes()), Some(false), "{wrong}");
    }
    assert_eq!(at_end(b"[\"\xff"), Some(false));
    assert_eq!(at_end(b"[\"\xc3\""), Some(false));
}

#[test]
fn numbers_are_those_of_the_grammar() {
    for good in ["0", "-0", "10", "1.0", "1e5", "1E-5", "-12.50e+07"] {
        is(good, &[("json", good)]);
    }
    for bad in [
        "01", "-", "1.", ".5", "1e", "1e+", "--1", "+1", "1.e5", "0x1", "NaN", "-a",
    ] {
        assert!(read(bad).is_err(), "{bad}");
    }
}

#[test]
fn what_stood_before_an_error_is_kept() {
    let arguments = parse(br#"{"a":"<script>", "b": nope}"#, LIMITS);
    assert_eq!(arguments.pairs.len(), 1);
    assert_eq!(&*arguments.pairs[0].1, b"<script>");
    assert!(arguments.error.is_some());
}

#[test]
fn depth_values_and_names_are_limited() {
    is("[[[[1]]]]", &[("json.array_0.array_0.array_0.array_0", "1")]);
    fails("[[[[[1]]]]]", "nested deeper than 4");
    let values = |count: usize| format!("[{}]", vec!["1"; count].join(","));
    assert_eq!(read(&values(100)).unwrap().len(), 100);
    fails(&values(101), "more than 100 values");
    assert!(parse(values(101).as_bytes(), LIMITS).truncated);

    let key = "k".repeat(10_000);
    let input = format!("{{\"{key}\":{{\"{key}\":[{}]}}}}", vec!["1"; 100].join(","));
    fails(&input, "the names of its values are too long together");
}

#[test]
fn a_million_brackets_are_read_without_recursion() {
    let limits = Limits {
        items: 10,
        depth: usize::MAX,
    };
    let input = [vec![b'['; 1 << 20], vec![b']'; 1 << 20]].concat();
    let arguments = parse(&input, limits);
    assert_eq!((arguments.error, arguments.pairs.len()), (None, 0));
}
