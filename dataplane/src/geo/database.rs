//! One database: its file, how it says what it knows, and single questions.
//!
//! Vendors arrange records differently; how one does is found out when it is read. Invariant: of what [`Database::read`]
//! returns, the whole tree was walked and what is asked of each record was read; a question that fails all the same knows
//! nothing. What the format asks for besides is not insisted on: databases that many use have no description.

use std::fs::File;
use std::io::Read as _;
use std::net::IpAddr;
use std::path::Path;

use breakwater_waf::audit::cut;
use breakwater_waf::geo::{self, Country};
use maxminddb::{LookupResult, MaxMindDbError, PathElement, Reader, WithinOptions};
use serde::de::IgnoredAny;

use super::files::Stamp;
use crate::GeoError;

/// Largest file that is read, bytes. Databases of countries have some 10 MB, the largest of cities some hundreds.
const MOST_BYTES: u64 = 512 << 20;

/// Networks that are looked into to find out how a database arranges its records.
const PROBED: usize = 100_000;

/// What a database knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Countries,
    Asns,
}

impl Kind {
    /// Its name in metrics.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Countries => "country",
            Self::Asns => "asn",
        }
    }

    /// For people.
    const fn described(self) -> &'static str {
        match self {
            Self::Countries => "database of countries",
            Self::Asns => "database of autonomous systems",
        }
    }

    const fn option(self) -> &'static str {
        match self {
            Self::Countries => "--geo-db",
            Self::Asns => "--asn-db",
        }
    }
}

/// Longest type of a database that is told, bytes.
const MOST_TYPE: usize = 64;

/// A way to somewhere in a record.
type Way = &'static [PathElement<'static>];

macro_rules! way {
    ($($key:literal),+) => { &[$(PathElement::Key($key)),+] };
}

/// Where records have what is asked for.
#[derive(Clone, Copy, Debug)]
struct Layout {
    /// A country's code; the second is asked where the first says nothing.
    code: (Way, Option<Way>),
    name: Option<Way>,
    continent: Option<Way>,
}

/// Of databases of countries: MaxMind's and DB-IP's, IPinfo's, and those that are a code and nothing else.
const COUNTRIES: [Layout; 3] = [
    Layout {
        code: (
            way!["country", "iso_code"],
            Some(way!["registered_country", "iso_code"]),
        ),
        name: Some(way!["country", "names", "en"]),
        continent: Some(way!["continent", "code"]),
    },
    Layout {
        code: (way!["country_code"], None),
        name: Some(way!["country"]),
        continent: Some(way!["continent_code"]),
    },
    Layout {
        code: (way!["country"], None),
        name: None,
        continent: Some(way!["continent"]),
    },
];

/// Of databases of autonomous systems.
const ASNS: [Way; 2] = [way!["autonomous_system_number"], way!["asn"]];

/// How records say what a database is for.
#[derive(Clone, Copy, Debug)]
enum Arranged {
    Countries(Layout),
    /// As a number.
    Numbers(Way),
    /// As a text, with `AS` before it or without.
    Texts(Way),
}

/// A database in memory.
pub(super) struct Database {
    reader: Reader<Vec<u8>>,
    arranged: Arranged,
    bytes: u64,
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Database")
            .field("type", &self.reader.metadata().database_type)
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}

impl Database {
    /// Reads and checks a file. The stamp is that of the file as it was when it was read.
    ///
    /// # Errors
    /// When it cannot be read, or is no database of this kind.
    pub(super) fn read(kind: Kind, path: &Path) -> Result<(Self, Stamp), GeoError> {
        let failed = |source| GeoError::Io {
            what: kind.described(),
            option: kind.option(),
            path: path.to_owned(),
            source,
        };
        let mut file = File::open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        let not_one = |message: String| GeoError::NotOne {
            what: kind.described(),
            option: kind.option(),
            path: path.to_owned(),
            message,
        };
        let mut bytes = Vec::new();
        if metadata.len() <= MOST_BYTES {
            bytes.reserve_exact(usize::try_from(metadata.len()).unwrap_or_default());
            (&mut file)
                .take(MOST_BYTES + 1)
                .read_to_end(&mut bytes)
                .map_err(failed)?;
        }
        if metadata.len().max(bytes.len() as u64) > MOST_BYTES {
            return Err(not_one(format!("it is larger than {MOST_BYTES} bytes")));
        }
        let database = Self::of(kind, bytes).map_err(not_one)?;
        Ok((database, Stamp::of(&metadata)))
    }

    /// Checks the bytes of a file.
    fn of(kind: Kind, bytes: Vec<u8>) -> Result<Self, String> {
        let size = bytes.len() as u64;
        let reader = Reader::from_source(bytes).map_err(|error| error.to_string())?;
        let arranged = check(kind, &reader)?;
        Ok(Self {
            reader,
            arranged,
            bytes: size,
        })
    }

    /// Says in the log that it is in force.
    pub(super) fn announce(&self, path: &Path) {
        let metadata = self.reader.metadata();
        tracing::info!(
            path = %path.display(),
            kind = %cut(&metadata.database_type, MOST_TYPE),
            built = metadata.build_epoch,
            bytes = self.bytes,
            "a database of places is in force"
        );
    }

    /// When it was made, Unix seconds, by its own word.
    pub(super) fn built(&self) -> u64 {
        self.reader.metadata().build_epoch
    }

    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn country(&self, address: IpAddr) -> Option<Country> {
        let Arranged::Countries(layout) = &self.arranged else {
            return None;
        };
        country(&self.record(address)?, layout)
    }

    pub(super) fn asn(&self, address: IpAddr) -> Option<u32> {
        asn(&self.record(address)?, &self.arranged)
    }

    /// See [`breakwater_waf::geo::Locate::describe`].
    pub(super) fn describe(&self, address: IpAddr, tell: &mut dyn FnMut(&'static str, &str)) -> bool {
        let (Arranged::Countries(layout), Some(record)) = (&self.arranged, self.record(address)) else {
            return false;
        };
        let country = country(&record, layout);
        let name = layout.name.and_then(|way| text(&record, way));
        let continent = layout.continent.and_then(|way| text(&record, way));
        if let Some(country) = &country {
            tell(geo::COUNTRY_CODE, country.as_str());
        }
        for (member, value) in [(geo::COUNTRY_NAME, name), (geo::COUNTRY_CONTINENT, continent)] {
            if let Some(value) = value {
                tell(member, value);
            }
        }
        country.is_some() || name.is_some() || continent.is_some()
    }

    fn record(&self, address: IpAddr) -> Option<Record<'_>> {
        self.reader
            .lookup(address.to_canonical())
            .ok()
            .filter(LookupResult::has_data)
    }
}

type Record<'r> = LookupResult<'r, Vec<u8>>;

fn text<'r>(record: &Record<'r>, way: Way) -> Option<&'r str> {
    record.decode_path(way).ok().flatten()
}

fn country(record: &Record<'_>, layout: &Layout) -> Option<Country> {
    let (first, second) = layout.code;
    let code = text(record, first).or_else(|| text(record, second?));
    code?.parse().ok()
}

fn asn(record: &Record<'_>, arranged: &Arranged) -> Option<u32> {
    match arranged {
        Arranged::Numbers(way) => record.decode_path(way).ok().flatten(),
        Arranged::Texts(way) => {
            let text = text(record, way)?;
            text.strip_prefix("AS").unwrap_or(text).parse().ok()
        }
        Arranged::Countries(_) => None,
    }
}

/// Walks through all of a database; how its records say what it is for, as the first that says it at all does.
fn check(kind: Kind, reader: &Reader<Vec<u8>>) -> Result<Arranged, String> {
    let metadata = reader.metadata();
    // A tree has one leaf more than it has nodes; some have a part that is reached in several ways.
    let most = (metadata.node_count as usize).saturating_mul(3);
    let options = WithinOptions::default().include_networks_without_data();
    let networks = reader.networks(options).map_err(|error| error.to_string())?;
    let mut arranged = None;
    for (count, record) in networks.enumerate() {
        if count > most {
            return Err("its tree has too many leaves".to_owned());
        }
        let record = record.map_err(|error| error.to_string())?;
        if arranged.is_none() && count < PROBED {
            arranged = arrangement(kind, &record);
        }
        if let Some(arranged) = &arranged {
            intact(&record, arranged).map_err(|error| error.to_string())?;
        }
    }
    arranged.ok_or_else(|| format!("it is of the type {:?}", cut(&metadata.database_type, MOST_TYPE)))
}

fn arrangement(kind: Kind, record: &Record<'_>) -> Option<Arranged> {
    match kind {
        Kind::Countries => {
            let mut layouts = COUNTRIES.into_iter();
            layouts
                .find(|layout| country(record, layout).is_some())
                .map(Arranged::Countries)
        }
        Kind::Asns => {
            let mut ways = ASNS
                .into_iter()
                .flat_map(|way| [Arranged::Numbers(way), Arranged::Texts(way)]);
            ways.find(|arranged| asn(record, arranged).is_some())
        }
    }
}

/// Whether what is asked of a record can be read, if it is there.
fn intact(record: &Record<'_>, arranged: &Arranged) -> Result<(), MaxMindDbError> {
    let way = match arranged {
        Arranged::Countries(layout) => layout.code.0,
        Arranged::Numbers(way) | Arranged::Texts(way) => way,
    };
    match record.decode_path::<IgnoredAny>(way) {
        // Something else lies there, which may be meant.
        Ok(_) | Err(MaxMindDbError::Decoding { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geo::testing::{self, Value};

    fn open(kind: Kind, networks: &[(&str, Value)]) -> Result<Database, String> {
        Database::of(kind, testing::database("Test", 1_700_000_000, networks))
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn described(database: &Database, address: &str) -> Vec<String> {
        let mut told = Vec::new();
        let known = database.describe(ip(address), &mut |name, value| told.push(format!("{name}={value}")));
        assert_eq!(known, !told.is_empty());
        told
    }

    #[test]
    fn the_closest_network_says_where_an_address_is() {
        let networks = [
            ("192.0.0.0/16", testing::country("SE", "Sweden", "EU")),
            ("192.0.2.0/24", testing::country("FR", "France", "EU")),
            ("2001:db8::/32", testing::country("US", "United States", "NA")),
        ];
        let database = open(Kind::Countries, &networks).unwrap();
        for (address, code) in [
            ("192.0.1.255", Some("SE")),
            ("192.0.2.0", Some("FR")),
            ("192.0.2.255", Some("FR")),
            ("192.0.3.0", Some("SE")),
            ("::ffff:192.0.2.7", Some("FR")),
            ("192.1.0.0", None),
            ("2001:db8:ffff::", Some("US")),
            ("2001:db9::", None),
        ] {
            let country = database.country(ip(address)).map(|country| country.to_string());
            assert_eq!(country.as_deref(), code, "{address}");
        }
        assert_eq!(database.built(), 1_700_000_000);
        assert_eq!(database.asn(ip("192.0.2.0")), None);
    }

    #[test]
    fn records_of_several_vendors_are_read() {
        let map = |entries: &[(&'static str, &'static str)]| {
            Value::Map(entries.iter().map(|(name, text)| (*name, Value::Text(text))).collect())
        };
        let registered = Value::Map(vec![("registered_country", map(&[("iso_code", "SE")]))]);
        for (record, told) in [
            (
                testing::country("SE", "Sweden", "EU"),
                "COUNTRY_CODE=SE COUNTRY_NAME=Sweden COUNTRY_CONTINENT=EU",
            ),
            (registered, "COUNTRY_CODE=SE"),
            (
                map(&[("continent_code", "EU"), ("country", "Sweden"), ("country_code", "SE")]),
                "COUNTRY_CODE=SE COUNTRY_NAME=Sweden COUNTRY_CONTINENT=EU",
            ),
            (
                map(&[("continent", "EU"), ("country", "SE")]),
                "COUNTRY_CODE=SE COUNTRY_CONTINENT=EU",
            ),
        ] {
            let database = open(Kind::Countries, &[("192.0.2.0/24", record)]).unwrap();
            assert_eq!(described(&database, "192.0.2.1").join(" "), told);
        }
        for record in [
            testing::asn(64_496),
            map(&[("asn", "AS64496")]),
            map(&[("asn", "64496")]),
            Value::Map(vec![("asn", Value::Number(64_496))]),
        ] {
            let database = open(Kind::Asns, &[("192.0.2.0/24", record)]).unwrap();
            assert_eq!(database.asn(ip("192.0.2.1")), Some(64_496));
            assert_eq!(database.asn(ip("192.0.3.1")), None);
        }
    }

    #[test]
    fn a_database_of_another_kind_is_refused() {
        let error = open(Kind::Countries, &[("192.0.2.0/24", testing::asn(64_496))]).unwrap_err();
        assert_eq!(error, "it is of the type \"Test\"");
        assert!(open(Kind::Asns, &[("192.0.2.0/24", testing::country("SE", "Sweden", "EU"))]).is_err());
        assert!(open(Kind::Asns, &[]).is_err());
    }

    #[test]
    fn a_database_that_was_cut_is_refused_wherever_it_was() {
        let whole = testing::database("Test", 1, &[("192.0.2.0/24", testing::country("SE", "Sweden", "EU"))]);
        assert!(Database::of(Kind::Countries, whole.clone()).is_ok());
        for length in 0..whole.len() {
            assert!(
                Database::of(Kind::Countries, whole[..length].to_vec()).is_err(),
                "{length}"
            );
        }
    }

    #[test]
    fn damaged_databases_are_refused_or_answer() {
        let networks = [
            ("192.0.2.0/24", testing::country("SE", "Sweden", "EU")),
            ("203.0.113.0/24", testing::country("FR", "France", "EU")),
            ("2001:db8::/32", testing::country("US", "United States", "NA")),
        ];
        let whole = testing::database("Test", 1, &networks);
        let addresses = ["192.0.2.1", "203.0.113.9", "2001:db8::1", "255.255.255.255", "::"].map(ip);
        let mut refused = 0;
        for at in 0..whole.len() {
            for flip in [0x01, 0x80, 0xff, 0x20] {
                let mut bytes = whole.clone();
                bytes[at] ^= flip;
                let Ok(database) = Database::of(Kind::Countries, bytes) else {
                    refused += 1;
                    continue;
                };
                for address in addresses {
                    let _ = (database.country(address), database.asn(address));
                    database.describe(address, &mut |_, _| {});
                }
            }
        }
        assert!(refused > 0);
    }
}
