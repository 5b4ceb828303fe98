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
fn the_content_type_is_read_strictly() {
    let cases = [
        ("", "Content-Type header not available."),
        ("multipart/mixed; boundary=B", "Invalid MIME type."),
        ("multipart/form-data", "Boundary not found in C-T."),
        (
            "multipart/form-data; BOUNDARY=B",
            "Invalid boundary in C-T (case sensitivity).",
        ),
        (
            "multipart/form-data; boundary=B; Boundary=C",
            "Multiple boundary parameters in C-T.",
        ),
        (
            "multipart/form-data;; boundary=B",
            "Invalid boundary in C-T (malformed).",
        ),
        ("multipart/form-data; boundary", "Invalid boundary in C-T (malformed)."),
        (
            "multipart/form-data; boundary1=B",
            "Invalid boundary in C-T (parameter name).",
        ),
        ("multipart/form-data; boundary=\"B", "Invalid boundary in C-T (quote)."),
        ("multipart/form-data; boundary=B\"", "Invalid boundary in C-T (quote)."),
        ("multipart/form-data; boundary=", "Invalid boundary in C-T (empty)."),
        ("multipart/form-data; boundary=\"\"", "Invalid boundary in C-T (empty)."),
        (
            "multipart/form-data; boundary=B@",
            "Invalid boundary in C-T (characters).",
        ),
        (
            "multipart/form-data; boundary=B ",
            "Invalid boundary in C-T (characters).",
        ),
    ];
    let body = named("1");
    for (content_type, message) in cases {
        let multipart = read(content_type, &body);
        fails(&multipart, &format!("Multipart: {message}"));
        assert!(multipart.parts.is_empty(), "{content_type}");
    }
    fails(
        &read(&format!("{TYPE}{}", "x".repeat(1024)), ""),
        "Multipart: Invalid boundary in C-T (length).",
    );
}

#[test]
fn oddities_of_the_content_type_are_flagged() {
    let cases = [
        ("multipart/form-data; boundary=\"B\"", "boundary_quoted"),
        ("multipart/form-data boundary=B", "missing_semicolon"),
        ("multipart/form-data; boundary =B", "boundary_whitespace"),
        ("multipart/form-data; boundary=\"B\"; charset=utf-8", "boundary_quoted"),
        (
            "multipart/form-data; a=\"b; c\" ;boundary=\"B\" ; d=e;",
            "boundary_quoted",
        ),
        ("Multipart/Form-Data; boundary=B; charset=utf-8", ""),
        ("multipart/form-data;charset=UTF-8;boundary=B", ""),
        ("multipart/form-data; charset=\"utf-8\" ; boundary=B; a=\"b\";", ""),
    ];
    for (content_type, expected) in cases {
        let body = named("1");
        let multipart = read(content_type, &body);
        assert_eq!(multipart.error, None, "{content_type}");
        assert_eq!(flags(multipart.flags), expected, "{content_type}");
        assert_eq!(multipart.is_strict_error(), !expected.is_empty());
    }
    let body = named("1").replace("--B", "-- B");
    assert_eq!(
        flags(read("multipart/form-data; boundary= B", &body).flags),
        "boundary_whitespace"
    );
}

#[test]
fn a_content_type_that_servers_may_read_in_two_ways_is_an_error() {
    let malformed = "Invalid boundary in C-T (malformed).";
    let multiple = "Multiple boundary parameters in C-T.";
    let cases = [
        ("; charset=x boundary=B", malformed),
        ("; charset = x; boundary=B", malformed),
        ("; charset=; boundary=B", malformed),
        ("; =x; boundary=B", malformed),
        ("; charset; boundary=B", malformed),
        ("; charset=x;; boundary=B", malformed),
        ("; x-boundary=B", malformed),
        ("; a=\"b; boundary=B", malformed),
        ("; a=\"b\\\"; boundary=B; c=\"", malformed),
        ("; a=\"b\\\\\"; boundary=B", malformed),
        ("; a=\"b\"c; boundary=B", malformed),
        ("; a=boundary", malformed),
        ("; boundary=B; charset", malformed),
        ("; boundary=B; a=\"b", malformed),
        ("; boundary=B;; a=b", malformed),
        ("; boundary=\"B\" a=b", malformed),
        ("; boundary=\"B\"C", malformed),
        ("; a=\"boundary=C\"; boundary=B", multiple),
        ("; boundary=B; boundary=B", multiple),
        ("; boundary=B; a=\"; boundary=C\"", multiple),
        ("; boundary*0=B; boundary*1=C", multiple),
        ("; boundary*=utf-8''B", "Invalid boundary in C-T (parameter name)."),
    ];
    let body = named("1");
    for (parameters, message) in cases {
        let multipart = read(&format!("multipart/form-data{parameters}"), &body);
        fails(&multipart, &format!("Multipart: {message}"));
    }
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
fn content_disposition_faults_have_modsecuritys_numbers() {
    let cases = [
        ("form-data x", -2),
        ("form-data; ", -3),
        ("form-data; name", -4),
        ("form-data; name ", -5),
        ("form-data; name x=1", -13),
        ("form-data; name=", -6),
        ("form-data; name=\"", -7),
        ("form-data; name=\"a\\", -8),
        ("form-data; name=\"a; filename=b", -10),
        ("form-data; name=a; name=b", -14),
        ("form-data; name=a; filename=b; filename=c", -15),
        ("form-data; name=a; size=1", -11),
        ("form-data; name=\"a\"b", -12),
        ("form-data; name=a; filename*=x", -16),
        ("form-data; name=a; filename*=utf-8'x", -17),
        ("form-data; name=a; filename*=utf-8''%4", -18),
        ("form-data; name=a; filename*=utf-8''a b", -19),
        ("form-data; name=a; filename*=utf-8''a; filename*=utf-8''b", -20),
        ("form-data; name=a; filename*=utf-8''b", -21),
        ("form-data; name=a; filename=\"\"; filename*=utf-8''b", -21),
        ("form-data; name=a; filename=b; filename*=utf-7''b", -22),
        ("form-data; name=a; filename=b; filename*=utf-8''%c0%ae", -23),
        ("form-data; name=a; filename=b; filename*=utf-8''b%00.png", -24),
        ("form-data; name=a; filename=b; filename*=utf-8''b%0d%0A", -24),
        ("form-data; name=a; filename=b; filename*=utf-8''", -24),
        ("form-data; name=a; name*=utf-8''b", -11),
        ("form-data; name=a; filename*0=b", -11),
        ("form-data; name=a; filename*0*=utf-8''b", -11),
        ("form-data; name=a; Filename*=utf-8''b", -11),
    ];
    for (value, code) in cases {
        let body = part(&format!("Content-Disposition: {value}"), "1");
        let multipart = read(TYPE, &body);
        let shown = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\'', "\\'");
        fails(
            &multipart,
            &format!("Multipart: Invalid Content-Disposition header ({code}): {shown}"),
        );
    }
}

#[test]
fn single_quotes_are_flagged_but_within_double_ones() {
    let cases = [
        ("name='a'", "a", "invalid_quoting"),
        ("name=a'b", "a'b", "invalid_quoting"),
        ("name=\"a'b\"", "a'b", ""),
        ("name=\"a\\b\\\\c\\\"d\"", "a\\b\\c\"d", ""),
        ("name=a; filename=b; filename*=utf-8'en'%e2%82%ac", "a", ""),
        ("name=\ta ;filename=\t\"b\" ", "a", ""),
    ];
    for (parameters, name, expected) in cases {
        let body = part(&format!("Content-Disposition: form-data; {parameters}"), "1");
        let multipart = read(TYPE, &body);
        assert_eq!(multipart.error, None, "{parameters}");
        assert_eq!(multipart.parts[0].name, name.as_bytes(), "{parameters}");
        assert_eq!(flags(multipart.flags), expected, "{parameters}");
    }
    let body = part("Content-Disposition: form-data; name=\"a\"\"b\"", "1");
    assert!(read(TYPE, &body).flags.invalid_quoting);
}

#[test]
fn a_second_name_of_a_file_is_decoded_once() {
    let cases = [
        ("filename=\"a.png\"; filename*=UTF-8''a.php", "a.png", "a.php"),
        ("filename*=utf-8'en'..%2F%2e.%5cx.jsp; filename=b", "b", "../..\\x.jsp"),
        ("filename=b; filename*=UTF-8''%e2%82%ac+%252e", "b", "€+%2e"),
        ("filename=b; filename*=ISO-8859-1''%e9", "b", "é"),
    ];
    for (parameters, name, second) in cases {
        let body = part(&format!("Content-Disposition: form-data; name=f; {parameters}"), "1");
        let multipart = read(TYPE, &body);
        assert_eq!(multipart.error, None, "{parameters}");
        assert_eq!(multipart.flags, MultipartFlags::default(), "{parameters}");
        let file = &multipart.parts[0];
        assert_eq!(file.filename.as_deref(), Some(name.as_bytes()), "{parameters}");
        assert_eq!(
            file.extended_filename.as_deref(),
            Some(second.as_bytes()),
            "{parameters}"
        );
    }
}

#[test]
fn a_second_name_alone_is_an_error_and_is_read() {
    let head = "Content-Disposition: form-data; name=f; filename*=UTF-8''..%2F..%2Fx.jsp";
    let body = part(head, "1");
    let multipart = read(TYPE, &body);
    assert!(multipart.error.is_some());
    let file = &multipart.parts[0];
    assert_eq!((file.name.as_slice(), &file.filename), (&b"f"[..], &None));
    assert_eq!(file.extended_filename.as_deref(), Some(&b"../../x.jsp"[..]));
}

#[test]
fn a_file_must_be_one_to_crude_readers_too() {
    let body = part("Content-Disposition: form-data; name=a; filename = b", "1");
    fails(
        &read(TYPE, &body),
        "Multipart: Invalid Content-Disposition header (filename).",
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
