//! Databases for tests: a writer of the format (MaxMind DB 2.0), as small as can be.
//!
//! One search tree with IPv4 below `::/96`, records of 24 bits, no pointers. Networks may nest; write the larger first.

use std::net::IpAddr;

use ipnet::IpNet;

/// A value of a record.
#[derive(Clone, Debug)]
pub enum Value {
    /// A text.
    Text(&'static str),
    /// A number.
    Number(u32),
    /// Named values.
    Map(Vec<(&'static str, Self)>),
}

/// A record as MaxMind's and DB-IP's databases of countries have it.
pub fn country(code: &'static str, name: &'static str, continent: &'static str) -> Value {
    let names = Value::Map(vec![("de", Value::Text("anders")), ("en", Value::Text(name))]);
    let country = vec![
        ("geoname_id", Value::Number(1)),
        ("iso_code", Value::Text(code)),
        ("names", names),
    ];
    let continent = Value::Map(vec![("code", Value::Text(continent))]);
    Value::Map(vec![("continent", continent), ("country", Value::Map(country))])
}

/// A record as MaxMind's and DB-IP's databases of autonomous systems have it.
pub fn asn(number: u32) -> Value {
    Value::Map(vec![
        ("autonomous_system_number", Value::Number(number)),
        ("autonomous_system_organization", Value::Text("Example")),
    ])
}

/// The bytes of a database that was made at `built`, Unix seconds. Networks that do not parse are left out.
pub fn database(kind: &'static str, built: u64, networks: &[(&str, Value)]) -> Vec<u8> {
    let mut nodes: Vec<[Slot; 2]> = vec![[Slot::Empty; 2]];
    let mut data = Vec::new();
    for (network, value) in networks {
        let Ok(network) = network.parse::<IpNet>() else {
            continue;
        };
        let offset = data.len();
        write(value, &mut data);
        insert(&mut nodes, network, Slot::Data(offset));
    }
    let mut out = Vec::new();
    let count = nodes.len();
    for slot in nodes.iter().flatten() {
        let record = match slot {
            Slot::Empty => count,
            Slot::Node(index) => *index,
            Slot::Data(offset) => count + 16 + offset,
        };
        out.extend_from_slice(&(record as u32).to_be_bytes()[1..]);
    }
    out.extend_from_slice(&[0; 16]);
    out.extend_from_slice(&data);
    out.extend_from_slice(b"\xab\xcd\xefMaxMind.com");
    metadata(kind, built, count as u32, &mut out);
    out
}

#[derive(Clone, Copy, Debug)]
enum Slot {
    Empty,
    Node(usize),
    Data(usize),
}

fn insert(nodes: &mut Vec<[Slot; 2]>, network: IpNet, slot: Slot) {
    let (bits, length) = match network.network() {
        IpAddr::V4(address) => (u128::from(address.to_bits()), 96 + network.prefix_len()),
        IpAddr::V6(address) => (address.to_bits(), network.prefix_len()),
    };
    let side = |depth: u8| (bits >> (127 - depth) & 1) as usize;
    let mut at = 0;
    for depth in 0..length.saturating_sub(1) {
        at = match nodes[at][side(depth)] {
            Slot::Node(next) => next,
            // What lies here is of a larger network, and of both halves.
            other => {
                nodes.push([other; 2]);
                let next = nodes.len() - 1;
                nodes[at][side(depth)] = Slot::Node(next);
                next
            }
        };
    }
    nodes[at][side(length.saturating_sub(1))] = slot;
}

fn metadata(kind: &'static str, built: u64, nodes: u32, out: &mut Vec<u8>) {
    head(7, 9, out);
    let mut field = |name: &'static str, value: &dyn Fn(&mut Vec<u8>)| {
        write(&Value::Text(name), out);
        value(out);
    };
    field("node_count", &|out| number(6, nodes.into(), out));
    field("record_size", &|out| number(5, 24, out));
    field("ip_version", &|out| number(5, 6, out));
    field("database_type", &|out| write(&Value::Text(kind), out));
    field("languages", &|out| {
        head(11, 1, out);
        write(&Value::Text("en"), out);
    });
    field("binary_format_major_version", &|out| number(5, 2, out));
    field("binary_format_minor_version", &|out| number(5, 0, out));
    field("build_epoch", &|out| number(9, built, out));
    // Databases that many use have none.
    field("description", &|out| head(7, 0, out));
}

fn write(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Text(text) => {
            head(2, text.len(), out);
            out.extend_from_slice(text.as_bytes());
        }
        Value::Number(value) => number(6, (*value).into(), out),
        Value::Map(entries) => {
            head(7, entries.len(), out);
            for (name, value) in entries {
                write(&Value::Text(name), out);
                write(value, out);
            }
        }
    }
}

/// A whole number without leading zeros.
fn number(kind: u8, value: u64, out: &mut Vec<u8>) {
    let bytes = value.to_be_bytes();
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    head(kind, bytes.len() - zeros, out);
    out.extend_from_slice(&bytes[zeros..]);
}

/// The control byte of a value: its type, and its size or the number of its entries, below 285.
fn head(kind: u8, size: usize, out: &mut Vec<u8>) {
    let first = if kind > 7 { 0 } else { kind << 5 };
    let (short, long) = if size < 29 { (size, None) } else { (29, Some(size - 29)) };
    out.push(first | short as u8);
    if kind > 7 {
        out.push(kind - 7);
    }
    out.extend(long.map(|long| long as u8));
}
