//! The tags and attributes that run script in some browser. The names are libinjection's.

use std::sync::LazyLock;

use super::bytes::begins_with;

/// What an attribute does with its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attribute {
    Harmless,
    /// Its value is script, or style, which can have script.
    RunsScript,
    /// Its value is a URL, which can be script.
    TakesUrl,
    /// Its value is the name of another attribute.
    TakesName,
}

impl Attribute {
    /// What the attribute `name` does.
    pub(super) fn named(name: &[u8]) -> Self {
        if name.len() < 2 {
            return Self::Harmless;
        }
        if name.len() >= 5 && (is_event(name) || begins_with(name, b"XMLNS") || begins_with(name, b"XLINK")) {
            return Self::RunsScript;
        }
        let mut room = [0; LONGEST];
        without_nul(name, &mut room)
            .and_then(|name| ATTRIBUTES.iter().find(|(known, _)| name.eq_ignore_ascii_case(known)))
            .map_or(Self::Harmless, |(_, attribute)| *attribute)
    }
}

/// Whether the tag `name` runs script or can change what other tags do.
pub(super) fn is_tag(name: &[u8]) -> bool {
    if name.len() < 3 {
        return false;
    }
    if begins_with(name, b"SVG") || begins_with(name, b"XSL") {
        return true;
    }
    let mut room = [0; LONGEST];
    without_nul(name, &mut room).is_some_and(|name| TAGS.iter().any(|known| name.eq_ignore_ascii_case(known)))
}

/// Whether this is the name of an event's handler, or begins like one.
fn is_event(name: &[u8]) -> bool {
    let Some(event) = name.get(2..).filter(|_| begins_with(name, b"ON")) else {
        return false;
    };
    // No name in the list begins with another one. So if one of them begins `event`, nothing stands between the two.
    let after = EVENTS.partition_point(|known| {
        let upper = event.iter().map(u8::to_ascii_uppercase);
        known.iter().copied().le(upper)
    });
    let before = after.checked_sub(1).and_then(|index| EVENTS.get(index));
    before.is_some_and(|known| begins_with(event, known))
}

/// Names of events, in upper case and in order, without those that begin with another one.
static EVENTS: LazyLock<Vec<&'static [u8]>> = LazyLock::new(|| {
    let file = include_str!("../../data/html_events.txt");
    let mut names: Vec<_> = file
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(str::as_bytes)
        .collect();
    names.sort_unstable();
    names.dedup_by(|name, shorter| name.starts_with(shorter));
    names
});

/// The longest name in the lists below, `ATTRIBUTENAME`, and one more.
const LONGEST: usize = 14;

/// The name as old versions of Internet Explorer see it, unless it is longer than any that is known.
fn without_nul<'r>(name: &[u8], room: &'r mut [u8; LONGEST]) -> Option<&'r [u8]> {
    let mut length = 0;
    for byte in name.iter().filter(|byte| **byte != 0) {
        *room.get_mut(length)? = *byte;
        length += 1;
    }
    room.get(..length)
}

const TAGS: [&[u8]; 20] = [
    b"APPLET",
    b"BASE",
    b"COMMENT",
    b"EMBED",
    b"FRAME",
    b"FRAMESET",
    b"HANDLER",
    b"IFRAME",
    b"IMPORT",
    b"ISINDEX",
    b"LINK",
    b"LISTENER",
    b"META",
    b"NOSCRIPT",
    b"OBJECT",
    b"SCRIPT",
    b"STYLE",
    b"VMLFRAME",
    b"XML",
    b"XSS",
];

const ATTRIBUTES: [(&[u8], Attribute); 20] = [
    (b"ACTION", Attribute::TakesUrl),
    (b"ATTRIBUTENAME", Attribute::TakesName),
    (b"BACKGROUND", Attribute::TakesUrl),
    (b"BY", Attribute::TakesUrl),
    (b"DATAFORMATAS", Attribute::RunsScript),
    (b"DATASRC", Attribute::RunsScript),
    (b"DYNSRC", Attribute::TakesUrl),
    (b"FILTER", Attribute::RunsScript),
    (b"FOLDER", Attribute::TakesUrl),
    (b"FORMACTION", Attribute::TakesUrl),
    (b"FROM", Attribute::TakesUrl),
    (b"HANDLER", Attribute::TakesUrl),
    (b"HREF", Attribute::TakesUrl),
    (b"LOWSRC", Attribute::TakesUrl),
    (b"POSTER", Attribute::TakesUrl),
    (b"SRC", Attribute::TakesUrl),
    (b"STYLE", Attribute::RunsScript),
    (b"TO", Attribute::TakesUrl),
    (b"VALUES", Attribute::TakesUrl),
    (b"XLINK:HREF", Attribute::TakesUrl),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_counts_in_any_case_and_with_nuls_in_it() {
        for name in [b"script".as_slice(), b"SCRIPT", b"s\0cript\0", b"svganything", b"XsL:x"] {
            assert!(is_tag(name), "{}", name.escape_ascii());
        }
        for name in [
            b"scrip".as_slice(),
            b"scripts",
            b"b",
            b"",
            b"\0\0\0\0",
            b"s\0vg",
            &[b'x'; 99],
        ] {
            assert!(!is_tag(name), "{}", name.escape_ascii());
        }
    }

    #[test]
    fn every_event_is_found_alone_and_as_a_beginning() {
        let file = include_str!("../../data/html_events.txt");
        for name in file.lines().filter(|line| !line.starts_with('#') && line.len() >= 3) {
            assert_eq!(
                Attribute::named(format!("on{name}").as_bytes()),
                Attribute::RunsScript,
                "{name}"
            );
            assert_eq!(
                Attribute::named(format!("oN{}zz", name.to_ascii_lowercase()).as_bytes()),
                Attribute::RunsScript
            );
        }
    }

    #[test]
    fn what_is_no_event_is_harmless() {
        for name in ["on", "one", "online-shop"] {
            assert_eq!(Attribute::named(name.as_bytes()), Attribute::Harmless, "{name}");
        }
        assert_eq!(Attribute::named(b"onzzzzzz"), Attribute::Harmless);
    }
}
