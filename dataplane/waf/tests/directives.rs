//! The table of directives in docs/waf.md is what the parser does.
//!
//! `UPDATE_GOLDEN=1` writes it anew: read the difference before you commit it.

use std::path::Path;

use breakwater_waf::seclang::{Standing, directives};

const BEGIN: &str = "<!-- directives -->\n";
const END: &str = "<!-- end of directives -->\n";

/// The table: a row for each thing that becomes of directives, in the order of the code.
fn table() -> String {
    let mut rows: Vec<(Standing, Vec<&str>)> = Vec::new();
    for (name, standing) in directives() {
        match rows.iter_mut().find(|(known, _)| *known == standing) {
            Some((_, names)) => names.push(name),
            None => rows.push((standing, vec![name])),
        }
    }
    let mut out = String::from("| directive | here | |\n|---|---|---|\n");
    for (standing, names) in rows {
        let (here, why) = match standing {
            Standing::Effective => ("takes effect".to_owned(), String::new()),
            Standing::Policy(field) => ("said by the policy".to_owned(), format!("`{field}`")),
            Standing::Idle(why) => ("no effect, a warning".to_owned(), why.to_owned()),
            Standing::Only(value, why) => (format!("only `{value}`"), why.to_owned()),
            Standing::Refused(why) => ("an error".to_owned(), why.to_owned()),
        };
        out += &format!("| `{}` | {here} | {why} |\n", names.join("`, `"));
    }
    out
}

#[test]
fn the_table_of_directives_in_the_documentation_is_what_the_parser_does() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/waf.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(BEGIN).expect("the mark before the table");
    let (written, after) = rest.split_once(END).expect("the mark behind the table");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, format!("{before}{BEGIN}{}{END}{after}", table())).unwrap();
        return;
    }
    assert_eq!(
        written,
        table(),
        "docs/waf.md has another table (UPDATE_GOLDEN=1 writes it)"
    );
}
