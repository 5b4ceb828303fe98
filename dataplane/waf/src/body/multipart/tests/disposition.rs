//! The Content-Disposition of a part, and the names in it.

use super::*;

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
