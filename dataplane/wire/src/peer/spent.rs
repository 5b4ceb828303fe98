//! What a node tells another of limits that hold across nodes: which clients were allowed how much.
//!
//! ```text
//! v=1;0f1e2d3c4b5a6978=c0000201*3,20010db800000001;…
//! ```
//!
//! A limit is 16 hexadecimal digits, a client 8 (an IPv4 address) or 16 (the upper half of an IPv6 address), and a count
//! that is not 1 follows `*`. It is a field of a request without content, so that the node that is told takes it in
//! where it lies. What has the name of no limit is passed over; anything else that is not as above makes the whole worth
//! nothing.
//!
//! Invariant: at most [`MOST`] clients and [`MOST_BYTES`] bytes, written or read.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::VERSION;

/// The method by which a node says what clients were allowed.
pub const SPENT: &str = "SPENT";

/// Clients that one value has.
pub const MOST: usize = 1_000;

/// Bytes of one value: what a request head has room for.
pub const MOST_BYTES: usize = 24 * 1024;

/// What one client was allowed under one limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The limit's number.
    pub limit: u64,
    /// The client.
    pub client: Client,
    /// How many requests or connections; not 0.
    pub count: u32,
}

/// A client, as limits count it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    /// An IPv4 address.
    V4(u32),
    /// The upper half of an IPv6 address.
    V6(u64),
}

/// The value for as many of `entries`, from the first on, as have room in it, and how many these are.
#[must_use]
pub fn write(entries: &[Entry]) -> (String, usize) {
    let mut limits: BTreeMap<u64, String> = BTreeMap::new();
    let mut bytes = "v=1".len();
    let mut written = 0;
    for entry in entries.iter().take(MOST) {
        let mut text = String::with_capacity(28);
        let _ = match entry.client {
            Client::V4(client) => write!(text, "{client:08x}"),
            Client::V6(client) => write!(text, "{client:016x}"),
        };
        if entry.count != 1 {
            let _ = write!(text, "*{}", entry.count);
        }
        // With `,`, or `;` and the limit and `=`.
        let between = if limits.contains_key(&entry.limit) { 1 } else { 18 };
        bytes += between + text.len();
        if bytes > MOST_BYTES {
            break;
        }
        let clients = limits.entry(entry.limit).or_default();
        if !clients.is_empty() {
            clients.push(',');
        }
        clients.push_str(&text);
        written += 1;
    }
    let mut value = format!("v={VERSION}");
    for (limit, clients) in limits {
        let _ = write!(value, ";{limit:016x}={clients}");
    }
    (value, written)
}

/// Reads a value; none when it is not one of ours, or too large.
#[must_use]
pub fn parse(value: &[u8]) -> Option<Vec<Entry>> {
    if value.len() > MOST_BYTES {
        return None;
    }
    let text = std::str::from_utf8(value).ok()?;
    let mut pairs = text.split(';').map(|pair| pair.split_once('='));
    if pairs.next()?? != ("v", VERSION) {
        return None;
    }
    let mut entries = Vec::new();
    for pair in pairs {
        let (name, clients) = pair?;
        let Some(limit) = hex(name, 16) else { continue };
        for client in clients.split(',') {
            if entries.len() == MOST {
                return None;
            }
            let (client, count) = match client.split_once('*') {
                Some((client, count)) => (client, number(count)?),
                None => (client, 1),
            };
            let client = match client.len() {
                8 => Client::V4(hex(client, 8)?.try_into().ok()?),
                _ => Client::V6(hex(client, 16)?),
            };
            entries.push(Entry { limit, client, count });
        }
    }
    Some(entries)
}

fn hex(text: &str, digits: usize) -> Option<u64> {
    let all = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    u64::from_str_radix(text, 16).ok().filter(|_| all)
}

/// A count as it is written: no sign, no 0.
fn number(text: &str) -> Option<u32> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|count| digits && *count > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn entry(limit: u64, client: Client, count: u32) -> Entry {
        Entry { limit, client, count }
    }

    #[test]
    fn what_is_written_is_read_limit_by_limit() {
        let entries = [
            entry(2, Client::V4(0xc000_0201), 3),
            entry(1, Client::V6(0x2001_0db8_0000_0001), 1),
            entry(2, Client::V6(0), u32::MAX),
            entry(u64::MAX, Client::V4(0), 1),
        ];
        let (value, written) = write(&entries);
        assert_eq!(written, 4);
        assert_eq!(
            value,
            "v=1;0000000000000001=20010db800000001;0000000000000002=c0000201*3,0000000000000000*4294967295;\
             ffffffffffffffff=00000000"
        );
        let mut sorted = entries;
        sorted.sort_by_key(|entry| entry.limit);
        assert_eq!(parse(value.as_bytes()), Some(sorted.to_vec()));
        assert_eq!(parse(write(&[]).0.as_bytes()), Some(Vec::new()));
    }

    #[test]
    fn no_value_is_larger_than_what_is_read_and_the_first_are_in_it() {
        for (entries, most) in [
            ((0..3_000).map(|n| entry(7, Client::V4(n), 1)).collect::<Vec<_>>(), MOST),
            // A limit of its own for each: bytes are the bound.
            (
                (0..3_000)
                    .map(|n| entry(n, Client::V6(u64::MAX - n), u32::MAX))
                    .collect(),
                MOST_BYTES / 45,
            ),
        ] {
            let (value, written) = write(&entries);
            assert_eq!(written, most);
            assert!(value.len() <= MOST_BYTES);
            assert_eq!(parse(value.as_bytes()).as_deref(), entries.get(..written));
        }
    }

    #[test]
    fn what_is_new_is_passed_over_and_what_is_malformed_or_too_much_is_worth_nothing() {
        let limit = "0000000000000001";
        let good = format!("v=1;new=what;{limit}=c0000201");
        assert_eq!(parse(good.as_bytes()), Some(vec![entry(1, Client::V4(0xc000_0201), 1)]));
        for bad in [
            "",
            "v=2",
            "x=1;v=1",
            &good.replace("v=1", "v=2"),
            &format!("{good}*0"),
            &format!("{good}*"),
            &format!("{good}*+1"),
            &format!("{good}*4294967296"),
            &format!("{good},"),
            &format!("{good},c000020"),
            &format!("{good},+0000201"),
            &format!("{good},c00002010000000g"),
            &format!("{good};"),
            &format!("v=1;{limit}="),
        ] {
            assert_eq!(parse(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(parse(b"v=1;\xff=1"), None);
        let clients = vec!["c0000201"; MOST + 1].join(",");
        assert_eq!(parse(format!("v=1;{limit}={clients}").as_bytes()), None);
        let long = format!("v=1;{}=1", "a".repeat(MOST_BYTES));
        assert_eq!(parse(long.as_bytes()), None);
    }
}
