use super::Transformation::*;
use super::*;
use crate::testing::Random;

fn text(transformation: Transformation, input: &[u8]) -> String {
    transformation.apply(input).escape_ascii().to_string()
}

#[track_caller]
fn each(transformation: Transformation, cases: &[(&[u8], &[u8])]) {
    for (input, output) in cases {
        let input_text = input.escape_ascii();
        assert_eq!(
            text(transformation, input),
            output.escape_ascii().to_string(),
            "{input_text}"
        );
    }
}

#[test]
fn a_name_is_known_in_any_case_and_in_both_spellings() {
    for &transformation in Transformation::ALL {
        let name = transformation.name();
        assert_eq!(Transformation::from_name(name), Some(transformation));
        assert_eq!(Transformation::from_name(&name.to_uppercase()), Some(transformation));
    }
    assert_eq!(Transformation::from_name("normalisePath"), Some(NormalizePath));
    assert_eq!(Transformation::from_name("normalisepathwin"), Some(NormalizePathWin));
    for unknown in ["none", "", "lower", "base64", "trim "] {
        assert_eq!(Transformation::from_name(unknown), None);
    }
}

#[test]
fn every_transformation_is_listed_once() {
    let mut names: Vec<_> = Transformation::ALL.iter().map(|one| one.name()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), Transformation::ALL.len());
}

#[test]
fn a_value_without_anything_to_do_is_borrowed() {
    let idle: &[(Transformation, &[u8])] = &[
        (CmdLine, b"cat etc/passwd x(y)"),
        (CompressWhitespace, b"a b c"),
        (CssDecode, b"a: b"),
        (HtmlEntityDecode, b"a & b &nope; &#; &#x; &"),
        (JsDecode, b"plain"),
        (Lowercase, b"lower 1"),
        (NormalizePath, b"/a/b.c/d..e/"),
        (NormalizePathWin, b"a/b.c"),
        (ParityZero7bit, b"ascii"),
        (RemoveComments, b"a/b * - <! c"),
        (RemoveCommentsChar, b"a - b / c"),
        (RemoveNulls, b"x"),
        (RemoveWhitespace, b"x"),
        (ReplaceComments, b"a / * b */"),
        (ReplaceNulls, b"x"),
        (SqlHexDecode, b"0xg 0 x"),
        (Trim, b"a b"),
        (Uppercase, b"UPPER"),
        (UrlDecode, b"100% %zz %"),
        (UrlDecodeUni, b"100%u %u00g0"),
        (UrlEncode, b"abc*09"),
        (Utf8ToUnicode, b"ascii"),
    ];
    for (transformation, input) in idle {
        let output = transformation.apply(input);
        assert!(matches!(output, Cow::Borrowed(_)), "{transformation:?}");
        assert_eq!(&*output, *input, "{transformation:?}");
    }
}

#[test]
fn borrowed_means_equal_and_most_settle_after_one_round() {
    let mut random = Random::new(7);
    let alphabet = b"aA0f%u+ \\x*/-!<>#&;.=\t\n\0\xc3\xa9\xe2\x80\xf0\"'^,(";
    for round in 0..20_000 {
        let length = random.below(24) as usize;
        let input: Vec<u8> = (0..length)
            .filter_map(|_| alphabet.get(random.below(alphabet.len() as u64) as usize).copied())
            .collect();
        for &transformation in Transformation::ALL {
            let output = transformation.apply(&input);
            let borrowed = matches!(output, Cow::Borrowed(_));
            let trims = matches!(transformation, Trim | TrimLeft | TrimRight);
            assert!(trims || borrowed == (*output == *input), "{transformation:?} {round}");
            let settles = matches!(
                transformation,
                Lowercase
                    | Uppercase
                    | Trim
                    | TrimLeft
                    | TrimRight
                    | CompressWhitespace
                    | RemoveWhitespace
                    | RemoveNulls
                    | ReplaceNulls
                    | ReplaceComments
                    | ParityZero7bit
                    | CmdLine
            );
            if settles {
                assert_eq!(*transformation.apply(&output), *output, "{transformation:?} {round}");
            }
        }
    }
}

#[test]
fn base64_is_decoded_up_to_the_first_byte_that_is_none() {
    each(
        Base64Decode,
        &[
            (b"VGVzdENhc2U=", b"TestCase"),
            (b"VGVzdENhc2U", b"TestCase"),
            (b"VGVzdENhc2UxMg==", b"TestCase12"),
            (b"VGVz\r\ndENh\nc2Ux", b"TestCase1"),
            (b"VGVzdABDYXNl", b"Test\0Case"),
            (b"VGVz dENh", b"Tes"),
            (b"VGVz!dENh", b"Tes"),
            (b"V", b""),
            (b"=", b""),
            (b"", b""),
        ],
    );
    assert_eq!(text(Base64Encode, b"TestCase12"), "VGVzdENhc2UxMg==");
    assert_eq!(text(Base64Encode, b""), "");
}

#[test]
fn forgiving_base64_skips_what_is_not_of_the_alphabet() {
    each(
        Base64DecodeExt,
        &[
            (b"P.HNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg==", b"<script>alert(1)</script>"),
            (b"VGVz=dENhc2U=", b"TestCase"),
            (b"\xff V G V z", b"Tes"),
            (b"....", b""),
        ],
    );
}

#[test]
fn a_command_line_loses_quotes_and_doubled_blanks_and_those_before_slashes() {
    each(
        CmdLine,
        &[
            (b"C^OMMAND /C DIR", b"command/c dir"),
            (b"\"command\" /c DiR", b"command/c dir"),
            (b"com\\mand , ; (x", b"command(x"),
            (b"a\t\r\n b", b"a b"),
            (b"a \"\" b", b"a b"),
            (b"a '/", b"a/"),
            (b" /", b"/"),
            (b"a,b", b"a b"),
        ],
    );
}

#[test]
fn whitespace_is_what_isspace_says() {
    each(
        CompressWhitespace,
        &[
            (b" \x0b\x0c\ta\n b ", b" a b "),
            (b"a\tb", b"a b"),
            (b"a\xa0 b", b"a\xa0 b"),
        ],
    );
    each(RemoveWhitespace, &[(b" a\x0b\xc2\xa0b\xa0 ", b"ab")]);
    each(Trim, &[(b" \t\x0b a b\r\n", b"a b"), (b"   ", b""), (b"", b"")]);
    each(TrimLeft, &[(b"  a ", b"a ")]);
    each(TrimRight, &[(b"  a ", b"  a")]);
    each(RemoveNulls, &[(b"\0a\0\0b\0", b"ab")]);
    each(ReplaceNulls, &[(b"\0a\0", b" a ")]);
}

#[test]
fn css_takes_the_last_two_of_up_to_six_digits() {
    each(
        CssDecode,
        &[
            (
                b"test\\a\\b\\f\\n\\r\\t\\v\\?\\'\\\"\\\0\\12\\123\\1234\\12345\\123456\\ff01\\ff5e\\\n\\\0  string",
                b"test\n\x0b\x0fnrtv?'\"\0\x12#4EV!~\0  string",
            ),
            (b"\\1A\\1 A\\1234567\\123456 7\\1x\\1 x", b"\x1a\x01AV7V7\x01x\x01x"),
            (b"test\\", b"test"),
            (b"\\0ff1c\\00ff1c\\1ff1c", b"<<\x1c"),
            (b"\\ff00\\ff5f", b"\0\x5f"),
        ],
    );
}

#[test]
fn javascript_escapes_are_decoded_and_others_lose_the_backslash() {
    each(
        JsDecode,
        &[
            (
                b"\\a\\b\\f\\n\\r\\t\\v\\?\\'\\\"\\0\\12\\123\\x00\\xff",
                b"\x07\x08\x0c\n\r\t\x0b?'\"\0\n\x53\0\xff",
            ),
            (b"\\u0041\\uff1c\\uFF5e\\u12ff", b"A<~\xff"),
            (b"\\u\\u0\\u01\\u012", b"uu0u01u012"),
            (b"\\400\\377\\8\\X41\\U0041", b" 0\xff8X41U0041"),
            (b"\\", b"\\"),
            (b"\\\\0", b"\\0"),
        ],
    );
}

#[test]
fn c_escapes_are_decoded_and_others_lose_the_backslash() {
    each(
        EscapeSeqDecode,
        &[
            (
                b"\\a\\b\\f\\n\\r\\t\\v\\?\\'\\\"\\0\\12\\123\\x00\\Xff",
                b"\x07\x08\x0c\n\r\t\x0b?'\"\0\n\x53\0\xff",
            ),
            (b"\\8\\9\\666\\xag\\xga\\0123", b"89\xb6xagxga\x0a3"),
            (b"\\", b"\\"),
            (b"\\\\u0000", b"\\u0000"),
        ],
    );
}

#[test]
fn hexadecimal_is_decoded_in_pairs_and_encoded_in_lower_case() {
    each(
        HexDecode,
        &[(b"5465737400", b"Test\0"), (b"414", b"A"), (b"a", b""), (b"4G", b"P")],
    );
    each(HexEncode, &[(b"Test\0\xff", b"5465737400ff")]);
    each(
        SqlHexDecode,
        &[
            (b"0x414243", b"ABC"),
            (b"select 0X4142,0x4", b"select AB,0x4"),
            (b"0x41\x000x42", b"A\0B"),
            (b"00x4141", b"0AA"),
        ],
    );
}

#[test]
fn html_entities_need_no_semicolon() {
    each(
        HtmlEntityDecode,
        &[
            (b"&lt;&LT&gt;&amp;&quot;&nbsp;", b"<<>&\"\xa0"),
            (b"&#60;&#60 &#x3c;&#X3C", b"<< <<"),
            (b"&#0;&#256;&#x13c", b"\0\0<"),
            (b"&lta;&ltlt", b"&lta;&ltlt"),
            (b"&#99999999999999999999;&#xffffffffffffffffff;", b"\xff\xff"),
            (b"&&lt;&#&lt;&#x&lt;", b"&<&#<&#x<"),
            (b"&amp;lt;", b"&lt;"),
        ],
    );
}

#[test]
fn digests_are_binary() {
    assert_eq!(
        Sha1.apply(b"").as_ref(),
        b"\xda\x39\xa3\xee\x5e\x6b\x4b\x0d\x32\x55\xbf\xef\x95\x60\x18\x90\xaf\xd8\x07\x09"
    );
    assert_eq!(
        Md5.apply(b"").as_ref(),
        b"\xd4\x1d\x8c\xd9\x8f\x00\xb2\x04\xe9\x80\x09\x98\xec\xf8\x42\x7e"
    );
    assert_eq!(text(HexEncode, &Md5.apply(b"abc")), "900150983cd24fb0d6963f7d28e17f72");
    each(Length, &[(b"", b"0"), (b"0123456789", b"10"), (b"1", b"1")]);
}

#[test]
fn a_path_loses_doubled_slashes_and_dot_segments() {
    each(
        NormalizePath,
        &[
            (b"/foo//bar", b"/foo/bar"),
            (b".", b""),
            (b"./", b""),
            (b"./..", b".."),
            (b"./../", b"../"),
            (b"..", b".."),
            (b"../.", b".."),
            (b"../..", b"../.."),
            (b"dir/../foo", b"foo"),
            (b"dir/../../foo", b"../foo"),
            (b"dir/./.././../../foo/bar/..", b"../../foo"),
            (b"dir//.//..//.//..//..//foo//bar//", b"../../foo/bar/"),
            (b"dir/./subdir/../subsubdir/../subsubsubdir/..", b"dir"),
            (b"/dir/./subdir/../subsubdir/../subsubsubdir/../", b"/dir/"),
            (b"/./.././../../../../../../..//0/../etc/./passwd", b"/etc/passwd"),
            (b"/..", b""),
            (b"/../", b"/"),
            (b"/a/..", b""),
            (b"//", b"/"),
            (b"/foo/bar\0/baz", b"/foo/bar\0/baz"),
            (b"x/y../z", b"x/z"),
            (b"\\a\\..\\b", b"\\a\\..\\b"),
        ],
    );
}

#[test]
fn a_windows_path_has_backslashes_for_slashes() {
    each(
        NormalizePathWin,
        &[
            (b"\\foo\\bar\\baz", b"/foo/bar/baz"),
            (b"\\\\\\foo/\\bar", b"/foo/bar"),
            (b".\\..\\", b"../"),
            (b"dir\\.\\..\\.\\..\\..\\foo\\bar\\.", b"../../foo/bar"),
            (
                b"\\.\\..\\.\\..\\..\\..\\..\\..\\..\\..\\\\0\\..\\etc\\.\\passwd",
                b"/etc/passwd",
            ),
        ],
    );
}

#[test]
fn parity_is_of_all_eight_bits() {
    each(ParityEven7bit, &[(b"abc\xe1", b"\xe1\xe2c\x61")]);
    each(ParityOdd7bit, &[(b"abc", b"ab\xe3")]);
    each(ParityZero7bit, &[(b"\xe1b\xff", b"ab\x7f")]);
}

#[test]
fn comments_are_removed_and_the_byte_after_one_is_not_looked_at() {
    each(
        RemoveComments,
        &[
            (b"/* TestCase */", b"\0"),
            (b"Before/* x */After", b"BeforeAfter"),
            (b"Before x */ After", b"Before x */ After"),
            (b"/*Before/* Test\r\nCase ", b" "),
            (b"a<!-- b -->c", b"ac"),
            (b"a/* b -->c", b"ac"),
            (b"a/**//**/b", b"a/**/b"),
            (b"a--b", b"a"),
            (b"a#b", b"a"),
            (b"a/*", b"a "),
        ],
    );
    each(
        RemoveCommentsChar,
        &[
            (b"a/*b*/c<!--d-->e--f#g", b"abcdefg"),
            (b"/*/", b"/"),
            (b"*/x", b"x"),
            (b"---", b"-"),
            (b"--->", b"->"),
        ],
    );
    each(
        ReplaceComments,
        &[
            (b"Before/* x */After", b"Before After"),
            (b"a/*b*//*c", b"a  "),
            (b"/*/", b" "),
            (b"a*/b", b"a*/b"),
            (b"/**/", b" "),
        ],
    );
}

#[test]
fn urls_are_decoded_where_they_are_encoded() {
    each(
        UrlDecode,
        &[
            (b"%41+%2b%00%", b"A +\0%"),
            (b"%4%41%zz%u0041", b"%4A%zz%u0041"),
            (b"%%41", b"%A"),
        ],
    );
    each(UrlEncode, &[(b"a b*/\0\xe9", b"a+b*%2f%00%e9")]);
}

#[test]
fn unicode_escapes_are_the_best_fit_in_us_ascii() {
    each(
        UrlDecodeUni,
        &[
            (b"%u0041%U0042+%43", b"AB C"),
            (b"%uff1cscript%uff1e%uff01%uff5e%uff1f%uff3d", b"<script>!~?]"),
            (b"%u2039%u203a%u2019%u201c%u2032%u02b9", b"<>'\"''"),
            (b"%u0130%u0131%u00e9%u0107%u00b2%u00b3%u00bb%u00a0%u2122", b"Iiec23> T"),
            (b"%u017b%u017c%u0180%u0192%u01ff%u2000%u2007", b"Zzbf\xff \x07"),
            (b"%u4141%uff00%uff5f", b"A\0\x5f"),
            (b"%u004%u00zz%u", b"%u004%u00zz%u"),
        ],
    );
}

#[test]
fn characters_beyond_ascii_become_unicode_escapes() {
    each(
        Utf8ToUnicode,
        &[
            ("aé€😀".as_bytes(), b"a%u00e9%u20ac%u1f600"),
            (b"\xf4\x80\x80\x80", b"%u100000"),
            (b"\xc0\xaf", b"%u002f\xc0"),
            (b"\xed\xa0\x80", b"%ud800\xed"),
            (b"\xc3x\xe2\x80y\xf0\x9f\x98", b"x\x80y\x9f\x98"),
            (b"\x80\xff\xf8", b"\x80\xff\xf8"),
            (b"a\0b", b"ab"),
            (b"\xf5\x80\x80\x80", b"\xf5%u140000"),
        ],
    );
}

#[test]
fn the_worst_takes_no_more_than_a_few_times_its_size() {
    for piece in [
        "/*", "\\", "&#", "%u", "../", "--", "&a", "<!--", "0x", "/../a", "é", "*/",
    ] {
        let input = piece.repeat((1 << 16) / piece.len());
        for &transformation in Transformation::ALL {
            assert!(transformation.apply(input.as_bytes()).len() <= 3 * input.len());
        }
    }
}

#[test]
fn paths_are_decoded_once_and_a_plus_in_them_stays() {
    assert_eq!(percent_decoded(b"/a%2520%zz%4+"), &b"/a%20%zz%4+"[..]);
    assert!(matches!(percent_decoded(b"/a"), Cow::Borrowed(b"/a")));
}
