mod content_type;
mod disposition;

use super::*;

const LIMITS: Limits = Limits { items: 10, depth: 1 };
const TYPE: &str = "multipart/form-data; boundary=B";

fn read<'b>(content_type: &str, body: &'b str) -> Multipart<'b> {
    parse(content_type.as_bytes(), body.as_bytes(), LIMITS)
}

/// A body with one part: `head` has no line end at its end.
fn part(head: &str, content: &str) -> String {
    format!("--B\r\n{head}\r\n\r\n{content}\r\n--B--\r\n")
}

fn named(content: &str) -> String {
    part("Content-Disposition: form-data; name=\"a\"", content)
}

#[track_caller]
fn fails(multipart: &Multipart<'_>, message: &str) {
    assert_eq!(
        multipart.error.as_ref().map(ToString::to_string).as_deref(),
        Some(message)
    );
    assert!(multipart.is_strict_error());
}

/// The flags that are set, by name.
fn flags(flags: MultipartFlags) -> String {
    let text = format!("{flags:?}");
    let text = text.trim_start_matches("MultipartFlags { ").trim_end_matches(" }");
    let set = text
        .split(", ")
        .filter(|flag| !flag.ends_with("false") && !flag.ends_with(": 0"));
    set.map(|flag| flag.trim_end_matches(": true"))
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn fields_and_files_are_told_apart_and_a_clean_body_has_no_flags() {
    let body = "--B\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n2\r\n\
                --B\r\ncontent-disposition: form-data; name=f; filename=\"x \\\"y\\\".php\"\r\nContent-Type: text/plain\r\n\r\n\
                \r\n--B\r\nContent-Disposition: form-data; name=\"e\"; filename=\"\"\r\n\r\n\r\n--B--\r\n";
    let multipart = read(TYPE, body);
    assert_eq!(multipart.error, None);
    assert_eq!(multipart.flags, MultipartFlags::default());
    assert!(!multipart.is_strict_error());
    let [field, file, empty] = multipart.parts.as_slice() else {
        panic!("{multipart:?}")
    };
    assert_eq!(
        (field.name.as_slice(), &field.filename, field.content),
        (&b"a"[..], &None, &b"1\r\n2"[..])
    );
    assert_eq!((file.name.as_slice(), file.content), (&b"f"[..], &b""[..]));
    assert_eq!(file.filename.as_deref(), Some(&b"x \"y\".php"[..]));
    assert_eq!(file.headers.len(), 2);
    assert_eq!(file.headers[1], &b"Content-Type: text/plain"[..]);
    assert_eq!((empty.name.as_slice(), &empty.filename), (&b"e"[..], &None));
}

#[test]
fn an_empty_body_is_no_error_and_the_last_line_needs_no_end() {
    assert_eq!(read(TYPE, "").error, None);
    let body = named("1");
    let multipart = read(TYPE, body.trim_end());
    assert_eq!((multipart.error, multipart.parts.len()), (None, 1));
    assert_eq!(multipart.flags, MultipartFlags::default());
}

#[test]
fn empty_lines_before_and_after_the_parts_are_nothing_odd() {
    for (before, after) in [("\r\n", ""), ("", "\r\n"), ("\r\n\r\n", "\r\n\r\n"), ("", "\r")] {
        let body = format!("{before}{}{after}", named("1"));
        let multipart = read(TYPE, &body);
        assert_eq!(multipart.error, None);
        assert_eq!(multipart.flags, MultipartFlags::default(), "{before:?} {after:?}");
        assert_eq!(multipart.parts[0].content, b"1");
    }
    for before in ["\n", " \r\n", "\r\r\n", "\r\nx\r\n"] {
        let body = format!("{before}{}", named("1"));
        assert!(read(TYPE, &body).flags.data_before, "{before:?}");
    }
    for after in ["\n", " ", "\r\r\n", "\r\n--B\r\n"] {
        let body = format!("{}{after}", named("1"));
        assert!(read(TYPE, &body).flags.data_after, "{after:?}");
    }
}

#[test]
fn line_feeds_alone_are_flagged_and_mixed_ends_too() {
    let lf = named("1").replace("\r\n", "\n");
    let multipart = read(TYPE, &lf);
    assert_eq!(
        (flags(multipart.flags).as_str(), multipart.parts[0].content),
        ("lf_line", &b"1"[..])
    );
    let before_boundary = named("1\n--B--").replace("\r\n--B--\r\n", "");
    assert_eq!(flags(read(TYPE, &before_boundary).flags), "crlf_lf_lines lf_line");
    let in_head = named("1").replace("\"a\"\r\n", "\"a\"\n");
    assert_eq!(flags(read(TYPE, &in_head).flags), "crlf_lf_lines lf_line");
    assert_eq!(flags(read(TYPE, &named("1\n2")).flags), "");
}

#[test]
fn data_before_and_after_is_flagged() {
    assert_eq!(flags(read(TYPE, &format!("x\r\n{}", named("1"))).flags), "data_before");
    assert_eq!(flags(read(TYPE, &format!("{}x", named("1"))).flags), "data_after");
}

#[test]
fn a_body_without_its_last_boundary_is_an_error_and_shows_what_there_is() {
    let whole = named("1\r\n2");
    for end in [whole.len() - 1, whole.len() - 3] {
        let cut = &whole[..end];
        let multipart = read(TYPE, cut);
        fails(&multipart, "Multipart: Final boundary missing.");
        assert!(multipart.parts[0].content.starts_with(b"1\r\n2"));
    }
    fails(&read(TYPE, "x\r\ny"), "Multipart: No boundaries found in payload.");
    fails(&read(TYPE, "--B"), "Multipart: No boundaries found in payload.");
}

#[test]
fn of_a_body_that_is_cut_anywhere_nothing_is_wrong_but_its_end() {
    let field = "--B\r\nContent-Disposition: form-data; name=\"f\"\r\nContent-Type: text/plain\r\n\r\n1\r\n2\r\n";
    let whole = format!("{field}{}", named("3"));
    for end in 1..whole.len() - 2 {
        let multipart = read(TYPE, &whole[..end]);
        assert_eq!(multipart.error.map(|error| error.at_end), Some(true), "{end}");
        assert_eq!(multipart.flags, MultipartFlags::default(), "{end}");
    }
    let broken = read(TYPE, "--B\r\nX\r\n\r\n1");
    assert_eq!(broken.error.map(|error| error.at_end), Some(false));
}

#[test]
fn folded_headers_are_flagged_and_shown_unfolded() {
    let body = part("Content-Disposition: form-data;\r\n\t name=\"a\"", "1");
    let multipart = read(TYPE, &body);
    assert_eq!(multipart.error, None);
    assert_eq!(flags(multipart.flags), "header_folding");
    assert_eq!(multipart.parts[0].name, b"a");
    assert_eq!(
        multipart.parts[0].headers[0],
        &b"Content-Disposition: form-data; name=\"a\""[..]
    );

    let body = part("Content-Disposition: form-data;\r\n\x0bname=\"a\"", "1");
    assert_eq!(flags(read(TYPE, &body).flags), "header_folding invalid_header_folding");
    let body = part(" x\r\nContent-Disposition: form-data; name=\"a\"", "1");
    fails(&read(TYPE, &body), "Multipart: Invalid part header (folding error).");
}

#[test]
fn a_part_with_a_broken_head_has_no_name_but_its_content() {
    let long = "x".repeat(4096);
    let cases = [
        ("X: y", "Part missing Content-Disposition header."),
        (
            "Content-Disposition: form-data",
            "Content-Disposition header missing name field.",
        ),
        (
            "Content-Disposition: form-data; name=\"\"",
            "Content-Disposition header missing name field.",
        ),
        (
            "Content-Disposition",
            "Invalid part header (colon missing): Content-Disposition",
        ),
        (": x", "Invalid part header (header name missing)."),
        ("X: \0", "Nul byte in part headers."),
        (long.as_str(), "Part header line over 4096 bytes long"),
        (
            "Content-Disposition: attachment; name=a",
            "Invalid Content-Disposition header (-1): attachment; name=a",
        ),
    ];
    for (head, message) in cases {
        let body = part(head, "<script>");
        let multipart = read(TYPE, &body);
        fails(&multipart, &format!("Multipart: {message}"));
        assert!(multipart.flags.invalid_part, "{head:.40}");
        assert!(multipart.parts[0].name.is_empty());
        assert!(multipart.parts[0].content.ends_with(b"<script>"), "{head:.40}");
    }
}

#[test]
fn parts_behind_a_broken_one_are_read() {
    let body = format!("--B\r\nX\r\n\r\n1\r\n{}", named("2"));
    let multipart = read(TYPE, &body);
    fails(&multipart, "Multipart: Invalid part header (colon missing): X");
    assert_eq!(multipart.parts.len(), 2);
    assert_eq!(
        (multipart.parts[1].name.as_slice(), multipart.parts[1].content),
        (&b"a"[..], &b"2"[..])
    );
}

#[test]
fn doubled_headers_and_odd_names_are_errors_and_are_shown() {
    let first = "Content-Disposition: form-data; name=\"a\"";
    let body = part(&format!("{first}\r\nCONTENT-DISPOSITION: form-data; name=\"b\""), "1");
    let multipart = read(TYPE, &body);
    fails(&multipart, "Multipart: Duplicate part header: CONTENT-DISPOSITION");
    assert_eq!(
        (multipart.parts[0].name.as_slice(), multipart.parts[0].headers.len()),
        (&b"a"[..], 2)
    );

    let body = part(&format!("{first}\r\n\x0eX: y"), "1");
    let multipart = read(TYPE, &body);
    fails(
        &multipart,
        "Multipart: Invalid part header (contains invalid character): \\x0eX: y",
    );
    assert_eq!(
        (multipart.parts[0].name.as_slice(), multipart.parts[0].headers.len()),
        (&b"a"[..], 2)
    );
}

#[test]
fn what_looks_like_a_boundary_is_flagged_until_the_boundary_comes() {
    assert_eq!(
        flags(read(TYPE, &named("-----BEGIN X-----")).flags),
        "unmatched_boundary: 2"
    );
    assert_eq!(flags(read(TYPE, &named("a --B c")).flags), "unmatched_boundary: 2");
    assert_eq!(flags(read(TYPE, &named("--")).flags), "unmatched_boundary: 2");
    assert_eq!(flags(read(TYPE, &named("a -- c")).flags), "");
    let body = format!("--C\r\n{}", named("1"));
    let flags = read(TYPE, &body[..body.len() - 4]).flags;
    assert!(flags.data_before);
    assert_eq!(flags.unmatched_boundary, 1);
}

#[test]
fn a_boundary_must_end_its_line_and_have_nothing_before_it() {
    let cases = [
        ("--BC", "Invalid boundary: --BC\\r\\n"),
        ("--B-", "Invalid boundary: --B-\\r\\n"),
        ("--B ", "Invalid boundary: --B \\r\\n"),
        ("-- B", "Invalid boundary (whitespace)."),
    ];
    for (line, message) in cases {
        let body = named(&format!("1\r\n{line}\r\n2"));
        let multipart = read(TYPE, &body);
        fails(&multipart, &format!("Multipart: {message}"));
        assert!(multipart.parts[0].content.ends_with(b"2"));
    }
    let body = named("1\r\n--\"B\"");
    fails(
        &read("multipart/form-data; boundary=\"B\"", &body),
        "Multipart: Invalid boundary (quotes).",
    );
}

#[test]
fn a_boundary_where_content_must_begin_is_flagged() {
    let body = named("").replace("\r\n\r\n\r\n--B--", "\r\n\r\n--B--");
    let multipart = read(TYPE, &body);
    assert_eq!(flags(multipart.flags), "invalid_part");
    fails(&multipart, "Multipart: Final boundary missing.");
    let multipart = read(TYPE, body.trim_end());
    assert_eq!(
        (flags(multipart.flags).as_str(), multipart.error),
        ("invalid_part", None)
    );
}

#[test]
fn parts_are_limited() {
    let field = "--B\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n";
    let multipart_of = |count: usize| format!("{}--B--\r\n", field.repeat(count));
    let body = multipart_of(10);
    assert_eq!((read(TYPE, &body).error, read(TYPE, &body).parts.len()), (None, 10));
    let body = multipart_of(11);
    let multipart = read(TYPE, &body);
    fails(&multipart, "Multipart: more than 10 parts");
    assert!(multipart.flags.file_limit_exceeded);
    assert_eq!(multipart.parts.len(), 10);
}
