//! Classes of devices: what kind of screen a request comes from, by what its browser says of itself.
//!
//! A small table of words, not a database of devices: `User-Agent` is read as words (runs of letters and digits, in any
//! case), `Sec-CH-UA-Mobile` is believed when it says yes. Invariant: one pass over at most [`MAX_READ`] bytes, nothing is
//! allocated, and every request has exactly one class, so that as many responses are stored of a URL as there are classes.

use http::header::{HeaderMap, HeaderName, HeaderValue, USER_AGENT};

/// The request field that tells the origin the class.
pub const FIELD: HeaderName = HeaderName::from_static("x-device-type");

/// The client hint (RFC 8942, User-Agent Client Hints section 3.5).
pub const MOBILE_HINT: HeaderName = HeaderName::from_static("sec-ch-ua-mobile");

/// How much of a `User-Agent` is read.
pub const MAX_READ: usize = 1024;

/// Words of programs that fetch for search engines, previews and models, beside those that end in `bot`, `spider` or
/// `crawler`.
const BOTS: [&str; 7] = [
    "slurp",
    "googleother",
    "inspectiontool",
    "facebookexternalhit",
    "externalagent",
    "archiver",
    "bingpreview",
];

/// Words of telephones.
const PHONES: [&str; 11] = [
    "mobile",
    "iphone",
    "ipod",
    "mobi",
    "iemobile",
    "phone",
    "midp",
    "symbian",
    "symbianos",
    "kaios",
    "dalvik",
];

/// Words of tablets. What says `Android` and none of the words of telephones is one too.
const TABLETS: [&str; 4] = ["ipad", "tablet", "playbook", "kindle"];

/// What a request comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Device {
    /// Everything that is none of the others.
    Desktop,
    /// A telephone.
    Mobile,
    /// A tablet.
    Tablet,
    /// A program that says so.
    Bot,
}

impl Device {
    /// As the origin is told.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Desktop => "desktop",
            Self::Mobile => "mobile",
            Self::Tablet => "tablet",
            Self::Bot => "bot",
        }
    }
}

/// The classes that are told apart from [`Device::Desktop`]; a device of another class counts as that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Classes {
    /// Telephones.
    pub mobile: bool,
    /// Tablets.
    pub tablet: bool,
    /// Programs, whatever device they pretend to be.
    pub bot: bool,
}

impl Classes {
    /// Whether nothing is told apart.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        !self.mobile && !self.tablet && !self.bot
    }

    /// The class of a request by the first values of its `User-Agent` and [`MOBILE_HINT`].
    #[must_use]
    pub fn of(self, user_agent: Option<&[u8]>, mobile_hint: Option<&[u8]>) -> Device {
        let words = Words::read(user_agent.unwrap_or_default());
        if self.bot && words.bot {
            return Device::Bot;
        }
        let device = if mobile_hint.is_some_and(|hint| hint.trim_ascii() == b"?1") {
            Device::Mobile
        } else {
            words.screen()
        };
        match device {
            Device::Mobile if self.mobile => device,
            Device::Tablet if self.tablet => device,
            _ => Device::Desktop,
        }
    }
}

/// Sets [`FIELD`] in a request's fields; what the client said there goes, also with underscores, which CGI-like origins
/// cannot tell apart.
pub fn set(fields: &mut HeaderMap, classes: Classes) {
    let lookalike = |name: &&HeaderName| name.as_str().replace('_', "-") == FIELD.as_str();
    let claims: Vec<HeaderName> = fields.keys().filter(lookalike).cloned().collect();
    for name in claims {
        fields.remove(name);
    }
    let value = |name: &HeaderName| fields.get(name).map(HeaderValue::as_bytes);
    let class = classes.of(value(&USER_AGENT), value(&MOBILE_HINT));
    fields.insert(FIELD, HeaderValue::from_static(class.as_str()));
}

/// Which words are there.
#[derive(Default)]
struct Words {
    bot: bool,
    television: bool,
    /// Windows, and not that of telephones; it says `Tablet PC` on ordinary computers.
    windows: bool,
    tablet: bool,
    phone: bool,
    android: bool,
}

impl Words {
    fn read(user_agent: &[u8]) -> Self {
        let mut found = Self::default();
        let read = user_agent.get(..MAX_READ).unwrap_or(user_agent);
        let mut before: &[u8] = b"";
        let words = read.split(|byte| !byte.is_ascii_alphanumeric());
        for word in words.filter(|word| !word.is_empty()) {
            found.see(before, word);
            before = word;
        }
        found
    }

    fn see(&mut self, before: &[u8], word: &[u8]) {
        let is = |text: &str| word.eq_ignore_ascii_case(text.as_bytes());
        let follows = |text: &str| before.eq_ignore_ascii_case(text.as_bytes());
        let ends = |end: &str| {
            let from = word.len().checked_sub(end.len());
            from.is_some_and(|from| word[from..].eq_ignore_ascii_case(end.as_bytes()))
        };
        let begins = |start: &str| {
            let head = word.get(..start.len());
            head.is_some_and(|head| head.eq_ignore_ascii_case(start.as_bytes()))
        };
        // Cubot makes telephones.
        self.bot |= ends("bot") && !is("cubot") || ends("spider") || ends("crawler") || BOTS.into_iter().any(is);
        // AFT and letters: Fire TV.
        self.television |= ends("tv") || is("bravia") || is("crkey") || word.starts_with(b"AFT") && word.len() < 8;
        self.windows |= is("nt") && follows("windows");
        self.tablet |= TABLETS.into_iter().any(is);
        self.phone |= PHONES.into_iter().any(is) || begins("blackberry") || is("mini") && follows("opera");
        self.android |= is("android");
    }

    fn screen(&self) -> Device {
        if self.television || self.windows {
            Device::Desktop
        } else if self.tablet {
            Device::Tablet
        } else if self.phone {
            Device::Mobile
        } else if self.android {
            Device::Tablet
        } else {
            Device::Desktop
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Classes = Classes {
        mobile: true,
        tablet: true,
        bot: true,
    };

    fn class(user_agent: &str) -> Device {
        ALL.of(Some(user_agent.as_bytes()), None)
    }

    #[test]
    fn browsers_programs_and_televisions_are_what_they_are() {
        let table = include_str!("device/user_agents.txt");
        let mut seen = 0;
        for line in table.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (expected, user_agent) = line.split_once('\t').unwrap();
            assert_eq!(class(user_agent).as_str(), expected, "{user_agent}");
            seen += 1;
        }
        assert!(seen >= 70, "{seen}");
    }

    #[test]
    fn the_client_hint_counts_when_it_says_yes() {
        let desktop =
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36";
        let phone = "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Mobile Safari/537.36";
        let with = |user_agent: &str, hint: &str| ALL.of(Some(user_agent.as_bytes()), Some(hint.as_bytes()));
        assert_eq!(with(desktop, "?1"), Device::Mobile);
        assert_eq!(with(desktop, " ?1 "), Device::Mobile);
        assert_eq!(with(desktop, "?0"), Device::Desktop);
        assert_eq!(with(phone, "?0"), Device::Mobile);
        for nonsense in ["1", "?1;a", "true", "?1, ?1", ""] {
            assert_eq!(with(desktop, nonsense), Device::Desktop, "{nonsense}");
        }
        assert_eq!(ALL.of(None, Some(b"?1")), Device::Mobile);
        assert_eq!(with("Googlebot/2.1", "?1"), Device::Bot);
    }

    #[test]
    fn a_class_that_is_not_told_apart_is_desktop_but_a_program_is_what_it_pretends_to_be() {
        let tablet = b"Mozilla/5.0 (iPad; CPU OS 12_5 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148";
        let bot = b"Mozilla/5.0 (Linux; Android 6.0.1; Nexus 5X) Chrome/126.0 Mobile Safari/537.36 (compatible; Googlebot/2.1)";
        let mobile = Classes {
            mobile: true,
            ..Classes::default()
        };
        assert_eq!(mobile.of(Some(tablet), None), Device::Desktop);
        assert_eq!(mobile.of(Some(bot), None), Device::Mobile);
        assert_eq!(ALL.of(Some(bot), None), Device::Bot);
        assert_eq!(Classes::default().of(Some(bot), Some(b"?1")), Device::Desktop);
        assert!(Classes::default().is_empty() && !mobile.is_empty());
    }

    #[test]
    fn the_field_takes_the_place_of_every_claim() {
        let mut fields = HeaderMap::new();
        for name in [
            "x-device-type",
            "x-device-type",
            "x_device_type",
            "x-device_type",
            "x-device",
        ] {
            fields.append(name, HeaderValue::from_static("tablet"));
        }
        fields.insert(USER_AGENT, HeaderValue::from_static("Opera Mini"));
        set(&mut fields, ALL);
        let mut lines: Vec<_> = fields
            .iter()
            .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
            .collect();
        lines.sort_unstable();
        assert_eq!(
            lines,
            [
                ("user-agent", "Opera Mini"),
                ("x-device", "tablet"),
                ("x-device-type", "mobile")
            ]
        );
    }

    #[test]
    fn no_more_is_read_than_the_bound() {
        let beyond = format!("{} iPhone", "x ".repeat(MAX_READ / 2));
        assert_eq!(class(&beyond), Device::Desktop);
        let within = format!("{} iPhone {}", "x ".repeat(400), "iPad ".repeat(10_000));
        assert_eq!(class(&within[..810]), Device::Mobile);
        assert_eq!(ALL.of(None, None), Device::Desktop);
        assert_eq!(ALL.of(Some(b"\xff\xfe\0"), None), Device::Desktop);
    }
}
