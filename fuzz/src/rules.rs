//! The rule sets of the engine, and the places of a request that a text can be put in.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use breakwater_waf::bundle::{self, Crs, Own, Source};
use breakwater_waf::engine::{Bound, Connection, Overlay, Stores, Transaction};

/// Rules that do what costs: transformations that grow, every form of a value, captures, macros of what a client sent in
/// operators, names and values, chains over what matched.
const OWN: &str = include_str!("own.conf");

/// The Core Rule Set at paranoia level 4; none where it is not at hand, which is said once.
pub fn crs() -> Option<&'static Arc<Bound>> {
    static BOUND: LazyLock<Option<Arc<Bound>>> = LazyLock::new(|| {
        let Some(dir) = directory() else {
            eprintln!("the Core Rule Set is not at hand: nothing is measured. Name its directory in BREAKWATER_CRS");
            return None;
        };
        let compiled = bundle::compile(Some(&read(&dir)), &Own::default()).expect("the Core Rule Set compiles");
        let level = |name: &str| (name.to_owned(), "4".to_owned());
        let overlay = Overlay {
            variables: vec![level("blocking_paranoia_level"), level("detection_paranoia_level")],
            ..Overlay::default()
        };
        Some(Arc::new(Bound::new(&Arc::new(compiled.rules), &overlay)))
    });
    BOUND.as_ref()
}

/// Rules of our own.
pub fn own() -> &'static Arc<Bound> {
    static BOUND: LazyLock<Arc<Bound>> = LazyLock::new(|| {
        let source = Source {
            name: "own.conf",
            text: OWN,
        };
        let own = Own::parse(&[source]).expect("the rules parse");
        let compiled = bundle::compile(None, &own).expect("the rules compile");
        Arc::new(Bound::new(&Arc::new(compiled.rules), &Overlay::default()))
    });
    &BOUND
}

fn directory() -> Option<PathBuf> {
    let named = std::env::var_os("BREAKWATER_CRS").map(PathBuf::from);
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/crs");
    let all = named.into_iter().chain([beside, "/usr/share/modsecurity-crs".into()]);
    all.into_iter().find(|dir| dir.join("rules").is_dir())
}

/// The setup, the rules in the order of their names, and their data files.
fn read(dir: &Path) -> Crs {
    let mut rules = BTreeMap::new();
    let mut data = BTreeMap::new();
    for entry in std::fs::read_dir(dir.join("rules")).expect("a directory").flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("conf") => drop(rules.insert(name, std::fs::read_to_string(&path).expect("rules"))),
            Some("data") => drop(data.insert(name, std::fs::read(&path).expect("data"))),
            _ => {}
        }
    }
    let setups = [
        dir.join("crs-setup.conf.example"),
        "/etc/modsecurity/crs/crs-setup.conf".into(),
    ];
    let setup = setups.iter().find_map(|path| std::fs::read_to_string(path).ok());
    let setup = setup.as_ref().map(|text| Source { name: "setup", text });
    let sources: Vec<_> = rules.iter().map(|(name, text)| Source { name, text }).collect();
    Crs::parse(setup, &sources, data).expect("the Core Rule Set parses")
}

/// What a text is of a request or its answer.
#[derive(Clone, Copy, Debug)]
pub enum Place {
    /// The value of one argument of a form.
    Argument,
    /// A form.
    Form,
    /// A body of JSON.
    Json,
    /// The value of one string in JSON.
    JsonString,
    /// A body of XML.
    Xml,
    /// A body of parts whose boundary is `x`.
    Multipart,
    /// What a file in a part holds.
    File,
    /// A query.
    Query,
    /// A path.
    Path,
    /// The value of the Cookie field.
    Cookies,
    /// Fields, one a line.
    Fields,
    /// The values of User-Agent and Referer.
    Agent,
    /// A body of a type that has no processor.
    Plain,
    /// The answer's body.
    Answer,
}

impl Place {
    const ALL: [Self; 14] = [
        Self::Argument,
        Self::Form,
        Self::Json,
        Self::JsonString,
        Self::Xml,
        Self::Multipart,
        Self::File,
        Self::Query,
        Self::Path,
        Self::Cookies,
        Self::Fields,
        Self::Agent,
        Self::Plain,
        Self::Answer,
    ];

    pub(crate) fn chosen(choice: usize) -> Self {
        Self::ALL
            .get(choice % Self::ALL.len())
            .copied()
            .unwrap_or(Self::Argument)
    }
}

/// Sends a request with the text in its place through all phases.
pub(crate) fn run(bound: &Arc<Bound>, place: Place, text: &[u8]) {
    let connection = Connection {
        client: [192, 0, 2, 1].into(),
        client_port: 1,
        server: [192, 0, 2, 2].into(),
        server_port: 80,
        unique_id: "fuzz",
        now_ms: 1,
    };
    // Nothing is refused, so that every phase runs.
    let mut transaction = Transaction::bound(bound, &connection, true).with_stores(&Arc::new(Stores::new(16)));
    let target: Vec<u8> = match place {
        Place::Query => [b"/?", text].concat(),
        Place::Path => [b"/", text].concat(),
        _ => b"/shop/cart".to_vec(),
    };
    let (kind, body): (&[u8], Vec<u8>) = match place {
        Place::Argument => (b"application/x-www-form-urlencoded", [b"q=", text].concat()),
        Place::Form => (b"application/x-www-form-urlencoded", text.to_vec()),
        Place::Json => (b"application/json", text.to_vec()),
        Place::JsonString => (b"application/json", string(text)),
        Place::Xml => (b"text/xml", text.to_vec()),
        Place::Multipart => (b"multipart/form-data; boundary=x", text.to_vec()),
        Place::File => (
            b"multipart/form-data; boundary=x",
            [
                b"--x\r\nContent-Disposition: form-data; name=\"f\"; filename=\"a.txt\"\r\n\r\n",
                text,
                b"\r\n--x--\r\n",
            ]
            .concat(),
        ),
        Place::Plain => (b"text/plain", text.to_vec()),
        _ => (b"", Vec::new()),
    };
    let method: &[u8] = if body.is_empty() { b"GET" } else { b"POST" };
    transaction.request_line(method, &target, b"HTTP/1.1");
    transaction.request_header(b"Host", b"shop.example.com");
    transaction.request_header(b"Accept", b"*/*");
    let agent: &[u8] = if matches!(place, Place::Agent) {
        text
    } else {
        b"Mozilla/5.0"
    };
    transaction.request_header(b"User-Agent", agent);
    match place {
        Place::Agent => transaction.request_header(b"Referer", text),
        Place::Cookies => transaction.request_header(b"Cookie", text),
        Place::Fields => {
            for line in text.split(|byte| *byte == b'\n') {
                let mut parts = line.splitn(2, |byte| *byte == b':');
                let (name, value) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
                transaction.request_header(name, value.trim_ascii());
            }
        }
        _ => {}
    }
    if !body.is_empty() {
        transaction.request_header(b"Content-Type", kind);
        transaction.request_header(b"Content-Length", body.len().to_string().as_bytes());
    }
    transaction.run_request_headers();
    transaction.run_request_body(&body, false);
    let fields: [(&[u8], &[u8]); 1] = [(b"content-type", b"text/html")];
    transaction.run_response_headers(200, &mut fields.into_iter());
    if transaction.wants_response_body() {
        let answer = if matches!(place, Place::Answer) { text } else { b"<p>" };
        transaction.run_response_body(answer, false);
    }
    std::hint::black_box(transaction.finish());
}

/// A document of one string.
fn string(text: &[u8]) -> Vec<u8> {
    let value = serde_json::Value::from(String::from_utf8_lossy(text));
    format!("{{\"q\":{value}}}").into_bytes()
}
