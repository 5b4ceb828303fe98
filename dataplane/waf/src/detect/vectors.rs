//! Runs libinjection's own test vectors, which are not part of this repository, and a few of ours in the same form.
//!
//! Where they are is said by `BREAKWATER_LIBINJECTION`; without it they are looked for beside the repository.
//! `scripts/test` counts a skip where they are not.

use std::fmt::Write as _;
use std::path::PathBuf;

use super::html::{Kind as HtmlKind, Place, Tokens};
use super::sql::fold::Folded;
use super::sql::scan::{Context, Scanner};
use super::sql::token::{Kind, Token};
use super::{sqli, xss};

const ANSI: Context = Context {
    quote: None,
    mysql: false,
};

#[test]
fn all_vectors_of_libinjection_pass() {
    let directory = std::env::var_os("BREAKWATER_LIBINJECTION").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/libinjection"),
        PathBuf::from,
    );
    let Ok(files) = std::fs::read_dir(directory.join("tests")) else {
        println!(
            "skipped: no vectors in {} (BREAKWATER_LIBINJECTION)",
            directory.display()
        );
        return;
    };
    let mut passed = 0;
    let mut failures = Vec::new();
    for file in files {
        let path = file.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let content = String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned();
        let (_, rest) = content
            .split_once("--INPUT--\n")
            .unwrap_or_else(|| panic!("{name} has no input"));
        let (input, expected) = rest
            .split_once("--EXPECTED--")
            .unwrap_or_else(|| panic!("{name} expects nothing"));
        let (input, expected) = (trimmed(input), trimmed(expected.trim_start_matches('\n')));
        let found = outcome(&name, input);
        // Words that were folded into one are in upper case here, whatever they were.
        if trimmed(&found).eq_ignore_ascii_case(expected) {
            passed += 1;
        } else {
            failures.push(format!(
                "{name}: {input}\n  expected {expected:?}\n  found    {found:?}"
            ));
        }
    }
    assert!(
        failures.is_empty(),
        "{} of {}:\n{}",
        failures.len(),
        failures.len() + passed,
        failures.join("\n")
    );
    assert!(passed > 0, "{} has no vectors", directory.display());
    println!("{passed} vectors passed");
}

#[test]
fn our_own_vectors_pass() {
    for (name, input, expected) in [
        ("test-tokens-", "SELECT`x`.1e5", "E SELECT\nn x\n1 .1e5"),
        (
            "test-tokens-",
            "select.sys.stragg .5 1.e 0xfg $1,0 $",
            "E select\n. .\nf sys.stragg\n1 .5\nn 1.e\n1 0xf\nn g\n1 $1,0\nn $",
        ),
        (
            "test-tokens-",
            "b'01' x'fg' n'x' u&'a' q'(b)' e'c\\'d'",
            "1 b'01'\nn x\ns 'fg'\ns 'x'\ns uau\ns qbq\ns 'c\\'d'",
        ),
        (
            "test-tokens-",
            "$$a$$ $t$b$t$ @@`v` @'w",
            "s $a$\ns $b$\nv @@`v`\nv @'w",
        ),
        (
            "test-tokens-",
            "a<=>b::c:d&&e",
            "n a\no <=>\nn b\no ::\nn c\n: :\nn d\n& &&\nn e",
        ),
        (
            "test-tokens-",
            "1--x\n2#3/*4*/5/*/*/",
            "1 1\nc --x\n1 2\no #\n1 3\nc /*4*/\n1 5\nX /*/*/",
        ),
        ("test-tokens-", "'a''b\\'c\" d", "s 'a''b\\'c\" d"),
        (
            "test-folding-",
            "(((-1+1))) union all select",
            "1 1\n) )\nU UNION ALL\nE select",
        ),
        ("test-folding-", "a.b.c in (1,2) /* end */", "n a.b.c\nc /* end */"),
        ("test-folding-", "{``.``.id}", "{ {\nX"),
        (
            "test-html5-",
            "</><a /b=c/>x",
            "DATA_TEXT,1,>\nTAG_NAME_OPEN,1,a\nATTR_NAME,1,b\nATTR_VALUE,2,c/\nTAG_NAME_CLOSE,1,>\nDATA_TEXT,1,x",
        ),
        (
            "test-html5-",
            "<a b=\"c\"d='e' f>",
            "TAG_NAME_OPEN,1,a\nATTR_NAME,1,b\nATTR_VALUE,1,c\nATTR_NAME,1,d\nATTR_VALUE,1,e\nATTR_NAME,1,f\nTAG_NAME_CLOSE,1,>",
        ),
        (
            "test-html5-",
            "<!--a--!b-!>c<?d>",
            "TAG_COMMENT,5,a--!b\nDATA_TEXT,1,c\nTAG_COMMENT,1,d",
        ),
        ("test-sqli-", "1' or sp_password--", "s&nc"),
        ("test-xss-", "<xss>", "1"),
        ("test-xss-", "<xsss>", "0"),
    ] {
        assert_eq!(trimmed(&outcome(name, input)), expected, "{name} {input}");
    }
}

/// What the vector's kind, which its name says, is about, as libinjection's test driver prints it.
fn outcome(name: &str, input: &str) -> String {
    let bytes = input.as_bytes();
    let is = |kind| name.starts_with(kind);
    let mut printed = String::new();
    if is("test-tokens-") {
        Scanner::new(bytes, ANSI).for_each(|token| print(&mut printed, bytes, &token));
    } else if is("test-folding-") {
        Folded::of(bytes, ANSI)
            .tokens()
            .iter()
            .for_each(|token| print(&mut printed, bytes, token));
    } else if is("test-sqli-") {
        printed.push_str(sqli(bytes).as_ref().map_or("", |fingerprint| fingerprint.as_str()));
    } else if is("test-html5-") {
        for (kind, text) in Tokens::new(bytes, Place::Data) {
            writeln!(
                printed,
                "{},{},{}",
                html_name(kind),
                text.len(),
                String::from_utf8_lossy(text)
            )
            .unwrap();
        }
    } else if is("test-xss-") {
        printed.push(if xss(bytes) { '1' } else { '0' });
    } else {
        panic!("no kind of vector is called {name}");
    }
    printed
}

fn print(printed: &mut String, input: &[u8], token: &Token<'_>) {
    let mark = |mark| {
        if mark == 0 {
            String::new()
        } else {
            char::from(mark).to_string()
        }
    };
    let (opened, closed) = match token.kind {
        Kind::Text | Kind::Variable => (mark(token.opened), mark(token.closed)),
        _ => Default::default(),
    };
    // Variables are printed with their signs, which are no part of their text.
    let start = (token.text.as_ptr() as usize).wrapping_sub(input.as_ptr() as usize);
    let signs = match (token.kind, input.get(..start.saturating_sub(opened.len()))) {
        (Kind::Variable, Some([.., b'@', b'@'])) => "@@",
        (Kind::Variable, Some([.., b'@'])) => "@",
        _ => "",
    };
    let letter = char::from(token.kind.letter());
    let text = String::from_utf8_lossy(token.text);
    writeln!(printed, "{letter} {signs}{opened}{text}{closed}").unwrap();
}

fn html_name(kind: HtmlKind) -> &'static str {
    match kind {
        HtmlKind::Text => "DATA_TEXT",
        HtmlKind::TagOpen => "TAG_NAME_OPEN",
        HtmlKind::TagEnd => "TAG_NAME_CLOSE",
        HtmlKind::TagSelfClose => "TAG_NAME_SELFCLOSE",
        HtmlKind::TagClose => "TAG_CLOSE",
        HtmlKind::AttributeName => "ATTR_NAME",
        HtmlKind::AttributeValue => "ATTR_VALUE",
        HtmlKind::Comment => "TAG_COMMENT",
        HtmlKind::Doctype => "DOCTYPE",
    }
}

fn trimmed(text: &str) -> &str {
    text.trim_end_matches([' ', '\n', '\t', '\r'])
}
