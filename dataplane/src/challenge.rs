//! Challenges: a little work for browsers before a page, and the proof that it was done.
//!
//! A page of ours has a script that looks for a number: SHA-256 of the challenge and the number begins with so many zero
//! bits. It puts the number into a cookie and loads the page again. Invariant: nothing is remembered. A challenge is a MAC
//! over the policy, the host, the client's address (an IPv6 /64) and the time until which it is good, so that a cookie is
//! good for nobody else, nowhere else and not for longer; looking at one costs one MAC and one hash.
//!
//! The cookie is between a client and this proxy: [`Cookies`] keeps it from origins.
//!
//! Keys are made of those by which nodes know each other, so that what one node asked for another accepts; before a node
//! has any of those, and where there are none, it has one of its own. They never leave the process but for that one,
//! which a directory may keep over restarts.

mod cookies;

use std::fs;
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use breakwater_snapshot::{Digest, PeerKey};
use breakwater_waf::ClientKey;
use breakwater_waf::policy::Work;
use bytes::Bytes;
use parking_lot::Mutex;
use ring::{digest, hmac};

use crate::peer::handshake::random;
pub(crate) use cookies::Cookies;

/// What keys for challenges are made with of others.
const LABEL: &[u8] = b"breakwater challenge\0";

/// The page, and its script.
const PAGE: &str = include_str!("challenge/page.html");
const SCRIPT: &str = include_str!("challenge/solve.js");

/// Hexadecimal digits of a key's name, of a challenge, and of what tells the cookies of policies apart.
const NAME: usize = 8;
const CHALLENGE: usize = 32;

/// Digits of a number that solves a challenge.
const MOST_DIGITS: usize = 16;

/// Cookies of one policy that a request is looked at for: a browser that has several, for different paths, sends all.
const MOST_COOKIES: usize = 4;

/// How far the clocks of nodes may be apart, seconds.
const APART_S: u64 = 60;

/// What lets the script run and nothing else.
static CSP: LazyLock<String> = LazyLock::new(|| {
    let hash = STANDARD.encode(digest::digest(&digest::SHA256, SCRIPT.as_bytes()));
    format!(
        "default-src 'none'; script-src 'sha256-{hash}'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'"
    )
});

/// The keys of now.
pub(crate) struct Keys {
    own: Key,
    all: Mutex<Arc<Vec<Key>>>,
}

#[derive(Clone)]
struct Key {
    /// What a cookie names it by.
    name: String,
    key: hmac::Key,
}

impl Key {
    fn new(secret: &[u8]) -> Self {
        let derive = |what: &[u8]| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), &[LABEL, what].concat());
        Self {
            name: hex(derive(b"name").as_ref(), NAME),
            key: hmac::Key::new(hmac::HMAC_SHA256, derive(b"key").as_ref()),
        }
    }
}

impl Keys {
    /// Keys of a node that has only this secret.
    pub(crate) fn new(secret: &[u8]) -> Self {
        let own = Key::new(secret);
        Self {
            all: Mutex::new(Arc::new(vec![own.clone()])),
            own,
        }
    }

    /// Keys of a node that has no secret yet.
    pub(crate) fn random() -> Self {
        let mut secret = [0; 32];
        // Without random numbers a process has not come this far: TLS and tables need them.
        let _ = random(&mut secret);
        Self::new(&secret)
    }

    /// Keys of a node whose own is kept in this file; it is made if it is not there.
    ///
    /// # Errors
    /// When the file can neither be read nor made.
    pub(crate) fn kept(file: &Path) -> io::Result<Self> {
        match fs::read(file) {
            Ok(secret) if secret.len() == 32 => return Ok(Self::new(&secret)),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let mut secret = [0; 32];
        random(&mut secret)?;
        if let Some(dir) = file.parent() {
            fs::create_dir_all(dir)?;
        }
        let mut options = fs::OpenOptions::new();
        let mut kept = options.write(true).create(true).truncate(true).mode(0o600).open(file)?;
        kept.write_all(&secret)?;
        Ok(Self::new(&secret))
    }

    /// Takes in the keys by which nodes know each other, newest last.
    pub(crate) fn set(&self, keys: &[PeerKey]) {
        let shared = keys.iter().map(|key| Key::new(key.secret.as_bytes()));
        // What was asked for before they came stays good.
        *self.all.lock() = Arc::new(std::iter::once(self.own.clone()).chain(shared).collect());
    }

    /// Whether the values of `Cookie` fields prove, at this Unix time, that the work was done. None: they do not say so.
    pub(crate) fn prove<'c>(
        &self,
        about: About<'_>,
        work: Work,
        cookies: impl Iterator<Item = &'c [u8]>,
        now: u64,
    ) -> Option<bool> {
        let name = about.cookie();
        let value = |pair| {
            let (cookie, value) = std::str::from_utf8(pair).ok()?.trim().split_once('=')?;
            (cookie == name).then_some(value)
        };
        let values = cookies.flat_map(|field| field.split(|byte| *byte == b';').filter_map(value));
        let proofs = values
            .take(MOST_COOKIES)
            .map(|value| is_solved(self, about, work, value, now));
        let mut said = None;
        for proved in proofs {
            said = Some(proved);
            if proved {
                break;
            }
        }
        said
    }

    fn all(&self) -> Arc<Vec<Key>> {
        Arc::clone(&self.all.lock())
    }

    fn newest(&self) -> Key {
        self.all().last().unwrap_or(&self.own).clone()
    }
}

/// Who is asked, and where.
#[derive(Clone, Copy, Debug)]
pub(crate) struct About<'a> {
    /// `WafPolicy/namespace/name`.
    pub(crate) policy: &'a str,
    /// Lower case, without port.
    pub(crate) host: &'a str,
    pub(crate) client: IpAddr,
}

impl About<'_> {
    /// The cookie of this policy.
    fn cookie(&self) -> String {
        cookie_of(self.policy)
    }

    /// What has to be put before the number.
    fn challenge(&self, key: &Key, until: u64) -> String {
        let mut context = hmac::Context::with_key(&key.key);
        for text in [self.policy, self.host] {
            context.update(&(text.len() as u64).to_be_bytes());
            context.update(text.as_bytes());
        }
        match ClientKey::from(self.client) {
            ClientKey::V4(address) => context.update(&address.to_be_bytes()),
            ClientKey::V6(prefix) => context.update(&prefix.to_be_bytes()),
        }
        context.update(&until.to_be_bytes());
        hex(context.sign().as_ref(), CHALLENGE)
    }
}

/// The name of the cookie of a policy, `WafPolicy/namespace/name`.
pub(crate) fn cookie_of(policy: &str) -> String {
    let digest = Digest::of(policy.as_bytes()).to_string();
    format!("bw_{}", digest.get(..NAME).unwrap_or(&digest))
}

/// Whether a cookie's value, `KEY.UNTIL.NUMBER`, is the work that was asked for.
fn is_solved(keys: &Keys, about: About<'_>, work: Work, value: &str, now: u64) -> bool {
    let mut parts = value.splitn(3, '.');
    let (Some(key), Some(until), Some(number)) = (parts.next(), parts.next(), parts.next()) else {
        return false;
    };
    let is_number = |text: &str| (1..=MOST_DIGITS).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    let keys = keys.all();
    let known = keys.iter().find(|known| known.name == key);
    let (true, true, Some(key)) = (is_number(until), is_number(number), known) else {
        return false;
    };
    let Ok(until) = until.parse::<u64>() else { return false };
    if until <= now || until > now.saturating_add(work.lasts_s).saturating_add(APART_S) {
        return false;
    }
    let text = about.challenge(key, until) + number;
    zeros(digest::digest(&digest::SHA256, text.as_bytes()).as_ref()) >= u32::from(work.bits)
}

/// Zero bits at the beginning.
fn zeros(bytes: &[u8]) -> u32 {
    let mut zeros = 0;
    for byte in bytes {
        zeros += byte.leading_zeros();
        if *byte != 0 {
            break;
        }
    }
    zeros
}

/// The page for a client that is asked to work, with the fields that go with it.
pub(crate) fn page(keys: &Keys, about: About<'_>, work: Work, request_id: &str, now: u64) -> Bytes {
    let key = keys.newest();
    let until = now.saturating_add(work.lasts_s);
    let values = [
        ("@CHALLENGE@", about.challenge(&key, until)),
        ("@COOKIE@", about.cookie()),
        ("@EXPIRY@", format!("{}.{until}", key.name)),
        ("@SECONDS@", work.lasts_s.to_string()),
        ("@BITS@", work.bits.to_string()),
        ("@REQUEST_ID@", breakwater_waf::block::escape(request_id)),
        ("@SCRIPT@", SCRIPT.to_owned()),
    ];
    let mut page = PAGE.to_owned();
    for (name, value) in values {
        page = page.replace(name, &value);
    }
    page.into()
}

/// What a browser may do on the page.
pub(crate) fn content_security_policy() -> &'static str {
    &CSP
}

/// Whether an `Accept` field is one of a browser that wants to show a page.
pub(crate) fn shows_pages(accept: &str) -> bool {
    let kinds = accept
        .split(',')
        .map(|range| range.split(';').next().unwrap_or_default().trim());
    let mut kinds = kinds.map(str::to_ascii_lowercase);
    kinds.any(|kind| kind == "text/html" || kind == "application/xhtml+xml")
}

fn hex(bytes: &[u8], digits: usize) -> String {
    let mut text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    text.truncate(digits);
    text
}

#[cfg(test)]
mod tests;
